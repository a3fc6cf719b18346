package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
)

// deleter notes what it is asked for.
type deleter struct {
	jobs []query.Deletion
	last query.DeleteRequest
}

func (d *deleter) Delete(_ context.Context, r query.DeleteRequest) (query.Deletion, error) {
	d.last = r
	job := query.Deletion{ID: uint64(len(d.jobs) + 1), State: query.DeleteWaiting, MaxSeq: r.MaxSeq, By: r.By}
	d.jobs = append([]query.Deletion{job}, d.jobs...)
	return job, nil
}

func (d *deleter) Deletes() []query.Deletion { return d.jobs }

func (d *deleter) CancelDelete(id uint64) (query.Deletion, error) {
	for i := range d.jobs {
		if d.jobs[i].ID == id {
			d.jobs[i].State = query.DeleteCancelled
			return d.jobs[i], nil
		}
	}
	return query.Deletion{}, fmt.Errorf("%w: %d", query.ErrNoDeletion, id)
}

func TestDeletes(t *testing.T) {
	d := &deleter{}
	f := newFixture(t, func(o *Options) { o.Deleter = d })
	f.store.append(line("pay", "one", 0), line("pay", "two", 1), line("web", "one", 2))
	f.store.info = []query.ServiceInfo{{Name: "pay", Events: 2, Bytes: 200}, {Name: "web", Events: 1, Bytes: 60}}
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string // in the answer
	}{
		{"GET", "/api/v1/deletes", "", 200, `{"deletes":[]}`},
		{"POST", "/api/v1/deletes", "q=one&dry_run=true", 200, `{"dry_run":{"events":2,"bytes":160,"services":{"pay":1,"web":1},"samples":[{"id":"3",`},
		{"POST", "/api/v1/deletes", "q=one&dry_run=true", 200, `"confirm":"3","complete":true}}`},
		{"POST", "/api/v1/deletes", "q=one&dry_run=true&confirm=2", 200, `"events":1,"bytes":100,"services":{"pay":1}`},
		{"POST", "/api/v1/deletes", "q=one&dry_run=true&since=1800000001", 200, `"since":"2027-01-15T08:00:01Z","samples":[{"id":"3"`},
		{"POST", "/api/v1/deletes", "", 400, "matches every event"},
		{"POST", "/api/v1/deletes", "q=*&since=1h", 400, "everything=true"},
		{"POST", "/api/v1/deletes", "q=(((", 400, `"field":"q"`},
		{"POST", "/api/v1/deletes", "q=one&dryrun=true", 400, "not known here"},
		{"POST", "/api/v1/deletes", "q=one&confirm=x", 400, "whole number"},
		{"POST", "/api/v1/deletes", "q=one&confirm=2&keep_query=true", 200, `{"id":"1","state":"waiting"`},
		{"POST", "/api/v1/deletes", "q=*&everything=true", 200, `{"id":"2","state":"waiting"`},
		{"GET", "/api/v1/deletes", "", 200, `{"deletes":[{"id":"2",`},
		{"GET", "/api/v1/deletes/1", "", 200, `{"id":"1","state":"waiting"`},
		{"DELETE", "/api/v1/deletes/1", "", 200, `{"id":"1","state":"cancelled"`},
		{"DELETE", "/api/v1/deletes/9", "", 404, "no such deletion"},
		{"GET", "/api/v1/deletes/x", "", 404, "no such deletion"},
		{"PUT", "/api/v1/deletes/1", "", 405, "GET or DELETE"},
	} {
		w := f.do(c.method, c.path, c.body, "Content-Type", form)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", c.method, c.path, c.body, w.Code, w.Body, c.status, c.want)
		}
		if strings.Contains(c.body, "keep_query") && (d.last.MaxSeq != 2 || !d.last.KeepQuery || d.last.By != "admin" || d.last.Query.String() != "one") {
			t.Errorf("%+v", d.last)
		}
	}
	if f.log.String() != "" && strings.Contains(f.log.String(), "q=") {
		t.Errorf("the query is in the log: %s", f.log)
	}
	// Only an admin may, and an agent has nothing to delete.
	w := f.do("POST", "/api/v1/deletes", "q=one", "Content-Type", form, "Authorization", "Bearer "+writer)
	if w.Code != http.StatusForbidden {
		t.Errorf("a writer: %d", w.Code)
	}
	agent := newFixture(t, func(o *Options) { o.Store = nil })
	if w := agent.do("GET", "/api/v1/deletes", ""); w.Code != http.StatusNotImplemented {
		t.Errorf("an agent: %d", w.Code)
	}
}
