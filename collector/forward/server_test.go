package forward

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// direct is a transport to a handler without a network.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	d.ServeHTTP(rec, r)
	return rec.Result(), nil
}

const at = 1795260153411000001

// vocabulary is one event of each kind that an agent makes beside log lines; their messages and values are those that a parser could
// take for something else.
func vocabulary() []event.Event {
	e := func(level event.Level, service, container, stream, message string, fields ...event.Field) event.Event {
		return event.Event{Time: at, Level: level, Service: []byte(service), Env: []byte("shop"), Host: []byte("vm"), Container: []byte(container),
			Stream: []byte(stream), Message: []byte(message), Fields: fields}
	}
	n, b := event.Number, event.Bool
	return []event.Event{
		e(event.Error, "sales", "shop-sales-2", "docker", "container shop-sales-2 died with exit code 137", field("action", "die", 0), field("exit_code", "137", n),
			field("oom_killed", "false", b), field("restarts", "0", n), field("image", "shop/sales:1.2", 0), field("version", "1.2", 0),
			field("container_id", "0123456789ab", 0), field("fingerprint", "container:shop-sales-2", 0)),
		e(event.Critical, "sales", "shop-sales-2", "docker", "container shop-sales-2 was killed: out of memory", field("oom_killed", "true", b)),
		e(event.Info, "sales", "shop-sales-2", "docker", "ERROR level=fatal", field("action", "start", 0)),
		e(event.Warning, "sales", "shop-sales-2", "docker", `lines of shop-sales-2 cannot be read: level=info msg="rotated away"`, field("action", "gap", 0)),
		e(event.Debug, "docker", "shop-sales-2", "stats", "sales-1 cpu 3 % memory 21 MiB", field("target", "sales", 0), field("state", "running", 0),
			field("health", "", 0), field("logs", "followed", 0), field("started", "2026-11-21T11:22:33.5Z", 0), field("restarts", "2", n),
			field("cpu_seconds", "12.75", n), field("memory_bytes", "22020096", n), field("network_receive_bytes", "18446744073709551615", n)),
		e(event.Debug, "probe", "", "probe", "sales ok: 200 in 12 ms", field("probe", "sales", 0), field("target", "sales", 0), field("url", "http://172.18.0.3:8080/status", 0),
			field("ok", "true", b), field("state", "up", 0), field("duration", "12.3ms", 0), field("duration_ms", "12.3", n), field("status", "200", n),
			field("phase.connect_ms", "0.2", n), field("cert_expires", "1795260153", n)),
		e(event.Notice, "probe", "", "probe", "sales failed: status 503", field("ok", "false", b), field("error", "level=error time=2020-01-01T00:00:00Z", 0),
			field("body", "{\"level\":\"fatal\",\"message\":\"x\"}\nsecond line", 0)),
		e(event.Error, "sales", "", "probe", "sales is down: status 503 (GET http://sales:8080/status), failing since 14:02:11 UTC", field("change", "down", 0),
			field("page", "true", b), field("fingerprint", "probe:sales", 0)),
		e(event.Info, "sales", "", "probe", "sales is up again after 4m12s", field("change", "up", 0), field("down_seconds", "252", n)),
	}
}

// Over the real handler, the parse stage and the store: what an agent has to say by itself arrives as it was sent, and the lines of
// containers are read as if they had come without an agent.
func TestRealServer(t *testing.T) {
	store, err := index.Open(index.Options{Dir: "/server", FS: vfs.NewCrash(1)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(context.Background())
	stage := parse.New(parse.Options{})
	h := native.New(native.Options{
		Sink: store, Joiner: func() native.Joiner { return parse.NewJoiner(parse.JoinOptions{}) }, Stages: func() []collector.Stage { return []collector.Stage{stage} },
	})
	q, err := Open(Options{Dir: "/agent", URL: "http://lookout:7171", Token: token, FS: vfs.NewCrash(2), transport: direct{h}})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()

	words := vocabulary()
	var b event.Batch
	b.Events = append(b.Events, words...)
	lines := []string{`{"level":"warn","msg":"slow","took_ms":12,"nested":{"a":[1,"b"]}}`, `level=error msg="card refused" user=u17`, "ERROR no money", "plain",
		"\xff\xfe bytes\x00", "a line\nand one that a joiner has joined"}
	direct := event.Batch{}
	for i, line := range lines {
		e := event.Event{Time: at + int64(i), Service: []byte("pay"), Host: []byte("vm"), Container: []byte("pay-1"), Stream: []byte("stderr"), Message: []byte(line),
			Fields: []event.Field{field("container_id", "0123456789ab", 0)}}
		b.Events = append(b.Events, e)
		direct.Events = append(direct.Events, e.Clone())
	}
	if err := q.Append(ctx, &b); err != nil {
		t.Fatal(err)
	}
	stage.Process(&direct)
	want := append(words, direct.Events...)

	f := store.Follow(0)
	defer f.Close()
	var got []event.Event
	for len(got) < len(want) {
		events, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			got = append(got, events[i].Clone())
		}
	}
	for i := range want {
		if !same(&got[i], &want[i]) {
			t.Errorf("got  %s\nwant %s", show(&got[i]), show(&want[i]))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// BenchmarkShip is the whole way of an event with real files: queue, encode, HTTP without a network, server's decoder. It reports what the
// agent's side and the server's take together.
func BenchmarkShip(b *testing.B) {
	k := &counted{marks: map[string]uint64{}}
	h := native.New(native.Options{Sink: discard{k}})
	q, err := Open(Options{Dir: b.TempDir(), URL: "http://lookout:7171", Token: token, transport: direct{h}})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	const n = 1000
	var batch event.Batch
	for i := range n {
		e := batch.Add()
		e.Time, e.Service, e.Host, e.Container, e.Stream = at+int64(i), []byte("sales"), []byte("vm"), []byte("shop-sales-1"), []byte("stdout")
		e.Message = fmt.Appendf(nil, "GET /orders/%d 200 %d ms request_id=%016x", i*7919, i%100, i*104729)
		batch.AddField(e, field("container_id", "0123456789ab", 0))
	}
	sent := uint64(0)
	for b.Loop() {
		if err := q.Append(ctx, &batch); err != nil {
			b.Fatal(err)
		}
		sent += n
	}
	for q.queued() > 0 {
		time.Sleep(time.Millisecond)
	}
	st := q.Stats()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent), "ns/event")
	b.ReportMetric(float64(st.SentBytes)/float64(sent), "B/event")
	cancel()
	<-done
}

// discard counts and keeps nothing.
type discard struct{ *counted }

func (discard) Append(context.Context, *event.Batch) error { return nil }
