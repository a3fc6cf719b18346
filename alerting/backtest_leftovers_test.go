package alerting_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lookoutlog/lookout/alerting"
)

// What a killed backtest left goes, and nothing else does: not what has another name, nor what holds something of somebody else's.
func TestRemoveBacktests(t *testing.T) {
	dir := t.TempDir()
	put := func(path string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := []string{"backtest-1", "backtest-4711"}
	put("backtest-1/0.db")
	put("backtest-1/1.db")
	if err := os.Mkdir(filepath.Join(dir, "backtest-4711"), 0o700); err != nil {
		t.Fatal(err)
	}
	stays := []string{"backtest-7", "backtest-8", "backtest-9", "backtest-mine", "backtests", "my-backtest-1", "state.db"}
	put("backtest-7/0.db/nested")
	put("backtest-8/notes.txt")
	put("backtest-9") // a file
	put("backtest-mine/0.db")
	put("backtests/0.db")
	put("my-backtest-1/0.db")
	put("state.db")
	target := t.TempDir()
	if err := os.Symlink(target, filepath.Join(dir, "backtest-5")); err != nil {
		t.Fatal(err)
	}
	stays = append(stays, "backtest-5")
	for range 2 {
		if err := alerting.RemoveBacktests(dir); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range left {
		names = append(names, f.Name())
	}
	slices.Sort(stays)
	if !slices.Equal(names, stays) {
		t.Errorf("left are %q, want %q, without %q", names, stays, gone)
	}
	if _, err := os.Stat(target); err != nil {
		t.Error(err)
	}
	if err := alerting.RemoveBacktests(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
