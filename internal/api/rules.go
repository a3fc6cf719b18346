package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/rehearse"
)

// Rulebook knows the rules in force, and what others would do. Its errors are an [*AskError] where the request is at fault.
type Rulebook interface {
	// Rules lists the rules in force.
	Rules() []alerting.RuleInfo
	// Backtest holds stored events against rules. It calls list for what would have been sent, in the end, and progress with events.
	Backtest(ctx context.Context, r BacktestRequest, progress func(done, total int64), list func(rehearse.Notification) error) (*rehearse.Summary, error)
	// TestRules holds events that are sent along against rules.
	TestRules(ctx context.Context, r RuleTestRequest) (*RuleTest, error)
}

// AskError says what is wrong with a request, and how to mend it.
type AskError struct {
	Field, Message, Mend string // Message goes on behind Field, if that is set
	Busy                 bool   // nothing is wrong, but another one runs
}

func (e *AskError) Error() string { return e.Message + "; " + e.Mend }

// BacktestRequest is what POST /api/v1/rules/backtest asks for.
type BacktestRequest struct {
	Since, Until time.Time // when events were received
	Rule         string    // only this rule; empty for all
	Config       string    // a configuration (YAML) whose rules are compared with those in force; empty for those in force alone
	Edits        bool      // list edits of messages, too
}

// RuleTestRequest is what POST /api/v1/rules/test asks for: lines are held against a query, or against rules.
type RuleTestRequest struct {
	Lines   string // one a line, as an input would read them
	Service string // of lines that name none
	Query   string // a rule made of this query; empty for rules
	Rule    string // only this rule; empty for all
	Config  string // a configuration whose rules are tested; empty for those in force
}

// RuleTest is what came of it.
type RuleTest struct {
	Summary       *rehearse.Summary       `json:"summary"`
	Notifications []rehearse.Notification `json:"notifications"`
}

// rules lists the rules in force: GET /api/v1/rules.
func (a *API) rules() ([]alerting.RuleInfo, error) {
	if a.o.Rulebook == nil {
		return []alerting.RuleInfo{}, nil
	}
	return a.o.Rulebook.Rules(), nil
}

// errNoRulebook is for what has no alerting: an agent.
var errNoRulebook = &apiError{Status: http.StatusNotImplemented, Code: "agent", Message: "this lookout has no rules", Mend: "ask a server that keeps events"}

// asked is an error of the rulebook as the API writes it.
func asked(err error) error {
	if err == nil {
		return nil
	}
	var e *AskError
	if !errors.As(err, &e) {
		return err
	}
	if e.Busy {
		return &apiError{Status: http.StatusTooManyRequests, Code: "busy", Message: e.Message, Mend: e.Mend, RetryAfter: 5 * time.Second}
	}
	return &apiError{Status: http.StatusBadRequest, Code: "bad_parameter", Field: e.Field, Message: strings.TrimSpace(e.Field + " " + e.Message), Mend: e.Mend}
}

// backtest is POST /api/v1/rules/backtest.
func (a *API) backtest(w http.ResponseWriter, r *http.Request) {
	now := a.o.Clock()
	p, err := readParams(w, r, "since", "until", "rule", "config", "edits")
	req := BacktestRequest{Rule: p["rule"], Config: p["config"]}
	if err == nil {
		req.Edits, err = p.flag("edits")
	}
	var since, until int64
	if err == nil {
		since, until, err = p.timeRange(now)
	}
	if err == nil && a.o.Rulebook == nil {
		err = errNoRulebook
	}
	if err != nil {
		writeError(w, err)
		return
	}
	req.Since, req.Until = now.Add(-7*24*time.Hour), now
	if since != 0 {
		req.Since = time.Unix(0, since)
	}
	if until != 0 && until < now.UnixNano() {
		req.Until = time.Unix(0, until)
	}
	a.workLines(w, r, func(ctx context.Context, progress func(done, total int64, unit string), line func(any) error) (any, error) {
		sum, err := a.o.Rulebook.Backtest(ctx, req, func(done, total int64) { progress(done, total, "events") }, func(n rehearse.Notification) error {
			return line(map[string]any{"notification": n})
		})
		if err != nil {
			return nil, asked(err)
		}
		return sum, nil
	})
}

// ruleTest is POST /api/v1/rules/test.
func (a *API) ruleTest(w http.ResponseWriter, r *http.Request) {
	p, err := readParams(w, r, "lines", "service", "q", "rule", "config")
	switch {
	case err != nil:
	case strings.TrimSpace(p["lines"]) == "":
		err = badParameter("lines", "has no line", "send log lines, such as lines=ERROR+disk+full")
	case p["q"] != "" && p["rule"]+p["config"] != "":
		err = badParameter("q", "stands beside rule or config", "test a query, or rules")
	case a.o.Rulebook == nil:
		err = errNoRulebook
	}
	if err != nil {
		writeError(w, err)
		return
	}
	var test *RuleTest
	err = a.runIn(a.short, r.Context(), func(ctx context.Context) (err error) {
		test, err = a.o.Rulebook.TestRules(ctx, RuleTestRequest{Lines: p["lines"], Service: p["service"], Query: p["q"], Rule: p["rule"], Config: p["config"]})
		return asked(err)
	})
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, test)
}
