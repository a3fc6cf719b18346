package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Channel is a channel that the server's configuration names.
type Channel struct {
	Channel string    `json:"channel"`
	Way     string    `json:"way"`             // slack, pushover, or the name of one of ways
	Hook    bool      `json:"hook,omitempty"`  // it does something instead of telling, and gets no test messages
	Parked  time.Time `json:"parked,omitzero"` // since when it takes nothing
	Error   string    `json:"error,omitempty"` // why
}

// TestMessage is a message that tries a channel.
type TestMessage struct {
	Channel  string
	Severity string // critical, error, warning or info; empty for info
	Text     string // shown in it, at most 1,000 bytes
	By       string // shown beside the token's name
}

// TestResult is what the destination answered.
type TestResult struct {
	Channel  string  `json:"channel"`
	Accepted bool    `json:"accepted"`
	Receipt  string  `json:"receipt,omitempty"` // what the destination calls it, where it does
	TookMS   float64 `json:"took_ms"`
	// Of one that was not accepted: wait, transient, destination broken or message at fault; the destination's own code; what helps.
	Class      string  `json:"class,omitempty"`
	Code       string  `json:"code,omitempty"`
	Error      string  `json:"error,omitempty"`
	Mend       string  `json:"mend,omitempty"`
	RetryAfter float64 `json:"retry_after_s,omitempty"` // seconds that the destination asked to wait
}

const notifyTestPath = "/api/v1/notify/test"

// Channels returns the channels that are configured.
func (c *Client) Channels(ctx context.Context) ([]Channel, error) {
	var answer struct {
		Channels *[]Channel `json:"channels"`
	}
	if err := c.get(ctx, request{method: http.MethodGet, path: notifyTestPath, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Channels == nil {
		return nil, c.notOurs("an answer without channels")
	}
	return *answer.Channels, nil
}

// SendTest sends a test message by the channel's real way, and returns what that answered; only what kept it from being sent at all is
// an error. A server sends one each second, so that a second call waits. It needs the admin's token.
func (c *Client) SendTest(ctx context.Context, m TestMessage) (result TestResult, err error) {
	form := url.Values{"channel": {m.Channel}}
	for name, value := range map[string]string{"severity": m.Severity, "text": m.Text, "by": m.By} {
		if value != "" {
			form.Set(name, value)
		}
	}
	// Not again after a lost answer: it may be there.
	if err = c.get(ctx, request{method: http.MethodPost, path: notifyTestPath, params: form}, &result); err == nil && result.Channel == "" {
		err = c.notOurs("an answer without a result")
	}
	return result, err
}
