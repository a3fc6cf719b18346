package api

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// part asks for one part over a real connection.
func (f *fixture) part(t *testing.T, address string, v url.Values, coding string) (body string, trailer http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", address+"/api/v1/export?"+v.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept-Encoding", coding)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	text, err := io.ReadAll(unpacked(t, resp.Header, resp.Body))
	if err != nil || resp.StatusCode != 200 || coding != "identity" && resp.Header.Get("Content-Encoding") != coding || resp.Header.Get(trailerEvents) != "" {
		t.Fatalf("%d %v %s, %v", resp.StatusCode, resp.Header, text, err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // trailers come behind what a decompressor reads
	sum := sha256.Sum256(text)
	if got := resp.Trailer.Get(trailerSum); got != hex.EncodeToString(sum[:]) {
		t.Errorf("sum %q of %q", got, text)
	}
	return string(text), resp.Trailer
}

// Parts, joined, are all events, in each form and compressed or not; each says how many it has and how to go on.
func TestExport(t *testing.T) {
	f := newFixture(t)
	s := f.server(t)
	for i := range 10 {
		e := line("web", fmt.Sprintf("line %d, \"quoted\"", i), int64(i))
		e.Fields = []event.Field{{Name: []byte("n"), Value: []byte(strconv.Itoa(i)), Kind: event.Number}}
		f.store.append(e)
	}
	for form, want := range map[string]string{
		"":       `{"time":"2027-01-15T08:00:00.000000000Z","level":"info","service":"web","message":"line 0, \"quoted\"","n":0}` + "\n",
		"ndjson": `{"time":"2027-01-15T08:00:03.000000000Z","level":"info","service":"web","message":"line 3, \"quoted\"","n":3}` + "\n",
		"csv":    `2027-01-15T08:00:03.000000000Z,info,web,,,,,"line 3, ""quoted""","{""n"":3}"` + "\n",
		"raw":    "line 3, \"quoted\"\n",
	} {
		for _, coding := range []string{"identity", "gzip", "zstd"} {
			v := url.Values{"q": {"line"}, "form": {form}, "limit": {"4"}}
			var all strings.Builder
			for parts, left := 0, 10; ; parts++ {
				text, trailer := f.part(t, s.URL, v, coding)
				all.WriteString(text)
				lines := strings.Count(text, "\n")
				if form == "csv" {
					lines--
				}
				if n := min(left, 4); trailer.Get(trailerEvents) != strconv.Itoa(n) || lines != n || trailer.Get(trailerComplete) != "true" {
					t.Errorf("%s %s: %v %q", form, coding, trailer, text)
				}
				left -= 4
				next := trailer.Get(trailerNext)
				if (next != "") != (left > 0) {
					t.Fatalf("%s %s: %v", form, coding, trailer)
				}
				if next == "" {
					break
				}
				f.store.append(line("web", "line that came later", 5))
				v.Set("cursor", next)
			}
			f.store.mu.Lock()
			f.store.events = f.store.events[:10]
			f.store.mu.Unlock()
			if !strings.Contains(all.String(), want) {
				t.Errorf("%s: %s, want %s", form, all.String(), want)
			}
		}
	}
	// Nothing at all is a part, too, and a file that can be decompressed.
	for _, form := range []string{"ndjson", "csv"} {
		text, trailer := f.part(t, s.URL, url.Values{"q": {"nothing"}, "form": {form}}, "gzip")
		if trailer.Get(trailerEvents) != "0" || strings.Contains(text, "line") {
			t.Errorf("%v %q", trailer, text)
		}
	}
	for params, field := range map[string]string{"form=xml": "form", "limit=1000001": "limit", "limit=x": "limit", "cursor=x": "cursor"} {
		w := f.do("GET", "/api/v1/export?"+params, "")
		if w.Code != 400 || errorOf(t, w.Body.Bytes()).Error.Field != field || w.Header().Get("Trailer") != "" {
			t.Errorf("%s: %d %v %s", params, w.Code, w.Header(), w.Body)
		}
	}
}

// A line that a spreadsheet would take for a formula is kept from being one.
func TestExportCSV(t *testing.T) {
	f := newFixture(t)
	for _, text := range []string{"=cmd()", "-1", "+x", "a\nb", ""} {
		f.store.append(line("", text, 0))
	}
	rows, err := csv.NewReader(f.do("GET", "/api/v1/export?form=csv", "").Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, r[7])
	}
	if want := []string{"message", "'=cmd()", "-1", "'+x", "a\nb", ""}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Who reads slowly gets a shorter part, and goes on behind it.
func TestExportEndsInTime(t *testing.T) {
	var seconds atomic.Int64
	f := newFixture(t, func(o *Options) {
		o.Clock = func() time.Time { return time.Unix(0, start).Add(time.Duration(seconds.Add(20)) * time.Second) }
	})
	for i := range 3000 {
		f.store.append(line("web", "x", int64(i)))
	}
	s := f.server(t)
	v := url.Values{"form": {"raw"}}
	text, trailer := f.part(t, s.URL, v, "identity")
	if n := strings.Count(text, "\n"); n != 2000 || trailer.Get(trailerEvents) != "2000" || trailer.Get(trailerNext) == "" || trailer.Get(trailerComplete) != "true" {
		t.Fatalf("%d, %v", n, trailer)
	}
	v.Set("cursor", trailer.Get(trailerNext))
	if text, trailer = f.part(t, s.URL, v, "identity"); strings.Count(text, "\n") != 1000 || trailer.Get(trailerNext) != "" {
		t.Errorf("%d, %v", strings.Count(text, "\n"), trailer)
	}
}

// A part of a store that cannot be read in full says so; one that breaks off is cut, and never looks whole.
func TestExportIncomplete(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("web", "x", 0))
	f.store.scan = query.Summary{Reasons: []string{"a block\nis gone"}}
	_, trailer := f.part(t, f.server(t).URL, url.Values{}, "identity")
	if trailer.Get(trailerComplete) != "false" || trailer.Get(trailerReasons) != "a block is gone" {
		t.Errorf("%v", trailer)
	}
	m := newMemory()
	m.append(line("web", "x", 0))
	f = newFixture(t, func(o *Options) { o.Store = failing{m, errors.New("disk gone")} })
	resp := f.get(t, t.Context(), f.server(t).URL+"/api/v1/export?form=raw")
	if text, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the part looks whole: %s", text)
	}
	if log := f.log.String(); !strings.Contains(log, "disk gone") {
		t.Error(log)
	}
	f = newFixture(t)
	f.store.hook = func(context.Context, query.Request) error { return errors.New("disk gone") }
	if w := f.do("GET", "/api/v1/export", ""); w.Code != 500 || errorOf(t, w.Body.Bytes()).Error.Code != "store" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTop(t *testing.T) {
	f := newFixture(t)
	for i := range 30 {
		f.store.append(line(fmt.Sprint("s", i%15), "x", 0))
	}
	f.store.append(line("s7", "x", 0))
	for _, c := range []struct{ params, want string }{
		{"by=service&top=1", `{"groups":[{"by":{"service":"s7"},"count":3}],"other":{"groups":14,"values":[{"count":28}]}`},
		{"by=service", `"other":{"groups":5,`},
		{"by=service&agg=max(n)&top=1", `"max(n)":null`},
		{"", `"message":"by names no field"`},
		{"every=1h", "this address takes q, since, until, by, agg, top"},
	} {
		if w := f.do("GET", "/api/v1/top?"+c.params, ""); !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %s", c.params, w.Body)
		}
	}
}
