//go:build unix

package workspace

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// The bits of a mode that one class of users has.
const (
	mayRead   = 4
	maySearch = 1
	superuser = "0"
)

// Unreadable tells why a user of this machine, by name or number, cannot read a
// file that was named outside the workspace, and the path that is the reason; ""
// when he can. It goes by owners and modes, not by ACLs.
func Unreadable(name, who string) (reason, path string, err error) {
	account, err := user.Lookup(who)
	if err != nil {
		if account, err = user.LookupId(who); err != nil {
			return "", "", fmt.Errorf("there is no user %q on this machine", who)
		}
	}
	if account.Uid == superuser {
		return "", "", nil
	}
	groups, err := account.GroupIds()
	if err != nil {
		return "", "", fmt.Errorf("the groups of %s: %w", who, err)
	}
	if path, err = filepath.Abs(name); err != nil {
		return "", "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", "", err
	}
	for _, dir := range above(path) {
		info, err := os.Stat(dir)
		if err != nil {
			return "", "", err
		}
		if !allows(info, account.Uid, groups, maySearch) {
			return fmt.Sprintf("%s may not enter the directory %s (%s)", who, dir, owned(info)), dir, nil
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", "", err
	}
	if !allows(info, account.Uid, groups, mayRead) {
		return fmt.Sprintf("%s may not read it (%s)", who, owned(info)), path, nil
	}
	return "", "", nil
}

// above lists the directories of a path, from the root.
func above(path string) []string {
	var dirs []string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
		if dir == filepath.Dir(dir) {
			slices.Reverse(dirs)
			return dirs
		}
	}
}

// allows follows POSIX: the first class that a user is of decides.
func allows(info fs.FileInfo, uid string, groups []string, wanted fs.FileMode) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case strconv.Itoa(int(stat.Uid)) == uid:
		mode >>= 6
	case slices.Contains(groups, strconv.Itoa(int(stat.Gid))):
		mode >>= 3
	}
	return mode&wanted != 0
}

// owned tells a file's mode and owners.
func owned(info fs.FileInfo) string {
	text := fmt.Sprintf("mode %04o", info.Mode().Perm())
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		text += fmt.Sprintf(", owner %s:%s", userName(stat.Uid), groupName(stat.Gid))
	}
	return text
}

func userName(id uint32) string {
	text := strconv.Itoa(int(id))
	if account, err := user.LookupId(text); err == nil {
		return account.Username
	}
	return text
}

func groupName(id uint32) string {
	text := strconv.Itoa(int(id))
	if group, err := user.LookupGroupId(text); err == nil {
		return group.Name
	}
	return text
}
