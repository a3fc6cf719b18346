package ui

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

var asset = regexp.MustCompile(`/assets/[a-z]+-[0-9a-f]{16}\.(?:js|css)`)

func TestFiles(t *testing.T) {
	index := get(t, "GET", "/")
	if index.Code != 200 || index.Header().Get("Content-Type") != "text/html; charset=utf-8" || index.Header().Get("Cache-Control") != "no-cache" {
		t.Fatalf("%d %v", index.Code, index.Header())
	}
	assets := asset.FindAllString(index.Body.String(), -1)
	if len(assets) != 2 || strings.Count(index.Body.String(), "/assets/") != 2 {
		t.Fatalf("not two assets with their hashes: %s", index.Body)
	}
	// The policy forbids inline scripts and styles: the page must have none.
	if regexp.MustCompile(`(?i)<style|style=|<script(?: type="module")?>| on[a-z]+=`).MatchString(index.Body.String()) {
		t.Errorf("something inline in %s", index.Body)
	}
	for _, path := range append(assets, "/") {
		w := get(t, "GET", path)
		plain, etag := w.Body.Bytes(), w.Header().Get("ETag")
		if w.Code != 200 || w.Header().Get("Content-Encoding") != "" || len(plain) == 0 || etag == "" {
			t.Errorf("%s: %d, %d bytes, %v", path, w.Code, len(plain), w.Header())
		}
		if path != "/" && w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %v", path, w.Header())
		}
		w = get(t, "GET", path, "Accept-Encoding", "br, GZIP;q=0.5")
		r, err := gzip.NewReader(w.Body)
		if err != nil || w.Header().Get("Content-Encoding") != "gzip" || w.Header().Get("ETag") == etag || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Fatalf("%s: %v %v", path, err, w.Header())
		}
		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, plain) {
			t.Errorf("%s: another content in gzip (%v)", path, err)
		}
		for _, c := range []struct {
			known string
			code  int
		}{{etag, 304}, {"W/" + etag, 304}, {`"x", ` + etag, 304}, {"*", 304}, {`"x"`, 200}, {"", 200}} {
			if w := get(t, "GET", path, "If-None-Match", c.known); w.Code != c.code || c.code == 304 && w.Body.Len() != 0 {
				t.Errorf("%s, If-None-Match %s: %d", path, c.known, w.Code)
			}
		}
		if w := get(t, "HEAD", path); w.Code != 200 || w.Body.Len() != 0 {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
	}
}

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/", 200}, {"GET", "/index.html", 404}, {"GET", "/assets/main.js", 404}, {"GET", "/assets/", 404}, {"GET", "/assets/../ui.go", 404},
		{"POST", "/", 405}, {"DELETE", "/assets/x", 405},
	} {
		w := get(t, c.method, c.path)
		if w.Code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.code)
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'", "font-src 'self'", "base-uri 'none'",
			"form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy+";", part+";") {
				t.Errorf("%s %s: no %s in the policy %q", c.method, c.path, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s", policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s %s: %s is %q", c.method, c.path, name, got)
			}
		}
		if c.code == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: %v", c.method, c.path, w.Header())
		}
		if c.code != 200 && strings.Contains(w.Header().Get("Cache-Control"), "public") {
			t.Errorf("%s %s is kept", c.method, c.path)
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "deflate, gzip": true, "gzip;q=1.0": true, "gzip; q=0.001": true, "gzip;q=0": false, "gzip;q=0.0": false, "br": false, "gzipped": false, "identity": false,
	} {
		if acceptsGzip(header) != want {
			t.Errorf("%q: not %v", header, want)
		}
	}
}

// No source makes markup of text: Trusted Types would stop it in a browser that has them, and nothing in one that has not.
func TestNoMarkupFromText(t *testing.T) {
	files, err := filepath.Glob("src/*.ts*")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|javascript:|DOMParser|createContextualFragment`)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := forbidden.Find(b); found != nil {
			t.Errorf("%s has %s", name, found)
		}
	}
}

// tools ends the test where Node.js is missing: a failure in CI, elsewhere it is left out and named. It sees to it that
// the packages are there.
func tools(t *testing.T) {
	t.Helper()
	for _, command := range []string{"sh", "node", "npm"} {
		if _, err := exec.LookPath(command); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is missing: run make setup", command)
			}
			t.Skipf("left out, %s is missing: run make setup as root on Debian or Ubuntu", command)
		}
	}
}

func run(t *testing.T, command string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", command, strings.Join(args, " "), err, out)
	}
}

// What is committed in dist is what the sources make, and the sources are right as far as types and their own tests can tell.
func TestSources(t *testing.T) {
	tools(t)
	built := filepath.Join(t.TempDir(), "dist")
	run(t, "sh", "build.sh", built)
	names := map[string]bool{}
	for _, dir := range []string{"dist", built} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	if len(names) < 3 {
		t.Errorf("only %v", names)
	}
	for name := range names {
		want, err := os.ReadFile(filepath.Join(built, name))
		if err != nil {
			t.Errorf("dist/%s is no longer made: go generate ./ui", name)
			continue
		}
		if got, err := os.ReadFile(filepath.Join("dist", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("dist/%s is not what src makes: run go generate ./ui and commit", name)
		}
	}
	t.Run("types", func(t *testing.T) { run(t, "node_modules/.bin/tsc", "--noEmit") })
	t.Run("tests", func(t *testing.T) {
		tests, err := filepath.Glob("test/*.test.ts")
		if err != nil || len(tests) == 0 {
			t.Fatal("no tests", err)
		}
		out := t.TempDir()
		run(t, "go", append([]string{"tool", "esbuild", "--bundle", "--platform=node", "--format=esm", "--out-extension:.js=.mjs", "--log-level=warning", "--outdir=" + out}, tests...)...)
		bundled, err := filepath.Glob(filepath.Join(out, "*.mjs"))
		if err != nil || len(bundled) != len(tests) {
			t.Fatal(bundled, err)
		}
		run(t, "node", append([]string{"--test"}, bundled...)...)
	})
}
