//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestUsersOfDockerLogs runs both commands of the rows of docs/cli-for-users-of.md that promise the lines of docker logs, over
// a container with the name that stands there.
func TestUsersOfDockerLogs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "cli-for-users-of.md"))
	if err != nil {
		t.Fatal(err)
	}
	e := docker(t)
	s := e.follow(t, t.TempDir())
	e.run(t, "web", "--label", "lookout.service=web", image, "count", "-run", "web", "-rate", "200")
	eventually(t, "the container's lines come", time.Minute, func() bool { return len(s.query("container:web stream:stdout")) >= 50 })
	e.docker(t, "kill", "web")
	eventually(t, "all of them", time.Minute, func() bool {
		return len(s.query("container:web stream:stdout")) == strings.Count(e.docker(t, "logs", "web")+"\n", "\n")
	})

	row := regexp.MustCompile("(?m)^\\| `(docker logs [^`]+)` \\| `(lookout [^`]+)` \\| same lines")
	rows := row.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 2 {
		t.Fatalf("%d rows promise the same lines", len(rows))
	}
	run := func(line string) string {
		c := exec.Command("sh", "-c", line)
		c.Dir = s.dir
		c.Env = append(e.command(t.Context()).Environ(), "LOOKOUT_URL="+s.http, "LOOKOUT_TOKEN="+s.token(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
		out, err := c.Output()
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		return string(out)
	}
	for _, r := range rows {
		theirs, ours := strings.ReplaceAll(r[1], `\|`, "|"), strings.ReplaceAll(r[2], `\|`, "|")
		if a, b := run(theirs), run(ours); a != b || a == "" {
			t.Errorf("%s\n%s\n%s\n%s", theirs, last(a, 500), ours, last(b, 500))
		}
	}
}
