package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lookoutlog/lookout/index/query"
)

// What people type who come from grep, docker logs, stern, awslogs, logcli or journalctl: it is answered with the form that
// is right here, their own words in it. docs/cli-for-users-of.md has the two side by side.

// foreignCommands are commands of other tools. They are hidden: each only says what to type instead.
func (p *program) foreignCommands() []*cobra.Command {
	var all []*cobra.Command
	add := func(mend func(args foreignArgs) string, names ...string) {
		for _, name := range names {
			cmd := &cobra.Command{
				Use: name, Hidden: true, DisableFlagParsing: true,
				ValidArgsFunction: func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
					return p.completeServices(cmd, word)
				},
				RunE: func(_ *cobra.Command, args []string) error {
					return fmt.Errorf("there is no `lookout %s`: %s", name, mend(readForeign(args)))
				},
			}
			cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { p.say("%v", cmd.RunE(cmd, nil)) })
			all = append(all, cmd)
		}
	}
	follow := func(a foreignArgs) string {
		return fmt.Sprintf("`%s` prints the last lines and follows", command("tail", a.words...))
	}
	logs := func(a foreignArgs) string {
		if a.follow {
			return follow(a)
		}
		return fmt.Sprintf("`%s` prints the last hour (--all: everything), and %s", command("grep", append([]string{"*"}, a.words...)...), follow(a))
	}
	add(logs, "logs", "log", "cat", "show")
	add(follow, "follow", "watch", "tailf", "stern", "attach")
	add(func(a foreignArgs) string { // awslogs get GROUP [STREAM]
		if len(a.words) > 1 && !strings.EqualFold(a.words[1], "ALL") {
			return fmt.Sprintf("`%s` prints what one container wrote in the last hour, -f follows", command("grep", "container:"+query.Quote(a.words[1]), a.words[0]))
		}
		a.words = a.words[:min(len(a.words), 1)]
		return logs(a)
	}, "get")
	add(func(a foreignArgs) string {
		return fmt.Sprintf("`%s` lists the services, `lookout containers` the containers", command("services", a.words...))
	}, "ls", "list", "groups", "labels", "series")
	add(func(foreignArgs) string { return "`lookout containers` lists the containers" }, "ps")
	add(func(a foreignArgs) string {
		return fmt.Sprintf("`%s` lists the containers that wrote in the last hour", command("count", append([]string{"*"}, append(a.words, "--by", "container")...)...))
	}, "streams")
	add(func(a foreignArgs) string {
		return fmt.Sprintf("`%s` searches", command("grep", a.words...))
	}, "search", "find", "rg", "egrep", "fgrep", "zgrep", "filter")
	return all
}

// unknownCommand adds to cobra's error about a first word that is no command what it may have been meant as.
func unknownCommand(err error) error {
	m := unknownName.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	return fmt.Errorf("%w; `%s` follows a service, `%s` searches", err, command("tail", m[1]), command("grep", m[1]))
}

var unknownName = regexp.MustCompile(`^unknown command "([^"]*)" for "lookout"$`)

// misreadHelp is an error for arguments that ask for help by mistake: grep -healthz has the flag -h.
func misreadHelp(args []string) error {
	if slices.ContainsFunc(args, func(arg string) bool { return arg == "-h" || arg == "--help" || arg == "help" }) {
		return nil
	}
	for _, arg := range args {
		if startsHelp.MatchString(arg) {
			return fmt.Errorf("%s: -h is the help; put a query that begins with - behind --: `lookout grep -- %s`", arg, arg)
		}
	}
	return nil
}

var startsHelp = regexp.MustCompile(`^-h[[:alnum:]]`)

// foreignArgs is what can be understood of another tool's arguments.
type foreignArgs struct {
	words  []string // those that are no flags and no flags' values
	follow bool
}

// foreignValues are the other tools' flags that take a value as the next argument.
var foreignValues = []string{
	"-n", "--tail", "--lines", "--since", "-s", "--start", "--until", "-e", "--end", "-c", "--container", "--namespace", "-l", "--selector", "--filter-pattern", "--color", "-o", "--output",
	"--limit", "--from", "--to", "--since-time", "-q", "--query", "--format", "--profile", "--region", "--aws-region", "--log-group-name", "-m", "-A", "-B", "-C", "-u", "-p", "-t",
}

func readForeign(args []string) (a foreignArgs) {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-f" || arg == "--follow" || arg == "-w" || arg == "--watch":
			a.follow = true
		case slices.Contains(foreignValues, arg):
			i++
		case strings.HasPrefix(arg, "-"):
		default:
			a.words = append(a.words, arg)
		}
	}
	return a
}

// command writes a command as it would be typed in a shell.
func command(name string, args ...string) string {
	words := []string{"lookout", name}
	for _, arg := range args {
		if !plainWord(strings.ReplaceAll(arg, ":", "")) && !strings.HasPrefix(arg, "--") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// foreignFlags says what is written here instead of another tool's flag.
var foreignFlags = map[string]string{
	// grep's
	"include": "services are named behind the query, by name or glob", "exclude": "write what to leave out into the query with a minus: -healthz, -service:canary",
	"recursive": "all services are searched unless some are named", "R": "all services are searched unless some are named", "G": "-E takes a regular expression (RE2), -F a literal",
	"perl-regexp": "-E takes a regular expression (RE2)", "line-number": "events have no line numbers; -n N prints the last N, --fields id shows what names an event",
	"file": "give the patterns with -e, or one query with OR", "no-filename": "--no-prefix leaves the service out", "with-filename": "-H puts the service before raw lines", "null": "use -o json for programs",
	"z": "use -o json for programs", "Z": "use -o json for programs", "a": "lines are always text here", "I": "lines are always text here",
	"files-with-matches": "-l (--services-with-match) lists the services with a match", "files-without-match": "-L (--services-without-match) lists the services without a match",
	// docker's, kubectl's and stern's
	"details": "--fields '*' shows all fields", "no-color": "write --color never", "colour": "write --color", "no-log-prefix": "write --no-prefix", "prefix": "the service is always printed; --no-prefix leaves it out",
	"c": "write container:NAME into the query", "container": "write container:NAME into the query", "exclude-container": "write -container:NAME into the query", "exclude-pod": "write -container:NAME into the query",
	"pod": "write container:NAME into the query", "n": "write env:NAME into the query", "namespace": "write env:NAME into the query", "all-namespaces": "all are searched unless the query has env:NAME",
	"l": "services are arguments; other labels are fields of the query", "selector": "services are arguments; other labels are fields of the query", "node": "write host:NAME into the query",
	"since-time": "write --since", "timezone": "write --tz", "max-log-requests": "there is no such limit", "only-log-lines": "the others go to standard error", "i": "write what to look for as the query",
	"previous": "the lines of earlier containers are there as well; nothing has to be asked for", "all-containers": "all containers of a service are printed unless the query has container:NAME", "all-pods": "all containers of a service are printed",
	// the aws tools'
	"filter-pattern": "what to look for is the query: the first argument of grep, -q of tail", "log-group-name": "services are arguments behind the query", "log-group-names": "services are arguments behind the query",
	"log-stream-names": "write container:(a, b) into the query", "log-stream-name-prefix": "write container:PREFIX* into the query", "start-time": "write --since", "end-time": "write --until",
	"max-items": "write -m N for the first N, -n N for the last", "format": "write -o auto, raw or json", "watch": "write -f", "no-group": "write --no-prefix", "no-stream": "write --no-prefix", "timestamp": "the time is always printed; --no-timestamps leaves it out",
	"ingestion-time": "write --fields received", "profile": "write --server NAME (see lookout config), or --url", "region": "write --server NAME (see lookout config), or --url", "aws-region": "write --server NAME (see lookout config), or --url",
	// logcli's
	"limit": "write -m N for the first N, -n N for the last; there is no limit unless you set one", "from": "write --since", "to": "write --until", "forward": "oldest first is the order here; -r turns it round",
	"addr": "write --server NAME (see lookout config), or --url", "no-labels": "write --no-prefix", "include-label": "write --fields a,b", "exclude-label": "write --fields with those to show", "step": "lookout count QUERY --every 5m counts in steps",
	// journalctl's
	"unit": "services are arguments behind the query", "u": "services are arguments", "identifier": "services are arguments behind the query", "priority": "write --level warning", "p": "write --level warning", "grep": "what to look for is the query: the first argument of grep, -q of tail",
	"g": "what to look for is the query: the first argument of grep, -q of tail", "boot": "write --since", "b": "write --since", "dmesg": "services are arguments behind the query", "k": "services are arguments behind the query", "no-pager": "there is no pager here",
	"cursor": "the time range is --since and --until", "retry": "tail goes on by itself when the connection is lost", "F": "tail goes on by itself when the connection is lost", "bytes": "write -n N for the last N lines",
}

var number = regexp.MustCompile(`^-([0-9]+)$`)

// flagError words what is wrong with the flags of a command.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	help := fmt.Sprintf("see `%s --help`, and put a query that begins with - behind --", cmd.CommandPath())
	if errors.As(err, &invalid) && invalid.GetFlag().Value.Type() == "int" {
		name := invalid.GetFlag()
		what := "--" + name.Name
		if name.Shorthand != "" {
			what = "-" + name.Shorthand
		}
		if cmd.Name() == "grep" && name.Name == "tail" { // grep's -n is for line numbers
			return fmt.Errorf("-n: %q is no number: -n N prints the last N matches; there are no line numbers", invalid.GetValue())
		}
		if name.Name == "context" { // kubectl's and stern's --context
			return fmt.Errorf("%s: %q is no number of lines; for another server write --server %s", what, invalid.GetValue(), invalid.GetValue())
		}
		return fmt.Errorf("%s: %q is no number; %s", what, invalid.GetValue(), help)
	}
	if !errors.As(err, &unknown) {
		return fmt.Errorf("%w; %s", err, help)
	}
	if short := unknown.GetSpecifiedShortnames(); short != "" && number.MatchString("-"+short) {
		switch {
		case cmd.Flags().Lookup("context") != nil:
			return fmt.Errorf("-%s: for %s lines of context write -C %s", short, short, short)
		case cmd.Flags().Lookup("lines") != nil:
			return fmt.Errorf("-%s: for the last %s lines write -n %s", short, short, short)
		}
	}
	if mend, ok := foreignFlags[unknown.GetSpecifiedName()]; ok && cmd.HasParent() && cmd.Parent() == cmd.Root() {
		return fmt.Errorf("%w: %s; see `%s --help`", err, mend, cmd.CommandPath())
	}
	return fmt.Errorf("%w; %s", err, help)
}

// foreignForms are other tools' names of the output forms.
var foreignForms = map[string]string{
	"default": formAuto, "short": formAuto, "detailed": formAuto, "text": formAuto, "plain": formAuto, "cat": formRaw, "message": formRaw, "line": formRaw,
	"jsonl": formJSON, "ndjson": formJSON, "extjson": formJSON, "json-pretty": formJSON,
}

// noForm words that there is no such output form; form may be the pattern of a grep -o PATTERN.
func noForm(form string) error {
	text := fmt.Sprintf("-o: there is no form %q; ", form)
	if right, ok := foreignForms[form]; ok {
		return errors.New(text + "write -o " + right)
	}
	return errors.New(text + "use one of " + strings.Join(forms, ", ") + "; grep's -o is --only-matching")
}

var (
	cloudwatchJSON = regexp.MustCompile(`^\s*\{\s*\(?\s*\$\.`)
	cloudwatchAny  = regexp.MustCompile(`^\s*\?["\pL]`)
	cloudwatchRE   = regexp.MustCompile(`^\s*%(.+)%\s*$`)
	lokiSelector   = regexp.MustCompile(`^\s*\{((?:\s*\w+\s*(?:=~|!~|!=|=)\s*(?:"[^"]*"|` + "`[^`]*`" + `)\s*,?)*)\}(.*)$`)
	lokiMatcher    = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*("[^"]*"|` + "`[^`]*`" + `)`)
	lokiFilter     = regexp.MustCompile(`\s*(\|=|!=|\|~|!~|\|)\s*("(?:[^"\\]|\\.)*"|` + "`[^`]*`" + `|[^|]+)`)
)

// foreignQuery tells whether a query is written in the language of CloudWatch or Loki, and how it is written here. Taken as
// text it would find nothing, and nobody would know why.
func foreignQuery(text string) error {
	var whose, right string
	switch {
	case cloudwatchJSON.MatchString(text):
		whose, right = "CloudWatch's", fromCloudWatch(text)
	case cloudwatchAny.MatchString(text):
		var words []string
		for _, w := range strings.Fields(text) {
			words = append(words, strings.TrimPrefix(w, "?"))
		}
		whose, right = "CloudWatch's", strings.Join(words, " OR ")
	case cloudwatchRE.MatchString(text):
		whose, right = "CloudWatch's", query.QuoteRegex(cloudwatchRE.FindStringSubmatch(text)[1])
	case lokiSelector.MatchString(text):
		whose, right = "Loki's", fromLoki(text)
	default:
		return nil
	}
	if q, err := query.Parse(right); err == nil && strings.TrimSpace(right) != "" {
		return fmt.Errorf("this is %s language; here it is '%s', and -F searches for it as text", whose, q)
	}
	return fmt.Errorf("this is %s language; here it is words, and fields as in status:500 (lookout query --help), and -F searches for it as text", whose)
}

func fromCloudWatch(text string) string {
	text = strings.TrimSpace(text)
	text = strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
	for _, pair := range [][2]string{{"$.", ""}, {"&&", " "}, {"||", " OR "}} {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return spacesAround.ReplaceAllStringFunc(text, func(s string) string { // status = 5* is status:5* here
		op := strings.TrimSpace(s)
		if op == "=" {
			return ":"
		}
		return op
	})
}

var spacesAround = regexp.MustCompile(`\s*(?:!=|>=|<=|=|>|<)\s*`)

// lokiService are the labels by which Loki's users tell services apart.
var lokiService = []string{"app", "service", "service_name", "job", "compose_service"}

func fromLoki(text string) string {
	m := lokiSelector.FindStringSubmatch(text)
	var terms []string
	for _, l := range lokiMatcher.FindAllStringSubmatch(m[1], -1) {
		name := l[1]
		switch {
		case slices.Contains(lokiService, name):
			name = "service"
		case name == "namespace":
			name = "env"
		case name == "pod":
			name = "container"
		}
		terms = append(terms, name+map[string]string{"=": "=", "!=": "!=", "=~": "~", "!~": "!~"}[l[2]]+l[3])
	}
	for _, f := range lokiFilter.FindAllStringSubmatch(m[2], -1) {
		value := strings.TrimSpace(f[2])
		switch f[1] {
		case "|=":
			terms = append(terms, value)
		case "!=":
			terms = append(terms, "-"+value)
		case "|~":
			terms = append(terms, "~"+value)
		case "!~":
			terms = append(terms, "-~"+value)
		default: // | json, | level="error"
			if value != "json" && value != "logfmt" {
				terms = append(terms, spacesAround.ReplaceAllStringFunc(value, strings.TrimSpace))
			}
		}
	}
	return strings.Join(terms, " ")
}
