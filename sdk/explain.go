package sdk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Explanation is what the rules in force make of one event. What became of it is told by what the server knows now.
type Explanation struct {
	Event Event `json:"-"`
	// JSON is the whole answer as the server wrote it.
	JSON json.RawMessage `json:"-"`
	// FirstSeen and LastSeen are when lines of this kind came at all; zero when the catalogue does not know.
	FirstSeen time.Time `json:"first_seen,omitzero"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
	Position  uint64    `json:"position"` // events are held against the rules up to this sequence
	Decided   bool      `json:"decided"`  // the event is one of them
	Matched   int       `json:"matched"`  // rules that the event is for
	Rules     []Verdict `json:"rules"`    // all of them, in their order
}

// Verdict is what one rule makes of an event.
type Verdict struct {
	Rule    string `json:"rule"`
	Query   string `json:"query"`
	Mode    string `json:"mode"`
	Notify  string `json:"notify"`
	Match   bool   `json:"match"` // the event is for the rule
	Outcome string `json:"outcome"`
	Why     string `json:"why"`
	// Terms are those of the query that decide; of one that does not match those that would have to be otherwise.
	Terms []string `json:"terms"`

	Fingerprint string        `json:"fingerprint"`
	Incident    *Alert        `json:"incident"` // as it stands now
	Series      *SeriesState  `json:"series"`
	Expected    []Expectation `json:"expected"` // the entries of the rule's list that cover it
	Quiet       []Quieting    `json:"quiet"`
	Channels    []Standing    `json:"channels"`
}

// SeriesState is how the series that an event counts in stands now.
type SeriesState struct {
	By     map[string]string `json:"by"`
	At     time.Time         `json:"at"`
	Firing bool              `json:"firing"`
	Unit   string            `json:"unit"` // events, or seconds of silence
	Value  int64             `json:"value"`
	Above  int64             `json:"above"` // 0 for no limit, or none that is known yet
	Below  int64             `json:"below"`
	Text   string            `json:"text"`
}

// Expectation is an entry of what a rule expects.
type Expectation struct {
	Query  string `json:"query"`
	Author string `json:"author"`
	Reason string `json:"reason"`
	Added  bool   `json:"added"` // at run time: it is in no file
	Hits   int64  `json:"hits"`
}

// Quieting is something that keeps an incident from being told.
type Quieting struct {
	Kind     string    `json:"kind"` // silence, maintenance, parent, hold, quiet hours, budget, damped, over, acknowledged
	Name     string    `json:"name"` // the silence's ID, the maintenance's name, the parent's rule, or the channel
	By       string    `json:"by"`
	Until    time.Time `json:"until,omitzero"`
	Incident uint64    `json:"incident"` // the parent's
	Past     bool      `json:"past"`     // it was so when the event was received, and is not any more
	Why      string    `json:"why"`
}

// Standing is how far one channel has come.
type Standing struct {
	Channel string    `json:"channel"`
	Route   int       `json:"route"` // which route takes it, counted from 1; 0 for none
	Match   string    `json:"match"` // the route's matchers
	Told    time.Time `json:"told,omitzero"`
	Receipt string    `json:"receipt"`
	Queued  time.Time `json:"queued,omitzero"` // since when something waits to be sent
	Parked  time.Time `json:"parked,omitzero"` // since when the channel takes nothing
	Error   string    `json:"error"`
	Why     string    `json:"why"`
}

// ExplainAlert says why an event alerted, or why not. An id that no event has is an [*Error] with status 404.
func (c *Client) ExplainAlert(ctx context.Context, id string) (*Explanation, error) {
	var text json.RawMessage
	err := c.get(ctx, request{method: http.MethodGet, path: alertsPath + "/explain", params: url.Values{"id": {id}}, again: true}, &text)
	if err != nil {
		return nil, err
	}
	x := &Explanation{JSON: text}
	var answer struct {
		Event json.RawMessage `json:"event"`
		Rules *[]Verdict      `json:"rules"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Event == nil || answer.Rules == nil || json.Unmarshal(text, x) != nil || parseEvent(&scanner{s: string(answer.Event)}, &x.Event) != nil {
		return nil, c.notOurs("an answer without an explanation")
	}
	return x, nil
}
