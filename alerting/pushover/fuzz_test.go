package pushover_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/pushover"
)

type fixed struct {
	status int
	body   string
	header string
}

func (a fixed) RoundTrip(r *http.Request) (*http.Response, error) {
	h := http.Header{}
	for _, name := range []string{"X-Limit-App-Limit", "X-Limit-App-Remaining", "X-Limit-App-Reset", "Retry-After"} {
		h.Set(name, a.header)
	}
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Header: h, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

// Whatever is answered is a success or an error with a class, and no secret gets out.
func FuzzAnswers(f *testing.F) {
	f.Add(200, `{"status":1,"request":"x","receipt":"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"}`, "1")
	f.Add(400, `{"status":0,"request":"x","errors":["`+token+`"],"user":"invalid"}`, "0")
	f.Add(429, `{"receipt":1,"errors":{}}`, "99999999999999999999")
	f.Add(503, "", "-1")
	f.Fuzz(func(t *testing.T, status int, body, header string) {
		n := notifier(t, pushover.Options{API: "http://pushover.test/1/", Transport: fixed{status, body, header}})
		check := func(err error) {
			var d *alerting.DeliveryError
			if err == nil {
				return
			}
			if !errors.As(err, &d) || d.Class == "" || d.RetryAfter < 0 {
				t.Errorf("%#v", err)
			}
			for _, secret := range []alertingtest.Secret{token, user} {
				if leak := secret.Leak(err.Error()); leak != "" {
					t.Error(leak)
				}
			}
		}
		r, err := n.Send(t.Context(), "pushover", message(alerting.Firing))
		check(err)
		if err == nil && status/100 != 2 {
			t.Errorf("%d is taken for a success", status)
		}
		n = notifier(t, pushover.Options{API: "http://pushover.test/1/", Transport: fixed{status, body, header}}) // without the pause
		_, err = n.Acknowledgement(t.Context(), r)
		check(err)
	})
}
