package workspace

import (
	"errors"
	"os"
)

const (
	openNoFollow      = 0
	canSyncFileSystem = false
)

func syncFileSystem(*os.File) error { return errors.ErrUnsupported }

// syncDirectory does nothing: NTFS journals directory entries itself, and a
// directory cannot be flushed.
func syncDirectory(*os.File) error { return nil }
