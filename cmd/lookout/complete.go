package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lookoutlog/lookout/sdk"
)

// completeTime bounds what completing a word may take, unless LOOKOUT_COMPLETION_TIMEOUT says otherwise: a server that is
// slower completes nothing.
const completeTime = 300 * time.Millisecond

// completeSpan is how far back the events lie whose fields and values complete words.
const completeSpan = time.Hour

// completeMost is how many words are offered.
const completeMost = 50

// builtinFields are the fields that every event may have.
var builtinFields = []string{"container", "env", "host", "level", "message", "service", "stream"}

// ask makes a client and a deadline for a completion; nil when there is none to ask.
func (p *program) ask(cmd *cobra.Command) (context.Context, context.CancelFunc, *sdk.Client) {
	most := completeTime
	if d, err := time.ParseDuration(p.getenv("LOOKOUT_COMPLETION_TIMEOUT")); err == nil && d > 0 {
		most = d
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), most)
	c, err := p.client()
	if err != nil {
		c = nil
	}
	return ctx, cancel, c
}

// completeRest gives what a command's own code does not complete its words by their names in the help: a query is completed
// as one wherever it stands, and where no file is meant none is offered.
func (p *program) completeRest(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		p.completeRest(sub)
	}
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
		_, args, _ := strings.Cut(strings.Replace(cmd.Use, "[flags] ", "", 1), " ")
		switch first, _, _ := strings.Cut(args, " "); strings.Trim(first, "[].") {
		case "QUERY":
			cmd.ValidArgsFunction = p.completeQuery
		case "FILE", "DIR", "TO", "FROM", "AT":
		default:
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	word := func(fn func(*cobra.Command, string) ([]string, cobra.ShellCompDirective)) cobra.CompletionFunc {
		return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return fn(cmd, word)
		}
	}
	values := func(field string) cobra.CompletionFunc {
		return word(func(cmd *cobra.Command, word string) ([]string, cobra.ShellCompDirective) {
			return p.fieldValues(cmd, field, word), cobra.ShellCompDirectiveNoFileComp
		})
	}
	fixed := func(words ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := cmd.GetFlagCompletionFunc(f.Name); ok || f.NoOptDefVal != "" {
			return
		}
		fn := cobra.NoFileCompletions
		switch what, _ := pflag.UnquoteUsage(f); what {
		case "file", "folder":
			return // what shells offer by themselves
		case "query":
			fn = word(p.completeTerm)
		case "fields":
			fn = word(p.completeFields)
		case "service":
			fn = word(p.completeServices)
		case "environment":
			fn = values("env")
		case "host":
			fn = values("host")
		case "time":
			fn = fixed("15m", "1h", "1d", "today", "yesterday")
			if f.Name == "every" {
				fn = fixed("1m", "5m", "1h", "1d")
			}
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, fn); err != nil {
			panic(err) // no such flag: it has just been seen
		}
	})
}

// completeQuery completes the query and then the services of a command.
func (p *program) completeQuery(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return p.completeTerm(cmd, word)
	}
	return p.completeServices(cmd, word)
}

// completeTerm completes the last term of a query: a field's name, or behind the colon its values.
func (p *program) completeTerm(cmd *cobra.Command, word string) ([]string, cobra.ShellCompDirective) {
	const more = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	start := strings.LastIndexAny(word, " \t(") + 1
	for start < len(word) && word[start] == '-' {
		start++
	}
	before, term := word[:start], word[start:]
	name, prefix, isValue := strings.Cut(term, ":")
	var out []string
	if !isValue {
		if term == "" && before == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp // anything may begin a query
		}
		for _, f := range p.fieldNames(cmd) {
			if strings.HasPrefix(f, term) {
				out = append(out, before+f+":")
			}
		}
		return out[:min(len(out), completeMost)], more
	}
	for _, v := range p.fieldValues(cmd, name, prefix) {
		out = append(out, before+name+":"+v)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeFields completes a list of fields, a,b.
func (p *program) completeFields(cmd *cobra.Command, word string) ([]string, cobra.ShellCompDirective) {
	start := strings.LastIndexByte(word, ',') + 1
	var out []string
	for _, f := range p.fieldNames(cmd) {
		if f != "message" && strings.HasPrefix(f, word[start:]) {
			out = append(out, word[:start]+f)
		}
	}
	return out[:min(len(out), completeMost)], cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// fieldNames returns the built-in fields and those that events have, as far as they need no quotes.
func (p *program) fieldNames(cmd *cobra.Command) []string {
	names := slices.Clone(builtinFields)
	ctx, cancel, c := p.ask(cmd)
	defer cancel()
	if c == nil {
		return names
	}
	fields, _, _ := c.Fields(ctx, sdk.QueryRequest{Since: p.now().Add(-completeSpan)}) // what came is offered, all else is silent
	for _, f := range fields {
		if plainWord(f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}

// fieldValues returns a field's values that begin with a prefix, as far as they need no quotes.
func (p *program) fieldValues(cmd *cobra.Command, name, prefix string) []string {
	switch name {
	case "service":
		names, _ := p.completeServices(cmd, prefix)
		return names[:min(len(names), completeMost)]
	case "level":
		return slices.DeleteFunc(levelNames(), func(l string) bool { return !strings.HasPrefix(l, prefix) })
	}
	ctx, cancel, c := p.ask(cmd)
	defer cancel()
	if c == nil || !plainWord(name) || name == "message" {
		return nil
	}
	values, _ := c.Values(ctx, name, prefix, sdk.QueryRequest{Since: p.now().Add(-completeSpan), Limit: completeMost})
	var out []string
	for _, v := range values {
		if plainWord(v.Value) {
			out = append(out, v.Value)
		}
	}
	return out
}

// plainWord tells whether a word stands in a query and in a shell as it is.
func plainWord(s string) bool {
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("_-./@", c) < 0 {
			return false
		}
	}
	return s != "" && s[0] != '-'
}
