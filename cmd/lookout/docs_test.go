package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/config"
)

var update = flag.Bool("update", false, "write the generated pages of docs/ anew")

// The pages that say again what the code says are made from it: go test ./cmd/lookout -run TestDocs -update
func TestDocs(t *testing.T) {
	for name, page := range map[string][]byte{
		"cli.md": cliPage(), "configuration.md": configPage(), "query.md": queryPage(t),
	} {
		golden(t, filepath.Join("..", "..", "docs", name), string(page))
	}
}

// golden compares a text with the file that has it, or writes the file anew with -update.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("%s is not what the code says (-want +got); go test ./cmd/lookout -run '^%s$' -update\n%s", path, t.Name(), diff)
	}
}

func cliPage() []byte {
	var b bytes.Buffer
	b.WriteString("# The command line\n\n<!-- generated from the commands: go test ./cmd/lookout -run TestDocs -update -->\n")
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, env: func(string) (string, bool) { return "", false }}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		fmt.Fprintf(&b, "\n## %s\n\n```\n", c.CommandPath())
		c.SetOut(&b)
		if err := c.Help(); err != nil {
			panic(err) // b takes everything
		}
		b.WriteString("```\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				walk(sub)
			}
		}
	}
	walk(p.root())
	return b.Bytes()
}

func configPage() []byte {
	var b bytes.Buffer
	b.WriteString(`# Configuration

<!-- generated from the settings: go test ./cmd/lookout -run TestDocs -update -->

None is needed. What is set in the environment wins over the file, which is ` + "`lookout.yaml`" + ` in the working folder unless LOOKOUT_CONFIG or ` + "`--config`" + ` names another.
` + "`lookout check`" + ` reads both and names every problem with its line and the mend. ` + "`rules[]`" + ` and ` + "`probes[]`" + ` are lists. Some settings belong to parts that are being
built (syslog): they are checked, and ` + "`lookout check`" + ` says that they do nothing yet.

| setting | variable | default | meaning |
| --- | --- | --- | --- |
`)
	cell := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + strings.ReplaceAll(s, "|", "\\|") + "`"
	}
	for _, s := range config.Settings() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", cell(s.Name), cell(s.Env), cell(s.Default), strings.ReplaceAll(s.Doc, "|", "\\|"))
	}
	return b.Bytes()
}

// queryPage is the documentation of package query: the language's reference has one place.
func queryPage(t *testing.T) []byte {
	t.Helper()
	dir := filepath.Join("..", "..", "index", "query")
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	pkg, err := doc.NewFromFiles(fset, files, "github.com/lookoutlog/lookout/index/query")
	if err != nil {
		t.Fatal(err)
	}
	head := "# The query language\n\n<!-- generated from the documentation of package index/query: go test ./cmd/lookout -run TestDocs -update -->\n\n"
	printer := pkg.Printer()
	printer.HeadingLevel = 2
	printer.DocLinkURL = func(link *comment.DocLink) string {
		return "https://pkg.go.dev/github.com/lookoutlog/lookout/index/query#" + strings.TrimPrefix(link.Recv+"."+link.Name, ".")
	}
	printer.HeadingID = func(*comment.Heading) string { return "" }
	return append([]byte(head), printer.Markdown(pkg.Parser().Parse(pkg.Doc))...)
}
