package forward

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

var crashSeeds = flag.Int("seeds", 40, "lives of an agent and a server in TestKills")

// world is an agent and a server, each on a file system that may die, and a wire that loses requests and answers.
type world struct {
	t      *testing.T
	noSync bool
	size   int64 // of the agent's segments

	mu  sync.Mutex
	rng *rand.Rand

	serverFS *vfs.Crash
	store    *index.Store
	handler  http.Handler // nil while the server is down

	agentFS *vfs.Crash
	queue   *Queue
	stop    func()

	acknowledged map[string]uint64 // by the agent's inputs: their count of what Append has confirmed
	tried        map[string]uint64
	deaths       int
}

func (w *world) dice(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h, fate := w.handler, w.rng.IntN(12)
	w.mu.Unlock()
	if h == nil || fate == 0 {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if fate == 1 || rec.Code == http.StatusInternalServerError { // it died over it
		return nil, errLost
	}
	return rec.Result(), nil
}

func (w *world) openServer() error {
	store, err := index.Open(index.Options{Dir: "/server/store", FS: w.serverFS, HeadBytes: 32 << 10})
	if err != nil {
		return err
	}
	stage := parse.New(parse.Options{})
	h := native.New(native.Options{Sink: store, Stages: func() []collector.Stage { return []collector.Stage{stage} }})
	w.mu.Lock()
	w.store, w.handler = store, h
	w.mu.Unlock()
	return nil
}

// endServer ends what runs of the server; a dead file system lets nothing more happen.
func (w *world) endServer(ctx context.Context) {
	w.mu.Lock()
	store := w.store
	w.store, w.handler = nil, nil
	w.mu.Unlock()
	if store != nil {
		_ = store.Close(ctx) // of a dead one it says so
	}
}

func (w *world) openAgent() error {
	q, err := Open(Options{Dir: "/agent/queue", URL: "http://lookout:7171", Token: token, FS: w.agentFS, transport: w, noSync: w.noSync, segment: w.size,
		batchMax: 1 + w.dice(20)})
	if err != nil {
		return err
	}
	w.queue = q
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
	return nil
}

func (w *world) endAgent() {
	if w.queue != nil {
		w.stop()
		_ = w.queue.Close() // of a dead one it says so
		w.queue = nil
	}
}

// reboot ends a machine's process in one of three ways.
func (w *world) reboot(fs **vfs.Crash, end func()) {
	switch w.dice(3) {
	case 0: // as it should be
		end()
		(*fs).StopAt(0)
		*fs = (*fs).Kill()
	case 1: // kill -9
		old := *fs
		*fs = old.Kill()
		end()
	case 2: // no power
		old := *fs
		*fs = old.Crash()
		end()
	}
	w.deaths++
}

// add lets an input send its next events, as it finds its place in the queue.
func (w *world) add() error {
	name := fmt.Sprint("in-", w.dice(2))
	next, cursor, ok := w.queue.Producer(name)
	if !ok {
		next = 1
	} else if string(cursor) != fmt.Sprint("before ", next) {
		return fmt.Errorf("%s: cursor %q at %d", name, cursor, next)
	}
	if next <= w.acknowledged[name] {
		return fmt.Errorf("%s: the queue had confirmed %d events, and goes on at %d", name, w.acknowledged[name], next)
	}
	b := &event.Batch{Producer: name, FirstSeq: next}
	n := 1 + w.dice(30)
	for i := range n {
		e := b.Add()
		e.Time, e.Service, e.Stream, e.Level = 1.8e18, []byte(name), []byte("docker"), event.Info
		e.Message = fmt.Appendf(nil, "%d of %s", next+uint64(i), name)
	}
	b.Cursor = fmt.Appendf(nil, "before %d", next+uint64(n))
	w.tried[name] = max(w.tried[name], next+uint64(n)-1)
	err := w.queue.Append(context.Background(), b)
	if err == nil {
		w.acknowledged[name] = next + uint64(n) - 1
	}
	return err
}

// arrived reads all of the server's store: each input's events, once, in their order.
func (w *world) arrived() error {
	f := w.store.Follow(0)
	defer f.Close()
	next := map[string]uint64{}
	for f.Position() < w.store.LastSeq() {
		events, err := f.Next(context.Background())
		if err != nil {
			return err
		}
		for i := range events {
			name := string(events[i].Service)
			var n uint64
			var in string
			if _, err := fmt.Sscanf(string(events[i].Message), "%d of %s", &n, &in); err != nil || in != name {
				return fmt.Errorf("%s of %q: %v", events[i].Message, name, err)
			}
			if n != next[name]+1 {
				return fmt.Errorf("%s: event %d follows %d", name, n, next[name])
			}
			next[name] = n
		}
	}
	for name, n := range w.acknowledged {
		if next[name] < n || next[name] > w.tried[name] {
			return fmt.Errorf("%s: %d events arrived, %d were confirmed, %d tried", name, next[name], n, w.tried[name])
		}
	}
	return nil
}

// live is one life of both, and its end: everything confirmed has arrived, once.
func live(t *testing.T, seed uint64, noSync bool) (w *world, err error) {
	w = &world{t: t, noSync: noSync, rng: rand.New(rand.NewPCG(seed, 7)), serverFS: vfs.NewCrash(seed), agentFS: vfs.NewCrash(seed + 1000),
		acknowledged: map[string]uint64{}, tried: map[string]uint64{}}
	w.size = []int64{1, 2000, 1 << 20}[w.dice(3)]
	defer w.endServer(context.Background())
	defer w.endAgent()
	for _, made := range []struct {
		fs  *vfs.Crash
		dir string
	}{{w.serverFS, "/server"}, {w.agentFS, "/agent"}} {
		if err := errors.Join(made.fs.MkdirAll(made.dir, 0o700), made.fs.SyncDir("/")); err != nil {
			return w, err
		}
	}
	// do runs one thing, on a machine that may die over it.
	do := func(fs **vfs.Crash, end func(), fn func() error) error {
		err := fn()
		if errors.Is(err, vfs.ErrStopped) {
			w.reboot(fs, end)
			return nil
		}
		return err
	}
	endServer := func() { w.endServer(context.Background()) }
	for range 40 {
		if w.store == nil && w.dice(3) > 0 {
			err = do(&w.serverFS, endServer, w.openServer)
		}
		if w.queue == nil && err == nil {
			err = do(&w.agentFS, w.endAgent, w.openAgent)
		}
		if w.queue != nil && err == nil {
			err = do(&w.agentFS, w.endAgent, w.add)
		}
		if err != nil {
			return w, err
		}
		switch w.dice(10) {
		case 0:
			w.reboot(&w.serverFS, endServer)
		case 1:
			w.reboot(&w.agentFS, w.endAgent)
		case 2: // dies soon, wherever it is then
			w.serverFS.StopAt(w.serverFS.Ops() + 1 + w.dice(8))
		case 3:
			w.agentFS.StopAt(w.agentFS.Ops() + 1 + w.dice(12))
		case 4, 5:
			time.Sleep(time.Duration(w.dice(200)) * time.Millisecond)
		case 6:
			time.Sleep(time.Duration(w.dice(90)) * time.Second)
		}
	}
	// Both have a good day.
	w.reboot(&w.serverFS, endServer)
	w.reboot(&w.agentFS, w.endAgent)
	w.serverFS.StopAt(0)
	w.agentFS.StopAt(0)
	if err := errors.Join(w.openServer(), w.openAgent()); err != nil {
		return w, err
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	if st := w.queue.Stats(); st.QueuedEvents != 0 || st.Rejected+st.Lost != 0 {
		return w, fmt.Errorf("after an hour: %+v", st)
	}
	return w, w.arrived()
}

// TestKills kills an agent and a server, takes their power, and loses their requests and answers. What Append has confirmed arrives exactly
// once, in its order.
func TestKills(t *testing.T) {
	deaths, events := 0, uint64(0)
	for seed := range uint64(*crashSeeds) {
		bubble(t, func(t *testing.T) {
			w, err := live(t, seed, false)
			if err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			deaths += w.deaths
			for _, n := range w.acknowledged {
				events += n
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Log(strconv.Itoa(deaths)+" deaths,", events, "events confirmed")
	if deaths < *crashSeeds*5 || events < uint64(*crashSeeds)*100 {
		t.Errorf("%d deaths, %d events: the test tests little", deaths, events)
	}
}

// Without fsync events must get lost, or the test above could not see it.
func TestKillsWithoutSync(t *testing.T) {
	for seed := range uint64(100) {
		var err error
		bubble(t, func(t *testing.T) { _, err = live(t, seed, true) })
		if err != nil {
			t.Log(err)
			return
		}
	}
	t.Error("100 lives without fsync lost nothing")
}
