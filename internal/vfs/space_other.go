//go:build !(linux || darwin || freebsd || dragonfly)

package vfs

import (
	"errors"
	"fmt"
)

// Space returns an error that wraps errors.ErrUnsupported: how full the disk is cannot be asked here.
func Space(name string) (free, total uint64, err error) {
	return 0, 0, fmt.Errorf("statfs %s: %w", name, errors.ErrUnsupported)
}
