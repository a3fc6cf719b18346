package guard

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/bad-input.md names tests that are there, and at least one for each of the thirteen points.
func TestBadInputPage(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "bad-input.md"))
	if err != nil {
		t.Fatal(err)
	}
	part := regexp.MustCompile("`([a-z0-9/]+|Test[A-Za-z0-9]+)`")
	points, names := 0, 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.Contains(cells[4], "`") {
			continue
		}
		if n := strings.TrimSpace(cells[1]); n != "" {
			points++
		}
		text, dir := "", ""
		for _, m := range part.FindAllStringSubmatch(cells[4], -1) {
			name := m[1]
			if !strings.HasPrefix(name, "Test") {
				files, err := filepath.Glob(filepath.Join(root, name, "*_test.go"))
				if err != nil || len(files) == 0 {
					t.Errorf("%s has no tests: %v", name, err)
				}
				text, dir = "", name
				for _, file := range files {
					data, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					text += string(data)
				}
				continue
			}
			if names++; !strings.Contains(text, "func "+name+"(t *testing.T)") {
				t.Errorf("%s is not in %s", name, dir)
			}
		}
	}
	if points != 13 || names < 30 {
		t.Errorf("%d points and %d tests: the page cannot be read", points, names)
	}
}
