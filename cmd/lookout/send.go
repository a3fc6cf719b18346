package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/sdk"
)

var errNothingToSend = errors.New("nothing to send; give a message, or pipe lines into it")

type sendFlags struct {
	service, level, env, host string
	fields                    []string
	ndjson, producer          string
	quiet                     bool
}

func (p *program) sendCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send [MESSAGE...]",
		Short: "Send one event from the arguments, or a line each from standard input",
		Long: `send stores one event with the arguments as its message, or one for each line of standard
input, and ends when they are durable. Lines are sent as they come, so that it may stand
at the end of a pipe that never ends. Stack traces that arrive together become one event.

The service is --service, else $USER (as logger does); the host is this machine's.`,
		Example: `  lookout send "deployed v2.3" --service shop --field version=2.3
  docker logs web 2>&1 | lookout send --service web
  lookout send --ndjson events.ndjson --producer import-1`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.send(cmd, args, f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.service, "service", "", "the events' `service`")
	fl.StringVar(&f.level, "level", "", "the events' `level`: error, warning, info, …")
	fl.StringVar(&f.env, "env", "", "the events' `environment`: production, staging, …")
	fl.StringVar(&f.host, "host", "", "the events' `host`, this machine's name by default")
	fl.StringArrayVar(&f.fields, "field", nil, "an extra field, `name=value`; may be repeated")
	fl.StringVar(&f.ndjson, "ndjson", "", "send the lines of a `file` (- for standard input) as they are: JSON objects as the API takes them")
	fl.StringVar(&f.producer, "producer", "", "count the lines under a `name`: sending the same lines again under it stores nothing twice")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "do not say how many were sent")
	complete(cmd, "level", levelNames()...)
	return cmd
}

func levelNames() []string {
	var names []string
	for l := event.Emergency; l <= event.Debug; l++ {
		names = append(names, l.String())
	}
	return names
}

// parseLevel checks a level given on the command line.
func parseLevel(text string) (string, error) {
	l, ok := event.ParseLevel([]byte(text))
	if !ok {
		return "", fmt.Errorf("--level: there is no level %q; use one of %s", text, strings.Join(levelNames(), ", "))
	}
	return l.String(), nil
}

func (p *program) send(cmd *cobra.Command, args []string, f sendFlags) error {
	like, err := p.sentLike(&f, cmd.Flags().Changed("host"))
	if err != nil {
		return err
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	o := sdk.SendOptions{Producer: f.producer, First: 1}
	var result sdk.SendResult
	switch {
	case f.ndjson != "":
		if len(args) > 0 {
			return fmt.Errorf("--ndjson and a message do not go together")
		}
		for _, name := range []string{"level", "env", "host", "field"} {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s does not go with --ndjson: its lines are sent as they are", name)
			}
		}
		in := p.stdin
		if f.ndjson != "-" {
			file, err := os.Open(f.ndjson)
			if err != nil {
				return err
			}
			defer file.Close()
			in = file
		}
		o.Service = f.service
		result, err = c.SendNDJSON(ctx, in, o)
	case len(args) > 0:
		like.Message = strings.Join(args, " ")
		result, err = c.Send(ctx, []sdk.Event{like}, o)
	case terminal(p.stdin):
		return errNothingToSend
	default:
		result, err = c.SendLines(ctx, p.stdin, like, o)
	}
	for _, e := range result.Errors {
		p.say("line %d: %s", e.Line, e.Message)
	}
	if err != nil {
		if result.Accepted > 0 {
			p.say("sent %s before it failed", counted(result.Accepted, "event"))
		}
		return p.explain(err)
	}
	if result.Rejected > 0 {
		return fmt.Errorf("sent %s; %s not taken", counted(result.Accepted, "event"), counted(result.Rejected, "line"))
	}
	if result.Accepted == 0 {
		return errNothingToSend
	}
	if !f.quiet {
		p.say("sent %s", counted(result.Accepted, "event"))
	}
	return nil
}

// sentLike returns what all events of one call have in common.
func (p *program) sentLike(f *sendFlags, hostGiven bool) (sdk.Event, error) {
	e := sdk.Event{Service: f.service, Env: f.env, Host: f.host}
	if e.Service == "" {
		e.Service = p.userName()
	}
	if !hostGiven {
		e.Host, _ = os.Hostname()
	}
	if f.level != "" {
		var err error
		if e.Level, err = parseLevel(f.level); err != nil {
			return e, err
		}
	}
	for _, text := range f.fields {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return e, fmt.Errorf("--field: %q is not a field; write it like status=200", text)
		}
		e.Fields = append(e.Fields, sdk.Field{Name: name, Value: typed(value)})
	}
	return e, nil
}

// typed makes numbers, true, false and null what they look like, with their digits as they are; all else is text.
func typed(value string) any {
	var v any
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return value
	}
	if _, err := d.Token(); err != io.EOF {
		return value
	}
	switch v.(type) {
	case json.Number, bool, nil:
		return json.RawMessage(strings.TrimSpace(value))
	}
	return value
}

// userName names who sends by hand.
func (p *program) userName() string {
	for _, name := range []string{"USER", "USERNAME"} {
		if v := p.getenv(name); v != "" {
			return v
		}
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "lookout"
}
