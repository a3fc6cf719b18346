package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/backup"
)

// call makes a request with the admin token.
func call(t *testing.T, a *App, method, path, contentType, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, a.Listening()[0].Address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.ReadToken(a.o.Config.Data)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func ndjson(service string, from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"time":"2026-11-20T10:%02d:%02d.%03dZ","service":%q,"level":"error","message":"order %d failed after %d ms","user":%d}`+"\n", (from+i)/1000%60, (from+i)/100%60, (from+i)%1000, service, from+i, i*7, i%10)
	}
	return b.String()
}

// makeBackup has the server make a backup and returns the answer's last line.
func makeBackup(t *testing.T, a *App, params url.Values) (sum backup.Summary, failed string) {
	t.Helper()
	_, answer := call(t, a, "POST", "/api/v1/backups", "application/x-www-form-urlencoded", params.Encode())
	lines := strings.Split(strings.TrimSpace(answer), "\n")
	var last struct {
		Summary *backup.Summary
		Error   *struct{ Message, Mend string }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	if last.Error != nil {
		return sum, last.Error.Message + "; " + last.Error.Mend
	}
	return *last.Summary, ""
}

// A server is backed up while events come in. Restored elsewhere, another server has the same events up to the backup's sequence.
func TestBackupOfAServer(t *testing.T) {
	a := start(t, options(t, nil))
	to := filepath.Join(t.TempDir(), "backups")
	if status, answer := call(t, a, "POST", "/api/v1/events", "application/x-ndjson", ndjson("shop", 0, 500)); status != 200 {
		t.Fatal(answer)
	}
	status, kept := call(t, a, "PUT", "/api/v1/saved/errors", "application/json", `{"q":"level>=error","since":"1h"}`)
	if status != 200 {
		t.Fatal(kept)
	}
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			call(t, a, "POST", "/api/v1/events", "application/x-ndjson", ndjson("busy", i*50, 50))
		}
	})
	var last backup.Summary
	for range 3 {
		sum, failed := makeBackup(t, a, url.Values{"to": {to}})
		if failed != "" {
			t.Fatal(failed)
		}
		if sum.Sequence < 500 || sum.ID <= last.ID {
			t.Errorf("%+v", sum)
		}
		last = sum
	}
	stop()
	sending.Wait()
	if left, err := os.Stat(filepath.Join(a.o.Config.Data, backupTmp)); err == nil {
		t.Error(left.Name(), "is left")
	}

	target := &backup.Folder{Dir: to}
	data := filepath.Join(t.TempDir(), "restored")
	if _, err := backup.Restore(t.Context(), target, "", data, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, auth.FileName)); err == nil {
		t.Error("the token is in the backup")
	}
	if r, err := VerifyFolder(t.Context(), data, false, nil); err != nil || len(r.Problems) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	b := start(t, options(t, map[string]string{"LOOKOUT_DATA": data}))
	for _, q := range []string{"*", "level>=error service:shop", `"order 7"`, "user:3", "service:busy failed"} {
		params := url.Values{"q": {q}, "sequence": {fmt.Sprint(last.Sequence)}}
		_, want := call(t, a, "GET", "/api/v1/query?"+params.Encode(), "", "")
		_, got := call(t, b, "GET", "/api/v1/query?"+params.Encode(), "", "")
		if events(want) != events(got) || !strings.Contains(got, `"complete":true`) {
			t.Errorf("%s: %d bytes where %d belong", q, len(got), len(want))
		}
	}

	if _, got := call(t, b, "GET", "/api/v1/saved/errors", "", ""); got != kept {
		t.Errorf("the saved search is %s, want %s", got, kept)
	}

	// With the token, when that is asked for.
	if _, failed := makeBackup(t, a, url.Values{"to": {to}, "tokens": {"true"}}); failed != "" {
		t.Fatal(failed)
	}
	data = filepath.Join(t.TempDir(), "restored")
	if done, err := backup.Restore(t.Context(), target, "", data, nil); err != nil || !done.Tokens {
		t.Errorf("%+v, %v", done, err)
	}
	want, err := auth.ReadToken(a.o.Config.Data)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := auth.ReadToken(data); err != nil || got != want {
		t.Error(err)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ to, message string }{
		{"", "to is missing"}, {"relative", "not a whole path"}, {"ftp://x", "not known"}, {"s3://bucket/x", "there are no keys"},
		{filepath.Join(a.o.Config.Data, "b"), "in the data folder"}, {file, "not a directory"},
	} {
		if _, failed := makeBackup(t, a, url.Values{"to": {bad.to}}); !strings.Contains(failed, bad.message) {
			t.Errorf("%q: %s", bad.to, failed)
		}
	}
	if _, err := BackupFolder(t.Context(), a.o.Config.Data, BackupOptions{To: to}, nil); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	a.backing.Lock()
	if _, failed := makeBackup(t, a, url.Values{"to": {to}}); !strings.Contains(failed, "runs already") {
		t.Error(failed)
	}
	a.backing.Unlock()
}

// events are an answer's rows, without the summary.
func events(answer string) string {
	return answer[:strings.LastIndex(strings.TrimSuffix(answer, "\n"), "\n")+1]
}

// Secrets of the storage are in no log and no answer.
func TestBackupTellsNoSecret(t *testing.T) {
	o := options(t, map[string]string{
		"LOOKOUT_BACKUP_S3_ENDPOINT": "http://127.0.0.1:1", "LOOKOUT_BACKUP_S3_ACCESS_KEY": "canary-access", "LOOKOUT_BACKUP_S3_SECRET_KEY": "canary-secret",
	})
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := start(t, o)
	_, failed := makeBackup(t, a, url.Values{"to": {"s3://bucket/x"}})
	if !strings.Contains(failed, "s3://bucket/x") || !strings.Contains(failed, "refused") {
		t.Error(failed)
	}
	if strings.Contains(failed+log.String(), "canary") {
		t.Error(failed, log.String())
	}
}

// A folder in which a restore was not finished is refused, by the server and by a backup of the folder.
func TestUnfinishedRestore(t *testing.T) {
	o := options(t, nil)
	if err := os.MkdirAll(o.Config.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	mark := `{"format":"lookout restore","version":1,"from":"/b","id":"20261121T200000.000Z"}`
	if err := os.WriteFile(filepath.Join(o.Config.Data, "restore.json"), []byte(mark), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(o)
	if err == nil || !strings.Contains(err.Error(), "lookout restore /b 20261121T200000.000Z --data "+o.Config.Data) {
		t.Error(err)
	}
	if _, err := BackupFolder(t.Context(), o.Config.Data, BackupOptions{To: t.TempDir()}, nil); err == nil || !strings.Contains(err.Error(), "not finished") {
		t.Error(err)
	}
	if entries, err := os.ReadDir(o.Config.Data); err != nil || len(entries) != 1 {
		t.Error("files were made", entries, err)
	}
}

// A server says of itself that it is whole; a folder with a damaged database says which.
func TestVerify(t *testing.T) {
	a := start(t, options(t, nil))
	if status, answer := call(t, a, "POST", "/api/v1/events", "application/x-ndjson", ndjson("shop", 0, 50)); status != 200 {
		t.Fatal(answer)
	}
	if status, answer := call(t, a, "POST", "/api/v1/verify?quick=true", "", ""); status != 200 || !strings.Contains(answer, `"problems":[]`) || !strings.Contains(answer, `"logged":50`) {
		t.Error(status, answer)
	}
	if status, _ := get(t, a, "/api/v1/verify", true); status != http.StatusMethodNotAllowed {
		t.Error(status)
	}
	to, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	if _, failed := makeBackup(t, a, url.Values{"to": {to}}); failed != "" {
		t.Fatal(failed)
	}
	if _, err := backup.Restore(t.Context(), &backup.Folder{Dir: to}, "", data, nil); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyFolder(t.Context(), data, false, nil)
	if err != nil || len(r.Problems) != 0 || r.Logged != 50 || r.Databases == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	db, err := os.ReadFile(filepath.Join(data, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{append(make([]byte, 8192), db[8192:]...), append(bytes.Clone(db[:8192]), make([]byte, len(db)-8192)...)} {
		if err := os.WriteFile(filepath.Join(data, stateFile), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := VerifyFolder(t.Context(), data, false, nil)
		if err != nil || len(r.Problems) == 0 || !strings.HasPrefix(r.Problems[0].File, stateFile) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if _, err := VerifyFolder(t.Context(), a.o.Config.Data, false, nil); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	if _, err := VerifyFolder(t.Context(), t.TempDir(), false, nil); err == nil || !strings.Contains(err.Error(), "no data folder") {
		t.Error(err)
	}
}

// An agent's folder has no events to save or verify: that is said, instead of an empty backup.
func TestAgentsFolder(t *testing.T) {
	a := start(t, options(t, map[string]string{"LOOKOUT_FORWARD_URL": "http://127.0.0.1:1", "LOOKOUT_FORWARD_TOKEN": "lkt_aaaaaaaaaaaaaaaaaaaaaaaaaaa", "LOOKOUT_GELF": "off"}))
	if err := a.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := BackupFolder(t.Context(), a.o.Config.Data, BackupOptions{To: t.TempDir()}, nil); err == nil || !strings.Contains(err.Error(), "is an agent's") {
		t.Error(err)
	}
	if _, err := VerifyFolder(t.Context(), a.o.Config.Data, false, nil); err == nil || !strings.Contains(err.Error(), "is an agent's") {
		t.Error(err)
	}
}
