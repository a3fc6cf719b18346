package sdk

import (
	"errors"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSilences(t *testing.T) {
	const one = `{"id":"3","matchers":"service=\"shop\"","from":"2026-11-21T11:00:00Z","until":"2026-11-21T13:00:00Z","by":"ann (admin)","comment":"c","created":"2026-11-21T11:00:00Z","state":"active"}`
	from := time.Date(2026, 11, 21, 11, 0, 0, 0, time.UTC)
	want := Silence{ID: "3", Matchers: `service="shop"`, From: from, Until: from.Add(2 * time.Hour), By: "ann (admin)", Comment: "c", Created: from, State: "active"}
	c, seen := script(t, `{"silences":[`+one+`]}`, one, one, one, `404 {"error":{"code":"not_found","message":"m"}}`, `{}`)
	list, err := c.Silences(t.Context())
	if err != nil || !cmp.Equal(list, []Silence{want}) {
		t.Errorf("%v, %v", list, err)
	}
	if got, err := c.AddSilence(t.Context(), Silence{Matchers: `service="shop"`, From: from, Until: want.Until, By: "ann", Comment: "c"}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := c.AddSilence(t.Context(), Silence{ID: "3", Matchers: `service="shop"`, For: 90 * time.Minute}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := c.EndSilence(t.Context(), "3", "ann"); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	var e *Error
	if _, err := c.EndSilence(t.Context(), "a/b", ""); !errors.As(err, &e) || e.Status != 404 {
		t.Error(err)
	}
	if _, err := c.Silences(t.Context()); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
	var asked []string
	for _, r := range *seen {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
	}
	if diff := cmp.Diff([]string{"GET /api/v1/silences", "POST /api/v1/silences", "POST /api/v1/silences", "DELETE /api/v1/silences/3?by=ann", "DELETE /api/v1/silences/a%2Fb", "GET /api/v1/silences"}, asked); diff != "" {
		t.Error(diff)
	}
	second, _ := io.ReadAll((*seen)[2].Body)
	if got, _ := url.ParseQuery(string(second)); !cmp.Equal(got, url.Values{"id": {"3"}, "matchers": {`service="shop"`}, "for": {"1h30m0s"}}) {
		t.Error(got)
	}
	body, _ := io.ReadAll((*seen)[1].Body)
	sent, _ := url.ParseQuery(string(body))
	if diff := cmp.Diff(url.Values{"matchers": {`service="shop"`}, "from": {"2026-11-21T11:00:00Z"}, "until": {"2026-11-21T13:00:00Z"}, "by": {"ann"}, "comment": {"c"}}, sent); diff != "" {
		t.Error(diff)
	}
}
