package sdk

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// PatternsRequest asks for kinds of lines.
type PatternsRequest struct {
	// Query, Since, Until and NoReports say, as in [QueryRequest], which events are counted.
	Query        string
	Since, Until time.Time
	NoReports    bool
	// Search finds patterns by their words, also those of which no event is left: words, "a phrase", begin*, fuzzy~, -without.
	// Empty lists the patterns of the events that match.
	Search string
	// Ever lists, without Search, also the patterns of which no event matches, or is left.
	Ever bool
	// Service is a service's name, with * and ? for some characters and for one; Level keeps that level and worse. Both may be empty.
	Service, Level string
	// Sort is count (the default), first or last: by the newest first or last event.
	Sort string
	// New keeps the patterns that were first seen from Since on.
	New bool
	// Steps is how many steps of time the trend has; 0 for the server's default, 24. Without Since there is none.
	Steps int
	// Limit is how many patterns are returned; 0 for the server's default, 100.
	Limit int
}

// Pattern is a kind of lines.
type Pattern struct {
	Fingerprint string    `json:"fingerprint"`
	Service     string    `json:"service"`
	Level       string    `json:"level"`    // empty for none
	Template    string    `json:"template"` // a line, with # for what differs
	Count       int64     `json:"count"`    // events that match
	FirstSeen   time.Time `json:"first_seen"`
	LastSeen    time.Time `json:"last_seen"` // as FirstSeen of all events ever
	New         bool      `json:"new"`       // first seen in the range
	Trend       []int64   `json:"trend"`     // Count by steps of time
	Sample      string    `json:"sample"`    // the message of one of the events that match
}

// Patterns is the answer to a [PatternsRequest].
type Patterns struct {
	Patterns []Pattern
	Total    int   // patterns that were found, beyond the limit too
	Other    int64 // events of the patterns for which the answer had no room
	// Services and Levels are how many of the patterns found have which.
	Services, Levels []PatternFacet
	Step             time.Duration // of the trends
	Summary          Summary
}

// PatternFacet is how many patterns are of a service or level.
type PatternFacet struct {
	Name     string `json:"name"`
	Patterns int    `json:"patterns"`
}

// Patterns lists kinds of lines. When the server could not read a part, the error is an [*IncompleteError] and the answer
// holds what there is.
func (c *Client) Patterns(ctx context.Context, r PatternsRequest) (*Patterns, error) {
	q := QueryRequest{Query: r.Query, Since: r.Since, Until: r.Until, NoReports: r.NoReports, Limit: r.Limit}
	params := q.params()
	for name, value := range map[string]string{"search": r.Search, "service": r.Service, "level": r.Level, "sort": r.Sort} {
		if value != "" {
			params.Set(name, value)
		}
	}
	if r.Ever {
		params.Set("ever", "true")
	}
	if r.New {
		params.Set("new", "true")
	}
	if r.Steps > 0 {
		params.Set("steps", strconv.Itoa(r.Steps))
	}
	var answer struct {
		Patterns *[]Pattern `json:"patterns"`
		Total    int        `json:"total"`
		Other    int64      `json:"other"`
		Facets   struct {
			Services []PatternFacet `json:"services"`
			Levels   []PatternFacet `json:"levels"`
		} `json:"facets"`
		StepMS  float64      `json:"step_ms"`
		Summary *wireSummary `json:"summary"`
	}
	if err := c.get(ctx, request{method: http.MethodPost, path: "/api/v1/patterns", params: params, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Patterns == nil || answer.Summary == nil {
		return nil, c.notOurs("an answer without patterns")
	}
	p := &Patterns{
		Patterns: *answer.Patterns, Total: answer.Total, Other: answer.Other, Services: answer.Facets.Services, Levels: answer.Facets.Levels,
		Step: time.Duration(answer.StepMS * float64(time.Millisecond)),
	}
	var err error
	p.Summary, err = answer.Summary.summary()
	return p, err
}

// FieldFacts is what a server knows of an extra field of the events that match.
type FieldFacts struct {
	Name     string           `json:"name"`
	Type     string           `json:"type"`     // of most values: string, number, bool, null or json
	Types    map[string]int64 `json:"types"`    // values by type
	Events   int64            `json:"events"`   // that have the field
	Share    float64          `json:"share"`    // of the events that match: 0 to 1
	Distinct int64            `json:"distinct"` // different values
	// Estimated says that Distinct is not exact, AtLeast that there may be more, because not all values were looked at.
	Estimated bool `json:"estimated"`
	AtLeast   bool `json:"at_least"`
}

// Fields lists the extra fields of the events that match, the most frequent first; of r, Query, Since, Until and NoReports count. When the
// server could not read a part, or there were too many fields, the error is an [*IncompleteError] and the list holds what there is.
func (c *Client) Fields(ctx context.Context, r QueryRequest) ([]FieldFacts, Summary, error) {
	r = QueryRequest{Query: r.Query, Since: r.Since, Until: r.Until, NoReports: r.NoReports}
	var answer struct {
		Fields  *[]FieldFacts `json:"fields"`
		More    bool          `json:"more"`
		Summary *wireSummary  `json:"summary"`
	}
	if err := c.get(ctx, request{method: http.MethodPost, path: "/api/v1/fields", params: r.params(), again: true}, &answer); err != nil {
		return nil, Summary{}, err
	}
	if answer.Fields == nil || answer.Summary == nil {
		return nil, Summary{}, c.notOurs("an answer without fields")
	}
	sum, err := answer.Summary.summary()
	if err == nil && answer.More {
		err = &IncompleteError{Reasons: []string{"there are more fields than one answer holds"}}
	}
	return *answer.Fields, sum, err
}

// Value is a value of a field.
type Value struct {
	Value string `json:"value"`
	Count int64  `json:"count"` // events that have it
}

// Values lists the most frequent values of a field that begin with a prefix, at most r.Limit (0 for the server's default, 100); r's Query, Since,
// Until and NoReports say of which events.
func (c *Client) Values(ctx context.Context, field, prefix string, r QueryRequest) ([]Value, error) {
	r = QueryRequest{Query: r.Query, Since: r.Since, Until: r.Until, NoReports: r.NoReports, Limit: r.Limit}
	params := r.params()
	params.Set("field", quoteName(field))
	if prefix != "" {
		params.Set("prefix", prefix)
	}
	var answer struct {
		Values *[]Value `json:"values"`
	}
	if err := c.get(ctx, request{method: http.MethodPost, path: "/api/v1/values", params: params, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Values == nil {
		return nil, c.notOurs("an answer without values")
	}
	return *answer.Values, nil
}

// Catalog is how things stand with a server's ledger of patterns and its index.
type Catalog struct {
	Patterns int    `json:"patterns"` // in the ledger
	Services int    `json:"services"` // that have some
	Sequence uint64 `json:"sequence"` // events up to this one are in it
	Bytes    int64  `json:"bytes"`    // on disk
	Indexed  int    `json:"indexed"`  // patterns that searches find
	Ready    bool   `json:"ready"`    // there is an index to be searched
	Building *struct {
		Done  int64 `json:"done"`
		Total int64 `json:"total"`
	} `json:"building"` // nil when none is being built
	// Beyond are the services with too many patterns.
	Beyond []struct {
		Service   string    `json:"service"`
		FirstSeen time.Time `json:"first_seen"`
		LastSeen  time.Time `json:"last_seen"`
	} `json:"beyond"`
}

// Catalog tells how things stand with the ledger of patterns.
func (c *Client) Catalog(ctx context.Context) (*Catalog, error) {
	answer := &Catalog{}
	return answer, c.get(ctx, request{method: http.MethodGet, path: "/api/v1/catalog", again: true}, answer)
}

// RebuildCatalog has the server build the index of patterns anew, and calls progress, unless it is nil, while it does.
func (c *Client) RebuildCatalog(ctx context.Context, progress func(Progress)) (*Catalog, error) {
	answer := &Catalog{}
	return answer, c.Work(ctx, "/api/v1/catalog/rebuild", url.Values{}, progress, answer)
}
