package verify

import "fmt"

// proxyProtocol is a port that wants to be told by a PROXY header whose
// connection it is, or one that tells it (HAProxy's PROXY protocol, versions 1
// and 2).
func (r *run) proxyProtocol(detail string) finding {
	return finding{
		id:     TLSProxyProtocol,
		status: StatusFail,
		detail: detail,
		cause: fmt.Sprintf("Port %d is for a load balancer that puts a PROXY header before each connection (MQTT_PROXY_PROTOCOL_ENABLED=true in ThingsBoard, accept-proxy in haproxy, proxy_protocol in nginx); devices send none.",
			r.target.Port),
		fix: "Let devices connect to the load balancer's port, not to the one behind it. Where nothing stands before ThingsBoard, set MQTT_PROXY_PROTOCOL_ENABLED=false in /etc/thingsboard/conf/thingsboard.conf, then 'sudo systemctl restart thingsboard'.",
	}
}
