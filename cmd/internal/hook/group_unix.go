//go:build unix

package hook

import (
	"os/exec"
	"syscall"
)

// ownGroup has the programs that this one starts stopped with it.
func ownGroup(program *exec.Cmd) {
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	program.Cancel = func() error { return syscall.Kill(-program.Process.Pid, syscall.SIGKILL) }
}
