package sdk

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// SavedSearch is a search that has a name on the server.
type SavedSearch struct {
	Name  string `json:"name"`
	Query string `json:"query"`
	// Since and Until are times as the server reads them, or durations back from the moment of the search, such as 1h; empty for none.
	Since string `json:"since"`
	Until string `json:"until"`
	// Services are names and globs; none means all.
	Services    []string  `json:"services"`
	Description string    `json:"description"`
	By          string    `json:"by"` // who saved it last
	Changed     time.Time `json:"changed"`
}

const savedPath = "/api/v1/saved"

// SavedSearches returns the searches that have names, in order of these.
func (c *Client) SavedSearches(ctx context.Context) ([]SavedSearch, error) {
	var answer struct {
		Saved *[]SavedSearch `json:"saved"`
	}
	if err := c.get(ctx, request{method: http.MethodGet, path: savedPath, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Saved == nil {
		return nil, c.notOurs("an answer without saved searches")
	}
	return *answer.Saved, nil
}

// SavedSearch returns the search of a name; an [*Error] with status 404 says that there is none.
func (c *Client) SavedSearch(ctx context.Context, name string) (s SavedSearch, err error) {
	err = c.get(ctx, request{method: http.MethodGet, path: savedPath + "/" + url.PathEscape(name), again: true}, &s)
	return s, err
}

// SaveSearch saves a search under its name, in the place of one that has it, and returns it as it is saved: By and Changed are the server's.
// It needs the admin's token.
func (c *Client) SaveSearch(ctx context.Context, s SavedSearch) (saved SavedSearch, err error) {
	body := url.Values{"q": {s.Query}, "since": {s.Since}, "until": {s.Until}, "services": {strings.Join(s.Services, ",")}, "description": {s.Description}}.Encode()
	err = c.get(ctx, request{method: http.MethodPut, path: savedPath + "/" + url.PathEscape(s.Name), body: []byte(body),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, again: true}, &saved)
	return saved, err
}

// RemoveSavedSearch removes the search of a name and returns it. It needs the admin's token.
func (c *Client) RemoveSavedSearch(ctx context.Context, name string) (removed SavedSearch, err error) {
	err = c.get(ctx, request{method: http.MethodDelete, path: savedPath + "/" + url.PathEscape(name)}, &removed)
	return removed, err
}
