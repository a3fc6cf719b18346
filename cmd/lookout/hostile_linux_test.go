package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// hostile is what a sender may put into any text: sequences that move the cursor, set the title, write to the clipboard, turn
// the direction of text, begin lines of their own, and a formula.
const hostile = "=evil\x1b[2J\x1b]52;c;aGk=\x07\x1b]0;title\x1b\\\u009b31m\u202e\u2066\u200b\r\u2028\x7f\x08\b\x00x"

// inert checks that nothing of what a terminal shows does anything. A return is a progress line's, unless it is the text's.
func inert(t *testing.T, what, shown string) {
	t.Helper()
	for i := 0; i < len(shown); {
		r, size := utf8.DecodeRuneInString(shown[i:])
		rest := shown[i+size:]
		bad := r == utf8.RuneError && size == 1 || unicode.IsControl(r) || r >= 0x80 && active(r)
		switch r {
		case '\n', '\t':
			bad = false
		case '\r':
			bad = strings.HasPrefix(rest, "\u2028") || strings.HasPrefix(rest, `\u2028`)
		}
		if bad {
			t.Errorf("%s shows %U: …%q…", what, r, shown[max(0, i-60):min(len(shown), i+20)])
			return
		}
		i += size
	}
}

// RELIABILITY.md, bad input 11: whatever stands in messages, names of fields and services, values and hosts, every command
// shows it on a terminal as something that does nothing.
func TestHostileEvents(t *testing.T) {
	s := withServer(t)
	s.env["NO_COLOR"] = "1"
	event, err := json.Marshal(map[string]any{
		"service": hostile, "host": hostile, "env": hostile, "container": hostile, "stream": "stdout", "level": "error", "message": hostile + "\nsecond " + hostile, hostile: hostile, "user": hostile,
		"time": time.Now().Add(-time.Minute).Format(time.RFC3339Nano),
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := s.run(string(event)+"\n"+`{"service":"web","message":"evil","user":"`+"-1+x"+`"}`+"\n", "send", "--ndjson", "-"); code != 0 {
		t.Fatal(stderr)
	}
	const name = "template"
	for _, args := range [][]string{
		{"grep", "evil"}, {"grep", "evil", "--no-prefix"}, {"grep", "evil", "-o", "raw"}, {"grep", "evil", "-o", "json"}, {"grep", "evil", "-o", "logfmt"}, {"grep", "evil", "-o", "csv"}, {"grep", "evil", "-H"},
		{"grep", "evil", "-o", name, "--template", "{{.Message}} {{.Service}} {{.Host}} {{.Fields}} {{json .}}"}, {"grep", "evil", "--fields", "*"}, {"grep", "evil", "-o", "csv", "--fields", "user,host"},
		{"grep", "-c", "evil"}, {"grep", "-l", "evil"}, {"grep", "-L", "nothing"}, {"grep", "-C", "1", "evil"}, {"grep", "--only-matching", `~"evil.*"`}, {"grep", "--stats", "evil"}, {"tail", "--no-follow"},
		{"tail", "--no-follow", "-o", "json"}, {"count", "evil", "--by", "user"}, {"count", "evil", "--by", "user,service,host", "-o", "csv"}, {"count", "evil", "--by", "user", "-o", "json"}, {"top", "user"},
		{"top", "user", "-o", "csv"}, {"top", "user", "-o", "json"}, {"patterns"}, {"patterns", "-o", "json"}, {"services"}, {"services", "--json"}, {"fields"}, {"fields", "-o", "json"}, {"containers"}, {"probes"}, {"alerts"}, {"alerts", "explain", "--all", "1"}, {"alerts", "explain", "--json", "1"}, {"alerts", "explain", hostile}, {"alerts", "send-test", hostile}, {"status"}, {"retention"},
		{"query", "explain", "evil " + hostile}, {"delete", "evil", "--dry-run"}, {"delete", "evil", "--all", "--dry-run"}, {"export", "evil"}, {"export", "evil", "--form", "csv"}, {"export", "evil", "--form", "raw"}, {"grep", "("}, {"grep", "(" + hostile}, {"grep", "evil", hostile},
		{"grep", "evil", "-o", hostile}, {"grep", "evil", "-s", hostile}, {hostile}, {"grep", "--" + hostile}, {"tail", "--no-follow", hostile}, {"saved", "list"}, {"catalog", "status"}, {"saved", "remove", hostile}, {"--server", hostile, "grep", "x"},
		{"__complete", "grep", "user:"}, {"__complete", "grep", "x", ""}, {"__complete", "top", ""}, {"__complete", "grep", "host:"}, {"__complete", "grep", "service:"}, {"config", "set", hostile, "--url", hostile}, {"check", "--config", hostile},
		{"grep", "--stdin", "evil"}, {"grep", "--stdin", "evil", "-c"}, {"completion", hostile}, {"verify"}, {"parse"}, {"parse", "-o", "json"}, {"query", "test", "evil"}, {"query", "test", "evil", "-o", "json"}, {"query", "test", hostile}, {"query", "test", "evil", "--id", "1"}, {"token", "revoke", hostile}, {"token", "new", hostile},
	} {
		shown := s.onTerminal(hostile+"\n", args...)
		inert(t, fmt.Sprintf("%q", args), shown)
		if shown == "" && args[0] != "export" {
			t.Logf("%q shows nothing", args)
		}
	}
}

// What a server says, or what claims to be one, reaches the terminal through every command; it is as inert.
func TestHostileServer(t *testing.T) {
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{
		`{"error":{"code":` + string(text) + `,"message":` + string(text) + `,"mend":` + string(text) + `,"text":` + string(text) + `,"position":1,"end":3}}`,
		`{"summary":{"complete":false,"reasons":[` + string(text) + `],"warnings":[` + string(text) + `],"services":{` + string(text) + `:1}},"services":[{"name":` + string(text) + `,"hosts":[` + string(text) + `]}],"status":` + string(text) + `,"version":` + string(text) + `}`,
		hostile, `{"progress":{"done":1,"total":2,"unit":` + string(text) + `}}` + "\n" + `{"summary":{"data":` + string(text) + `,"problems":[{"what":` + string(text) + `,"cost":` + string(text) + `,"mend":` + string(text) + `}]}}`,
		strings.ReplaceAll(`{"channel":X,"accepted":false,"class":X,"error":X,"mend":X,"channels":[{"channel":X,"way":X,"parked":"2026-11-21T11:00:00Z","error":X}],"event":{"service":X,"level":X,"message":X},"matched":1,`+
			`"rules":[{"rule":X,"match":true,"outcome":X,"why":X,"terms":[X],"fingerprint":X,"series":{"by":{X:X},"text":X},"expected":[{"query":X,"author":X}],"incident":{"state":X,"title":X},`+
			`"quiet":[{"kind":X,"name":X,"why":X}],"channels":[{"channel":X,"route":1,"match":X,"receipt":X,"why":X}]},{"rule":X,"outcome":"no match","terms":[X]}]}`, "X", string(text)),
	} {
		for _, status := range []int{200, 400, 500} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				io.WriteString(w, answer+"\n")
			}))
			s := newSession(t, server.URL, "t")
			s.env["NO_COLOR"] = "1"
			var walk func(c *cobra.Command, path []string)
			commands := 0
			walk = func(c *cobra.Command, path []string) {
				for _, sub := range c.Commands() {
					walk(sub, append(path[:len(path):len(path)], sub.Name()))
				}
				switch {
				case len(path) == 0 || !c.Runnable() || c.Hidden, path[0] == "serve", path[0] == "tail", path[0] == "send", path[0] == "import", path[0] == "ui", path[0] == "backup", path[0] == "restore", path[0] == "config", path[0] == "new-token", path[0] == "man":
					return
				}
				commands++
				inert(t, fmt.Sprintf("%q of %d %.30q", path, status, answer), s.onTerminal("", append(path, "x")...))
				inert(t, fmt.Sprintf("%q of %d %.30q", path, status, answer), s.onTerminal("", path...))
			}
			walk((&program{stdout: io.Discard, stderr: io.Discard, env: s.lookup}).root(), nil)
			inert(t, fmt.Sprintf("an explanation of %d %.30q", status, answer), s.onTerminal("", "alerts", "explain", "--all", "1"))
			if commands < 12 {
				t.Errorf("%d commands: the walk has lost its way", commands)
			}
			server.Close()
		}
	}
}
