package app

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/config"
)

// ownLog is lookout's own log, which goroutines write to.
type ownLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *ownLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *ownLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// secretSettings are the settings of type Secret, by their variables. One that is added is in the test.
func secretSettings(t *testing.T, v reflect.Type, path string) (names []string) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Field(i)
		key := f.Tag.Get("key")
		switch {
		case key == "":
		case f.Type == reflect.TypeFor[config.Secret]():
			names = append(names, "LOOKOUT_"+strings.ToUpper(strings.ReplaceAll(path+key, ".", "_")))
		case f.Type.Kind() == reflect.Struct:
			names = append(names, secretSettings(t, f.Type, path+key+".")...)
		}
	}
	return names
}

// RELIABILITY.md, bad input 13: a server and an agent are started with a canary in every secret setting, every route is asked
// with right and wrong tokens in every place, and what is written and answered is searched for them: own log, answers,
// metrics, events, errors and warnings of the configuration, and the data folder but for the token's file.
func TestCanaries(t *testing.T) {
	secrets := secretSettings(t, reflect.TypeFor[config.Config](), "")
	if len(secrets) < 7 || !slices.Contains(secrets, "LOOKOUT_SLACK_TOKEN") {
		t.Fatalf("the secret settings are %q", secrets)
	}
	for _, agent := range []bool{false, true} {
		env := map[string]string{
			"LOOKOUT_SLACK_CHANNEL": "#x", "LOOKOUT_SLACK_API": "http://127.0.0.1:1/", "LOOKOUT_PUSHOVER_API": "http://127.0.0.1:1/", "LOOKOUT_BACKUP_S3_ENDPOINT": "http://127.0.0.1:1",
			"LOOKOUT_HTTP": "127.0.0.1:0", "LOOKOUT_GELF": "off",
		}
		var canaries []string
		for i, name := range secrets {
			if !agent && strings.HasPrefix(name, "LOOKOUT_FORWARD_") {
				continue
			}
			canary := fmt.Sprintf("canary%02dQx7Jm2Vt9LpZk4WdA1B2C3", i) // 30 letters and digits, as Pushover has them
			if name == "LOOKOUT_SLACK_APP_TOKEN" {
				canary = "xapp-" + canary // others are refused
			}
			env[name] = canary
			if name == "LOOKOUT_HEARTBEAT_URL" {
				env[name] = "http://127.0.0.1:1/" + canary
			}
			canaries = append(canaries, canary)
		}
		if !agent {
			text := "hook: {url: 'http://127.0.0.1:1/URL?key=URL', token: TOKEN, headers: {X-Key: Basic HEADER}}, mail: {type: email, server: '127.0.0.1:1', from: a@b.c, to: a@b.c, user: u, password: PASSWORD}"
			for _, word := range []string{"URL", "TOKEN", "HEADER", "PASSWORD"} {
				canary := "canaryWay" + word + "Qx7Jm2Vt9Lp"
				canaries = append(canaries, canary)
				text = strings.ReplaceAll(text, word, canary)
			}
			env["LOOKOUT_WAYS"] = "{" + text + "}"
			env["LOOKOUT_CHANNELS_ERRORS"] = "#x"
			env["LOOKOUT_RULES"] = "[{name: hooked, query: level>=error, channel: hook}, {name: mailed, query: level>=error, channel: mail}]"
		}
		if agent {
			env["LOOKOUT_FORWARD_URL"] = "http://127.0.0.1:1"
		}
		var said strings.Builder
		o := options(t, env)
		fmt.Fprintf(&said, "%v %+v %#v %s", o.Config, *o.Config, o.Config, o.Config.WriteToken)
		// What is wrong is said without it.
		bad := map[string]string{"LOOKOUT_DATA": "", "LOOKOUT_HTTP": "nonsense", "LOOKOUT_RETENTION_DEFAULT": "x"}
		for _, name := range secrets {
			bad[name] = env[name] + "\x00 "
		}
		_, warnings, err := config.Load("", func(name string) (string, bool) { v, ok := bad[name]; return v, ok })
		fmt.Fprintln(&said, warnings, err)
		file := filepath.Join(t.TempDir(), "lookout.yaml")
		wrong := "write_token: [" + canaries[0] + "]\nslack: " + canaries[0] + "\npushover: {token: {" + canaries[0] + ": 1}}\n"
		if err := os.WriteFile(file, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		_, warnings, err = config.Load(file, func(string) (string, bool) { return "", false })
		if text := fmt.Sprint(warnings, err); strings.Contains(text, canaries[0]) {
			t.Errorf("the configuration's errors tell a secret: %s", text)
		}

		for _, f := range Online(t.Context(), o.Config) {
			fmt.Fprintf(&said, "%+v\n", f)
		}
		log := &ownLog{}
		o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		a := start(t, o)
		admin, err := os.ReadFile(a.opened.Path)
		if err != nil {
			t.Fatal(err)
		}
		token := strings.TrimSpace(string(admin))
		canaries = append(canaries, token)
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		ask := func(method, path, body string, header ...string) (int, string) {
			r, err := http.NewRequest(method, a.Listening()[0].Address+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatalf("%s %s: %v", method, strings.ReplaceAll(path, token, "TOKEN"), err)
			}
			defer resp.Body.Close()
			rest := io.Reader(resp.Body)
			if strings.HasPrefix(path, "/api/v1/tail") && resp.StatusCode == 200 {
				rest = io.LimitReader(resp.Body, 1)
			}
			text, _ := io.ReadAll(rest)
			fmt.Fprintf(&said, "%s %d %v %s\n", method, resp.StatusCode, resp.Header, text)
			return resp.StatusCode, string(text)
		}
		// An error, so that there is something to tell Slack and Pushover.
		ask("POST", "/api/v1/events", `{"service":"pay","level":"critical","message":"x"}`, "Authorization", "Bearer "+token)
		if !agent {
			explainAndTry(t, func(method, path, body string) (int, string) {
				return ask(method, path, body, "Authorization", "Bearer "+token, "Content-Type", "application/x-www-form-urlencoded")
			})
		}
		wrongToken := auth.Prefix + "canaryOfAWrongToken000000000000000"
		canaries = append(canaries, wrongToken)
		for _, route := range a.api.Routes() {
			path := route
			if strings.HasSuffix(route, "/") && route != "/" {
				path += "1"
			}
			for _, secret := range append([]string{token, wrongToken}, canaries[:3]...) {
				id := secret // nobody takes others for one of lookout's
				if secret != token && secret != wrongToken && secret != env["LOOKOUT_WRITE_TOKEN"] {
					id = ""
				}
				for _, method := range []string{"GET", "POST"} {
					if method == "POST" && (route == "/api/v1/backups" || route == "/api/v1/verify" || route == "/api/v1/logout") && secret == token {
						ask(method, path, "to=s3://bucket/x", "Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer "+secret)
						continue
					}
					if method == "GET" && route == "/api/v1/tail" {
						continue // it would not end; see below
					}
					ask(method, path, "", "Authorization", "Bearer "+secret)
					ask(method, path, "token="+secret+"&"+secret+"=1", "Content-Type", "application/x-www-form-urlencoded", "Authorization", secret)
					ask(method, path+"?token="+secret+"&limit="+secret+"&q="+secret+"&"+secret+"=1", "", "Authorization", "Basic "+secret, "X-Request-Id", id)
					ask(method, path+secret, "{\""+secret+"\":1}", "Content-Type", "application/json", "Origin", "http://"+secret, "Cookie", "lookout_session="+secret)
				}
			}
		}
		ask("GET", "/api/v1/tail?last="+token, "", "Authorization", "Bearer "+token)
		ask("GET", "/metrics", "", "Authorization", "Bearer "+token)
		ask("GET", "/api/v1/query?q=service:lookout", "", "Authorization", "Bearer "+token)
		client.CloseIdleConnections()

		for i, text := range []string{said.String(), log.String()} {
			for _, canary := range canaries {
				if k := strings.Index(text, canary); k >= 0 {
					t.Errorf("agent %v: %.12s… is in the %s: …%s…", agent, canary, []string{"answers", "log"}[i], text[max(0, k-300):min(len(text), k+20)])
				}
			}
		}
		if said.Len() < 10_000 || !agent && log.String() == "" {
			t.Errorf("%d bytes of answers, %d of log: the walk has lost its way", said.Len(), len(log.String()))
		}
		if err := filepath.WalkDir(o.Config.Data, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path == a.opened.Path {
				return err
			}
			data, err := os.ReadFile(path)
			for _, canary := range canaries {
				if bytes.Contains(data, []byte(canary)) {
					t.Errorf("agent %v: %.12s… is in %s", agent, canary, path)
				}
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// explainAndTry has an event explained, until its channels have failed, and sends a test message by each way, none of which can be reached.
func explainAndTry(t *testing.T, ask func(method, path, body string) (int, string)) {
	t.Helper()
	_, found := ask("GET", "/api/v1/query?q=service:pay", "")
	_, id, ok := strings.Cut(found, `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	if !ok {
		t.Fatalf("the event is not found: %s", found)
	}
	begin := time.Now()
	for {
		code, text := ask("GET", "/api/v1/alerts/explain?id="+id, "")
		if code != http.StatusOK || time.Since(begin) > time.Minute {
			t.Fatalf("explaining: %d %s", code, text)
		}
		if strings.Contains(text, `"channel":"hook"`) && strings.Contains(text, `"channel":"#x"`) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, channel := range []string{"#x", "pushover", "hook", "mail"} {
		for {
			code, text := ask("POST", "/api/v1/notify/test", url.Values{"channel": {channel}, "text": {"x"}}.Encode())
			if code == http.StatusTooManyRequests && time.Since(begin) < 2*time.Minute {
				time.Sleep(100 * time.Millisecond) // one a second
				continue
			}
			if code != http.StatusOK || !strings.Contains(text, `"accepted":false`) || !strings.Contains(text, `"error":"`) {
				t.Errorf("trying %s: %d %s", channel, code, text)
			}
			break
		}
	}
	if code, text := ask("GET", "/api/v1/notify/test", ""); code != http.StatusOK || strings.Count(text, `"way"`) != 4 {
		t.Errorf("the channels: %d %s", code, text)
	}
}
