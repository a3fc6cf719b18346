package app

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
)

// A mark is stored before it is answered, and stands beside what fires after it.
func TestMarks(t *testing.T) {
	a, post := try(t)
	if code, text := post("/api/v1/marks", url.Values{"mark": {"deploy"}, "service": {"pay"}, "version": {"v2"}, "by": {"ann"}}); code != http.StatusOK {
		t.Fatal(code, text)
	}
	token, err := os.ReadFile(a.opened.Path)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string, to any) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, a.Listening()[0].Address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(to); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, err)
		}
	}
	var list struct{ Marks []alerting.Mark }
	if get("/api/v1/marks?service=pay", &list); len(list.Marks) != 1 || list.Marks[0].Says() != "deploy v2 by ann" {
		t.Errorf("listed are %+v", list.Marks)
	}
	r, err := http.NewRequest(http.MethodPost, a.Listening()[0].Address+"/api/v1/events", strings.NewReader(`{"service":"pay","level":"error","message":"card refused"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var alerts struct{ Alerts []alerting.IncidentInfo }
		get("/api/v1/alerts", &alerts)
		for _, i := range alerts.Alerts {
			if i.Service != "pay" {
				continue
			}
			if len(i.Marks) != 1 || !strings.HasPrefix(i.Marks[0].Says, "deploy v2 by ann, ") {
				t.Errorf("beside the alert stands %+v", i.Marks)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("there are the alerts %+v", alerts.Alerts)
		}
	}
}
