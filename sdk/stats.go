package sdk

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// StatsRequest asks for aggregates of the events that match, by group.
type StatsRequest struct {
	// Query, Since, Until and NoReports are as in [QueryRequest].
	Query        string
	Since, Until time.Time
	NoReports    bool
	// AfterSequence and MaxSequence are as in [QueryRequest].
	AfterSequence, MaxSequence uint64
	// By are the fields whose values make the groups; none is one group of all.
	By []string
	// Every parts the groups by time as well, in steps that begin at the Unix epoch; 0 does not.
	Every time.Duration
	// Aggs are what is computed of each group: count, sum(f), avg(f), min(f), max(f), p99(f), quantile(0.99, f), distinct(f);
	// none is count. The first one orders the groups.
	Aggs []string
	// Top keeps so many groups with the highest first aggregate; 0 keeps all.
	Top int
}

// Stats is the answer to a [StatsRequest].
type Stats struct {
	// Groups are without Every in order of the first aggregate, the highest first, otherwise in order of time.
	Groups []Group
	// Other is what Top left out, as one group, or with Every as one for each step of time; LeftOut is how many groups that
	// were.
	Other   []Group
	LeftOut int
	// Estimated are the aggregates that are not exact.
	Estimated []string
	Summary   Summary
}

// Group is one group of a [Stats].
type Group struct {
	// By are the group's values by field; nil for the events that do not have the field.
	By map[string]*string
	// Time is, with Every, when the step begins.
	Time time.Time
	// Values are the aggregates by name, as the server writes it: count, avg(duration_ms). What has no value, as the average
	// of nothing, is missing.
	Values map[string]float64
}

// UnmarshalJSON reads a group of the API.
func (g *Group) UnmarshalJSON(text []byte) error {
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	*g = Group{Values: map[string]float64{}}
	for name, value := range whole {
		var err error
		switch name {
		case "by":
			err = json.Unmarshal(value, &g.By)
		case "time":
			err = json.Unmarshal(value, &g.Time)
		default:
			var n *float64
			if err = json.Unmarshal(value, &n); n != nil {
				g.Values[name] = *n
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Stats asks for aggregates. When the server could not read a part, or there were too many groups, the error is an
// [*IncompleteError] and the answer holds what there is. One that is about a parameter is an [*Error] with the place in it.
func (c *Client) Stats(ctx context.Context, r StatsRequest) (*Stats, error) {
	q := QueryRequest{Query: r.Query, Since: r.Since, Until: r.Until, NoReports: r.NoReports, AfterSequence: r.AfterSequence, MaxSequence: r.MaxSequence}
	params := q.params()
	if len(r.By) > 0 {
		by := make([]string, len(r.By))
		for i, name := range r.By {
			by[i] = quoteName(name)
		}
		params.Set("by", strings.Join(by, ","))
	}
	if r.Every > 0 {
		params.Set("every", r.Every.String())
	}
	if len(r.Aggs) > 0 {
		params.Set("agg", strings.Join(r.Aggs, ","))
	}
	if r.Top > 0 {
		params.Set("top", strconv.Itoa(r.Top))
	}
	var answer struct {
		Groups *[]Group `json:"groups"`
		Other  struct {
			Groups int     `json:"groups"`
			Values []Group `json:"values"`
		} `json:"other"`
		Estimated []string     `json:"estimated"`
		Summary   *wireSummary `json:"summary"`
	}
	if err := c.get(ctx, request{method: http.MethodPost, path: "/api/v1/stats", params: params, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Groups == nil || answer.Summary == nil {
		return nil, c.notOurs("an answer without groups")
	}
	s := &Stats{Groups: *answer.Groups, Other: answer.Other.Values, LeftOut: answer.Other.Groups, Estimated: answer.Estimated}
	var err error
	s.Summary, err = answer.Summary.summary()
	return s, err
}

// quoteName puts a field's name in quotes when it needs them.
func quoteName(name string) string {
	if name != "" && !strings.ContainsAny(name, ",() \t\"'`") {
		return name
	}
	for _, quote := range []string{`"`, "'", "`"} {
		if !strings.Contains(name, quote) {
			return quote + name + quote
		}
	}
	return name // the server says what is wrong with it
}
