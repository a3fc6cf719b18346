package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/sdk"
)

// The first rows are shown after a moment, though none follows; the service's column is as wide as the longest of them.
func TestAligner(t *testing.T) {
	service := func(name string) *sdk.Row { return &sdk.Row{Event: sdk.Event{Service: name, Message: "x"}} }
	look := look{form: formAuto, align: true, noTime: true, zone: time.UTC}
	written := make(chan string, 10)
	w := writerFunc(func(b []byte) (int, error) { written <- string(b); return len(b), nil })

	a := newAligner(&printer{look: look, out: w})
	a.wait = time.Millisecond
	if err := a.row(service("web")); err != nil {
		t.Fatal(err)
	}
	if got, want := <-written, "web:"+strings.Repeat(" ", 1+levelWidth)+"x\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	a = newAligner(&printer{look: look, out: w})
	for _, name := range []string{"web", "payments", strings.Repeat("long", 20)} {
		if err := a.row(service(name)); err != nil {
			t.Fatal(err)
		}
	}
	if len(written) > 0 {
		t.Errorf("shown before its time: %q", <-written)
	}
	if err := a.flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := <-written, "web:"+strings.Repeat(" ", 1+maxWidth-3+levelWidth)+"x\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := a.row(service("cart")); err != nil || len(written) != 3 {
		t.Errorf("%v; %d rows", err, len(written))
	}

	// Rows wait for a moment, not for all; the error of one that waited is the next one's.
	var b bytes.Buffer
	a = newAligner(&printer{look: look, out: &b})
	for range alignRows {
		if err := a.row(service("web")); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(b.String(), "\n"); n != alignRows {
		t.Errorf("%d rows are shown", n)
	}
	broken := errors.New("broken")
	a = newAligner(&printer{look: look, out: writerFunc(func([]byte) (int, error) { return 0, broken })})
	if err := a.row(service("web")); err != nil {
		t.Fatal(err)
	}
	if err := a.flush(); err != broken {
		t.Error(err)
	}
	if err := a.row(service("web")); err != broken {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
