package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// page asks for one page and returns its ids and the next cursor.
func (f *fixture) page(t testing.TB, v url.Values) (ids []string, next string) {
	t.Helper()
	w := f.do("POST", "/api/v1/query", v.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if w.Code != 200 {
		t.Fatalf("%v: %s", v, w.Body)
	}
	ids, _ = readAnswer(t, w.Body.Bytes())
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	var last struct{ Summary struct{ Next string } }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	return ids, last.Summary.Next
}

// Pages of any size, joined, are the one answer of the time of the first page, with events of equal time, and while others arrive.
func TestPages(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		f := newFixture(t)
		now := start
		f.o.Clock = func() time.Time { return time.Unix(0, now) }
		more := func() {
			for range rng.IntN(30) {
				f.store.append(line("a", fmt.Sprint("event ", rng.IntN(3)), int64(rng.IntN(8)-10)))
			}
		}
		more()
		v := url.Values{"q": {[]string{"", "event", "1", "-2"}[rng.IntN(4)]}, "order": {[]string{"oldest", "newest"}[rng.IntN(2)]}}
		if rng.IntN(2) == 0 {
			v.Set("since", "8s") // it moves on from page to page, and must not
		}
		want, none := f.page(t, v)
		if none != "" {
			t.Fatalf("an answer without a limit has a next page")
		}
		var got []string
		for pages := 0; ; pages++ {
			v.Set("limit", strconv.Itoa(1+rng.IntN(12)))
			ids, next := f.page(t, v)
			got = append(got, ids...)
			if limit, _ := strconv.Atoi(v.Get("limit")); (next != "") != (len(ids) == limit) {
				t.Fatalf("%d rows of %d, next %q", len(ids), limit, next)
			}
			if next == "" {
				break
			}
			v.Set("cursor", next)
			if pages > 100 {
				t.Fatal("there is no end")
			}
			now += int64(time.Second)
			more()
		}
		if !slices.Equal(got, want) {
			t.Fatalf("round %d, %v: pages %v, want %v", round, v, got, want)
		}
	}
}

// A cursor that is none, was changed, or is another search's is refused.
func TestForeignCursors(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.store.append(line("a", "event", int64(i)))
	}
	v := url.Values{"q": {"event"}, "limit": {"2"}}
	_, next := f.page(t, v)
	raw, err := base64.RawURLEncoding.DecodeString(next)
	if err != nil {
		t.Fatal(err)
	}
	edited := slices.Clone(raw)
	edited[3]++
	later := cursor{maxSeq: 6}
	for _, c := range []struct{ params, cursor, message string }{
		{"q=event", "x", "cursor is none of this server's"},
		{"q=event", next[:len(next)-1], "cursor is none of this server's"},
		{"q=event", next + "A", "cursor is none of this server's"},
		{"q=event", strings.Repeat("A", len(next)), "cursor is none of this server's"},
		{"q=event", base64.RawURLEncoding.EncodeToString(edited), "cursor belongs to another search"},
		{"q=events", next, "cursor belongs to another search"},
		{"q=event&order=newest", next, "cursor belongs to another search"},
		{"q=event&since=1h", next, "cursor belongs to another search"},
		{"q=event&count=true", next, "cursor belongs to another search"},
		{"q=event&before=1", next, "cursor belongs to another search"},
		{"q=event&sequence=4", next, "cursor belongs to another search"},
		{"q=event", later.text(params{"q": "event"}.searchKey()), "cursor is of events up to 6, and the newest is 5"},
		{"q=event", cursor{}.text(params{"q": "event"}.searchKey()), "cursor is of events up to 0"},
	} {
		w := f.do("GET", "/api/v1/query?"+c.params+"&cursor="+c.cursor, "")
		if a := errorOf(t, w.Body.Bytes()); w.Code != 400 || a.Error.Field != "cursor" || !strings.HasPrefix(a.Error.Message, c.message) {
			t.Errorf("%s %s: %d %s", c.params, c.cursor, w.Code, w.Body)
		}
	}
	for _, params := range []string{"limit=2&before=1", "limit=2&count=true", "limit=9"} {
		w := f.do("GET", "/api/v1/query?"+params, "")
		if strings.Contains(w.Body.String(), `"next"`) {
			t.Errorf("%s: %s", params, w.Body)
		}
	}
}
