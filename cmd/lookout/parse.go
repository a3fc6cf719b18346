package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/eventjson"
)

// parseLines is how many lines are looked at together at most: a stack trace that goes on behind them is parted.
const parseLines = 1000

// maxParseLine is the longest line that parse takes, in bytes.
const maxParseLine = 1 << 20

func (p *program) parseCommand() *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use:   "parse",
		Short: "Show how standard input would be parsed, and by what",
		Long: `parse reads lines from standard input as the server reads those of a container or of lookout send: the lines of a
stack trace become one event; JSON and logfmt become fields, of which some fill the event's own parts: time, level,
message, service and so on; in plain text the level is looked for. For each event it says what was found and which field
it came from. Nothing is sent, and no server is asked.

The time is that of a JSON or logfmt message when it is at most 24 hours before and 5 minutes after now; else it stays a
field, as the input's time is used. Empty lines are no events.`,
		Example: `  docker logs --tail 20 web 2>&1 | lookout parse
  echo '{"severity":"ERR","msg":"card refused","app":"pay"}' | lookout parse -o json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if form != formAuto && form != formJSON {
				return fmt.Errorf("-o: there is no form %q; use auto or json", form)
			}
			if terminal(p.stdin) {
				return errors.New("parse what? pipe lines into it, such as docker logs web 2>&1 | lookout parse")
			}
			found, err := p.parse(form)
			if err == nil && !found {
				err = errNoMatch
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", formAuto, "`form`: auto, json")
	complete(cmd, "output", formAuto, formJSON)
	return cmd
}

// readLines calls fn with the lines of standard input that are not empty, so many at a time or what has come, and with the
// number of the first of them. Lines end before their newline; they are fn's until it returns.
func (p *program) readLines(fn func(first int, lines [][]byte) error) error {
	in := bufio.NewReaderSize(p.stdin, 64<<10)
	var lines [][]byte
	first, n := 1, 0
	flush := func() error {
		if len(lines) == 0 {
			return nil
		}
		err := fn(first, lines)
		lines = lines[:0]
		return err
	}
	for {
		line, err := readLine(in)
		if err != nil && err != io.EOF {
			return fmt.Errorf("reading standard input, line %d: %w", n+1, err)
		}
		last := err == io.EOF
		if !last || len(line) > 0 {
			n++
		}
		if line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'}); len(bytes.TrimSpace(line)) > 0 {
			if len(lines) == 0 {
				first = n
			}
			lines = append(lines, line)
		} else if err := flush(); err != nil { // the numbers go on behind an empty line
			return err
		}
		if last || len(lines) == parseLines || in.Buffered() == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// readLine reads a line with its newline, not longer than maxParseLine.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if line = append(line, part...); len(line) > maxParseLine {
			return nil, fmt.Errorf("it is longer than %s", bytesText(maxParseLine))
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// parse shows how the lines of standard input are read; found is false when there was none.
func (p *program) parse(form string) (found bool, err error) {
	stage, joiner := parse.New(parse.Options{}), parse.NewJoiner(parse.JoinOptions{})
	out := p.inert()
	err = p.readLines(func(first int, lines [][]byte) error {
		var b event.Batch
		now := p.now().UnixNano()
		for _, line := range lines {
			e := b.Add()
			e.Message, e.Time = line, now
		}
		joiner.JoinWithin(&b)
		var counts []int
		for i := range b.Events {
			counts = append(counts, 1+bytes.Count(b.Events[i].Message, []byte{'\n'}))
		}
		readings := stage.Explain(&b)
		for i := range b.Events {
			found = true
			text := parsedText(&b.Events[i], &readings[i], first, counts[i], now)
			if form == formJSON {
				text = parsedJSON(&b.Events[i], &readings[i], first, counts[i])
			}
			first += counts[i]
			if _, err := out.Write(text); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

func parsedJSON(e *event.Event, r *parse.Reading, line, lines int) []byte {
	reading, _ := json.Marshal(r) // texts and booleans: it cannot fail
	out := fmt.Appendf(nil, `{"line":%d,"lines":%d,"reading":%s,"event":`, line, lines, reading)
	return append(eventjson.AppendEvent(out, e), "}\n"...)
}

// parsedText is one event for people: a line for each part, and what it came from.
func parsedText(e *event.Event, r *parse.Reading, line, lines int, now int64) []byte {
	var b strings.Builder
	if lines > 1 {
		fmt.Fprintf(&b, "lines %d to %d, one event: %s", line, line+lines-1, r.Form)
	} else {
		fmt.Fprintf(&b, "line %d: %s", line, r.Form)
	}
	if r.Broken {
		b.WriteString(", which looks like JSON and cannot be taken apart")
	}
	b.WriteByte('\n')
	row := func(name, value, from string) {
		if from != "" {
			from = "   from " + from
		}
		fmt.Fprintf(&b, "  %-10s %s%s\n", name, value, from)
	}
	switch own := r.From["time"]; {
	case own != "":
		row("time", time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano), own)
	case r.RefusedTime:
		row("time", "of receipt: the message's own is more than 24h before or 5m after it", "")
	case e.Time == now:
		row("time", "of receipt", "")
	}
	level, from := e.Level.String(), r.From["level"]
	switch {
	case e.Level == event.None:
		level = "none"
	case from == "":
		from = "the stack trace"
	}
	row("level", level, from)
	for _, part := range []struct {
		name  string
		value []byte
	}{{"service", e.Service}, {"env", e.Env}, {"host", e.Host}, {"container", e.Container}, {"stream", e.Stream}} {
		if len(part.value) > 0 {
			row(part.name, string(part.value), r.From[part.name])
		}
	}
	row("message", strings.ReplaceAll(string(e.Message), "\n", "\n             "), r.From["message"])
	kinds := [...]string{event.String: "text", event.Number: "number", event.Bool: "true or false", event.Null: "null", event.JSON: "JSON"}
	for _, f := range e.Fields {
		row("field", fmt.Sprintf("%s = %s (%s)", f.Name, f.Value, kinds[f.Kind]), "")
	}
	return []byte(b.String())
}
