package alertingtest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

// The client that lookout uses finds what it needs.
func TestFakeSlackSpeaksToTheClient(t *testing.T) {
	f := alertingtest.New()
	defer f.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := slackapi.New("xoxb-1", slackapi.OptionAPIURL(f.URL()), slackapi.OptionHTTPClient(&http.Client{Transport: transport}))
	ctx := t.Context()
	if r, err := client.AuthTestContext(ctx); err != nil || r.Team != "Fake" {
		t.Errorf("auth.test: %+v, %v", r, err)
	}
	id, ts, err := client.PostMessageContext(ctx, "#ops", slackapi.MsgOptionText("one", false))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.PostMessageContext(ctx, id, slackapi.MsgOptionText("two", false), slackapi.MsgOptionTS(ts)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := client.UpdateMessageContext(ctx, id, ts, slackapi.MsgOptionText("one, edited", false)); err != nil {
		t.Fatal(err)
	}
	messages := f.Messages("#ops")
	if len(messages) != 2 || messages[0].Text != "one, edited" || messages[0].Edits != 1 || messages[1].ThreadTS != ts || messages[1].Channel != "#ops" {
		t.Errorf("messages %+v", messages)
	}
	if list, _, err := client.GetConversationsContext(ctx, &slackapi.GetConversationsParameters{}); err != nil || len(list) != 1 || list[0].Name != "ops" || list[0].ID != id {
		t.Errorf("conversations.list: %+v, %v", list, err)
	}
	if c, err := client.GetConversationInfoContext(ctx, &slackapi.GetConversationInfoInput{ChannelID: id}); err != nil || c.Name != "ops" {
		t.Errorf("conversations.info: %+v, %v", c, err)
	}
	if c, _, _, err := client.JoinConversationContext(ctx, id); err != nil || c.ID != id {
		t.Errorf("conversations.join: %+v, %v", c, err)
	}
	if c, _, _, err := client.OpenConversationContext(ctx, &slackapi.OpenConversationParameters{Users: []string{"U7"}}); err != nil || c.ID == id {
		t.Errorf("conversations.open: %+v, %v", c, err)
	}
}

func TestFakeSlackIsStrict(t *testing.T) {
	f := alertingtest.NewUnlistening()
	f.Require("good")
	post := func(token, method string, opts ...slackapi.MsgOption) string {
		client := slackapi.New(token, slackapi.OptionAPIURL(f.URL()), slackapi.OptionHTTPClient(&http.Client{Transport: f.Transport()}))
		if method == "update" {
			opts = append(opts, slackapi.MsgOptionUpdate("1.2"))
		}
		_, _, _, err := client.SendMessageContext(context.Background(), map[string]string{"nowhere": ""}[method]+map[bool]string{true: "#ops"}[method != "nowhere"], opts...)
		if err != nil {
			return err.Error()
		}
		return "ok"
	}
	text := func(n int) slackapi.MsgOption { return slackapi.MsgOptionText(strings.Repeat("x", n), false) }
	blocks := func(n, size int) slackapi.MsgOption {
		var set []slackapi.Block
		for range n {
			set = append(set, slackapi.NewSectionBlock(slackapi.NewTextBlockObject("mrkdwn", strings.Repeat("x", size), false, false), nil, nil))
		}
		return slackapi.MsgOptionAttachments(slackapi.Attachment{Blocks: slackapi.Blocks{BlockSet: set}})
	}
	tests := []struct {
		name, token, method string
		opt                 slackapi.MsgOption
		want                string
	}{
		{"fine", "good", "post", text(1), "ok"},
		{"long text", "good", "post", text(40_000), "ok"},
		{"too long text", "good", "post", text(40_001), "msg_too_long"},
		{"nothing", "good", "post", text(0), "no_text"},
		{"no channel", "good", "nowhere", text(1), "channel_not_found"},
		{"no token", "", "post", text(1), "not_authed"},
		{"another token", "bad", "post", text(1), "invalid_auth"},
		{"blocks", "good", "post", blocks(4, 3000), "ok"},
		{"a block too long", "good", "post", blocks(1, 3001), "invalid_blocks"},
		{"blocks too long", "good", "post", blocks(5, 2700), "msg_blocks_too_long"},
		{"too many blocks", "good", "post", blocks(51, 1), "invalid_blocks"},
		{"edit of nothing", "good", "update", text(1), "message_not_found"},
	}
	for _, tt := range tests {
		if got := post(tt.token, tt.method, tt.opt); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestFakeSlackFailsAsTold(t *testing.T) {
	f := alertingtest.New()
	defer f.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	post := func(ctx context.Context) (int, error) {
		body := url.Values{"token": {"x"}, "channel": {"#ops"}, "text": {"hello"}}.Encode()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL()+"chat.postMessage", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	f.Script(alertingtest.Status(502), alertingtest.RateLimited(3*time.Second), alertingtest.Hang(), alertingtest.Lost(), alertingtest.SlackError("is_archived"))
	f.Behave(func(c alertingtest.Call) alertingtest.Reply {
		if c.Number == 5 {
			return alertingtest.Status(418)
		}
		return alertingtest.OK()
	})
	for i, want := range []struct {
		status   int
		messages int
	}{{502, 0}, {429, 0}, {0, 0}, {0, 1}, {200, 1}, {418, 1}, {200, 2}} {
		ctx, cancel := context.WithCancel(t.Context())
		if i == 2 { // it hangs: the client goes away when the call is there
			go func() {
				_, _ = f.Wait(ctx, func([]alertingtest.SlackMessage) bool { return len(f.Calls()) > i })
				cancel()
			}()
		}
		status, err := post(ctx)
		cancel()
		if status != want.status || (err != nil) != (want.status == 0) || len(f.Messages()) != want.messages {
			t.Errorf("call %d: status %d, %v, %d messages; want %+v", i, status, err, len(f.Messages()), want)
		}
	}
	if n := len(f.Calls()); n != 7 {
		t.Errorf("%d calls", n)
	}
	if _, err := f.Wait(t.Context(), func(m []alertingtest.SlackMessage) bool { return len(m) == 2 }); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Wait(ctx, func(m []alertingtest.SlackMessage) bool { return len(m) == 3 }); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
}

// The notifiers that record are what the engine takes them for.
func TestRecorders(t *testing.T) {
	ctx := t.Context()
	firing, over := alerting.Message{State: alerting.Firing, Title: "one"}, alerting.Message{State: alerting.Resolved, Title: "two"}
	r := new(alertingtest.Recorder)
	threads, pager := alertingtest.Threads{Recorder: r}, alertingtest.NewPager(r)
	var _ alerting.Replier = threads
	var _ alerting.Acknowledger = pager
	quiet, err1 := threads.Send(ctx, "#ops", firing)
	page, err2 := pager.Send(ctx, "pushover", firing)
	late, err3 := pager.Send(ctx, "pushover", over)
	_, err4 := threads.Edit(ctx, quiet, over)
	_, err5 := pager.Edit(ctx, page, over)
	if err := errors.Join(err1, err2, err3, err4, err5, threads.Reply(ctx, quiet, firing)); err != nil {
		t.Fatal(err)
	}
	if quiet.Rings || !page.Rings || late.Rings {
		t.Errorf("receipts %+v %+v %+v", quiet, page, late)
	}
	for name, r := range map[string]alerting.Receipt{"no such message": {ID: "7"}, "a page that fires": page} {
		var refused *alerting.DeliveryError
		if _, err := pager.Edit(ctx, r, firing); !errors.As(err, &refused) || refused.Class != alerting.EditRefused {
			t.Errorf("edit of %s: %v", name, err)
		}
	}
	if sent := r.Sent("#ops"); len(sent) != 2 || sent[0].Edits != 1 || sent[0].Message.Title != "two" || !sent[1].Reply || len(r.Sent()) != 4 {
		t.Errorf("recorded %+v", r.Sent())
	}
	pager.Tell(page, alerting.Ack{By: "x"})
	pager.Refuse(errors.New("no"))
	if ack, err := pager.Acknowledgement(ctx, page); ack.By != "x" || err == nil || len(pager.Asked(page)) != 1 {
		t.Errorf("%+v %v, asked %v", ack, err, pager.Asked(page))
	}
}

func TestSecret(t *testing.T) {
	s := alertingtest.Secret("xo+\"xb/1")
	for _, text := range []string{"a xo+\"xb/1 b", url.QueryEscape(string(s)), base64.StdEncoding.EncodeToString([]byte(s)), `{"token":"xo+\"xb/1"}`} {
		if s.Leak(text) == "" {
			t.Errorf("the secret in %q is not seen", text)
		}
	}
	if leak := s.Leak("xo+ xb/1"); leak != "" {
		t.Error(leak)
	}
}

func TestSource(t *testing.T) {
	s := &alertingtest.Source{Batch: 2}
	s.Add(event.Event{Message: []byte("1")}, event.Event{Message: []byte("2")}, event.Event{Message: []byte("3")})
	s.Gap(4, 6, errors.New("gone"))
	s.Add(event.Event{Message: []byte("7")})
	f := s.Follow(0)
	defer f.Close()
	var got []uint64
	for range 4 {
		events, err := f.Next(t.Context())
		var gap *query.GapError
		if errors.As(err, &gap) {
			got = append(got, gap.From, gap.To)
		}
		for _, e := range events {
			got = append(got, e.Seq)
		}
	}
	if len(got) != 6 || got[2] != 3 || got[3] != 4 || got[4] != 6 || got[5] != 7 || f.Position() != 7 || s.LastSeq() != 7 {
		t.Errorf("sequences %v, position %d, last %d", got, f.Position(), s.LastSeq())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next: %v", err)
	}
}
