package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/api"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/rehearse"
)

// backtestTime is how long a backtest may take.
const backtestTime = 15 * time.Minute

// Rules lists the rules in force.
func (a *App) Rules() []alerting.RuleInfo {
	if a.engine == nil {
		return []alerting.RuleInfo{}
	}
	return a.engine.Rules()
}

// ruleOptions are those of a configuration that was sent, or of the one in force without one, for one rule or for all.
func (a *App) ruleOptions(text, rule string) (alerting.Options, error) {
	c := a.withWays(a.inForce.Load())
	if text != "" {
		env := a.o.Env
		if env == nil {
			env = func(string) (string, bool) { return "", false }
		}
		sent, _, err := config.Parse([]byte(text), env)
		if err != nil {
			return alerting.Options{}, &api.AskError{Field: "config", Message: "cannot be read: " + oneLine(err), Mend: "lookout check says what is wrong with it"}
		}
		c = a.withWays(sent)
	}
	o := a.engineOptions(c)
	if rule != "" {
		var names []string
		for _, r := range o.Rules {
			names = append(names, r.Name)
		}
		o.Rules = slices.DeleteFunc(o.Rules, func(r alerting.Rule) bool { return r.Name != rule })
		if len(o.Rules) == 0 && text == "" {
			return o, &api.AskError{Field: "rule", Message: "names no rule in force", Mend: "there are " + or(strings.Join(names, ", "), "none")}
		}
	}
	return o, nil
}

// TryOptions are the rules of a configuration as if Slack and Pushover were set up, for those who only want to see what would be told.
func TryOptions(c *config.Config) alerting.Options {
	all := *c
	const set = config.Secret("set")
	all.Slack.Token, all.Pushover.Token, all.Pushover.User = set, set, set
	o := (&App{ways: alerting.Mux{}}).engineOptions(&all)
	return o
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// oneLine is an error of several lines in one.
func oneLine(err error) string { return strings.Join(strings.Split(err.Error(), "\n"), "; ") }

// Backtest implements [api.Rulebook].
func (a *App) Backtest(ctx context.Context, r api.BacktestRequest, progress func(done, total int64), list func(rehearse.Notification) error) (*rehearse.Summary, error) {
	select {
	case a.trying <- struct{}{}:
		defer func() { <-a.trying }()
	default:
		return nil, &api.AskError{Busy: true, Message: "another backtest runs", Mend: "wait for its end"}
	}
	o := rehearse.Options{Source: a.store, Dir: a.o.Config.Data, Since: r.Since, Until: r.Until, Edits: r.Edits, Progress: progress}
	inForce, err := a.ruleOptions("", r.Rule)
	switch {
	case r.Config == "":
		o.Rules = inForce
	case err != nil && r.Rule != "": // it is a new one
		inForce.Rules = nil
		o.InForce = &inForce
	default:
		o.InForce = &inForce
	}
	if r.Config != "" {
		o.Rules, err = a.ruleOptions(r.Config, r.Rule)
	}
	if err == nil && len(o.Rules.Rules) == 0 && (o.InForce == nil || len(o.InForce.Rules) == 0) {
		err = &api.AskError{Message: "there is no rule that tells anybody", Mend: "set slack.channel and a token, or check the rule's name"}
	}
	if err != nil {
		return nil, err
	}
	if a.engine != nil { // lookout's absence then is no silence now
		o.Rules.Pauses = a.engine.Pauses()
		if o.InForce != nil {
			o.InForce.Pauses = o.Rules.Pauses
		}
	}
	limited, cancel := context.WithTimeout(ctx, backtestTime)
	defer cancel()
	sum, err := rehearse.Backtest(limited, o, list)
	if err != nil && ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		err = &api.AskError{Field: "since", Message: fmt.Sprintf("is too long ago: after %s it was not done", backtestTime), Mend: "take a shorter time, or one rule"}
	}
	return sum, err
}

// TestRules implements [api.Rulebook].
func (a *App) TestRules(ctx context.Context, r api.RuleTestRequest) (*api.RuleTest, error) {
	o, err := a.ruleOptions(r.Config, r.Rule)
	if err != nil {
		return nil, err
	}
	if r.Query != "" {
		q, err := query.Parse(r.Query)
		if err != nil {
			return nil, err
		}
		o.Rules = []alerting.Rule{rehearse.RuleOf(q)}
	}
	if len(o.Rules) == 0 {
		return nil, &api.AskError{Message: "there is no rule that tells anybody", Mend: "set slack.channel and a token, or check the rule's name"}
	}
	test := &api.RuleTest{Notifications: []rehearse.Notification{}}
	test.Summary, err = rehearse.Lines(ctx, strings.NewReader(r.Lines), r.Service, o, func(n rehearse.Notification) error {
		test.Notifications = append(test.Notifications, n)
		return nil
	})
	return test, err
}
