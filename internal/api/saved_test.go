package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/saved"
)

// searches keeps saved searches in memory.
type searches struct {
	list []saved.Search
	full bool
}

func (s *searches) List() ([]saved.Search, error) { return append([]saved.Search{}, s.list...), nil }

func (s *searches) Get(name string) (*saved.Search, error) {
	if i := slices.IndexFunc(s.list, func(n saved.Search) bool { return n.Name == name }); i >= 0 {
		return &s.list[i], nil
	}
	return nil, nil
}

func (s *searches) Put(n saved.Search) error {
	if s.full {
		return saved.ErrFull
	}
	_, _ = s.Remove(n.Name) // it cannot fail
	s.list = append(s.list, n)
	slices.SortFunc(s.list, func(a, b saved.Search) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

func (s *searches) Remove(name string) (*saved.Search, error) {
	found, _ := s.Get(name)
	if found != nil {
		n := *found
		found = &n
		s.list = slices.DeleteFunc(s.list, func(n saved.Search) bool { return n.Name == name })
	}
	return found, nil
}

func TestSaved(t *testing.T) {
	f := newFixture(t)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	const errs = `{"name":"errs","query":"level\u003e=error","since":"1h","services":["web","pay*"],"description":"d","by":"admin","changed":"2027-01-15T08:00:00Z"}`
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "", "", 200, `{"saved":[]}`},
		{"GET", "/errs", "", 404, "there is no saved search of this name"},
		{"PUT", "/errs", "q=level>=error&since=1h&services=web,pay*&description=d", 200, strings.ReplaceAll(errs, `\u003e`, ">")},
		{"PUT", "/a.b-C_1", "q=x", 200, `{"name":"a.b-C_1","query":"x","by":"admin","changed":"2027-01-15T08:00:00Z"}`},
		{"GET", "/errs", "", 200, `"services":["web","pay*"]`},
		{"GET", "", "", 200, `{"saved":[{"name":"a.b-C_1",`},
		{"PUT", "/errs", "q=y", 200, `{"name":"errs","query":"y","by"`},
		{"DELETE", "/errs", "", 200, `{"name":"errs","query":"y","by"`},
		{"DELETE", "/errs", "", 404, "there is no saved search of this name"},
		{"PUT", "/x", "q=(", 400, `"field":"q"`},
		{"PUT", "/x", "q=" + strings.Repeat("x", saved.MaxQuery+1), 400, "q is too long"},
		{"PUT", "/x", "description=" + strings.Repeat("x", saved.MaxDescription+1), 400, "description is too long"},
		{"PUT", "/x", "since=never", 400, "since is not a time"},
		{"PUT", "/x", "since=1h&until=2h", 400, "since is later than until"},
		{"PUT", "/x", "services=a,,b", 400, "services has a name that is none"},
		{"PUT", "/x", "services=" + strings.Repeat("a,", 100) + "b", 400, "services are too many"},
		{"PUT", "/x", "limit=1", 400, "this address takes q, since, until, services, description"},
		{"PUT", "/.x", "q=x", 400, "name is no name"},
		{"PUT", "/", "q=x", 400, "name is no name"},
		{"PUT", "/a/b", "q=x", 400, "name is no name"},
		{"PUT", "/" + strings.Repeat("x", 65), "q=x", 400, "name is no name"},
		{"POST", "/x", "q=x", 405, "use GET or PUT or DELETE"},
	} {
		w := f.do(c.method, "/api/v1/saved"+c.path, strings.ReplaceAll(c.body, ">", "%3E"), form...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %.60s: %d %s", c.method, c.path, c.body, w.Code, w.Body)
		}
	}
	body, _ := json.Marshal(map[string]string{"q": "level>=error"})
	if w := f.do("PUT", "/api/v1/saved/json", string(body), "Content-Type", "application/json"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	f.o.Saved.(*searches).full = true
	if w := f.do("PUT", "/api/v1/saved/x", "q=x", form...); w.Code != 409 || errorOf(t, w.Body.Bytes()).Error.Code != "full" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Who may search may use what is saved, and not change it.
func TestSavedRoles(t *testing.T) {
	const reader = auth.Prefix + "canary-0123456789-reader"
	f := newFixture(t, func(o *Options) {
		o.Auth = auth.New(auth.Token{Identity: auth.Identity{Name: "reader", Role: auth.Read}, Secret: reader}, auth.Token{Identity: auth.Identity{Name: "admin", Role: auth.Admin}, Secret: token},
			auth.Token{Identity: auth.Identity{Name: "writer", Role: auth.Write}, Secret: writer})
	})
	for i, c := range []struct {
		token, method string
		status        int
	}{
		{token, "PUT", 200}, {reader, "GET", 200}, {reader, "PUT", 403}, {reader, "DELETE", 403}, {writer, "GET", 403}, {writer, "PUT", 403}, {token, "GET", 200},
	} {
		w := f.do(c.method, "/api/v1/saved/x", url.Values{"q": {fmt.Sprint(i)}}.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Authorization", "Bearer "+c.token)
		if w.Code != c.status || c.status == 200 && c.method == "GET" && !strings.Contains(w.Body.String(), `"query":"0"`) {
			t.Errorf("%d: %s: %d %s", i, c.method, w.Code, w.Body)
		}
	}
}
