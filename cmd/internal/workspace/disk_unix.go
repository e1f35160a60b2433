//go:build unix && !linux

package workspace

import (
	"errors"
	"os"
	"syscall"
)

const (
	openNoFollow      = syscall.O_NOFOLLOW
	canSyncFileSystem = false
)

func syncFileSystem(*os.File) error { return errors.ErrUnsupported }

func syncDirectory(d *os.File) error { return d.Sync() }
