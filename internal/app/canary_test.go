package app

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/pushover"
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

// secretSettings are the paths of all settings that are secrets, those in lists and maps too (ways.NAME.url). One that is added is in
// the test, or fails it.
func secretSettings(v reflect.Type, path string) (paths []string) {
	switch {
	case v == reflect.TypeFor[config.Secret](), v == reflect.TypeFor[config.SecretLine]():
		return []string{path}
	case v.Kind() == reflect.Pointer:
		return secretSettings(v.Elem(), path)
	case v.Kind() == reflect.Slice:
		return secretSettings(v.Elem(), path+"[]")
	case v.Kind() == reflect.Map:
		return secretSettings(v.Elem(), path+".NAME")
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if key := v.Field(i).Tag.Get("key"); key != "" {
				paths = append(paths, secretSettings(v.Field(i).Type, strings.TrimPrefix(path+"."+key, "."))...)
			}
		}
	}
	return paths
}

// parrot stands where Slack, Pushover and all others should be, and answers with what it is sent, in the ways that get into errors.
type parrot struct {
	net.Listener
	way  atomic.Int32
	mail bool // it speaks SMTP
}

// parrotWays is how many ways there are.
const parrotWays = 8

func newParrot(t *testing.T, mail bool) *parrot {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &parrot{Listener: l, mail: mail}
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				defer c.Close()
				p.talk(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		talks.Wait()
	})
	return p
}

func (p *parrot) talk(c net.Conn) {
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return
	}
	in := bufio.NewReader(c)
	if p.mail {
		fmt.Fprint(c, "220 parrot\r\n")
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch line = strings.TrimSpace(line); {
			case strings.HasPrefix(line, "EHLO"):
				fmt.Fprint(c, "250-parrot\r\n250 AUTH PLAIN\r\n")
			case strings.HasPrefix(line, "AUTH PLAIN "):
				plain, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "AUTH PLAIN "))
				fmt.Fprintf(c, "%d 5.7.8 not you: %s is %s\r\n", 535-100*(p.way.Load()%2), line, strings.ReplaceAll(string(plain), "\x00", " "))
			default:
				fmt.Fprint(c, "221 bye\r\n")
				return
			}
		}
	}
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	dump, err := httputil.DumpRequest(r, true)
	if err != nil {
		return
	}
	all := strings.Join(strings.Fields(string(dump)), " ")
	if form, err := url.QueryUnescape(all); err == nil {
		all += " " + form
	}
	quoted, _ := json.Marshal(all)
	answer := func(status string, body string, headers ...string) {
		fmt.Fprintf(c, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", status, len(body), strings.Join(headers, ""), body)
	}
	switch p.way.Load() {
	case 0:
		_, _ = c.Write(dump) // which is no answer
	case 1:
		answer("500 "+all, all)
	case 2:
		answer("403 Forbidden", all)
	case 3:
		answer("302 Found", all, "Location: http://["+all+"\r\n")
	case 4:
		answer("200 OK", fmt.Sprintf(`{"ok":false,"status":0,"error":%[1]s,"errors":[%[1]s],"needed":%[1]s,"response_metadata":{"messages":[%[1]s]},"code":%[1]s,"message":%[1]s}`, quoted))
	case 5:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", strings.ReplaceAll(all, ":", ";"))
	case 6:
		answer("429 Too Many Requests", all, "Retry-After: "+all+"\r\n")
	case 7: // whatever is cut where an error is long enough, the secrets are cut in two
		answer("400 Bad Request", strings.Repeat("x", 90)+strings.Repeat(" "+all, 3))
	}
}

// RELIABILITY.md, bad input 13: a server and an agent are started with a canary in every secret setting, every route is asked
// with right and wrong tokens in every place, and what is written and answered is searched for them: own log, answers,
// metrics, events, errors and warnings of the configuration, and the data folder but for the token's file.
func TestCanaries(t *testing.T) {
	var secrets []string // by their variables
	// Those in lists and maps stand in ways and probes below, as these words.
	nested := map[string]string{"ways.NAME.url": "URL", "ways.NAME.token": "TOKEN", "ways.NAME.headers.NAME": "HEADER", "ways.NAME.password": "PASSWORD", "probes[].headers.NAME": "PROBE"}
	for _, path := range secretSettings(reflect.TypeFor[config.Config](), "") {
		switch {
		case nested[path] != "":
		case strings.Contains(path, "NAME") || strings.Contains(path, "[]"):
			t.Errorf("%s is a secret, and no canary is in it: add one to this test", path)
		default:
			secrets = append(secrets, "LOOKOUT_"+strings.ToUpper(strings.ReplaceAll(path, ".", "_")))
		}
	}
	if len(secrets) < 9 || !slices.Contains(secrets, "LOOKOUT_SLACK_TOKEN") {
		t.Fatalf("the secret settings are %q", secrets)
	}
	http1, smtp := newParrot(t, false), newParrot(t, true)
	address := "http://" + http1.Addr().String()
	for _, agent := range []bool{false, true} {
		env := map[string]string{
			"LOOKOUT_SLACK_CHANNEL": "#x", "LOOKOUT_SLACK_API": address + "/", "LOOKOUT_PUSHOVER_API": address + "/", "LOOKOUT_BACKUP_S3_ENDPOINT": address,
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
				env[name] = address + "/" + canary
			}
			canaries = append(canaries, canary)
		}
		if !agent {
			text := "hook: {url: '" + address + "/URL?key=URL', token: TOKEN, headers: {X-Key: Basic HEADER}}, " +
				"mail: {type: email, server: '" + smtp.Addr().String() + "', tls: none, from: a@b.c, to: a@b.c, user: lookout, password: PASSWORD}, " +
				"am: {template: alertmanager, url: 'http://alerts:CREDENTIALS@" + http1.Addr().String() + "'}"
			for _, word := range append(slices.Collect(maps.Values(nested)), "CREDENTIALS") {
				canary := "canaryWay" + word + "Qx7Jm2Vt9Lp"
				canaries = append(canaries, canary)
				text = strings.ReplaceAll(text, word, canary)
			}
			for _, login := range []string{"alerts:canaryWayCREDENTIALSQx7Jm2Vt9Lp", "\x00lookout\x00canaryWayPASSWORDQx7Jm2Vt9Lp"} { // as they are sent
				canaries = append(canaries, base64.StdEncoding.EncodeToString([]byte(login)))
			}
			env["LOOKOUT_WAYS"] = "{" + text + "}"
			env["LOOKOUT_CHANNELS_ERRORS"] = "#x"
			env["LOOKOUT_RULES"] = "[{name: hooked, query: level>=error, channel: hook}, {name: mailed, query: level>=error, channel: mail}, {name: passed on, query: level>=error, channel: am}]"
			env["LOOKOUT_PROBES"] = "[{name: shop, url: 'http://127.0.0.1:1/', headers: {Authorization: Bearer canaryWayPROBEQx7Jm2Vt9Lp}}]"
		}
		if agent {
			env["LOOKOUT_FORWARD_URL"] = address
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
		own, err := os.ReadFile(a.opened.Path)
		if err != nil {
			t.Fatal(err)
		}
		token := strings.TrimSpace(string(own))
		canaries = append(canaries, token)
		client := &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
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
		// admin asks as the administrator, and returns the answer.
		admin := func(method, path string, form url.Values) (status int, text string) {
			before := said.Len()
			ask(method, path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer "+token)
			text = said.String()[before:]
			_, after, _ := strings.Cut(text, " ")
			status, _ = strconv.Atoi(after[:3])
			return status, text
		}
		// look searches the files of a folder, but for one. Those of a server come and go.
		look := func(folder, but string) {
			t.Helper()
			files := 0
			if err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				if err != nil || d.IsDir() || path == but {
					return err
				}
				data, err := os.ReadFile(path)
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				files++
				for _, canary := range canaries {
					if bytes.Contains(data, []byte(partOf(canary))) {
						t.Errorf("agent %v: %.12s… is in %s", agent, canary, path)
					}
				}
				return err
			}); err != nil || files == 0 {
				t.Errorf("%s: %d files, %v", folder, files, err)
			}
		}
		// An error, so that there is something to tell Slack and Pushover.
		ask("POST", "/api/v1/events", `{"service":"pay","level":"critical","message":"there is no stock"}`, "Authorization", "Bearer "+token)
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
		if !agent {
			brokenDestinations(t, a, http1, smtp, &said)
			everyRoute(t, admin)
			saved := filepath.Join(t.TempDir(), "saved")
			if status, text := admin("POST", "/api/v1/backups", url.Values{"to": {saved}}); status != 200 || !strings.Contains(text, "manifest") && !strings.Contains(text, "files") {
				t.Errorf("backup: %d %s", status, text)
			}
			look(saved, "")
			for _, way := range []int32{2, 4} {
				http1.way.Store(way)
				admin("POST", "/api/v1/backups", url.Values{"to": {"s3://bucket/x"}})
			}
		}
		ask("GET", "/api/v1/query?q=service:lookout", "", "Authorization", "Bearer "+token)
		ask("GET", "/api/v1/alerts", "", "Authorization", "Bearer "+token)
		ask("GET", "/metrics", "", "Authorization", "Bearer "+token)
		dump := make([]byte, 4<<20)
		dump = dump[:runtime.Stack(dump, true)] // what a panic and SIGQUIT print
		client.CloseIdleConnections()

		for where, text := range map[string]string{"answers": said.String(), "log": log.String(), "dump": string(dump)} {
			for _, canary := range canaries {
				if k := strings.Index(text, partOf(canary)); k >= 0 {
					t.Errorf("agent %v: %.12s… is in the %s: …%s…", agent, canary, where, text[max(0, k-300):min(len(text), k+20)])
				}
			}
		}
		if said.Len() < 10_000 || !agent && log.String() == "" {
			t.Errorf("%d bytes of answers, %d of log: the walk has lost its way", said.Len(), len(log.String()))
		}
		look(o.Config.Data, a.opened.Path)
	}
}

// partOf is the beginning of a canary: one that is cut in two is out as well. Tokens of lookout's own have a beginning that is none.
func partOf(canary string) string {
	if strings.HasPrefix(canary, auth.Prefix) {
		return canary
	}
	return canary[:14]
}

// brokenDestinations tells everybody something in each way in which that can go wrong, and notes what the errors say.
func brokenDestinations(t *testing.T, a *App, http1, smtp *parrot, said io.Writer) {
	t.Helper()
	c := a.o.Config
	ways := a.ways.(alerting.Mux)
	message := alerting.Message{ID: 7, Incident: "7", State: alerting.Firing, Severity: alerting.Error, Title: "[error] shop: no stock", Lines: []string{"no stock"}}
	note := func(err error) {
		for ; err != nil; err = errors.Unwrap(err) {
			fmt.Fprintf(said, "%v %+v %#v\n", err, err, err)
		}
	}
	failures := 0
	for way := range int32(parrotWays) {
		http1.way.Store(way)
		smtp.way.Store(way)
		// One that Pushover could not answer makes those after it wait: each has a notifier of its own.
		phone, err := pushover.New(pushover.Options{Token: string(c.Pushover.Token), User: string(c.Pushover.User), API: string(c.Pushover.API)})
		if err != nil {
			t.Fatal(err)
		}
		ways.Ways = map[string]alerting.Notifier{config.ChannelPushover: phone}
		for _, channel := range append(slices.Collect(maps.Keys(c.Ways)), config.ChannelPushover, "#x") {
			_, err := ways.Send(t.Context(), channel, message)
			if note(err); err != nil {
				failures++
			}
			receipt := alerting.Receipt{Channel: channel, ID: "1.1", Thread: true, Rings: true}
			resolved := message
			resolved.State = alerting.Resolved
			if channel != config.ChannelPushover {
				_, err = ways.Edit(t.Context(), receipt, resolved)
				note(err)
				note(ways.Reply(t.Context(), receipt, message))
				note(ways.Note(t.Context(), receipt, message))
				continue
			}
			phone.Close()
			if phone, err = pushover.New(pushover.Options{Token: string(c.Pushover.Token), User: string(c.Pushover.User), API: string(c.Pushover.API)}); err != nil {
				t.Fatal(err)
			}
			_, err = phone.Acknowledgement(t.Context(), receipt)
			note(err)
		}
		phone.Close()
		transport := &http.Transport{}
		h := &heartbeat{url: string(c.Heartbeat.URL), every: time.Minute, after: time.After, client: &http.Client{Transport: transport}, log: func(problem string) { fmt.Fprintln(said, problem) }}
		h.beat(t.Context())
		transport.CloseIdleConnections()
	}
	if failures < parrotWays*3 {
		t.Errorf("only %d messages failed: the destinations are not broken", failures)
	}
}

// everyRoute asks for all that can be read, so that each answers well, and tries rules.
func everyRoute(t *testing.T, ask func(method, path string, form url.Values) (int, string)) {
	t.Helper()
	good := func(method, path string, form url.Values, has string) string {
		t.Helper()
		status, text := ask(method, path, form)
		if status/100 != 2 || !strings.Contains(text, has) {
			t.Errorf("%s %s: %.300s", method, path, text)
		}
		return text
	}
	find := func(text, key string) string {
		_, rest, _ := strings.Cut(text, `"`+key+`":`)
		return strings.Trim(rest[:strings.IndexAny(rest, ",}")], `" `)
	}
	id := find(good("GET", "/api/v1/query?limit=1&q="+url.QueryEscape("no stock"), nil, `"event"`), "id")
	var alert string
	for begin := time.Now(); alert == "" && time.Since(begin) < 5*time.Minute; time.Sleep(20 * time.Millisecond) { // the rules see it soon
		if _, text := ask("GET", "/api/v1/alerts", nil); strings.Contains(text, `"rule"`) {
			alert = find(text, "id")
		}
	}
	good("POST", "/api/v1/alerts/"+alert+"/ack", url.Values{"by": {"ann"}}, "acknowledged")
	silence := find(good("POST", "/api/v1/silences", url.Values{"matchers": {`service="nobody"`}, "for": {"1h"}}, `"id"`), "id")
	good("PUT", "/api/v1/saved/mine", url.Values{"q": {"error"}}, "")
	deletion := find(good("POST", "/api/v1/deletes", url.Values{"q": {"nothinglikethis"}}, `"id"`), "id")
	good("POST", "/api/v1/rules/backtest", url.Values{"since": {"1h"}, "edits": {"true"}}, `"messages":`)
	good("POST", "/api/v1/rules/backtest", url.Values{"since": {"1h"}, "config": {"slack: {token: x, channel: '#x'}\nrules: [{name: other, query: no stock}]"}}, `"compared":true`)
	good("POST", "/api/v1/rules/test", url.Values{"lines": {"ERROR no stock"}, "service": {"shop"}}, "no stock")
	good("POST", "/api/v1/rules/test", url.Values{"lines": {"ERROR no stock"}, "q": {"stock"}}, "no stock")

	spec := struct {
		Paths map[string]map[string]json.RawMessage
	}{}
	if _, text := ask("GET", "/api/v1/openapi.json", nil); json.Unmarshal([]byte(text[strings.IndexByte(text, '{'):]), &spec) != nil || len(spec.Paths) < 40 {
		t.Fatalf("%d paths in the description of the API", len(spec.Paths))
	}
	fill := strings.NewReplacer("alerts/{id}", "alerts/"+alert, "silences/{id}", "silences/"+silence, "deletes/{id}", "deletes/"+deletion, "saved/{name}", "saved/mine")
	params := map[string]string{
		"/api/v1/stats": "by=service", "/api/v1/values": "field=service", "/api/v1/top": "by=service", "/api/v1/context": "id=" + id, "/api/v1/check": "q=error", "/api/v1/alerts/explain": "id=" + id,
	}
	for path, methods := range spec.Paths {
		if methods["get"] == nil || path == "/assets/{file}" || path == "/api/v1/tail" { // which has no end
			continue
		}
		good("GET", fill.Replace(path)+"?"+params[path], nil, "")
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
		if code != http.StatusOK || time.Since(begin) > 5*time.Minute {
			t.Fatalf("explaining: %d %s", code, text)
		}
		if strings.Contains(text, `"channel":"hook"`) && strings.Contains(text, `"channel":"#x"`) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, channel := range []string{"#x", "pushover", "hook", "mail", "am"} {
		for {
			code, text := ask("POST", "/api/v1/notify/test", url.Values{"channel": {channel}, "text": {"x"}}.Encode())
			if code == http.StatusTooManyRequests && time.Since(begin) < 5*time.Minute {
				time.Sleep(100 * time.Millisecond) // one a second
				continue
			}
			if code != http.StatusOK || !strings.Contains(text, `"accepted":false`) || !strings.Contains(text, `"error":"`) {
				t.Errorf("trying %s: %d %s", channel, code, text)
			}
			break
		}
	}
	if code, text := ask("GET", "/api/v1/notify/test", ""); code != http.StatusOK || strings.Count(text, `"way"`) != 5 {
		t.Errorf("the channels: %d %s", code, text)
	}
}
