package sdk

import (
	"errors"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSavedSearches(t *testing.T) {
	const one = `{"name":"a.b","query":"level>=error","since":"1h","services":["web","pay*"],"by":"admin","changed":"2026-11-21T11:20:00Z"}`
	want := SavedSearch{Name: "a.b", Query: "level>=error", Since: "1h", Services: []string{"web", "pay*"}, By: "admin", Changed: time.Date(2026, 11, 21, 11, 20, 0, 0, time.UTC)}
	c, seen := script(t, `{"saved":[`+one+`]}`, one, one, one, `404 {"error":{"code":"not_found","message":"m"}}`, `{}`)
	list, err := c.SavedSearches(t.Context())
	if err != nil || !cmp.Equal(list, []SavedSearch{want}) {
		t.Errorf("%v, %v", list, err)
	}
	for _, fn := range []func() (SavedSearch, error){
		func() (SavedSearch, error) { return c.SavedSearch(t.Context(), "a.b") },
		func() (SavedSearch, error) { return c.SaveSearch(t.Context(), want) },
		func() (SavedSearch, error) { return c.RemoveSavedSearch(t.Context(), "a.b") },
	} {
		if got, err := fn(); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%v, %v", got, err)
		}
	}
	var e *Error
	if _, err := c.SavedSearch(t.Context(), "a/b"); !errors.As(err, &e) || e.Status != 404 {
		t.Error(err)
	}
	if _, err := c.SavedSearches(t.Context()); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
	var asked []string
	for _, r := range *seen {
		asked = append(asked, r.Method+" "+r.URL.EscapedPath())
	}
	if diff := cmp.Diff([]string{"GET /api/v1/saved", "GET /api/v1/saved/a.b", "PUT /api/v1/saved/a.b", "DELETE /api/v1/saved/a.b", "GET /api/v1/saved/a%2Fb", "GET /api/v1/saved"}, asked); diff != "" {
		t.Error(diff)
	}
	put := (*seen)[2]
	body, _ := io.ReadAll(put.Body)
	sent, _ := url.ParseQuery(string(body))
	if diff := cmp.Diff(url.Values{"q": {"level>=error"}, "since": {"1h"}, "until": {""}, "services": {"web,pay*"}, "description": {""}}, sent); diff != "" || put.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Error(diff, put.Header)
	}
}
