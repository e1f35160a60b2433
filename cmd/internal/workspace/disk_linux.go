package workspace

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	openNoFollow      = syscall.O_NOFOLLOW
	canSyncFileSystem = true
)

// syncFileSystem brings everything written to the file system of d to the
// disk: for many small files far less work than an fsync each.
func syncFileSystem(d *os.File) error { return unix.Syncfs(int(d.Fd())) }

func syncDirectory(d *os.File) error { return d.Sync() }
