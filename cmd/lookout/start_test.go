package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What packages do before main begins is paid by each `lookout grep`: nearly all of its start. Time says little on a loaded machine;
// what is allocated meanwhile does not: 2.6 MB, nearly half of it bleve's automata, and with -race 4.6 MB.
func TestInitIsSmall(t *testing.T) {
	const most = 6 << 20
	cmd := exec.Command("lookout", "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1", "GORACE=atexit_sleep_ms=0")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	sum, packages := 0, 0
	for line := range strings.Lines(trace.String()) {
		var name string
		var at, took float64
		var bytes, allocs int
		if n, _ := fmt.Sscanf(line, "init %s @%f ms, %f ms clock, %d bytes, %d allocs", &name, &at, &took, &bytes, &allocs); n == 5 {
			packages++
			if strings.HasPrefix(name, "pgregory.net/rapid") || strings.HasPrefix(name, "github.com/google/go-cmp") {
				continue // of the tests alone
			}
			sum += bytes
		}
	}
	if packages < 50 {
		t.Fatalf("%d packages in\n%s", packages, trace.String())
	}
	if sum > most {
		t.Errorf("%d bytes are allocated before main begins, the most is %d; the lines with much:\n%s", sum, most, trace.String())
	}
}
