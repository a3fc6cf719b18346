package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Each command has a page; where man is, it is shown without a warning, and no word of the help is lost on the way.
func TestManPages(t *testing.T) {
	p := &program{stdin: strings.NewReader(""), env: func(string) (string, bool) { return "", false }}
	pages, err := p.manPages()
	if err != nil {
		t.Fatal(err)
	}
	const man = "man"
	isManDB, manErr := exec.Command(man, "--version").Output()
	if manErr == nil && !strings.HasPrefix(string(isManDB), "man 2") {
		manErr = fmt.Errorf("another man than man-db: %s", isManDB)
	}
	dir := t.TempDir()
	commands := 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		commands++
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page := pages[name]
		if len(page) == 0 {
			t.Errorf("%s has no page", cmd.CommandPath())
			return
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				walk(sub)
			}
		}
		if manErr != nil {
			return
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, page, 0o600); err != nil {
			t.Fatal(err)
		}
		show := exec.Command(man, "--warnings", "--nh", "--nj", "-E", "UTF-8", "-l", file)
		show.Env = append(os.Environ(), "MANWIDTH=1000", "MAN_KEEP_FORMATTING=", "MANPAGER=cat", "LC_ALL=C.UTF-8")
		var warnings strings.Builder
		show.Stderr = &warnings
		out, err := show.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v: %s", name, err, warnings.String())
			return
		}
		shown := " " + strings.Join(strings.Fields(string(out)), " ") + " "
		text := cmd.Short + " " + cmd.Long + " " + cmd.Example
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				value, usage := pflag.UnquoteUsage(f)
				text += " --" + f.Name
				if value != "" {
					text += "=" + value
				}
				text += " " + usage
			}
		})
		for word := range strings.FieldsSeq(text) {
			if !strings.Contains(shown, " "+word+" ") {
				t.Errorf("%s: %q of the help is not in the page", name, word)
			}
		}
	}
	walk(p.root())
	if len(pages) != commands {
		t.Errorf("%d pages for %d commands", len(pages), commands)
	}
	if manErr != nil {
		t.Logf("the pages were not shown: %v", manErr)
	}
}
