package workspace

import "errors"

// Unreadable cannot tell on Windows, where ACLs decide.
func Unreadable(string, string) (reason, path string, err error) {
	return "", "", errors.New("who may read a file cannot be told on Windows")
}
