package cmd_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/sandbox"
)

// A front is a server that takes MQTTS with what init --deploy wrote for it.
type front struct {
	kind, file string // in server/
	installed  string // where the file's commands put mqttserver.pem
	listen     string // what stands before the port, and on the loopback address
	loopback   string
	around     string // the rest of its settings, with OURS in the place of the file
	start      func(conf string) []string
}

// streamModule is where Debian has it; elsewhere it may be built in.
const streamModule = "/usr/lib/nginx/modules/ngx_stream_module.so"

func fronts() []front {
	nginx := "daemon off;\nuser root;\nworker_processes 1;\npid DIR/pid;\nevents {}\nOURS"
	if _, err := os.Stat(streamModule); err == nil {
		nginx = "load_module " + streamModule + ";\n" + nginx
	}
	return []front{
		{
			kind: "haproxy", file: "haproxy.cfg", installed: "/etc/haproxy/certs/mqttserver.pem", listen: "bind *:", loopback: "bind 127.0.0.1:", around: "OURS",
			start: func(conf string) []string { return []string{"haproxy", "-db", "-f", conf} },
		},
		{
			kind: "nginx", file: "nginx-stream.conf", installed: "/etc/nginx/mqttserver.pem", listen: "listen ", loopback: "listen 127.0.0.1:", around: nginx,
			start: func(conf string) []string {
				return []string{"nginx", "-p", filepath.Dir(conf), "-e", "stderr", "-c", conf}
			},
		},
	}
}

// install puts a front's files where it is told to look for them, below a
// directory of the test's.
func (f front) install(t *testing.T, site string) (conf string) {
	t.Helper()
	dir := t.TempDir()
	text := read(t, filepath.Join(site, "server", f.file))
	if !strings.Contains(text, "server/mqttserver.pem "+f.installed+"\n") {
		t.Errorf("no command installs %s:\n%s", f.installed, text)
	}
	copied := filepath.Join(dir, "mqttserver.pem")
	put(t, copied, read(t, filepath.Join(site, "server", "mqttserver.pem")))
	for from, to := range map[string]string{f.installed: copied, f.listen: f.loopback} {
		if !strings.Contains(text, from) {
			t.Fatalf("%s has no %q", f.file, from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	conf = filepath.Join(dir, f.file)
	put(t, conf, strings.NewReplacer("OURS", text, "DIR", dir).Replace(f.around))
	return conf
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serve runs a server until the end of the test. It is asked to end: a master that
// is killed leaves its workers behind.
func serve(t *testing.T, port int, command ...string) {
	t.Helper()
	server := exec.Command(find(t, command[0]), command[1:]...)
	said := newLog()
	server.Stdout, server.Stderr, server.WaitDelay = said, said, patience
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", command[0], said)
		}
	})
	if !answers(port) {
		t.Fatalf("%s does not answer:\n%s", command[0], said)
	}
}

// A device gets through a real haproxy and a real nginx, and what it publishes
// arrives at ThingsBoard's plain port.
func TestDeployedProxiesServeMQTTS(t *testing.T) {
	t.Parallel()
	for _, front := range fronts() {
		t.Run(front.kind, func(t *testing.T) {
			t.Parallel()
			p := &plant{t: t, dir: t.TempDir()}
			var err error
			p.board, err = sandbox.Start(t.Context(), sandbox.Config{HTTPAddr: "127.0.0.1:0", MQTTAddr: "127.0.0.1:0", APIKey: secret.New(apiKeyCanary)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.board.Close() })
			plain, port := p.board.MQTTAddr().(*net.TCPAddr).Port, unusedPort(t)
			p.tbcert(0, "init", "--host", "localhost", "--host", "127.0.0.1", "--mqtt-port", strconv.Itoa(plain), "--mqtts-port", strconv.Itoa(port), "--deploy", front.kind)
			p.tbcert(0, "provision", "meter-1", "--url", p.url())
			serve(t, port, front.start(front.install(t, p.dir))...)
			p.tbcert(0, "verify", "--server-only", "--host", "127.0.0.1")
			p.tbcert(0, "verify", "meter-1", "--host", "127.0.0.1", "--payload", `{"through":"`+front.kind+`"}`)
			for _, sample := range p.board.Telemetry("meter-1") {
				if sample.Key == "through" && fmt.Sprint(sample.Value) == front.kind {
					return
				}
			}
			t.Errorf("ThingsBoard has %v", p.board.Telemetry("meter-1"))
		})
	}
}

// A real mosquitto serves the one file that holds key and chain.
func TestDeployedMosquittoServesMQTTS(t *testing.T) {
	t.Parallel()
	p := &plant{t: t, dir: t.TempDir()}
	port := unusedPort(t)
	p.tbcert(0, "init", "--host", "localhost", "--host", "127.0.0.1", "--mqtts-port", strconv.Itoa(port), "--deploy", "mosquitto")
	mosquitto := front{
		kind: "mosquitto", file: "mosquitto.conf", installed: "/etc/mosquitto/certs/mqttserver.pem",
		listen: fmt.Sprintf("listener %d", port), loopback: fmt.Sprintf("listener %d 127.0.0.1", port),
		around: "allow_anonymous true\nuser root\nOURS",
	}
	serve(t, port, "mosquitto", "-c", mosquitto.install(t, p.dir))
	p.tbcert(0, "verify", "--server-only", "--host", "127.0.0.1")
	put(t, filepath.Join(p.dir, "token"), "anything\n")
	p.tbcert(0, "verify", "--token-file", filepath.Join(p.dir, "token"), "--host", "127.0.0.1")
}

// deployed makes a site and gives one of its files in server/.
func deployed(t *testing.T, host, kind string, files ...string) (dir string, texts []string) {
	t.Helper()
	p := &plant{t: t, dir: t.TempDir()}
	p.tbcert(0, "init", "--host", host, "--mqtts-port", "18883", "--deploy", kind)
	for _, file := range files {
		texts = append(texts, read(t, filepath.Join(p.dir, "server", file)))
	}
	return p.dir, texts
}

// board is what ThingsBoard's service is told, in compose and in Kubernetes.
func board(host string) map[string]string {
	return map[string]string{
		"MQTT_SSL_ENABLED": "true", "MQTT_SSL_BIND_PORT": "8883", "MQTT_SSL_CREDENTIALS_TYPE": "PEM",
		"MQTT_SSL_PEM_CERT": "/etc/thingsboard-mqtts/mqttserver.pem", "DEVICE_CONNECTIVITY_MQTTS_ENABLED": "true",
		"DEVICE_CONNECTIVITY_MQTTS_HOST": host, "DEVICE_CONNECTIVITY_MQTTS_PORT": "18883",
		"DEVICE_CONNECTIVITY_MQTTS_CA_ROOT_CERT": "/etc/thingsboard-mqtts/ca-root.pem",
	}
}

// docker compose's own loader lays the override over a compose file such as
// ThingsBoard's guide has.
func TestDeployedComposeOverride(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"tb.example.com", "2001:db8::1"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			dir, _ := deployed(t, host, "docker")
			base := filepath.Join(t.TempDir(), "docker-compose.yml")
			put(t, base, "services:\n  thingsboard-ce:\n    image: thingsboard/tb-node:4.3.0.1\n    ports: [\"8080:8080\"]\n    environment: {TB_SERVICE_ID: tb-ce-node}\n")
			options, err := cli.NewProjectOptions([]string{base, filepath.Join(dir, "server", "docker-compose.override.yml")}, cli.WithName("tb"))
			if err != nil {
				t.Fatal(err)
			}
			project, err := options.LoadProject(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			service, err := project.GetService("thingsboard-ce")
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for name, value := range service.Environment {
				got[name] = *value
			}
			want := board(host)
			want["TB_SERVICE_ID"] = "tb-ce-node"
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the environment is %v", got)
			}
			if !slices.ContainsFunc(service.Ports, func(port types.ServicePortConfig) bool { return port.Target == 8883 && port.Published == "18883" }) || len(service.Ports) != 2 {
				t.Errorf("the ports are %v", service.Ports)
			}
			if v := service.Volumes; len(v) != 1 || v[0].Type != "bind" || v[0].Source != "/etc/thingsboard-mqtts" || v[0].Target != v[0].Source || !v[0].ReadOnly {
				t.Errorf("the volumes are %v", v)
			}
		})
	}
}

// node is ThingsBoard's StatefulSet, as far as the patch meets it.
const node = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: tb-node, namespace: thingsboard}
spec:
  serviceName: tb-node
  selector: {matchLabels: {app: tb-node}}
  template:
    metadata: {labels: {app: tb-node}}
    spec:
      securityContext: {runAsUser: 799, runAsNonRoot: true, fsGroup: 799}
      volumes: [{name: tb-node-config, configMap: {name: tb-node-config}}]
      containers:
      - name: server
        image: thingsboard/tb-node:4.2.2.2
        ports: [{containerPort: 1883, name: mqtt}, {containerPort: 8883, name: mqtts}]
        env: [{name: TB_SERVICE_TYPE, value: monolith}]
        volumeMounts: [{mountPath: /config, name: tb-node-config}]
`

// Kubernetes' own types take the Secret, field by field, and its own patching
// adds what is needed to ThingsBoard's StatefulSet.
func TestDeployedKubernetes(t *testing.T) {
	t.Parallel()
	dir, texts := deployed(t, "2001:db8::1", "kubernetes", "kubernetes-secret.yaml", "kubernetes-patch.yaml")
	var held corev1.Secret
	if err := yaml.UnmarshalStrict([]byte(texts[0]), &held); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"mqttserver.pem": "server/mqttserver.pem", "ca-root.pem": "ca-root.pem"} {
		if got := string(held.Data[name]); got != read(t, filepath.Join(dir, file)) {
			t.Errorf("%s is not the file of that name", name)
		}
	}
	if held.Kind != "Secret" || held.Name != "thingsboard-mqtts" || held.Type != corev1.SecretTypeOpaque || len(held.Data) != 2 {
		t.Errorf("the Secret is %v", held.ObjectMeta)
	}
	patched := patch(t, texts[1])
	pod := patched.Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.Volumes) != 2 {
		t.Fatalf("there are %d containers and %d volumes", len(pod.Containers), len(pod.Volumes))
	}
	server := pod.Containers[0]
	got := map[string]string{}
	for _, variable := range server.Env {
		got[variable.Name] = variable.Value
	}
	want := board("2001:db8::1")
	want["TB_SERVICE_TYPE"] = "monolith"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the environment is %v", got)
	}
	var ports []string
	for _, port := range server.Ports {
		ports = append(ports, fmt.Sprintf("%s %d", port.Name, port.ContainerPort))
	}
	slices.Sort(ports)
	if !slices.Equal(ports, []string{"mqtt 1883", "mqtts 8883"}) {
		t.Errorf("the ports are %v", ports)
	}
	mount := slices.IndexFunc(server.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/etc/thingsboard-mqtts" })
	volume := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == held.Name })
	if mount < 0 || volume < 0 || server.VolumeMounts[mount].Name != pod.Volumes[volume].Name || server.VolumeMounts[mount].SubPath != "" {
		t.Fatalf("the volume is not mounted: %v, %v", server.VolumeMounts, pod.Volumes)
	}
	if mode := *pod.Volumes[volume].Secret.DefaultMode; mode != 0o440 {
		t.Errorf("the files have mode %o", mode)
	}
}

// patch does what kubectl patch does.
func patch(t *testing.T, text string) (patched appsv1.StatefulSet) {
	t.Helper()
	var alone appsv1.StatefulSet
	if err := yaml.UnmarshalStrict([]byte(text), &alone); err != nil {
		t.Fatal(err)
	}
	original, err := yaml.YAMLToJSON([]byte(node))
	if err != nil {
		t.Fatal(err)
	}
	change, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(original, change, appsv1.StatefulSet{})
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(merged, &patched); err != nil {
		t.Fatal(err)
	}
	return patched
}

// A shell reads TBMQ's settings as TBMQ's start script does.
func TestDeployedTBMQ(t *testing.T) {
	t.Parallel()
	dir, _ := deployed(t, "tb.example.com", "tbmq")
	out, err := workplace{dir: dir}.execute(t, "sh", "-euc", ". server/tbmq.conf; env")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := regexp.MustCompile(`(?m)^LISTENER_SSL_.*$`).FindAllString(out, -1)
	slices.Sort(got)
	want := []string{"LISTENER_SSL_BIND_PORT=18883", "LISTENER_SSL_CREDENTIALS_TYPE=PEM", "LISTENER_SSL_ENABLED=true", "LISTENER_SSL_PEM_CERT=/config/mqttserver.pem"}
	if !slices.Equal(got, want) {
		t.Errorf("the settings are %q", got)
	}
}

// A HOCON parser reads EMQX's settings. Whether EMQX takes them is not tried here.
func TestDeployedEMQX(t *testing.T) {
	t.Parallel()
	dir, _ := deployed(t, "tb.example.com", "emqx")
	w := &pythonWorld{t: t}
	w.install("hocon.txt")
	out, err := w.python(w.interpreter(), nil, "-c", `import json, sys, pyhocon
print(json.dumps(pyhocon.ConfigFactory.parse_file(sys.argv[1]).as_plain_ordered_dict(), sort_keys=True))`, filepath.Join(dir, "server", "emqx.conf"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := `{"listeners": {"ssl": {"default": {"bind": "0.0.0.0:18883", "ssl_options": {"certfile": "/etc/emqx/certs/mqttserver.pem", "fail_if_no_peer_cert": false, ` +
		`"keyfile": "/etc/emqx/certs/mqttserver.pem", "verify": "verify_none", "versions": ["tlsv1.3", "tlsv1.2"]}}}}}`
	if strings.TrimSpace(out) != want {
		t.Errorf("it reads %s", out)
	}
}
