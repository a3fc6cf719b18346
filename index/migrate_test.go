package index

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// A store of the first format, written by the code at 4959d2f with what its search answered: it is opened, searched and
// followed as it is, and merging turns its plain rows into patterns without another answer.
func TestFirstFormat(t *testing.T) {
	o := Options{Dir: t.TempDir(), byHand: true, CompactShare: 1, Now: func() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) }}
	if err := os.CopyFS(o.Dir, os.DirFS("testdata/v1-store/store")); err != nil {
		t.Fatal(err)
	}
	lines := func(name string) []string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("testdata/v1-store", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	}
	events, answers := lines("events.txt"), lines("answers.txt")
	check := func(t *testing.T, s *Store) {
		t.Helper()
		ask := func(text string, show func(e *event.Event) string) (rows []string) {
			t.Helper()
			sum, err := s.Search(t.Context(), query.Request{Query: parse(t, text)}, func(r query.Row) error {
				rows = append(rows, show(r.Event))
				return nil
			})
			if err != nil || !sum.Complete {
				t.Errorf("%s: %+v, %v", text, sum, err)
			}
			return rows
		}
		got := ask("*", func(e *event.Event) string {
			return fmt.Sprintf("%d %d %q", e.Seq, e.Received, event.AppendEvent(nil, e))
		})
		if diff := cmp.Diff(events, got); diff != "" {
			t.Error(diff)
		}
		for _, line := range answers {
			text, want, _ := strings.Cut(line, "\t")
			got := ask(text, func(e *event.Event) string { return fmt.Sprint(e.Seq) })
			if diff := cmp.Diff(strings.Fields(want), got, cmp.Transformer("text", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
				t.Errorf("%s: %s", text, diff)
			}
		}
		f := s.Follow(0)
		defer f.Close()
		for next := uint64(1); next <= uint64(len(events)); {
			events, err := f.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range events {
				if events[i].Seq != next {
					t.Fatalf("event %d follows where %d belongs", events[i].Seq, next)
				}
				next++
			}
		}
	}
	versions := func(s *Store) (list []int) {
		for _, seg := range s.segments {
			list = append(list, seg.Version())
		}
		return list
	}
	s := open(t, o)
	t.Run("as it was", func(t *testing.T) { check(t, s) })
	if diff := cmp.Diff([]int{1, 1, 1, 1, 1}, versions(s)); diff != "" {
		t.Error(diff)
	}
	seal(t, s)
	t.Run("with a segment of today's", func(t *testing.T) { check(t, s) })
	workAll(t, newCompactor(s))
	for _, v := range versions(s) {
		if v != 2 {
			t.Errorf("a segment is still of version %d", v)
		}
	}
	t.Run("merged", func(t *testing.T) { check(t, s) })
	s.Close(t.Context())
	s = open(t, o)
	t.Run("and opened again", func(t *testing.T) { check(t, s) })
}
