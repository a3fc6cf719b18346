//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/e2e/emit/awkward"
)

// What becomes of an awkward line on the way through Docker, before lookout sees it.
type driver struct {
	name  string
	empty string // why empty lines are lost, "" when they are not
	// raw drivers keep bytes that are no UTF-8; others write U+FFFD for each, and for each half of a character that they cut.
	raw bool
	tty bool
	// merged is why a line of exactly so many fragments may have become one with the next, "" when it may not.
	merged string
}

// expected returns a line's message in lookout; lost says why there is none.
func (d driver) expected(run string, l awkward.Line) (message, lost string) {
	text := l.Text
	if l.Name == "JSON" { // the stage has taken it apart
		_, text, _ = strings.Cut(text, `"msg":"`)
		text, _, _ = strings.Cut(text, `"`)
	}
	if text == "" && d.empty != "" {
		return "", d.empty
	}
	if d.raw {
		return text, ""
	}
	var b strings.Builder
	for len(text) > awkward.Fragment {
		b.WriteString(string([]rune(text[:awkward.Fragment])))
		text = text[awkward.Fragment:]
	}
	b.WriteString(string([]rune(text)))
	return b.String(), ""
}

// short is a line as a report shows it.
func short(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%q…%q (%d bytes)", s[:40], s[len(s)-40:], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// differences says how got is not want: what is missing, too much, or out of its place.
func differences(want, got []string) (d []string) {
	left := map[string]int{}
	for _, g := range got {
		left[g]++
	}
	for _, w := range want {
		if left[w]--; left[w] < 0 {
			d = append(d, "missing: "+short(w))
		}
	}
	for g, n := range left {
		if n > 0 {
			d = append(d, fmt.Sprintf("%d × too much: %s", n, short(g)))
		}
	}
	for i := 0; i < len(want) && d == nil; i++ {
		if want[i] != got[i] {
			d = append(d, fmt.Sprintf("the order: line %d is %s, not %s", i+1, short(got[i]), short(want[i])))
		}
	}
	return d
}

// settles waits until there is no difference left, and names those that remain.
func settles(t *testing.T, what string, limit time.Duration, differences func() []string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		d := differences()
		if len(d) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s, after %v: %d differences:\n\t%s", what, limit, len(d), strings.Join(d[:min(len(d), 30)], "\n\t"))
			return
		}
		time.Sleep(50 * time.Millisecond) // the real clock of a real process is the only one there is
	}
}

// awkward waits until the awkward lines of a container are there, each once and in their stream's order.
func (d driver) awkward(t *testing.T, s *server, container, run string) {
	t.Helper()
	streams := []string{"stdout", "stderr"}
	want := map[string][]string{}
	for _, l := range awkward.Lines(run) {
		stream := "stdout"
		if l.Stderr && !d.tty {
			stream = "stderr"
		}
		message, lost := d.expected(run, l)
		if lost != "" {
			t.Logf("%s: %s: not there: %s", d.name, l.Name, lost)
			continue
		}
		want[stream] = append(want[stream], message)
	}
	settles(t, d.name, 20*time.Second, func() (problems []string) {
		got := map[string][]string{}
		for _, r := range s.query("container:" + container + " stream:(stdout, stderr)") {
			got[r.Event.Stream] = append(got[r.Event.Stream], r.Event.Message)
			if strings.HasSuffix(r.Event.Message, " json") && (r.Event.Level != "warning" || fmt.Sprint(r.Event.Fields["n"]) != "7") {
				problems = append(problems, fmt.Sprintf("the JSON line: %+v", r.Event))
			}
		}
		for _, stream := range streams {
			for i, m := range want[stream] {
				if len(m) == 0 || len(m)%awkward.Fragment != 0 || d.merged == "" {
					continue
				}
				if k := slices.Index(got[stream], m+want[stream][i+1]); k >= 0 { // one with the next: d.merged
					got[stream] = slices.Replace(got[stream], k, k+1, m, want[stream][i+1])
				}
			}
			for _, p := range differences(want[stream], got[stream]) {
				problems = append(problems, stream+": "+p)
			}
		}
		return problems
	})
}

// The gelf driver over UDP: every line once, but for what the driver itself destroys.
func TestDockerGELF(t *testing.T) {
	e := docker(t)
	s := serve(t, t.TempDir())
	for _, compression := range []string{"none", "gzip"} {
		d := driver{name: "gelf, " + compression, empty: "the driver drops empty lines",
			merged: "the driver does not say where a line ends, and the next has the same time, which is in ms"}
		container := "gelf-" + compression
		e.run(t, container, "--log-driver", "gelf", "--log-opt", "gelf-address=udp://"+s.gelf, "--log-opt", "gelf-compression-type="+compression, image, "awkward", "-run", compression)
		e.docker(t, "wait", container)
		d.awkward(t, s, container, compression)
	}
	if n := s.metric("lookout_gelf_datagrams_received_total"); n < 100 {
		t.Errorf("%v datagrams: what did this test see?", n)
	}
}
