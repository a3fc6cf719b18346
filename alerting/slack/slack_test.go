package slack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

const token = "xoxb-1234-s3cr3t+/canary"

func notifier(t testing.TB, o slack.Options) *slack.Notifier {
	t.Helper()
	o.Token = token
	n, err := slack.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func fake(t testing.TB) (*alertingtest.FakeSlack, *slack.Notifier) {
	f := alertingtest.NewUnlistening()
	f.Require(token)
	return f, notifier(t, slack.Options{API: f.URL(), Transport: f.Transport()})
}

var plain = alerting.Message{Title: "no stock", Plain: true}

// noLeak looks for the token in all that an error can be made to say.
func noLeak(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			if leak := alertingtest.Secret(token).Leak(text); leak != "" {
				t.Error(leak)
			}
		}
	}
}

// The table of ALERTING.md.
func TestClasses(t *testing.T) {
	tests := []struct {
		reply alertingtest.Reply
		name  string
		class alerting.Class
		after time.Duration
	}{
		{alertingtest.RateLimited(17 * time.Second), "429 with Retry-After", alerting.Wait, 17 * time.Second},
		{alertingtest.RateLimited(-1), "429 without", alerting.Wait, 0},
		{alertingtest.RateLimited(-1).WithHeader("Wed, 21 Oct 2026 07:28:00 GMT"), "429 with a date", alerting.Wait, 0},
		{alertingtest.RateLimited(-1).WithHeader("99999999999999999999"), "429 with nonsense", alerting.Wait, 0},
		{alertingtest.RateLimited(-1).WithHeader("-5"), "429 with a negative time", alerting.Wait, 0},
		{alertingtest.SlackError("ratelimited"), "ratelimited", alerting.Wait, 0},
		{alertingtest.SlackError("rate_limited"), "rate_limited", alerting.Wait, 0},
		{alertingtest.Status(500), "500", alerting.Transient, 0},
		{alertingtest.Status(502), "502", alerting.Transient, 0},
		{alertingtest.Status(503), "503", alerting.Transient, 0},
		{alertingtest.Lost(), "answer lost", alerting.Transient, 0},
		{alertingtest.Body("<html>log in to the wifi</html>"), "not JSON", alerting.Transient, 0},
		{alertingtest.Body("{}"), "neither ok nor an error", alerting.Transient, 0},
		{alertingtest.Body(`{"ok":false}`), "not ok without an error", alerting.Transient, 0},
		{alertingtest.Body(""), "empty", alerting.Transient, 0},
		{alertingtest.Body(`{"ok":true,"ts":"1` + strings.Repeat("1", 2<<20) + `"}`), "endless", alerting.Transient, 0},
		{alertingtest.SlackError("internal_error"), "internal_error", alerting.Transient, 0},
		{alertingtest.SlackError("fatal_error"), "fatal_error", alerting.Transient, 0},
		{alertingtest.SlackError("service_unavailable"), "service_unavailable", alerting.Transient, 0},
		{alertingtest.SlackError("request_timeout"), "request_timeout", alerting.Transient, 0},
		{alertingtest.SlackError("team_added_to_org"), "team_added_to_org", alerting.Transient, 0},
		{alertingtest.SlackError("update_failed"), "update_failed", alerting.Transient, 0},
		{alertingtest.SlackError("invalid_auth"), "invalid_auth", alerting.Broken, 0},
		{alertingtest.SlackError("not_authed"), "not_authed", alerting.Broken, 0},
		{alertingtest.SlackError("account_inactive"), "account_inactive", alerting.Broken, 0},
		{alertingtest.SlackError("token_revoked"), "token_revoked", alerting.Broken, 0},
		{alertingtest.SlackError("token_expired"), "token_expired", alerting.Broken, 0},
		{alertingtest.SlackError("missing_scope"), "missing_scope", alerting.Broken, 0},
		{alertingtest.SlackError("no_permission"), "no_permission", alerting.Broken, 0},
		{alertingtest.SlackError("channel_not_found"), "channel_not_found", alerting.Broken, 0},
		{alertingtest.SlackError("not_in_channel"), "not_in_channel", alerting.Broken, 0},
		{alertingtest.SlackError("is_archived"), "is_archived", alerting.Broken, 0},
		{alertingtest.SlackError("restricted_action"), "restricted_action", alerting.Broken, 0},
		{alertingtest.SlackError("restricted_action_read_only_channel"), "restricted_action_…", alerting.Broken, 0},
		{alertingtest.SlackError("org_login_required"), "org_login_required", alerting.Broken, 0},
		{alertingtest.SlackError("ekm_access_denied"), "ekm_access_denied", alerting.Broken, 0},
		{alertingtest.Status(404), "404", alerting.Broken, 0},
		{alertingtest.Status(407), "407", alerting.Broken, 0},
		{alertingtest.Status(302), "302", alerting.Broken, 0},
		{alertingtest.SlackError("msg_too_long"), "msg_too_long", alerting.Fault, 0},
		{alertingtest.SlackError("msg_blocks_too_long"), "msg_blocks_too_long", alerting.Fault, 0},
		{alertingtest.SlackError("invalid_blocks"), "invalid_blocks", alerting.Fault, 0},
		{alertingtest.SlackError("invalid_blocks_format"), "invalid_blocks_format", alerting.Fault, 0},
		{alertingtest.SlackError("too_many_attachments"), "too_many_attachments", alerting.Fault, 0},
		{alertingtest.SlackError("no_text"), "no_text", alerting.Fault, 0},
		{alertingtest.SlackError("message_not_found"), "message_not_found", alerting.EditRefused, 0},
		{alertingtest.SlackError("edit_window_closed"), "edit_window_closed", alerting.EditRefused, 0},
		{alertingtest.SlackError("cant_update_message"), "cant_update_message", alerting.EditRefused, 0},
		{alertingtest.SlackError("is_inactive"), "is_inactive", alerting.EditRefused, 0},
		{alertingtest.SlackError("cannot_reply_to_message"), "cannot_reply_to_message", alerting.EditRefused, 0},
		{alertingtest.SlackError("thread_not_found"), "thread_not_found", alerting.EditRefused, 0},
		{alertingtest.SlackError("thread_locked"), "thread_locked", alerting.EditRefused, 0},
		{alertingtest.SlackError("something_new"), "unknown", alerting.Fault, 0},
		{alertingtest.SlackError("you sent " + token), "an error that repeats the token", alerting.Fault, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, n := fake(t)
			for _, call := range []struct {
				name string
				do   func() (alerting.Receipt, error)
			}{
				{"Send", func() (alerting.Receipt, error) { return n.Send(t.Context(), "#a", alerting.Message{Title: "x"}) }},
				{"Edit", func() (alerting.Receipt, error) {
					return n.Edit(t.Context(), alerting.Receipt{Channel: "C0001", ID: "1.2"}, alerting.Message{Title: "x"})
				}},
				{"Reply", func() (alerting.Receipt, error) {
					return alerting.Receipt{}, n.Reply(t.Context(), alerting.Receipt{Channel: "C0001", ID: "1.2"}, alerting.Message{Title: "x"})
				}},
				{"Note", func() (alerting.Receipt, error) {
					return alerting.Receipt{}, n.Note(t.Context(), alerting.Receipt{Channel: "C0001", ID: "1.2"}, alerting.Message{Lines: []string{"x"}})
				}},
			} {
				f.Script(tt.reply)
				before := len(f.Calls())
				_, err := call.do()
				var d *alerting.DeliveryError
				if !errors.As(err, &d) {
					t.Fatalf("%s: %v is no DeliveryError", call.name, err)
				}
				if d.Class != tt.class || d.RetryAfter != tt.after || d.Unsent {
					t.Errorf("%s: class %q after %v, unsent %v; want %q after %v, not unsent", call.name, d.Class, d.RetryAfter, d.Unsent, tt.class, tt.after)
				}
				if d.Class == alerting.Broken && (d.Code == "" || d.Mend == "") || strings.Contains(d.Code+d.Mend, token) {
					t.Errorf("%s: code %q, mend %q", call.name, d.Code, d.Mend)
				}
				if n := len(f.Calls()) - before; n != 1 {
					t.Errorf("%s: %d calls, the client must not retry", call.name, n)
				}
				noLeak(t, err)
			}
		})
	}
}

// A code nobody knows is not thrown away when plain text is refused by it too.
func TestUnknownCodeOnPlainText(t *testing.T) {
	f, n := fake(t)
	for code, want := range map[string]alerting.Class{"something_new": alerting.Broken, "msg_too_long": alerting.Fault, "invalid_blocks_x": alerting.Fault} {
		f.Script(alertingtest.SlackError(code))
		_, err := n.Send(t.Context(), "#a", plain)
		var d *alerting.DeliveryError
		if !errors.As(err, &d) || d.Class != want {
			t.Errorf("%s: %v, want %s", code, err, want)
		}
	}
}

// nameless is a network without a name server: no test waits for one.
func nameless() http.RoundTripper {
	d := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("there is no name server")
	}}}
	return &http.Transport{DialContext: d.DialContext}
}

// Over a real network: what cannot have arrived is told from what may have.
func TestNetworkErrors(t *testing.T) {
	f := alertingtest.New()
	defer f.Close()
	away := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, f.URL()+"chat.postMessage", http.StatusTemporaryRedirect)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = away.Serve(l) }()
	defer away.Close()

	tests := []struct {
		name   string
		api    string
		reply  alertingtest.Reply
		class  alerting.Class
		unsent bool
	}{
		{"refused", "http://127.0.0.1:1/api/", alertingtest.OK(), alerting.Transient, true}, // a port that no test is given
		{"no such host", "http://slack.invalid/api/", alertingtest.OK(), alerting.Transient, true},
		{"answer lost", f.URL(), alertingtest.Lost(), alerting.Transient, false},
		{"hangs", f.URL(), alertingtest.Hang(), alerting.Transient, false},
		{"sent elsewhere", "http://" + l.Addr().String() + "/api", alertingtest.OK(), alerting.Broken, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := slack.Options{API: tt.api}
			if tt.name == "no such host" {
				o.Transport = nameless()
			}
			n := notifier(t, o)
			if strings.HasPrefix(tt.api, f.URL()) {
				f.Script(tt.reply)
			}
			ctx := t.Context()
			if tt.name == "hangs" { // all else comes to an end, however slow the machine is
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			_, err := n.Send(ctx, "#a", plain)
			var d *alerting.DeliveryError
			if !errors.As(err, &d) || d.Class != tt.class || d.Unsent != tt.unsent {
				t.Errorf("%#v, want class %s, unsent %v", err, tt.class, tt.unsent)
			}
			noLeak(t, err)
		})
	}
	if got := len(f.Messages()); got != 1 {
		t.Errorf("%d messages, want the one whose answer was lost", got)
	}
}

func TestSendAndEdit(t *testing.T) {
	f, n := fake(t)
	receipt, err := n.Send(t.Context(), "#ops", alerting.Message{Severity: alerting.Error, Title: "one", Lines: []string{"a < b & c > d <!channel>"}, Facts: []string{"rule x"}, Notes: []string{"late"}, Link: "http://l/?a=1&b=2"})
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Channel != "C0001" || receipt.ID == "" {
		t.Errorf("receipt %+v", receipt)
	}
	m := f.Messages("#ops")[0]
	var attachments []struct{ Color, Fallback string }
	if err := json.Unmarshal(m.Attachments, &attachments); err != nil || len(attachments) != 1 || attachments[0].Color != "#d9372c" || attachments[0].Fallback != "one" {
		t.Errorf("attachments %s, %v", m.Attachments, err)
	}
	// json.Marshal writes & < > as escapes of its own: look at what Slack decodes.
	var raw any
	_ = json.Unmarshal(m.Attachments, &raw)
	if text := fmt.Sprint(raw); !strings.Contains(text, "a &lt; b &amp; c &gt; d &lt;!channel&gt;") || !strings.Contains(text, "<http://l/?a=1&amp;b=2|Open in lookout>") {
		t.Errorf("not escaped: %s", text)
	}
	if text := m.Content(); text != "one\n```\na < b & c > d <!channel>\n```\nrule x\n:warning: late\n<http://l/?a=1&b=2|Open in lookout>" {
		t.Errorf("content %q", text)
	}
	if m.Text != "one" {
		t.Errorf("fallback text %q", m.Text)
	}
	again, err := n.Edit(t.Context(), receipt, alerting.Message{Title: "two"})
	if err != nil || again != receipt {
		t.Errorf("Edit: %+v, %v", again, err)
	}
	if m := f.Messages()[0]; len(f.Messages()) != 1 || m.Edits != 1 || m.Text != "two" {
		t.Errorf("after the edit: %+v", m)
	}
}

// The state is the colour and the first word, in both forms.
func TestStates(t *testing.T) {
	for _, tt := range []struct {
		state  alerting.State
		colour string
		text   string
	}{
		{"", "#d9372c", "no stock"},
		{alerting.Firing, "#d9372c", "no stock"},
		{alerting.Acknowledged, "#6b7a90", "Acknowledged: no stock"},
		{alerting.Resolved, "#2eb67d", "Resolved: no stock"},
	} {
		f, n := fake(t)
		for _, plain := range []bool{false, true} {
			if _, err := n.Send(t.Context(), "#ops", alerting.Message{State: tt.state, Severity: alerting.Error, Title: "no stock", Plain: plain}); err != nil {
				t.Fatal(err)
			}
		}
		messages := f.Messages()
		if messages[0].Text != tt.text || messages[1].Text != tt.text || !strings.Contains(string(messages[0].Attachments), `"color":"`+tt.colour+`"`) {
			t.Errorf("state %q: %q and %q, %s", tt.state, messages[0].Text, messages[1].Text, messages[0].Attachments)
		}
	}
}

func TestReply(t *testing.T) {
	f, n := fake(t)
	m := alerting.Message{State: alerting.Firing, Severity: alerting.Error, Title: "[error] sales: down", Lines: []string{"a long story"}, Facts: []string{"again, 2 times"}, Notes: []string{"may be"}}
	receipt, err := n.Send(t.Context(), "#ops", m)
	if err != nil {
		t.Fatal(err)
	}
	for _, m.Plain = range []bool{false, true} {
		if err := n.Reply(t.Context(), receipt, m); err != nil {
			t.Fatal(err)
		}
	}
	replies := f.Messages()[1:]
	if got := replies[0].Content(); got != "Again: [error] sales: down\nagain, 2 times\n:warning: may be" {
		t.Errorf("the reply reads %q", got)
	}
	if got := replies[1].Content(); got != "Again: [error] sales: down\nagain, 2 times\nmay be" {
		t.Errorf("the plain reply reads %q", got)
	}
	for _, r := range replies {
		if r.ThreadTS != receipt.ID || !r.Broadcast || r.Channel != "#ops" {
			t.Errorf("reply %+v", r)
		}
	}
	if len(m.Lines) != 1 || f.Messages()[0].Edits != 0 {
		t.Error("the message itself was changed")
	}
	// Slack makes a message of its own of a reply to what was deleted, and says nothing.
	receipt.ID = "1.0"
	if err := n.Reply(t.Context(), receipt, m); err != nil {
		t.Fatal(err)
	}
	if last := f.Messages()[3]; last.ThreadTS != "" || last.Broadcast {
		t.Errorf("reply to nothing: %+v", last)
	}
}

func TestNote(t *testing.T) {
	f, n := fake(t)
	m := alerting.Message{State: alerting.Resolved, Title: "[error] sales: down"}
	receipt, err := n.Send(t.Context(), "#ops", m)
	if err != nil || !receipt.Thread {
		t.Fatalf("%+v, %v", receipt, err)
	}
	m.Lines, m.Notes = []string{"02:10 acknowledged by <!here>", "02:40 resolved"}, []string{"may be"}
	for _, m.Plain = range []bool{false, true} {
		if err := n.Note(t.Context(), receipt, m); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range f.Messages()[1:] {
		if r.ThreadTS != receipt.ID || r.Broadcast || r.Text != "02:10 acknowledged by &lt;!here&gt;\n02:40 resolved\nmay be" || r.Attachments != nil {
			t.Errorf("%+v", r)
		}
	}
}

func TestPlain(t *testing.T) {
	f, n := fake(t)
	m := alerting.Message{Severity: alerting.Error, Title: "t<1>", Lines: []string{"l1", strings.Repeat("x", 5000)}, Notes: []string{"may be"}, Plain: true}
	if _, err := n.Send(t.Context(), "#ops", m); err != nil {
		t.Fatal(err)
	}
	got := f.Messages()[0]
	if got.Attachments != nil || got.Blocks != nil || !strings.HasPrefix(got.Text, "t&lt;1&gt;\nl1\nxxx") || !strings.HasSuffix(got.Text, "\nmay be") || len(got.Text) > 1500 {
		t.Errorf("%+v", got)
	}
}

// Whatever a message holds, Slack takes it, and gathered lines are whole in both forms.
func TestEveryMessageFits(t *testing.T) {
	f, n := fake(t)
	text := rapid.Custom(func(t *rapid.T) string {
		part := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"```", "&&&&", "<<>>", "x", "😀", "`", "\n", "word "})).Draw(t, "part")
		return strings.Repeat(part, rapid.IntRange(0, 3000).Draw(t, "times"))
	})
	list := rapid.SliceOfN(text, 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		m := alerting.Message{
			Severity: rapid.SampledFrom([]alerting.Severity{"", alerting.Info, alerting.Critical}).Draw(t, "severity"),
			Title:    text.Draw(t, "title"), Lines: list.Draw(t, "lines"), Facts: list.Draw(t, "facts"), Notes: list.Draw(t, "notes"),
			Link: "http://l/" + text.Draw(t, "link"), Plain: rapid.Bool().Draw(t, "plain"),
		}
		if _, err := n.Send(context.Background(), "#ops", m); err != nil {
			t.Fatal(err)
		}
	})
	if got := len(f.Messages()); got < 100 {
		t.Errorf("%d messages", got)
	}
}

func TestTooManyLinesAreCut(t *testing.T) {
	f, n := fake(t)
	lines := make([]string, 20)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d ", i) + strings.Repeat("x", 2500)
	}
	for _, asPlain := range []bool{false, true} {
		if _, err := n.Send(t.Context(), "#ops", alerting.Message{Title: "many", Lines: lines, Facts: []string{"the fact"}, Plain: asPlain}); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range f.Messages() {
		if got := m.Content(); !strings.Contains(got, "line 0 ") || !strings.Contains(got, "the fact") || len(got) > 12_000 {
			t.Errorf("%d bytes: %.40q…", len(got), got)
		}
	}
}

func TestGatheredLinesAreWhole(t *testing.T) {
	for _, unit := range []string{"x", "&", "😀", "a b "} {
		for _, asPlain := range []bool{false, true} {
			f, n := fake(t)
			m := alerting.Message{Title: "many", Plain: asPlain}
			for left := 6000; left > 0; { // what alerting gathers at most
				l := alerting.Cut(fmt.Sprintf("line %d %s", len(m.Lines), strings.Repeat(unit, 900/alerting.Weight(unit))), min(left, 1000))
				m.Lines = append(m.Lines, l)
				left -= alerting.Weight(l) + 1
			}
			if _, err := n.Send(t.Context(), "#ops", m); err != nil {
				t.Fatal(err)
			}
			got := f.Messages()[0].Content()
			for _, l := range m.Lines {
				if !strings.Contains(got, l) {
					t.Errorf("unit %q, plain %v: a line is not whole: %.30q…", unit, asPlain, l)
				}
			}
		}
	}
}

// A code block cannot be left by what a line says.
func TestCodeBlocksStayClosed(t *testing.T) {
	f, n := fake(t)
	if _, err := n.Send(t.Context(), "#ops", alerting.Message{Title: "x", Lines: []string{"``` *bold* ````` \n```"}}); err != nil {
		t.Fatal(err)
	}
	if got := f.Messages()[0].Content(); strings.Count(got, "```") != 2 {
		t.Errorf("content %q", got)
	}
}

func TestCheck(t *testing.T) {
	f, n := fake(t)
	i, err := n.Check(t.Context())
	if err != nil || i.Team != "Fake" || i.User != "lookout" || i.Scopes != nil || !i.May("chat:write") {
		t.Errorf("%+v %v", i, err)
	}
	for _, reply := range []alertingtest.Reply{alertingtest.SlackError("invalid_auth"), alertingtest.Body("{}"), alertingtest.Status(500)} {
		f.Behave(func(alertingtest.Call) alertingtest.Reply { return reply })
		if _, err := n.Check(t.Context()); err == nil {
			t.Errorf("reply %+v passed", reply)
		} else {
			noLeak(t, err)
		}
	}
}

// What the token may do, and whether channels can be posted to, as far as that is known without a message.
func TestCheckChannels(t *testing.T) {
	f, n := fake(t)
	f.Channel("#ops", alertingtest.ChannelKind{})
	f.Channel("#open", alertingtest.ChannelKind{Strange: true})
	f.Channel("#old", alertingtest.ChannelKind{Archived: true})
	f.Channel("#secret", alertingtest.ChannelKind{Private: true})
	for _, tt := range []struct{ scopes, channel, want string }{
		{"chat:write", "#ops", "not checked: to see channels the token needs channels:read"},
		{"chat:write,channels:read", "#ops", "ok: lookout is in it"},
		{"chat:write,channels:read", "C0001", "ok: lookout is in it"},
		{"chat:write,channels:read", "#open", "lookout is not in it: /invite @lookout there, or add the scope chat:write.public"},
		{"chat:write,channels:read,chat:write.public", "#open", "ok: public, by chat:write.public"},
		{"chat:write,channels:read,chat:write.public", "#old", "it is archived: unarchive it, or name another"},
		{"chat:write,channels:read", "#secret", "not checked: no public channel has this name, and to see private ones the token needs groups:read"},
		{"chat:write,groups:read", "#ops", "not checked: to see public channels the token needs channels:read"},
		{"chat:write,channels:read,groups:read", "#secret", "ok: lookout is in it"},
		{"chat:write,channels:read,groups:read", "#none", "there is no such channel, or it is private and lookout is not in it: make it, or /invite @lookout there"},
		{"chat:write,channels:read", "@ann", "not checked: it is a person"},
		{"chat:write,channels:read", "U0001", "not checked: it is a person"},
	} {
		f.Grant(strings.Split(tt.scopes, ",")...)
		i, err := n.Check(t.Context())
		if err != nil || strings.Join(i.Scopes, ",") != tt.scopes {
			t.Fatalf("%+v %v", i, err)
		}
		got, err := n.Channels(t.Context(), i).Check(tt.channel)
		if got = "ok: " + got; err != nil {
			got = err.Error()
		}
		if got != tt.want || strings.HasPrefix(tt.want, "not checked") != errors.Is(err, slack.ErrNotChecked) {
			t.Errorf("%s %s: %s, want %s", tt.scopes, tt.channel, got, tt.want)
		}
	}
	f.Grant("channels:read", "users:read")
	if _, err := n.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "lacks the scope chat:write, it has channels:read, users:read") {
		t.Errorf("without chat:write: %v", err)
	}
	f.Behave(func(c alertingtest.Call) alertingtest.Reply {
		if c.Method == "conversations.list" {
			return alertingtest.RateLimited(time.Minute)
		}
		return alertingtest.OK()
	})
	if _, err := n.Channels(t.Context(), &slack.Identity{Scopes: []string{"channels:read"}}).Check("#ops"); !errors.Is(err, slack.ErrNotChecked) {
		t.Errorf("when Slack asks to wait: %v", err)
	}
	if n := len(f.Messages()); n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name string
		o    slack.Options
		ok   bool
	}{
		{"good", slack.Options{Token: token}, true},
		{"line end of a token file", slack.Options{Token: token + "\n"}, true},
		{"other address", slack.Options{Token: token, API: "http://127.0.0.1:1/api"}, true},
		{"no token", slack.Options{}, false},
		{"blank token", slack.Options{Token: " \n"}, false},
		{"token in quotes", slack.Options{Token: `"` + token + `"`}, false},
		{"two lines", slack.Options{Token: token + "\n" + token}, false},
		{"address without a scheme", slack.Options{Token: token, API: "slack.com/api"}, false},
		{"ftp", slack.Options{Token: token, API: "ftp://slack.com/"}, false},
		{"broken address", slack.Options{Token: token, API: "http://[" + token}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := slack.New(tt.o)
			if (err == nil) != tt.ok {
				t.Errorf("New: %v", err)
			}
			if n != nil {
				n.Close()
			}
			noLeak(t, err)
		})
	}
}
