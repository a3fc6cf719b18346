package main

import (
	"io"
	"strings"
	"testing"
)

// Only yes is a yes.
func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"yes\n": true, " YES \n": true, "y\n": false, "\n": false, "no\n": false, "yes": false, "": false} {
		p := &program{stdin: strings.NewReader(answer), stderr: io.Discard}
		if err := p.confirm("Delete? "); (err == nil) != want {
			t.Errorf("%q: %v", answer, err)
		}
	}
}
