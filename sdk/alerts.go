package sdk

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Alert is an incident: what a rule found, and how it stands.
type Alert struct {
	ID       uint64   `json:"id"` // another one each time it opens anew
	Rule     string   `json:"rule"`
	Service  string   `json:"service"`
	Title    string   `json:"title"`
	Severity string   `json:"severity"` // critical, error, warning, info
	State    string   `json:"state"`    // firing, acknowledged, resolved
	Channels []string `json:"channels"`

	Count int64     `json:"count"`          // events
	Late  int64     `json:"late,omitempty"` // of these, those that happened more than an hour before they came
	Fired int64     `json:"fired"`          // how often it began to fire; above 1 it flaps
	First time.Time `json:"first"`          // its first and its last event
	Last  time.Time `json:"last"`
	Since time.Time `json:"since"` // it fires, or fired last

	Acknowledged time.Time `json:"acknowledged,omitzero"`
	By           string    `json:"by,omitempty"`
	Resolved     time.Time `json:"resolved,omitzero"`
	ResolvedBy   string    `json:"resolved_by,omitempty"` // who did by hand
	Link         string    `json:"link,omitempty"`        // the search behind it
	// Marks are what was said about the service shortly before it fired and since then, the newest first.
	Marks []Mark `json:"marks,omitempty"`

	Labels map[string]string `json:"labels,omitempty"` // what the matchers of routes and silences see
}

const alertsPath = "/api/v1/alerts"

// Alerts returns the incidents that are open and those that were resolved within a day, last changed first.
func (c *Client) Alerts(ctx context.Context) ([]Alert, error) {
	var answer struct {
		Alerts *[]Alert `json:"alerts"`
	}
	if err := c.get(ctx, request{method: http.MethodGet, path: alertsPath, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Alerts == nil {
		return nil, c.notOurs("an answer without alerts")
	}
	return *answer.Alerts, nil
}

// Alert returns one of them; an [*Error] with status 404 says that there is none.
func (c *Client) Alert(ctx context.Context, id uint64) (Alert, error) {
	return c.alert(ctx, request{method: http.MethodGet, path: alertsPath + "/" + strconv.FormatUint(id, 10), again: true})
}

// AcknowledgeAlert says that somebody sees to an incident, and returns it as it stands then: nothing rings for it any more.
// by is shown to people beside the token's name; it may be empty. One that is acknowledged or resolved stays as it is. It
// needs the admin's token.
func (c *Client) AcknowledgeAlert(ctx context.Context, id uint64, by string) (Alert, error) {
	return c.act(ctx, id, "ack", by)
}

// ResolveAlert ends an incident by hand, as [Client.AcknowledgeAlert]. The next event that matches has it fire again.
func (c *Client) ResolveAlert(ctx context.Context, id uint64, by string) (Alert, error) {
	return c.act(ctx, id, "resolve", by)
}

func (c *Client) act(ctx context.Context, id uint64, action, by string) (Alert, error) {
	r := request{method: http.MethodPost, path: alertsPath + "/" + strconv.FormatUint(id, 10) + "/" + action, again: true}
	if by != "" {
		r.params = url.Values{"by": {by}}
	}
	return c.alert(ctx, r)
}

func (c *Client) alert(ctx context.Context, r request) (alert Alert, err error) {
	if err := c.get(ctx, r, &alert); err != nil {
		return alert, err
	}
	if alert.ID == 0 {
		return alert, c.notOurs("an answer without an alert")
	}
	return alert, nil
}
