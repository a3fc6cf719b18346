package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

// What a live view does when its reader cannot keep up.
const (
	slowWait = "wait"
	slowSkip = "skip"
)

func addSlow(cmd *cobra.Command, slow *string) {
	cmd.Flags().StringVar(slow, "slow", "", "`how` to deal with a slow reader of the output: wait and fall behind (default into a pipe), or skip and say what (default on a terminal)")
	complete(cmd, "slow", slowWait, slowSkip)
}

// skips tells whether a live view may leave out events: on a terminal what is new matters, a pipe must get all.
func (p *program) skips(slow string) (bool, error) {
	switch slow {
	case "":
		return terminal(p.stdout), nil
	case slowWait:
		return false, nil
	case slowSkip:
		return true, nil
	}
	return false, fmt.Errorf("--slow: there is no %q; use wait or skip", slow)
}

// leftOut says what a live view has left out, and the command that shows it.
func (s *search) leftOut(k sdk.Skipped) {
	were, them := "were", "them"
	if k.Events == 1 {
		were, them = "was", "it"
	}
	if k.Incomplete {
		were = "and more that cannot be read " + were
	}
	fmt.Fprintf(s.p.stderr, "-- %s %s left out here; %s shows %s\n", counted(k.Events, "event"), were, s.showing(k), them)
}

// showing is the command line that prints what was left out, for a POSIX shell.
func (s *search) showing(k sdk.Skipped) string {
	words := []string{"lookout", "grep"}
	for _, f := range []struct{ name, value string }{{"--url", s.p.url}, {"--server", s.p.server}, {"--token-file", s.p.tokenFile}} {
		if f.value != "" {
			words = append(words, f.name, f.value)
		}
	}
	words = append(words, "--after-sequence", strconv.FormatUint(k.After, 10), "--sequence", strconv.FormatUint(k.To, 10))
	if !s.request.NoReports {
		words = append(words, "--reports")
	}
	if strings.HasPrefix(s.request.Query, "-") {
		words = append(words, "--")
	}
	words = append(words, s.request.Query)
	for i, w := range words {
		words[i] = shellWord(w)
	}
	return string(appendEscaped(nil, strings.Join(words, " ")))
}

// shellWord writes a word so that a POSIX shell reads it as it is.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@%+", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
