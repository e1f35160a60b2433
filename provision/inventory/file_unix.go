//go:build unix

package inventory

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

const openNoFollow = syscall.O_NOFOLLOW

// syncDirectory brings a directory's entries to the disk.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("make the inventory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("make the inventory: %w", err)
	}
	return nil
}
