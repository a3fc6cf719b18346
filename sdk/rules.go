package sdk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Rule is a rule in force.
type Rule struct {
	Name     string    `json:"name"`
	Query    string    `json:"query"`
	Resolve  string    `json:"resolve,omitempty"`
	Mode     string    `json:"mode"`   // match, unexpected, new, rate, spike, absent
	Notify   string    `json:"notify"` // incident, each
	Severity string    `json:"severity,omitempty"`
	Channels []string  `json:"channels"`
	Matched  uint64    `json:"matched"`       // events since the server's start
	Last     time.Time `json:"last,omitzero"` // when the last of them was received
	Open     int       `json:"open"`          // incidents that fire or are acknowledged
}

const rulesPath = "/api/v1/rules"

// Rules returns the rules in force.
func (c *Client) Rules(ctx context.Context) ([]Rule, error) {
	var answer struct {
		Rules *[]Rule `json:"rules"`
	}
	if err := c.get(ctx, request{method: http.MethodGet, path: rulesPath, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Rules == nil {
		return nil, c.notOurs("an answer without rules")
	}
	return *answer.Rules, nil
}

// Notification is a message that rules would have sent.
type Notification struct {
	// Change is "+" for what only the rules to try send, "-" for what only those in force do, empty where nothing is compared.
	Change   string    `json:"change,omitempty"`
	At       time.Time `json:"at"`
	Channel  string    `json:"channel"`
	Kind     string    `json:"kind"` // message, reply, edit, note
	Severity string    `json:"severity"`
	State    string    `json:"state,omitempty"`
	Incident string    `json:"incident,omitempty"` // the same in all messages of one
	Title    string    `json:"title"`
	Lines    []string  `json:"lines,omitempty"`
	Facts    []string  `json:"facts,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
	Link     string    `json:"link,omitempty"`
}

// BacktestRequest says what is held against which rules.
type BacktestRequest struct {
	Since, Until time.Time // when the events were received; zero: seven days ago, and now
	Rule         string    // only this rule; empty for all
	// Config is a configuration (YAML) whose rules are compared with those in force. It should hold no secrets: the server does not
	// use them.
	Config string
	Edits  bool // list edits of messages, too
}

// BacktestSummary counts what would have been sent. Messages are what people notice: new messages and replies.
type BacktestSummary struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Events int64     `json:"events"`
	Gaps   int       `json:"gaps,omitempty"` // ranges of events that could not be read
	TookMS float64   `json:"took_ms"`

	Messages int64 `json:"messages"`
	Edits    int64 `json:"edits"`
	Held     int64 `json:"held"`          // counted in an overview in the place of a message
	Cut      int64 `json:"cut,omitempty"` // messages that are counted and not listed

	Compared bool  `json:"compared"` // with the rules in force; then:
	Added    int64 `json:"added"`
	Removed  int64 `json:"removed"`
	Same     int64 `json:"same"`

	Days  []BacktestDay  `json:"days"`
	Rules []BacktestRule `json:"rules"`
}

// BacktestDay counts a channel's messages of a day, UTC.
type BacktestDay struct {
	Day      string `json:"day"`
	Channel  string `json:"channel"`
	Messages int64  `json:"messages"`
	Before   *int64 `json:"before,omitempty"` // by the rules in force, where they are compared
}

// BacktestRule counts a rule's matches.
type BacktestRule struct {
	Rule    string  `json:"rule"`
	Matched uint64  `json:"matched"`
	Before  *uint64 `json:"before,omitempty"`
}

// Backtest has the server hold stored events against rules: it calls list for each message that would have been sent, in order of time,
// and progress, unless that is nil, as far as it has come. It ends with ctx, and with an error of list.
func (c *Client) Backtest(ctx context.Context, r BacktestRequest, progress func(Progress), list func(*Notification) error) (*BacktestSummary, error) {
	params := url.Values{}
	set := func(name, value string) {
		if value != "" {
			params.Set(name, value)
		}
	}
	set("rule", r.Rule)
	set("config", r.Config)
	if !r.Since.IsZero() {
		set("since", r.Since.Format(time.RFC3339Nano))
	}
	if !r.Until.IsZero() {
		set("until", r.Until.Format(time.RFC3339Nano))
	}
	if r.Edits {
		set("edits", strconv.FormatBool(true))
	}
	sum := new(BacktestSummary)
	err := c.workLines(ctx, rulesPath+"/backtest", params, progress, sum, func(line json.RawMessage) error {
		var one struct {
			Notification *Notification `json:"notification"`
		}
		if json.Unmarshal(line, &one) != nil || one.Notification == nil {
			return c.notOurs("an answer that is not the API's")
		}
		return list(one.Notification)
	})
	if err != nil {
		return nil, err
	}
	return sum, nil
}
