package api

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// unpacked returns a reader of what an answer holds.
func unpacked(t testing.TB, h http.Header, body io.Reader) io.Reader {
	t.Helper()
	switch h.Get("Content-Encoding") {
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		return z
	case "zstd":
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(z.Close)
		return z
	}
	return body
}

func TestAcceptedCoding(t *testing.T) {
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "GZIP": "gzip", "zstd": "zstd", "gzip, zstd": "zstd", "gzip, deflate, br": "gzip", "gzip;q=1.0, zstd;q=0.5": "gzip", "gzip;q=0": "",
		"*": "zstd", "*;q=0": "", "zstd;q=0, *": "gzip", "identity": "", "identity, gzip;q=0.5": "", "br": "", "gzip;q=2": "", "gzip;q=x": "", "gzip;q=NaN": "", "gzip ; q=0.1": "gzip", "gzip;level=1;q=0": "",
	} {
		got := ""
		if i := accepted(http.Header{"Accept-Encoding": {accept}}); i != noCoding {
			got = codings[i].name
		}
		if got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
	if i := accepted(http.Header{"Accept-Encoding": {"br", "gzip"}}); i == noCoding || codings[i].name != "gzip" {
		t.Error("the header's second line is not read")
	}
}

// Compressed or not, an answer says the same; a short one, what is no text of ours, and an answer without a body stay as they are.
func TestCompressed(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.UI = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "text/plain; charset=utf-8")
			h.Set("ETag", `"x"`)
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write(bytes.Repeat([]byte("x"), 4000))
		})
	})
	for i := range 50 {
		f.store.append(line("a", fmt.Sprint("an event of some length, so that there is something to compress ", i), int64(i)))
	}
	long := "/api/v1/stats?every=1s"
	for _, c := range []struct {
		method, target, accept, more string
		want, vary                   string
	}{
		{"GET", long, "gzip", "", "gzip", "Accept-Encoding"},
		{"GET", long, "zstd", "", "zstd", "Accept-Encoding"},
		{"GET", long, "", "", "", "Accept-Encoding"},
		{"GET", "/api/v1/query?q=event", "gzip, zstd", "", "zstd", "Accept-Encoding"},
		{"GET", "/api/v1/query?q=event", "gzip", "", "gzip", "Accept-Encoding"},
		{"GET", "/api/v1/services", "gzip", "", "", "Accept-Encoding"}, // short
		{"GET", "/api/v1/query?x=1", "gzip", "", "", "Accept-Encoding"},
		{"HEAD", "/status", "gzip", "", "", "Accept-Encoding"},
		{"GET", "/", "gzip", "", "", ""}, // static files are the page's matter
		{"GET", "/", "gzip", "x", "", ""},
	} {
		w := f.do(c.method, c.target, "", "Accept-Encoding", c.accept, "If-None-Match", c.more, "X-Request-Id", "one")
		plain := f.do(c.method, c.target, "", "If-None-Match", c.more, "X-Request-Id", "one")
		got, err := io.ReadAll(unpacked(t, w.Header(), w.Body))
		if h := w.Header(); err != nil || h.Get("Content-Encoding") != c.want || h.Get("Vary") != c.vary || w.Code != plain.Code {
			t.Errorf("%s %s, %s: %d %v, %v", c.method, c.target, c.accept, w.Code, h, err)
		}
		if a, b := withoutTook(got), withoutTook(plain.Body.Bytes()); a != b {
			t.Errorf("%s %s, %s: %q, want %q", c.method, c.target, c.accept, a, b)
		}
	}
}

// withoutTook is an answer without the time it took.
func withoutTook(b []byte) string {
	before, after, _ := strings.Cut(string(b), `"took_ms":`)
	_, after, _ = strings.Cut(after, ",")
	return before + after
}

// A line of a live tail does not wait in the compressor.
func TestCompressedTail(t *testing.T) {
	for _, coding := range []string{"gzip", "zstd"} {
		f := newFixture(t)
		s := f.server(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/api/v1/tail?q=hello", nil)
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
		if got := resp.Header.Get("Content-Encoding"); got != coding {
			t.Fatalf("%q, want %s", got, coding)
		}
		lines := bufio.NewReader(unpacked(t, resp.Header, resp.Body))
		for i := range 3 {
			want := `{"position":{"sequence":0}}`
			if i > 0 {
				want = fmt.Sprint("hello ", i)
				f.store.append(line("a", want, int64(i)))
			}
			if text, err := lines.ReadString('\n'); err != nil || !strings.Contains(text, want) {
				t.Fatalf("%q, %v; want %s", text, err, want)
			}
		}
		cancel()
	}
}

// An answer that breaks off is not closed as if it were whole.
func TestCompressedPanic(t *testing.T) {
	f := newFixture(t)
	f.exact["/boom"] = &route{pattern: "/boom", handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bytes.Repeat([]byte("x"), 2*minCompressed))
		panic("boom")
	})}
	s := httptest.NewServer(f)
	defer s.Close()
	r, _ := http.NewRequest("GET", s.URL+"/boom", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return // cut before its status
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a cut answer came as %d bytes without an error", len(body))
	}
}
