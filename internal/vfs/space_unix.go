//go:build linux || darwin || freebsd || dragonfly

package vfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Space returns how many bytes the operating system's file system that holds name still takes from this user, and its size.
// The error wraps errors.ErrUnsupported where that cannot be asked.
func Space(name string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", name, err)
	}
	size := uint64(st.Bsize)
	return uint64(max(st.Bavail, 0)) * size, uint64(st.Blocks) * size, nil
}
