package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/app"
	"github.com/lookoutlog/lookout/internal/config"
)

// without ends a test that lacks a program: it is skipped, but with CI set it has failed.
func without(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func TestMain(m *testing.M) {
	alignWait, openerTime = time.Hour, time.Hour
	testscript.Main(m, map[string]func(){"lookout": mainAt})
}

// mainAt is main, at the time that LOOKOUT_TEST_NOW says it is.
func mainAt() {
	text := os.Getenv("LOOKOUT_TEST_NOW")
	if text == "" {
		main()
		return
	}
	now, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.LookupEnv, now: func() time.Time { return now }}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// TestScript runs the scripts of testdata/script, each beside a server of its own. $LOOKOUT_URL and $LOOKOUT_TOKEN lead
// to it; `code N lookout …` is `exec lookout …` that must end with exit code N.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			url, token, stop, err := startServer(filepath.Join(e.WorkDir, ".server"), serverSettings[strings.TrimPrefix(filepath.Base(e.WorkDir), "script-")]...)
			if err != nil {
				return err
			}
			e.Defer(stop)
			events, err := os.ReadFile(filepath.Join("testdata", "events.ndjson"))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, "events.ndjson"), events, 0o600); err != nil {
				return err
			}
			for name, value := range map[string]string{"LOOKOUT_URL": url, "LOOKOUT_TOKEN": token, "TZ": "UTC", "USER": "alice", "TERM": "xterm"} {
				e.Setenv(name, value)
			}
			if filepath.Base(e.WorkDir) == "script-online" {
				fakeServices(e)
			}
			e.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each command otherwise
			e.Setenv("LOOKOUT_COMPLETION_TIMEOUT", "5m")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode,
			// damage PATH flips a bit of a file, or of the largest file of a folder.
			"damage": damage,
			// env2file FILE TEXT writes a file that a script cannot hold.
			"env2file": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+"\n"), 0o600))
			},
		},
	})
}

// serverSettings are what a script's server is told, by the script's name: name and value in turn.
var serverSettings = map[string][]string{
	"limits":    {"LOOKOUT_LIMITS_QUERY_SCAN", "1"},
	"unlimited": {"LOOKOUT_LIMITS_QUERY_SCAN", "0", "LOOKOUT_LIMITS_QUERY_TIMEOUT", "5m", "LOOKOUT_LIMITS_QUERY_MEMORY", "1MiB"},
}

// fakeServices starts a Slack with some channels, a Pushover, a mail server and an Alertmanager; variables say where they are.
func fakeServices(e *testscript.Env) {
	slack, phone, mail := alertingtest.New(), alertingtest.NewPushover(), alertingtest.NewMail()
	slack.Require("xoxb-s3cr3t-4711")
	slack.RequireApp("xapp-s3cr3t-4711")
	slack.Grant("chat:write", "channels:read")
	slack.Channel("#ops", alertingtest.ChannelKind{})
	slack.Channel("#quiet", alertingtest.ChannelKind{Strange: true})
	phone.Require(strings.Repeat("t", 30), strings.Repeat("u", 30))
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/-/ready" {
			w.WriteHeader(http.StatusTeapot) // nothing else is asked for
		}
	}))
	e.Defer(func() {
		slack.Close()
		phone.Close()
		mail.Close()
		outside.Close()
	})
	e.Setenv("SLACK", slack.URL())
	e.Setenv("PUSHOVER", phone.URL())
	e.Setenv("MAIL", mail.Address())
	e.Setenv("OUTSIDE", outside.URL)
}

// startServer starts lookout as `lookout serve` does, with its data in dir; more are names and values of settings in turn.
func startServer(dir string, more ...string) (url, token string, stop func(), err error) {
	// At midnight, UTC, the store begins a new segment, which commands show: no server starts shortly before.
	const day = 24 * time.Hour
	if now := time.Now(); !now.Add(2 * time.Minute).Truncate(day).Equal(now.Truncate(day)) {
		time.Sleep(time.Until(now.Truncate(day).Add(day)))
	}
	settings := map[string]string{"LOOKOUT_DATA": dir, "LOOKOUT_HTTP": "127.0.0.1:0", "LOOKOUT_GELF": "off", "LOOKOUT_DOCKER": "off"}
	for i := 0; i < len(more); i += 2 {
		settings[more[i]] = more[i+1]
	}
	c, _, err := config.Load("", func(name string) (string, bool) {
		value, ok := settings[name]
		return value, ok
	})
	if err != nil {
		return "", "", nil, err
	}
	a, err := app.New(app.Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", "", nil, err
	}
	stop = func() {
		if err := a.Stop(context.Background()); err != nil {
			panic(err)
		}
	}
	if err := a.Start(); err != nil {
		stop()
		return "", "", nil, err
	}
	file, _ := a.TokenFile()
	if token, err = readToken(file); err != nil {
		stop()
		return "", "", nil, err
	}
	return a.Listening()[0].Address, token, stop, nil
}

func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: code N command…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func damage(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	largest := int64(-1)
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > largest {
			largest, path = info.Size(), file
		}
		return err
	}))
	data, err := os.ReadFile(path)
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(path, data, 0o600))
}
