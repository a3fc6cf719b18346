package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// errWindowsPipe is what a write to a closed pipe gives.
const errWindowsPipe = windows.ERROR_NO_DATA

// colorsWork turns the console's reading of escape sequences on, and tells whether it could.
func colorsWork(f *os.File, _ string) bool {
	var mode uint32
	h := windows.Handle(f.Fd())
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
