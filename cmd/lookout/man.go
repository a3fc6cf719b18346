package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func (p *program) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual's pages, one for each command",
		Long: `man writes a page for each command into a folder: lookout.1, lookout-grep.1 and so on. Pages that are there are
written anew. Put into a folder man1 of the manual's path, man finds them:

  lookout man ~/.local/share/man/man1
  man lookout-grep`,
		Example: `  sudo lookout man /usr/local/share/man/man1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("which folder? such as ~/.local/share/man/man1")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			pages, err := p.manPages()
			if err != nil {
				return err
			}
			for name, page := range pages {
				if err := os.WriteFile(filepath.Join(args[0], name), page, 0o644); err != nil {
					return err
				}
			}
			p.say("%s in %s", counted(int64(len(pages)), "page"), args[0])
			return nil
		},
	}
}

// manPages returns the pages by the names of their files.
func (p *program) manPages() (map[string][]byte, error) {
	info, _ := debug.ReadBuildInfo()
	pages := map[string][]byte{}
	var walk func(*cobra.Command) error
	walk = func(cmd *cobra.Command) error {
		var page bytes.Buffer
		header := &doc.GenManHeader{Section: "1", Source: "lookout " + release(version, info), Manual: "lookout"}
		if err := doc.GenMan(cmd, header, &page); err != nil {
			return fmt.Errorf("the page of %s: %w", cmd.CommandPath(), err)
		}
		// A flag without a value would be shown as --flag=.
		pages[strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1"] = bytes.ReplaceAll(page.Bytes(), []byte("\\fP=\n"), []byte("\\fP\n"))
		for _, sub := range cmd.Commands() {
			if !sub.IsAvailableCommand() || sub.Name() == "help" {
				continue
			}
			if err := walk(sub); err != nil {
				return err
			}
		}
		return nil
	}
	root := p.root() // one of its own: its texts are changed
	root.InitDefaultHelpCmd()
	forMarkdown(root)
	return pages, walk(root)
}

// forMarkdown turns the plain texts of a command, and of those below it, into the Markdown that package doc takes them for.
func forMarkdown(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.InitDefaultHelpFlag()
	cmd.Short, cmd.Long = escapeMarkdown(cmd.Short), markdown(cmd.Long)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, done := f.Value.(manValue); done {
			return // one of the root's, which every command has
		}
		value, usage := pflag.UnquoteUsage(f)
		f.DefValue, f.Usage = "", escapeMarkdown(usage)
		if value != "" {
			f.DefValue = "*" + escapeMarkdown(value) + "*"
		}
		f.Value, f.NoOptDefVal = manValue{f.Value}, ""
	})
	for _, sub := range cmd.Commands() {
		forMarkdown(sub)
	}
}

// manValue is a flag's value that package doc shows as it is, without quotes.
type manValue struct{ pflag.Value }

func (manValue) Type() string { return "text" }

// markdown turns a help's text into Markdown: a block of lines with one that is indented stays as it is, all else is a paragraph.
func markdown(text string) string {
	blocks := strings.Split(text, "\n\n")
	for i, b := range blocks {
		if strings.HasPrefix(b, "  ") || strings.Contains(b, "\n  ") {
			blocks[i] = "```\n" + b + "\n```"
		} else {
			blocks[i] = escapeMarkdown(b)
		}
	}
	return strings.Join(blocks, "\n\n")
}

var markdownSpecial = strings.NewReplacer(`\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `<`, `\<`, `>`, `\>`, `[`, `\[`, `]`, `\]`, `~`, `\~`, `|`, `\|`, `#`, `\#`)

func escapeMarkdown(text string) string { return markdownSpecial.Replace(text) }
