//go:build !windows

package main

import (
	"errors"
	"os"
)

// errWindowsPipe is no error of this system.
var errWindowsPipe = errors.New("the pipe is being closed")

// colorsWork tells whether the terminal understands escape sequences: TERM=dumb says no.
func colorsWork(_ *os.File, term string) bool { return term != "dumb" && term != "" }
