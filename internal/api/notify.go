package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/auth"
)

// Notifier knows the channels that are configured, and tries them. Its errors are an [*AskError] where the request is at fault.
type Notifier interface {
	Channels() ([]ChannelInfo, error)
	SendTest(ctx context.Context, channel string, t alerting.Test) (alerting.TestResult, error)
}

// ChannelInfo is a channel that is configured.
type ChannelInfo struct {
	Channel string `json:"channel"`
	Way     string `json:"way"` // slack, pushover, or the name of one of ways
	// Hook is true for one that does something instead of telling: it gets no test messages.
	Hook bool `json:"hook,omitempty"`
	// Parked is since when it takes nothing, and Error why.
	Parked time.Time `json:"parked,omitzero"`
	Error  string    `json:"error,omitempty"`
}

// notifyTest lists the channels, or sends a test message: GET and POST /api/v1/notify/test. What people are told is the admin's.
func (a *API) notifyTest(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		list("channels", func() ([]ChannelInfo, error) {
			if a.o.Notifier == nil {
				return []ChannelInfo{}, nil
			}
			return a.o.Notifier.Channels()
		})(w, r)
		return
	}
	result, err := a.sendTest(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, result)
}

func (a *API) sendTest(w http.ResponseWriter, r *http.Request) (result alerting.TestResult, err error) {
	if !auth.From(r.Context()).May(auth.Admin) {
		return result, auth.ErrRole
	}
	p, err := readParams(w, r, "channel", "severity", "text", "by")
	if err != nil {
		return result, err
	}
	t := alerting.Test{Severity: alerting.Severity(p["severity"]), Text: p["text"]}
	if t.By, err = whom(r, p); err != nil {
		return result, err
	}
	switch {
	case p["channel"] == "":
		return result, badParameter("channel", "is not given", "GET /api/v1/notify/test lists the channels there are")
	case t.Severity != "" && !slices.Contains([]alerting.Severity{alerting.Critical, alerting.Error, alerting.Warning, alerting.Info}, t.Severity):
		return result, badParameter("severity", "is none", "use critical, error, warning or info")
	case len(t.Text) > alerting.MaxTestText:
		return result, badParameter("text", "is too long", fmt.Sprintf("the most is %d bytes", alerting.MaxTestText))
	case a.o.Notifier == nil:
		return result, &apiError{Status: http.StatusNotImplemented, Code: "agent", Message: "this lookout tells nobody", Mend: "ask a server that keeps events"}
	}
	result, err = a.o.Notifier.SendTest(r.Context(), p["channel"], t)
	var soon *alerting.TooSoonError
	switch {
	case errors.As(err, &soon):
		return result, &apiError{Status: http.StatusTooManyRequests, Code: "busy", Message: soon.Error(), Mend: "try again in a second", RetryAfter: soon.RetryAfter}
	case err != nil && r.Context().Err() != nil:
		return result, &apiError{Status: statusClientGone, Code: "canceled", Message: "nobody waits for the test message any more", Mend: "send it again"}
	}
	return result, asked(err)
}
