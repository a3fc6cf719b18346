// Package ui is lookout's page: search, live tail, services, containers and probes in a browser.
//
// The page is TypeScript and Preact in src/, bundled by build.sh into dist/, which is committed: building and running
// lookout needs no Node.js. A test rebuilds dist and compares. The page talks to the API of its own origin (docs/api.md)
// with the session's cookie; nothing is loaded from elsewhere.
//
// # What it guarantees
//
// The files are the same for everybody and hold no secrets: they need no login. Log lines, names and labels are shown as
// text: the page makes no markup of them, the Content-Security-Policy lets no script, style or connection of others
// through, and Trusted Types make the browser refuse markup from text altogether.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

//go:generate sh build.sh

//go:embed dist
var dist embed.FS

// policy lets the page load its own script and style, show its own icon and ask its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handler serves the page at / and its files at /assets/, to GET and HEAD.
func Handler() http.Handler { return files() }

// files are the page's files by their path, made once.
var files = sync.OnceValue(func() site {
	s := site{}
	index := read("index.html")
	for name, kind := range map[string]string{"main.js": "text/javascript; charset=utf-8", "style.css": "text/css; charset=utf-8"} {
		f := newFile(read(name), kind, "public, max-age=31536000, immutable")
		base, extension, _ := strings.Cut(name, ".")
		hashed := "/assets/" + base + "-" + f.etag[:16] + "." + extension
		s[hashed] = f
		index = bytes.ReplaceAll(index, []byte("/assets/"+name), []byte(hashed))
	}
	s["/"] = newFile(index, "text/html; charset=utf-8", "no-cache")
	return s
})

func read(name string) []byte {
	b, err := dist.ReadFile("dist/" + name)
	if err != nil {
		panic(err) // it is in the binary
	}
	return b
}

type file struct {
	kind, etag, caching string
	plain, gzipped      []byte
}

func newFile(content []byte, kind, caching string) *file {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = w.Write(content) // into memory
	_ = w.Close()
	sum := sha256.Sum256(content)
	return &file{kind: kind, etag: hex.EncodeToString(sum[:16]), caching: caching, plain: content, gzipped: b.Bytes()}
}

type site map[string]*file

func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	f := s[r.URL.Path]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed, "bad_method", "the page is read only", "use GET or HEAD")
		return
	case f == nil:
		// A page that is open while the server is replaced may ask for what is no more.
		h.Set("Cache-Control", "no-store")
		fail(w, http.StatusNotFound, "not_found", "there is nothing at this address", "load the page again")
		return
	}
	content, etag := f.plain, `"`+f.etag+`"`
	packed := acceptsGzip(r.Header.Get("Accept-Encoding"))
	if packed {
		content, etag = f.gzipped, `"`+f.etag+`-gzip"`
	}
	h.Set("Vary", "Accept-Encoding")
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", f.caching)
	h.Set("ETag", etag)
	for _, known := range strings.Split(r.Header.Get("If-None-Match"), ",") {
		if known = strings.TrimPrefix(strings.TrimSpace(known), "W/"); known == etag || known == "*" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if packed {
		h.Set("Content-Encoding", "gzip")
	}
	if r.Method == http.MethodGet {
		_, _ = io.Copy(w, bytes.NewReader(content)) // what can fail is the connection
	}
}

// fail answers with an error as the API does.
func fail(w http.ResponseWriter, status int, code, message, mend string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":{"code":%q,"message":%q,"mend":%q,"request_id":%q}}`+"\n", code, message, mend, w.Header().Get("X-Request-Id")) // what can fail is the connection
}

// acceptsGzip tells whether gzip is named in an Accept-Encoding and not refused by q=0.
func acceptsGzip(header string) bool {
	for _, part := range strings.Split(header, ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			weight = strings.TrimSpace(weight)
			return weight == "" || strings.Trim(strings.TrimPrefix(weight, "q="), "0.") != ""
		}
	}
	return false
}
