package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

func newDemo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Play the whole story in a temporary directory, against the sandbox",
		Long: `Play the whole story in a temporary directory: make the CA and the server certificate, start a
ThingsBoard-compatible sandbox on loopback, register a device, prove that it gets in, and see one
failure explained. It takes a few seconds, needs nothing else, and leaves nothing behind.`,
		Example: "  tbcert demo",
		Args:    cobra.NoArgs,
		RunE:    a.run(func(command *cobra.Command, _ []string) error { return runDemo(command.Context(), a) }),
	}
}

// demoIndent stands before what a command of the demo writes.
const demoIndent = "    "

// demo plays commands in one directory.
type demo struct {
	app   *app
	dir   string
	ports sandboxReady
}

// scene is one step: what is told, the command, and how it must end.
type scene struct {
	tell   string
	args   []string
	code   int
	hidden bool // its output is not part of the story
}

func runDemo(ctx context.Context, a *app) error {
	if a.ui.JSON() {
		return invalid(errors.New("the demo is for people: it has no JSON"))
	}
	dir, remove, err := workspace.Temporary("tbcert-demo-")
	if err != nil {
		return err
	}
	d := &demo{app: a, dir: dir}
	return errors.Join(d.play(ctx), remove())
}

func (d *demo) play(ctx context.Context) error {
	if err := d.scenes(ctx, d.before()); err != nil {
		return err
	}
	stop, err := d.startSandbox(ctx)
	if err != nil {
		return err
	}
	if err := d.scenes(ctx, d.after()); err != nil {
		return errors.Join(err, stop())
	}
	if err := stop(); err != nil {
		return err
	}
	return d.app.ui.Result("%s", "That is the whole story. The directory is gone again. Begin yours with:\n\n"+
		"  tbcert init --host YOUR-SERVER\n")
}

// before is what happens without a server.
func (d *demo) before() []scene {
	return []scene{
		{"1. The CA, the server certificate and ThingsBoard's settings:",
			[]string{"init", "--host", "localhost", "--host", "127.0.0.1"}, exitOK, false},
		{"2. Another CA, for the failure at the end: somebody's old ca-root.pem.",
			[]string{"init", "-q", "-C", "old", "--host", "localhost"}, exitOK, true},
	}
}

// after is what happens with one.
func (d *demo) after() []scene {
	port := strconv.Itoa(d.ports.MQTTSPort)
	url := "http://127.0.0.1:" + strconv.Itoa(d.ports.HTTPPort)
	return []scene{
		{"4. Register a device by ThingsBoard's REST API, and write its bundle:",
			[]string{"provision", "meter-1", "--url", url, "--user", sandboxUser}, exitOK, false},
		{"5. Prove that the device gets in, with a message that is read back:",
			[]string{"verify", "meter-1", "--port", port, "--round-trip"}, exitOK, false},
		{"6. The same device with the old ca-root.pem. Other tools say \"A TLS error occurred.\" here:",
			[]string{"verify", "meter-1", "--port", port, "--cafile", "old/ca-root.pem"}, 13, false},
	}
}

func (d *demo) scenes(ctx context.Context, scenes []scene) error {
	for _, scene := range scenes {
		if err := d.app.ui.Result("%s\n\n  $ tbcert %s\n", d.app.ui.Strong(scene.tell), strings.Join(scene.args, " ")); err != nil {
			return err
		}
		if err := d.run(ctx, scene); err != nil {
			return err
		}
	}
	return nil
}

// run plays one command and shows what it writes. It must end as the scene
// says.
func (d *demo) run(ctx context.Context, scene scene) error {
	var shown bytes.Buffer
	process := d.process()
	process.Out, process.Err = &shown, &shown
	code := Run(ctx, d.inside(scene.args), process)
	if err := ctx.Err(); err != nil {
		return err
	}
	if code != scene.code {
		return fmt.Errorf("tbcert %s ended with %d, not %d:\n%s", scene.args[0], code, scene.code, shown.String())
	}
	if scene.hidden {
		return d.app.ui.Result("\n")
	}
	text := strings.ReplaceAll(shown.String(), d.dir+"/", "")
	text = strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+demoIndent)
	return d.app.ui.Result(demoIndent+"%s\n\n", text)
}

// inside puts a command into the demo's directory.
func (d *demo) inside(args []string) []string {
	inside := make([]string, 0, len(args)+2)
	for _, arg := range args {
		if arg == "old" || strings.HasPrefix(arg, "old/") {
			arg = d.dir + "/" + arg
		}
		inside = append(inside, arg)
	}
	return append([]string{inside[0], "-C", d.dir + "/site"}, inside[1:]...)
}

func (d *demo) process() Process {
	environ := []string{"TBCERT_PASSWORD=" + sandboxPassword}
	if color, ok := d.app.env("NO_COLOR"); ok {
		environ = append(environ, "NO_COLOR="+color)
	}
	return Process{In: strings.NewReader(""), Environ: environ, Now: d.app.process.Now, Columns: d.app.ui.Width() - len(demoIndent)}
}

// startSandbox plays the sandbox in the background until stop is called.
func (d *demo) startSandbox(ctx context.Context) (stop func() error, err error) {
	args := []string{"sandbox", "--mqtt-port", "0", "--mqtts-port", "0", "--http-port", "0"}
	if err := d.app.ui.Result("%s\n\n  $ tbcert %s &\n", d.app.ui.Strong("3. A ThingsBoard-compatible sandbox on loopback, on free ports:"), strings.Join(args, " ")); err != nil {
		return nil, err
	}
	playing, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	process := d.process()
	process.Out, process.Err = writer, io.Discard
	ended := make(chan int, 1)
	go func() {
		ended <- Run(playing, d.inside(append(args, "-o", "json")), process)
		_ = writer.Close()
	}()
	stop = func() error {
		cancel()
		_, _ = io.Copy(io.Discard, reader)
		if code := <-ended; code != exitOK {
			return fmt.Errorf("the sandbox ended with %d", code)
		}
		return nil
	}
	if err := json.NewDecoder(reader).Decode(&d.ports); err != nil || !d.ports.OK {
		return nil, errors.Join(errors.New("the sandbox did not start"), err, stop())
	}
	return stop, d.app.ui.Result("    MQTT %d, MQTTS %d, REST %d\n\n", d.ports.MQTTPort, d.ports.MQTTSPort, d.ports.HTTPPort)
}
