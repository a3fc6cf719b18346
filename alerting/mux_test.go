package alerting_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

func TestMux(t *testing.T) {
	slack, paged := new(alertingtest.Recorder), new(alertingtest.Recorder)
	pager := alertingtest.NewPager(paged)
	mux := alerting.Mux{Default: alertingtest.Threads{Recorder: slack}, Ways: map[string]alerting.Notifier{"pushover": pager, "bare": new(alertingtest.Recorder)}}
	firing, over := alerting.Message{State: alerting.Firing}, alerting.Message{State: alerting.Resolved}
	receipts := map[string]alerting.Receipt{}
	for _, channel := range []string{"#ops", "pushover", "bare"} {
		r, err := mux.Send(t.Context(), channel, firing)
		if err != nil || r.Channel != channel || r.Rings != (channel == "pushover") {
			t.Errorf("Send to %s: %+v, %v", channel, r, err)
		}
		if edited, err := mux.Edit(t.Context(), r, over); err != nil || edited.Channel != channel {
			t.Errorf("Edit in %s: %+v, %v", channel, edited, err)
		}
		receipts[channel] = r
	}
	if got := len(slack.Sent("#ops")); got != 1 || len(slack.Sent()) != 1 || len(paged.Sent("pushover")) != 1 || slack.Sent()[0].Edits != 1 || paged.Sent()[0].Edits != 1 {
		t.Errorf("Slack has %+v, the pager %+v", slack.Sent(), paged.Sent())
	}
	if err := mux.Reply(t.Context(), receipts["#ops"], firing); err != nil || !slack.Sent()[1].Reply {
		t.Errorf("Reply: %v", err)
	}
	for _, channel := range []string{"pushover", "bare"} {
		var refused *alerting.DeliveryError
		if err := mux.Reply(t.Context(), receipts[channel], firing); !errors.As(err, &refused) || refused.Class != alerting.EditRefused {
			t.Errorf("Reply in %s: %v", channel, err)
		}
	}
	pager.Tell(receipts["pushover"], alerting.Ack{At: time.Unix(1, 0), By: "x"})
	for channel, want := range map[string]alerting.Ack{"pushover": {At: time.Unix(1, 0), By: "x"}, "bare": {}, "#ops": {}} {
		if ack, err := mux.Acknowledgement(t.Context(), receipts[channel]); err != nil || ack != want {
			t.Errorf("Acknowledgement in %s: %+v, %v", channel, ack, err)
		}
	}
	for channel, want := range map[string]string{"pushover": "pushover", "bare": "bare", "#ops": "", "": ""} {
		if got := mux.Way(channel); got != want {
			t.Errorf("Way(%q) = %q", channel, got)
		}
	}
}

// odd names the channel as it likes, and its messages not at all when they are blank.
type odd struct{ edits *int }

func (odd) Send(_ context.Context, _ string, m alerting.Message) (alerting.Receipt, error) {
	if m.Title == "" {
		return alerting.Receipt{}, nil
	}
	return alerting.Receipt{Channel: "C1", ID: "1"}, nil
}

func (o odd) Edit(context.Context, alerting.Receipt, alerting.Message) (alerting.Receipt, error) {
	*o.edits++
	return alerting.Receipt{Channel: "C1", ID: "2"}, nil
}

// A receipt finds its way back whatever the way calls the channel; an empty one stays empty.
func TestMuxFindsTheWayBack(t *testing.T) {
	var edits int
	mux := alerting.Mux{Ways: map[string]alerting.Notifier{"odd": odd{&edits}}}
	r, err := mux.Send(t.Context(), "odd", alerting.Message{Title: "x"})
	if err != nil {
		t.Fatal(err)
	}
	r, err = mux.Edit(t.Context(), r, alerting.Message{})
	if want := (alerting.Receipt{Channel: "odd", ID: "2"}); err != nil || r != want || edits != 1 {
		t.Errorf("Edit: %+v, %v, after %d edits", r, err, edits)
	}
	if r, err := mux.Send(t.Context(), "odd", alerting.Message{}); err != nil || r != (alerting.Receipt{}) {
		t.Errorf("Send without a receipt: %+v, %v", r, err)
	}
}

func TestMuxWithoutDefault(t *testing.T) {
	mux := alerting.Mux{Ways: map[string]alerting.Notifier{"pushover": new(alertingtest.Recorder)}}
	here := alerting.Receipt{Channel: "#ops", ID: "1"}
	_, send := mux.Send(t.Context(), "#ops", alerting.Message{})
	_, edit := mux.Edit(t.Context(), here, alerting.Message{})
	_, ack := mux.Acknowledgement(t.Context(), here)
	for name, err := range map[string]error{"Send": send, "Edit": edit, "Reply": mux.Reply(t.Context(), here, alerting.Message{}), "Acknowledgement": ack} {
		var broken *alerting.DeliveryError
		if !errors.As(err, &broken) || broken.Class != alerting.Broken {
			t.Errorf("%s: %v, want a broken destination", name, err)
		}
	}
	if _, err := mux.Send(t.Context(), "pushover", alerting.Message{}); err != nil {
		t.Error(err)
	}
}
