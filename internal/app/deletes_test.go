package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/query"
)

const form = "application/x-www-form-urlencoded"

// awaitDeletion waits until a deletion has ended.
func awaitDeletion(t *testing.T, a *App, id uint64) query.Deletion {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); {
		status, answer := get(t, a, fmt.Sprint("/api/v1/deletes/", id), true)
		var d query.Deletion
		if err := json.Unmarshal([]byte(answer), &d); status != 200 || err != nil {
			t.Fatal(status, answer, err)
		}
		if d.State.Ended() {
			return d
		}
	}
	t.Fatal("the deletion does not end")
	return query.Deletion{}
}

// What is deleted over HTTP is gone from the store, the log, the ledger and the state, is audited without its words, and stays gone.
func TestDeleteOverHTTP(t *testing.T) {
	o := options(t, map[string]string{"LOOKOUT_SLACK_TOKEN": "xoxb-1-test", "LOOKOUT_SLACK_API": "http://127.0.0.1:1/api/", "LOOKOUT_SLACK_CHANNEL": "#errors"})
	a := start(t, o)
	var lines strings.Builder
	for i := range 200 {
		fmt.Fprintf(&lines, `{"service":"shop","level":"error","message":"order %d failed","user":"anna"}`+"\n", i)
		if i%10 == 0 {
			fmt.Fprintf(&lines, `{"service":"shop","level":"error","message":"leaked xyzzyword of customer %d"}`+"\n", i)
		}
	}
	if status, answer := call(t, a, "POST", "/api/v1/events", "application/x-ndjson", lines.String()); status != 200 {
		t.Fatal(answer)
	}
	params := url.Values{"q": {"xyzzyword"}, "dry_run": {"true"}, "since": {"1h"}}
	status, answer := call(t, a, "POST", "/api/v1/deletes", form, params.Encode())
	var dry struct {
		Dry struct {
			Events, Bytes int64
			Services      map[string]int64
			Since         string
			Samples       []struct{ Message string }
			Confirm       string
			Complete      bool
		} `json:"dry_run"`
	}
	if err := json.Unmarshal([]byte(answer), &dry); err != nil || status != 200 {
		t.Fatal(status, answer, err)
	}
	if d := dry.Dry; d.Events != 20 || d.Services["shop"] != 20 || len(d.Samples) != 10 || !strings.Contains(d.Samples[0].Message, "xyzzyword") || d.Bytes == 0 || !d.Complete {
		t.Errorf("%+v", d)
	}
	// What arrives behind the dry run stays.
	if status, answer := call(t, a, "POST", "/api/v1/events", "application/x-ndjson", `{"service":"shop","message":"later xyzzyword"}`); status != 200 {
		t.Fatal(answer)
	}
	params = url.Values{"q": {"xyzzyword"}, "since": {dry.Dry.Since}, "confirm": {dry.Dry.Confirm}}
	if status, answer = call(t, a, "POST", "/api/v1/deletes", form, params.Encode()); status != 200 || !strings.Contains(answer, `"id":"1","state":"waiting"`) {
		t.Fatal(status, answer)
	}
	if d := awaitDeletion(t, a, 1); d.State != query.DeleteDone || d.Deleted != 20 || d.Query != "" || d.By == "" {
		t.Errorf("%+v", d)
	}
	if _, answer := get(t, a, "/api/v1/query?count=true&q=xyzzyword", true); !strings.Contains(answer, `"matched":1,`) {
		t.Error(answer)
	}
	_, answer = get(t, a, "/api/v1/query?q=service:lookout+stream:audit", true)
	if strings.Count(answer, "\n") != 3 || strings.Contains(answer, "xyzzy") || !strings.Contains(answer, "is done: 20 events are gone") || !strings.Contains(answer, "query_hash") {
		t.Error(answer)
	}
	if status, answer := call(t, a, "POST", "/api/v1/verify", "", ""); status != 200 || !strings.Contains(answer, `"problems":[]`) {
		t.Error(status, answer)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nothing of the old text in any file that is not compressed: the log, the state, the ledger, the job.
	err := filepath.WalkDir(o.Config.Data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "leaked xyzzyword") {
			t.Errorf("%s has it", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	a = start(t, o)
	if _, answer := get(t, a, "/api/v1/query?count=true&q=xyzzyword", true); !strings.Contains(answer, `"matched":1,`) {
		t.Error("after a restart:", answer)
	}
	if _, answer := get(t, a, "/api/v1/deletes", true); !strings.Contains(answer, `{"deletes":[{"id":"1","state":"done"`) {
		t.Error(answer)
	}
}

// More kinds than there is room for do not hold a deletion up.
func TestNoteKinds(t *testing.T) {
	kinds := &query.Kinds{Other: 2}
	for i := range 10 {
		kinds.List = append(kinds.List, query.KindCount{Kind: query.Kind{Service: "a", Template: fmt.Sprint(i, strings.Repeat("<x>", index.MaxLooked/50))}, Events: 3})
	}
	var left int64
	data, err := noteKinds(kinds, func(n int64) { left = n })
	var names []kindName
	if err := errors.Join(err, json.Unmarshal(data, &names)); err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 || len(names) == 10 || len(data) > index.MaxLooked || left != 2+3*int64(10-len(names)) {
		t.Errorf("%d kinds in %d bytes, %d events beyond", len(names), len(data), left)
	}
	if data, err = noteKinds(&query.Kinds{}, func(int64) { t.Error("nothing is beyond") }); err != nil || string(data) != "[]" {
		t.Errorf("%s, %v", data, err)
	}
}
