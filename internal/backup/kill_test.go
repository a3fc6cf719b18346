package backup

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	killDo = "LOOKOUT_TEST_KILL_DO" // save or restore
	killTo = "LOOKOUT_TEST_KILL_TO"
	killIn = "LOOKOUT_TEST_KILL_IN"
)

// killed is what is saved and restored by the processes that are killed.
func killed() contents {
	c := contents{"state.db": random(1, 50_000)}
	for i := range 40 {
		c[fmt.Sprintf("store/segments/%02d.seg", i)] = random(uint64(i+2), 20_000+i*1000)
	}
	return c
}

// TestKilledChild is the process that TestKilled kills.
func TestKilledChild(t *testing.T) {
	to := &Folder{Dir: os.Getenv(killTo)}
	next := bufio.NewReader(os.Stdin)
	progress := func(done, _ int64) {
		fmt.Println(done)
		_, _ = next.ReadByte() // it goes on when it is told to
	}
	var err error
	switch os.Getenv(killDo) {
	case "save":
		_, err = Run(t.Context(), to, Options{Files: killed().files(time.Time{}), Progress: progress})
	case "restore":
		_, err = Restore(t.Context(), to, "", os.Getenv(killIn), progress)
	default:
		t.Skip("only for TestKilled")
	}
	if err != nil {
		fmt.Println("broken:", err)
		os.Exit(1)
	}
}

// Backups and restores are killed at any moment. Of a killed backup nothing is listed, and what is listed is whole; the next one sends only
// what is missing. A killed restore says that it is not finished, and the next one finishes it.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	to := &Folder{Dir: t.TempDir()}
	dir := filepath.Join(t.TempDir(), "data")
	rng := rand.New(rand.NewPCG(1, 2))
	kill := func(what string) (done bool) {
		t.Helper()
		child := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
		child.Env = append(os.Environ(), killDo+"="+what, killTo+"="+to.Dir, killIn+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		in, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := rng.IntN(80); n >= 0 && lines.Scan(); n-- {
			if len(lines.Text()) > 6 && lines.Text()[:6] == "broken" {
				t.Fatal(lines.Text())
			}
			_, _ = io.WriteString(in, ".") // it may have ended
		}
		_ = child.Process.Kill() // it may have ended
		return child.Wait() == nil
	}
	kills := 0
	for range 8 {
		if kill("save") {
			break
		}
		kills++
		if found, err := Check(t.Context(), to, "", nil); err != nil || len(found.Damage) != 0 {
			t.Fatalf("%+v, %v", found, err)
		}
	}
	sum, err := Run(t.Context(), to, Options{Files: killed().files(time.Time{}), Now: func() time.Time { return time.Now().Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	if kills == 0 || sum.SentFiles > 36 {
		t.Errorf("%d kills, and then %d files were sent: nothing of what was sent before was found", kills, sum.SentFiles)
	}
	restored := func() contents {
		got := tree(t, dir)
		maps.DeleteFunc(got, func(path string, _ []byte) bool { return filepath.Ext(path) == restoringSuffix }) // of the files that were being written
		return got
	}
	again := 0
	for range 8 {
		if kill("restore") {
			break
		}
		again++
		if Unfinished(dir) != nil {
			continue
		}
		if !equal(restored(), killed()) {
			t.Fatal("a killed restore does not say so")
		}
		break // it was killed behind its end, before the process ended
	}
	if again == 0 {
		t.Error("no restore was killed")
	}
	if Unfinished(dir) != nil {
		if done, err := Restore(t.Context(), to, "", dir, nil); err != nil {
			t.Fatal(err)
		} else {
			t.Logf("%d backups and %d restores killed, %d files were there", kills, again, done.Kept)
		}
	}
	if !equal(restored(), killed()) {
		t.Error("other files are restored")
	}
}
