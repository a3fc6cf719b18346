package index

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

func init() { shelfBytes, indexFrom = 100<<10, 20 }

// Neighbours of a source that says little are found among many rows of others, in memory and in blocks.
func TestContextOfAQuietSource(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed=%v", sealed), func(t *testing.T) {
			s := open(t, Options{})
			b := &event.Batch{}
			for i := range 5000 {
				e := b.Add()
				e.Time, e.Service, e.Message = int64(i+1), []byte("web"), []byte("busy")
				if e.Container = []byte("many"); i%1000 == 500 {
					e.Container, e.Message = []byte("few"), fmt.Appendf(nil, "quiet %d", i)
				}
			}
			if err := s.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if sealed {
				sealActive(t, s)
			}
			for _, c := range []struct {
				q, by  string
				newest bool
				want   string
			}{
				{"quiet 2500", "source", false, "1500 [2500] 3500"},
				{"quiet 2500", "source", true, "3500 [2500] 1500"},
				{`"quiet 500" OR "quiet 4500"`, "container", false, "[500] 1500 / 3500 [4500]"},
				{`"quiet 500" OR "quiet 2500"`, "container", false, "[500] 1500 [2500] 3500"},
				{"quiet 2500", "service", false, "busy [2500] busy"},
				{"quiet 2500", "all", true, "busy [2500] busy"},
				{"quiet 2500", "nofield", false, "[2500]"},
			} {
				r := query.Request{Query: parse(t, c.q), Before: 1, After: 1, Newest: c.newest}
				var err error
				if r.ContextBy, err = query.ParseContextBy(c.by); err != nil {
					t.Fatal(err)
				}
				if got := shortGroups(t, s, r); got != c.want {
					t.Errorf("%s by %s: %s, want %s", c.q, c.by, got, c.want)
				}
			}
			// As much as the search may look at: what is left out is said.
			r := query.Request{Query: parse(t, `"quiet 500"`), Before: 1, After: 1, MaxBytes: 1}
			sum, err := s.Search(t.Context(), r, func(query.Row) error { return nil })
			if err != nil || sum.Complete || !slices.ContainsFunc(sum.Reasons, func(s string) bool { return strings.Contains(s, "limits.query_scan") }) {
				t.Errorf("%v, %+v", err, sum)
			}
		})
	}
}

// shortGroups returns the last words of an answer's rows, matches in brackets, groups parted by /.
func shortGroups(t *testing.T, s *Store, r query.Request) string {
	t.Helper()
	var words []string
	group := 0
	_, err := s.Search(t.Context(), r, func(row query.Row) error {
		if group != 0 && row.Group != group {
			words = append(words, "/")
		}
		group = row.Group
		text := string(row.Event.Message)
		text = text[strings.LastIndexByte(text, ' ')+1:]
		if !row.Context {
			text = "[" + text + "]"
		}
		words = append(words, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(words, " ")
}

// A group that never ends does not hold the others up for ever: from some size on they come in parts.
func TestContextInParts(t *testing.T) {
	s := open(t, Options{})
	b := &event.Batch{}
	for i := range 30_000 {
		e := b.Add()
		e.Time, e.Service, e.Message = int64(i+1), []byte("web"), []byte("x")
		if i%2 == 1 {
			e.Service = []byte("db")
		}
	}
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	rows, most, parts, last := map[int]int{}, 0, 0, 0
	_, err := s.Search(t.Context(), query.Request{Query: parse(t, "x"), Before: 0, After: 1}, func(row query.Row) error {
		rows[row.Group]++
		if row.Group == 1 && last > 1 {
			parts++
		}
		last = row.Group
		most = max(most, row.Group)
		return nil
	})
	if err != nil || most != 2 || rows[1] != 15_000 || rows[2] != 15_000 || parts == 0 || parts > 3 {
		t.Errorf("%v: groups of %v rows, group 1 goes on %d times", err, rows, parts)
	}
}
