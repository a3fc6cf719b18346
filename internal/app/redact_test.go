package app

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/config"
)

// canaryParts are pieces of what is to be redacted: none may be found anywhere.
var canaryParts = []string{"max.muster", "4111111111111111", "4111 1111", "canary-bearer", "hunter2", "4711000123"}

// scan looks for texts in all files of a folder, compressed ones of the store as far as they can be read by a search. It may be a server's,
// whose files come and go.
func scan(t *testing.T, dir string, texts ...string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files++
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				t.Errorf("%s is in %s", text, path)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}

// RELIABILITY.md, bad input 13: what is redacted is absent from disk, index, alerts and backups, whichever way it came in.
// What the store compresses is looked at with a search; the log, which has every event as it is, byte by byte.
func TestRedaction(t *testing.T) {
	o := options(t, map[string]string{"LOOKOUT_REDACT_USE": "email, card,bearer,password", "LOOKOUT_HTTP": "127.0.0.1:0", "LOOKOUT_GELF": "off"})
	o.Config.Redact.Rules = []config.RedactRule{{Name: "customer", Field: "*customer"}}
	a := start(t, o)
	lines := []string{
		`{"service":"pay","message":"mail to max.muster@example.org, card 4111 1111 1111 1111","level":"error"}`,
		`{"service":"pay","message":"{\"msg\":\"in\",\"password\":\"hunter2\",\"auth\":\"Bearer canary-bearer-12345\"}"}`,
		`{"service":"pay","message":"x","mail":["max.muster@example.org"],"nested":{"customer":4711000123,"card":4111111111111111}}`,
		`{"service":"max.muster@example.org","message":"y","max.muster@example.org":1}`,
	}
	for _, exact := range []string{"", "true"} {
		status, body := send(t, a, "/api/v1/events", strings.Join(lines, "\n"), "Lookout-Exact", exact)
		if status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	// A job of deletion keeps its query in an event.
	if status, body := send(t, a, "/api/v1/deletes", "q=max.muster@example.org&keep_query=true", "Content-Type", "application/x-www-form-urlencoded"); status >= 500 {
		t.Fatalf("%d %s", status, body)
	}
	for _, path := range []string{"/api/v1/query", "/api/v1/patterns", "/api/v1/fields", "/api/v1/services", "/api/v1/values?field=nested.customer", "/api/v1/values?field=mail", "/metrics"} {
		status, body := get(t, a, path, true)
		if status != 200 {
			t.Errorf("%s: %d %s", path, status, body)
		}
		for _, part := range canaryParts {
			if strings.Contains(body, part) {
				t.Errorf("%s tells %s: %s", path, part, body)
			}
		}
		if path == "/api/v1/query" {
			for _, want := range []string{"mail to [email], card [card]", `"password":"[password]"`, `"nested.customer":"[customer]"`, `"service":"[email]"`, "Bearer [bearer]"} {
				if !strings.Contains(body, want) {
					t.Errorf("no %s in %s", want, body)
				}
			}
		}
		if path == "/metrics" && !strings.Contains(body, `lookout_redacted_total{rule="email"}`) {
			t.Error("redaction is not counted")
		}
	}
	to := filepath.Join(t.TempDir(), "backup")
	if status, body := send(t, a, "/api/v1/backups", "to="+to, "Content-Type", "application/x-www-form-urlencoded"); status != 200 || !strings.Contains(body, `"summary"`) {
		t.Fatalf("%d %s", status, body)
	}
	// The list of deletions has its query in state.db while the job is there: that is what an admin has typed, not an event.
	scan(t, filepath.Join(o.Config.Data, "store"), canaryParts[1:]...)
	scan(t, to, canaryParts[1:]...)
}

// An agent's queue does not have it either.
func TestRedactionOfAnAgent(t *testing.T) {
	o := options(t, map[string]string{"LOOKOUT_REDACT_USE": "email,password", "LOOKOUT_FORWARD_URL": "http://127.0.0.1:1", "LOOKOUT_FORWARD_TOKEN": "t", "LOOKOUT_HTTP": "127.0.0.1:0", "LOOKOUT_GELF": "off"})
	a := start(t, o)
	status, body := send(t, a, "/api/v1/events", `{"message":"{\"msg\":\"canary max.muster@example.org\",\"password\":\"hunter2\"}"}`)
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	scan(t, o.Config.Data, canaryParts...)
}

// send posts with the admin token.
func send(t *testing.T, a *App, path, body string, header ...string) (int, string) {
	t.Helper()
	token, err := os.ReadFile(a.opened.Path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("POST", a.Listening()[0].Address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	for i := 0; i < len(header); i += 2 {
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, fmt.Sprint(b.String())
}
