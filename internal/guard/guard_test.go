// Package guard holds the architecture's import rules (docs/architecture.md) in one test.
package guard

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/lookoutlog/lookout/"

type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// forbidden returns why a package may not import another, empty when it may. Both are paths inside the module.
func forbidden(from, to string, ours bool) string {
	in := func(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
	switch {
	case !ours:
		if in(from, "internal/event") || from == "sdk" {
			return "rules 1 and 7: only the standard library"
		}
	case in(from, "internal/event") && !in(to, "internal/event"), in(from, "ui"):
		return "rule 1: it knows nothing above it"
	case from == "internal/bitset", from == "internal/rarebytes":
		return "rule 1: it knows nothing"
	case in(from, "index/query") && !in(to, "index/query") && to != "internal/event" && to != "internal/bitset" && to != "internal/rarebytes":
		return "rule 1: the language knows only events, sets of them, and bytes"
	case in(from, "index/catalog") && to != "index/query" && to != "internal/event":
		return "rule 4: it declares what it reads of the store"
	case from == "sdk":
		return "rule 7: only the standard library"
	case in(from, "collector") && in(to, "index"), in(from, "index") && in(to, "collector"):
		return "rule 3: inputs and store never import each other"
	case (from == "collector" || from == "alerting") && strings.HasPrefix(to, from+"/"):
		return "rule 2: parents never import children"
	case in(from, "index/tail") && in(to, "index") && to != "index/query":
		return "rule 4: it declares what it reads of the store"
	case from == "internal/api" && to == "index/tail":
		// it knows no store either
	case (in(from, "alerting") || in(from, "internal/api")) && in(to, "index") && to != "index/query":
		return "rule 4: it declares the methods it needs"
	case to == "internal/config" && from != "internal/app" && !in(from, "cmd"):
		return "rule 5: only app and cmd know the configuration"
	}
	return ""
}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	std := func(path string) bool { return !strings.Contains(strings.Split(path, "/")[0], ".") }
	seen := 0
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports { // tests may use what they like
			if std(imp) {
				continue
			}
			to, ours := strings.CutPrefix(imp, module)
			if why := forbidden(from, to, ours); why != "" {
				t.Errorf("%s imports %s: %s", from, imp, why)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Fatalf("only %d packages seen: the guard is not looking at the module", seen)
	}
}

// The rules themselves are checked, so that a change to them cannot silently allow everything.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ours     bool
		ok       bool
	}{
		{"internal/event", "github.com/x/y", false, false}, {"internal/event", "internal/wal", true, false},
		{"index/query", "index", true, false}, {"index/query", "internal/event", true, true}, {"index/query", "internal/bitset", true, true},
		{"index/query", "internal/rarebytes", true, true}, {"index/query", "internal/mask", true, false},
		{"internal/bitset", "internal/event", true, false}, {"internal/rarebytes", "internal/event", true, false},
		{"index/query", "github.com/cespare/xxhash/v2", false, true},
		{"collector/gelf", "index", true, false}, {"index", "collector", true, false},
		{"collector", "collector/gelf", true, false}, {"collector/gelf", "collector", true, true},
		{"alerting", "index", true, false}, {"alerting", "index/query", true, true},
		{"alerting", "alerting/slack", true, false}, {"alerting/slack", "alerting", true, true},
		{"index/tail", "index", true, false}, {"index/tail", "index/query", true, true}, {"internal/api", "index/tail", true, true},
		{"internal/api", "index", true, false}, {"internal/api", "index/query", true, true},
		{"index/catalog", "index", true, false}, {"index/catalog", "index/query", true, true},
		{"sdk", "internal/event", true, false}, {"sdk", "golang.org/x/sys/unix", false, false},
		{"index", "internal/config", true, false}, {"cmd/lookout", "internal/config", true, true},
		{"internal/app", "internal/config", true, true}, {"ui", "internal/event", true, false},
	} {
		if why := forbidden(c.from, c.to, c.ours); (why == "") != c.ok {
			t.Errorf("%s → %s: %q", c.from, c.to, why)
		}
	}
}
