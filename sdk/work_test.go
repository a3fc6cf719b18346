package sdk

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestWork(t *testing.T) {
	var answer string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); r.Method != http.MethodPost || string(body) != "to=%2Fx" {
			t.Errorf("%s %q", r.Method, body)
		}
		if strings.HasPrefix(answer, `{"error"`) {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	c, err := New(Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	var summary struct{ Files int }
	var seen []Progress
	work := func() error {
		seen, summary.Files = nil, 0
		return c.Work(context.Background(), "/api/v1/backups", url.Values{"to": {"/x"}}, func(p Progress) { seen = append(seen, p) }, &summary)
	}
	two := `{"progress":{"done":1,"total":2,"unit":"bytes"}}` + "\n" + `{"progress":{"done":2,"total":2,"unit":"bytes"}}` + "\n"
	answer = two + `{"summary":{"files":3}}` + "\n"
	if err := work(); err != nil || summary.Files != 3 || !slices.Equal(seen, []Progress{{1, 2, "bytes"}, {2, 2, "bytes"}}) {
		t.Error(err, summary, seen)
	}
	for _, bad := range []struct{ answer, code, message string }{
		{two, CodeBroken, "without a summary"},
		{two + `{"summary":`, CodeBroken, "unexpected EOF"},
		{two + "hello\n", CodeNotLookout, "not the API's"},
		{two + `{"event":{}}` + "\n", CodeNotLookout, "not the API's"},
		{two + `{"summary":7}` + "\n", CodeNotLookout, "summary"},
		{two + `{"error":{"code":"store","message":"no space","mend":"make some"}}` + "\n", "store", "no space"},
		{`{"error":{"code":"bad_parameter","message":"to is missing","mend":"say where"}}`, "bad_parameter", "to is missing"},
	} {
		answer = bad.answer
		err := work()
		var e *Error
		if !errors.As(err, &e) || e.Code != bad.code || !strings.Contains(e.Message, bad.message) {
			t.Errorf("%q: %#v", bad.answer, err)
		}
	}
}
