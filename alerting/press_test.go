package alerting_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// The button "Silence" silences this kind of incident and no other; pressed again it says how long from now.
func TestSilenceIncident(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"), down("billing"))
		r.pass(time.Minute)
		ctx := context.Background()
		if err := r.engine.SilenceIncident(ctx, 1, 24*time.Hour, "ann\n<b>"); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		if s := r.stats(); s.Open[alerting.Firing] != 2 || s.Muted["silence"] != 1 {
			t.Errorf("stats: %v, muted %v", s.Open, s.Muted)
		}
		sent := r.out.Sent("#errors")
		if facts := strings.Join(sent[0].Message.Facts, " · "); sent[0].Message.State != alerting.Silenced || !strings.Contains(facts, "silenced by ann <b> until 2000-01-02 00:01:00Z") {
			t.Errorf("%s: %s", sent[0].Message.State, facts)
		}
		if sent[1].Message.State != alerting.Firing {
			t.Errorf("the other is %s", sent[1].Message.State)
		}
		// A redelivery after a restart, and another person's hour: there is one silence, which ends as the last one says.
		r.halt()
		r.run()
		for _, d := range []time.Duration{24 * time.Hour, time.Hour} {
			if err := r.engine.SilenceIncident(ctx, 1, d, "bob"); err != nil {
				t.Fatal(err)
			}
		}
		all, err := r.engine.Silences()
		if err != nil || len(all) != 1 || !all[0].Until.Equal(time.Now().Add(time.Hour)) || all[0].By != "bob" {
			t.Errorf("silences %+v, %v", all, err)
		}
		if err := r.engine.SilenceIncident(ctx, 99, time.Hour, "ann"); !errors.Is(err, alerting.ErrNotFound) {
			t.Errorf("an incident there is not: %v", err)
		}
	})
}

// What is expected by a button is the kind of line: what differs within it may differ, and no more.
func TestLike(t *testing.T) {
	for _, tt := range []struct{ message, same, other string }{
		{"session opened for user root(uid=0) by (uid=0)", "session opened for user root(uid=7) by (uid=1000)", "session opened for user bob(uid=0) by (uid=0)"},
		{"Accepted key from 10.0.0.7 port 22", "Accepted key from 192.168.7.1 port 50122", "Accepted key from 10.0.0.7 port 22 as root"},
		{"user \"ann\" logged in", "user \"bob\"  logged in", "admin: user \"bob\" logged in"},
		{"a+b (c) [d] $e ^f *g", "a+b (c) [d] $e ^f *g", "aab c d"},
		{"\n  two\nlines", "two\nother", "one\ntwo lines"},
		{"Traceback (most recent call last):\n  File \"a.py\"\nKeyError: 'x'", "Traceback (most recent call last):\n  File \"b.py\"\nKeyError: 'y'", "ValueError: 'x'"},
		{"bell\x07 and \xff bytes", "bell\x07 and \xfe bytes", "bell"},
		{strings.Repeat("long ", 200), strings.Repeat("long ", 150), "long"},
		{"größer als 5", "größer als 6", "grösser als 5"},
		{"Dec 10 06:55:46 LabSZ sshd[24200]: no peer", "Jan  3 16:05:06 LabSZ sshd[7]: no peer", "Dec 10 06:55:46 LabSZ sshd[24200]: a peer"},
		{"[Sun Dec 04 04:47:44 2005] [error] no peer", "[Mon Jan 05 14:07:04 2026] [error] no peer", "[Sun Dec 04 04:47:44 2005] [warn] no peer"},
	} {
		e := ev(event.Error, "sshd", tt.message)
		q, err := alerting.Like(&e)
		if err != nil {
			t.Fatalf("%q: %v", tt.message, err)
		}
		if again, err := query.Parse(q.String()); err != nil || again.String() != q.String() {
			t.Errorf("%s is not its own normal form: %v", q, err)
		}
		for text, want := range map[string]bool{tt.message: true, tt.same: true, tt.other: false} {
			o := ev(event.Error, "sshd", text)
			if q.Match(&o) != want {
				t.Errorf("%s matches %q: %v", q, text, !want)
			}
			if o = ev(event.Error, "cron", text); q.Match(&o) {
				t.Errorf("%s matches %q of another service", q, text)
			}
		}
	}
	for _, nothing := range []string{"", " ", "12 34", "10.0.0.1"} {
		e := ev(event.Error, "sshd", nothing)
		if q, err := alerting.Like(&e); err == nil {
			t.Errorf("%q makes %s", nothing, q)
		}
	}
}

// Whatever a line holds, what is made of it to be expected matches it.
func TestLikeMatchesItsEvent(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("ab 1.:-#\"'`/+\n\t\\(é☃"))), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		e := ev(event.Error, "shop", strings.Join(rapid.SliceOfN(text, 1, 4).Draw(t, "parts"), " "))
		if q, err := alerting.Like(&e); err == nil && !q.Match(&e) {
			t.Fatalf("%s does not match %q", q, e.Message)
		}
	})
}
