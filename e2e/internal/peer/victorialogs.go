package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// VictoriaLogs is a running single-node VictoriaLogs.
type VictoriaLogs struct {
	*Process
	client
	Dir string // holds the folder data, and its log
}

// StartVictoriaLogs starts a VictoriaLogs with its data below a folder, which may have some. Its settings are its defaults,
// except that it keeps a corpus of any age and that no query is cut short.
func StartVictoriaLogs(ctx context.Context, binary, dir string) (*VictoriaLogs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "-storageDataPath="+filepath.Join(dir, "data"), "-httpListenAddr=127.0.0.1:0",
		"-retentionPeriod=100y", "-futureRetention=100y", "-search.maxQueryDuration=10m")
	logs, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	out, err := cmd.StderrPipe()
	if err != nil {
		logs.Close()
		return nil, err
	}
	s := &VictoriaLogs{Dir: dir}
	if s.Process, err = begin(cmd); err != nil {
		logs.Close()
		return nil, fmt.Errorf("starting VictoriaLogs: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _, _ = s.Stop() }) // so that the lines below end
	base := ""
	lines := bufio.NewScanner(io.TeeReader(out, logs))
	for base == "" && lines.Scan() { // 2026-11-21T17:32:07.503Z info … started server at http://127.0.0.1:45035/
		if _, rest, ok := strings.Cut(lines.Text(), "started server at "); ok {
			base = strings.TrimSuffix(strings.TrimSpace(rest), "/")
		}
	}
	stop()
	if base == "" {
		logs.Close()
		_, err := s.Stop()
		return nil, errors.Join(fmt.Errorf("VictoriaLogs printed no address; see %s", logs.Name()), err)
	}
	go func() {
		defer logs.Close()
		_, _ = io.Copy(logs, out) // until the process has ended
	}()
	s.client = newClient(base, http.Header{"Content-Type": {"application/stream+json"}})
	return s, nil
}

// Insert sends NDJSON over some connections and returns when all of it is answered, which is before it is on disk. Streams
// are of service and host, as VictoriaLogs' documentation has it for containers.
func (s *VictoriaLogs) Insert(ctx context.Context, bodies [][]byte, conns int) error {
	return s.post(ctx, "/insert/jsonline?_stream_fields=service,host&_time_field=time&_msg_field=message", each(bodies), conns)
}
