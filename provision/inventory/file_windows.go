package inventory

const openNoFollow = 0

// syncDirectory does nothing: NTFS journals directory entries itself.
func syncDirectory(string) error { return nil }
