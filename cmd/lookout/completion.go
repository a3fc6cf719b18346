package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// The scripts that shells load.
var (
	//go:embed completion/lookout.bash
	bashScript string
	//go:embed completion/lookout.zsh
	zshScript string
	//go:embed completion/lookout.fish
	fishScript string
)

func (p *program) completionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion",
		Short: "Print the script with which a shell completes lookout's words",
		Long: `completion prints a script for a shell. With it the tab key completes commands, flags and what they take,
and of queries the names of services, of fields and of their values, which it asks the server for: for 300 ms at most,
or for LOOKOUT_COMPLETION_TIMEOUT.

  bash          source <(lookout completion bash)         in ~/.bashrc
  zsh           source <(lookout completion zsh)          in ~/.zshrc, behind compinit
  fish          lookout completion fish | source          in ~/.config/fish/config.fish
  PowerShell    lookout completion powershell | Out-String | Invoke-Expression    in $PROFILE`,
		Example: `  lookout completion bash > ~/.local/share/bash-completion/completions/lookout
  lookout completion zsh > "${fpath[1]}/_lookout"
  lookout completion fish > ~/.config/fish/completions/lookout.fish`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	shell := func(name string, print func(root *cobra.Command) error) {
		cmd.AddCommand(&cobra.Command{
			Use:               name,
			Short:             "Print the script for " + name,
			Args:              cobra.NoArgs,
			ValidArgsFunction: cobra.NoFileCompletions,
			RunE:              func(cmd *cobra.Command, _ []string) error { return print(cmd.Root()) },
		})
	}
	text := func(script string) func(*cobra.Command) error {
		return func(*cobra.Command) error {
			_, err := io.WriteString(p.stdout, script)
			return err
		}
	}
	shell("bash", text(bashScript))
	shell("zsh", text(zshScript))
	shell("fish", text(fishScript))
	shell("powershell", func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(p.stdout) })
	return cmd
}

// completeBashCommand is what the script for bash asks: the line up to the cursor, the part of its last word that bash will
// replace, and how wide the screen is. The answer has a line for each of nospace, files and order that is wanted, with = before
// it, and one for each replacement, with + before it.
func (p *program) completeBashCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "__complete-bash LINE WORD COLUMNS",
		Hidden:             true,
		DisableFlagParsing: true,
		Args:               cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			words, last := splitLine(args[0])
			if len(words) == 0 {
				return nil
			}
			columns, err := strconv.Atoi(args[2])
			if err != nil {
				return fmt.Errorf("the screen's width: %w", err)
			}
			found, directive, err := p.completions(cmd.Context(), append(words[1:], last.typed))
			if err != nil {
				return err
			}
			_, err = io.WriteString(p.stdout, bashReply(found, directive, last, args[1], columns))
			return err
		},
	}
}

// completion is one word that is offered.
type completion struct{ word, about string }

// completions asks cobra what may stand for the last of some words behind the program's name.
func (p *program) completions(ctx context.Context, words []string) ([]completion, cobra.ShellCompDirective, error) {
	var out bytes.Buffer
	again := *p
	again.stdout, again.stderr = &out, io.Discard
	root := again.root()
	again.completeRest(root)
	root.SetArgs(append([]string{cobra.ShellCompRequestCmd}, words...))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	if err := root.ExecuteContext(ctx); err != nil {
		return nil, 0, err
	}
	var found []completion
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	for _, line := range lines[:len(lines)-1] {
		if word, about, _ := strings.Cut(line, "\t"); word != "" {
			found = append(found, completion{word, about})
		}
	}
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[len(lines)-1], ":"))
	if err != nil {
		return nil, 0, fmt.Errorf("completing: %w", err)
	}
	return found, cobra.ShellCompDirective(directive), nil
}

// rawWord is a word as it stands in a line, and as it is meant.
type rawWord struct {
	raw, typed string
	quote      byte // ' or ": one is open; 0 when none is
}

// splitLine takes a line apart as bash does, but for what it would replace ($x, $(…)): the words that are whole, as they are
// meant, and the last one, which is empty behind a space.
func splitLine(line string) (whole []string, last rawWord) {
	var typed []byte
	start, in := 0, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case last.quote == '\'' && c != '\'':
			typed = append(typed, c)
		case last.quote == '"' && c == '\\' && i+1 < len(line) && strings.IndexByte("\"\\$`", line[i+1]) >= 0,
			last.quote == 0 && c == '\\' && i+1 < len(line):
			if !in {
				start, in = i, true
			}
			i++
			typed = append(typed, line[i])
		case last.quote != 0 && c == last.quote:
			last.quote = 0
		case last.quote == 0 && (c == '\'' || c == '"'):
			if !in {
				start, in = i, true
			}
			last.quote = c
		case last.quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if in {
				whole = append(whole, string(typed))
				typed, in = typed[:0], false
			}
		default:
			if !in {
				start, in = i, true
			}
			typed = append(typed, c)
		}
	}
	if in {
		last.raw, last.typed = line[start:], string(typed)
	}
	return whole, last
}

// bashReply is the answer to the script: what replaces word, the end of the last word of the line.
func bashReply(found []completion, directive cobra.ShellCompDirective, last rawWord, word string, columns int) string {
	head, ok := strings.CutSuffix(last.raw, word)
	if !ok {
		return "" // bash has another idea of words: nothing is better than something wrong
	}
	_, before := splitLine(head)
	flag, value, isFlag := strings.Cut(last.typed, "=")
	isFlag = isFlag && strings.HasPrefix(flag, "-")
	var kept []completion
	for _, c := range found {
		if isFlag && strings.HasPrefix(c.word, value) && !strings.HasPrefix(c.word, last.typed) {
			c.word = flag + "=" + c.word
		}
		if strings.HasPrefix(c.word, last.typed) {
			c.word = quoteFor(last.quote, strings.TrimPrefix(c.word, before.typed))
			kept = append(kept, c)
		}
	}
	var b strings.Builder
	noSpace := directive&cobra.ShellCompDirectiveNoSpace != 0
	if noSpace {
		b.WriteString("=nospace\n")
	}
	if directive&cobra.ShellCompDirectiveKeepOrder != 0 {
		b.WriteString("=order\n")
	}
	if len(kept) == 0 && directive&cobra.ShellCompDirectiveNoFileComp == 0 {
		b.WriteString("=files\n")
	}
	if len(kept) == 1 {
		fmt.Fprintf(&b, "+%s\n", kept[0].word)
		if noSpace && last.quote != 0 {
			// Readline would close the quote behind the only one. It does not when there are two.
			fmt.Fprintf(&b, "+%s \n", kept[0].word)
		}
		return b.String()
	}
	width := 0
	for _, c := range kept {
		width = max(width, utf8.RuneCountInString(c.word))
	}
	for _, c := range kept {
		b.WriteString("+" + c.word)
		const around = len("  ()")
		if room := columns - width - around - 1; c.about != "" && room >= 8 {
			if about := []rune(c.about); len(about) > room {
				c.about = string(about[:room-1]) + "…"
			}
			fmt.Fprintf(&b, "%*s(%s)", width-utf8.RuneCountInString(c.word)+2, "", c.about)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// quoteFor writes a text as it stands in a line of bash: in open quotes, or with none.
func quoteFor(quote byte, text string) string {
	special := " \t\"'\\$`;&|<>()*?[]{}!#~"
	switch quote {
	case '\'':
		return strings.ReplaceAll(text, "'", `'\''`)
	case '"':
		special = "\"\\$`"
	}
	var b []byte
	for _, c := range []byte(text) {
		if strings.IndexByte(special, c) >= 0 {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return string(b)
}
