package rest

import (
	"context"
	"errors"
	"net/http"
)

// ErrNoRoot is the error of a ThingsBoard that offers no CA root.
var ErrNoRoot = errors.New("ThingsBoard offers no CA root: its administrator sets DEVICE_CONNECTIVITY_MQTTS_CA_ROOT_CERT to the file")

// CARoot gives the file that ThingsBoard offers devices as ca-root.pem, as it is
// (DeviceConnectivityController.downloadServerCertificate). It asks without a login.
func (c *Client) CARoot(ctx context.Context) ([]byte, error) {
	it := call{method: http.MethodGet, path: "/api/device-connectivity/mqtts/certificate/download"}
	got, err := c.exchange(ctx, it, "")
	switch {
	case err != nil:
		return nil, err
	case got.status == http.StatusNotFound:
		return nil, ErrNoRoot
	case got.status != http.StatusOK:
		return nil, c.failed(it, c.place(it.path), got, nil)
	default:
		return got.body, nil
	}
}
