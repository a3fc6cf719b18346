package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) {
	// For TestNoProxy: net/http reads it once.
	os.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	leak.VerifyTestMain(m)
}

var errLost = errors.New("the answer is lost")

// sink keeps what is appended like the store's log: what a producer repeats is dropped. It also demands what the log does
// not: no gaps, and repeats that are the same.
type sink struct {
	t         *testing.T
	mu        sync.Mutex
	producers map[string]*producer
	all       []stored // in order of arrival
	// fault decides about the n-th append, from 1: whether the batch is kept, and the answer.
	fault func(n int, b *event.Batch) (keep bool, err error)
	n     int
}

type producer struct {
	events []event.Event
	cursor []byte
}

type stored struct {
	producer string
	event    event.Event
}

func newSink(t *testing.T) *sink { return &sink{t: t, producers: map[string]*producer{}} }

func (s *sink) Append(_ context.Context, b *event.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	keep, err := true, error(nil)
	if s.fault != nil {
		keep, err = s.fault(s.n, b)
	}
	if !keep {
		return err
	}
	p := s.producers[b.Producer]
	if p == nil {
		p = &producer{}
		s.producers[b.Producer] = p
	}
	if len(b.Events) == 0 || b.FirstSeq < 1 || b.FirstSeq > uint64(len(p.events))+1 {
		s.t.Errorf("%s: %d events from %d, after %d", b.Producer, len(b.Events), b.FirstSeq, len(p.events))
		return err
	}
	for i := range b.Events {
		e := b.Events[i].Clone()
		if at := int(b.FirstSeq) - 1 + i; at < len(p.events) {
			if !reflect.DeepEqual(e, p.events[at]) {
				s.t.Errorf("%s: event %d is repeated as another: %s", b.Producer, at+1, e.Message)
			}
			continue
		}
		p.events = append(p.events, e)
		s.all = append(s.all, stored{b.Producer, e})
		p.cursor = bytes.Clone(b.Cursor)
	}
	return err
}

func (s *sink) Producer(name string) (uint64, []byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.producers[name]
	if p == nil {
		return 0, nil, false
	}
	return uint64(len(p.events)) + 1, bytes.Clone(p.cursor), true
}

func field(e *event.Event, name string) string {
	if f := e.Field(name); f != nil {
		return string(f.Value)
	}
	return ""
}

// changes returns the changes of state that are stored, as in "sales down".
func (s *sink) changes() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		if c := field(&a.event, "change"); c != "" {
			out = append(out, field(&a.event, "probe")+" "+c)
		}
	}
	return out
}

// results returns the results of a target that are stored, as in "0 true up": the second since the bubble's start, ok, state.
func (s *sink) results(name string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		if e := &a.event; field(e, "probe") == name && field(e, "ok") != "" {
			at := time.Unix(0, e.Time).Sub(epoch)
			out = append(out, fmt.Sprintf("%v %s %s", at, field(e, "ok"), field(e, "state")))
		}
	}
	return out
}

// epoch is when a bubble's clock starts (package testing/synctest).
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a prober whose checks are scripted.
type world struct {
	*Prober
	sink *sink
	mu   sync.Mutex
	// answer says how a check ends and how long it takes.
	answer func(t *target, n int) (ok bool, takes time.Duration)
	n      map[string]int
	active map[string]int
	most   int  // checks at once
	deaf   bool // checks end in their own time, not with their context
	log    []string
	stop   func()
}

func newWorld(t *testing.T, s *sink, o Options, answer func(*target, int) (bool, time.Duration)) *world {
	t.Helper()
	o.Sink, o.Host = s, "here"
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Prober: p, sink: s, answer: answer, n: map[string]int{}, active: map[string]int{}}
	p.check = func(ctx context.Context, tg *target) *result {
		w.mu.Lock()
		w.n[tg.Name]++
		n := w.n[tg.Name]
		w.active[tg.Name]++
		if w.active[tg.Name] > 1 {
			t.Errorf("two checks of %s at once", tg.Name)
		}
		total := 0
		for _, a := range w.active {
			total += a
		}
		w.most = max(w.most, total)
		w.log = append(w.log, fmt.Sprintf("%v %s", time.Since(epoch), tg.Name))
		w.mu.Unlock()
		ok, takes := w.answer(tg, n)
		if takes > 0 {
			gone := ctx.Done()
			if w.deaf {
				gone = nil
			}
			select {
			case <-time.After(takes):
			case <-gone:
			}
		}
		w.mu.Lock()
		w.active[tg.Name]--
		w.mu.Unlock()
		r := &result{ok: ok, took: takes, status: 200}
		if !ok {
			r.status, r.err = 503, "status 503, expected status:200..299"
		}
		return r
	}
	return w
}

// run starts the prober; stop ends it.
func (w *world) run(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	w.stop = func() { cancel(); <-done }
	return w
}

func script(s string) func(*target, int) (bool, time.Duration) {
	return func(_ *target, n int) (bool, time.Duration) { return s[min(n, len(s))-1] == 'g', 0 }
}

func one(name string, every time.Duration) Target {
	return Target{Name: name, URL: "http://" + name + "/status", Every: every, Confirm: DefaultConfirm, Recover: DefaultRecover}
}

func set(t *testing.T, p *Prober, source string, targets ...Target) {
	t.Helper()
	for _, err := range p.Set(source, targets) {
		t.Error(err)
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %s\nwant %s", what, strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

// forTime lets a bubble's time pass and everything settle.
func forTime(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, script("gbbbbggggggggggg")).run(t)
		set(t, w.Prober, "config", one("sales", 20*time.Second))
		first := offset("sales", 20*time.Second)
		if first <= 0 || first >= 20*time.Second {
			t.Fatalf("offset %v", first)
		}
		forTime(first + 124*time.Second)
		var want []string
		for _, c := range []struct {
			at   int
			rest string
		}{
			{0, "true up"}, {20, "false up"}, {25, "false up"}, {30, "false down"}, // re-checks until it is decided
			{40, "false down"}, {60, "true down"}, // the phase is kept
			{65, "true down"}, {70, "true down"}, {75, "true down"}, {80, "true down"}, {85, "true down"}, {90, "true up"}, {100, "true up"}, {120, "true up"},
		} {
			want = append(want, fmt.Sprintf("%v %s", first+time.Duration(c.at)*time.Second, c.rest))
		}
		same(t, "results", s.results("sales"), want)
		same(t, "changes", s.changes(), []string{"sales down", "sales up"})
		if got := w.Stats(); got.Checks != 14 || got.Failures != 4 || got.Transitions != 2 || got.Dropped != 0 || got.Lag != 0 || got.Skipped != 0 || got.Up != 1 || got.Pending != 0 {
			t.Errorf("%+v", got)
		}
		w.stop()
	})
}

// A target that is checked once an hour is looked at soon after the start, and every five seconds when it fails.
func TestScheduleOfARareTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, script("b")).run(t)
		set(t, w.Prober, "config", one("backup", time.Hour))
		forTime(maxOffset + 10*time.Second)
		same(t, "changes", s.changes(), []string{"backup down"})
		if n := w.Stats().Checks; n != 3 {
			t.Errorf("%d checks", n)
		}
		w.stop()
	})
}

// After a restart a rare target that was down is looked at soon, not in an hour.
func TestScheduleAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, script("b")).run(t)
		set(t, w.Prober, "config", one("backup", time.Hour))
		forTime(2 * time.Minute)
		w.stop()
		w = newWorld(t, s, Options{}, script("g")).run(t)
		set(t, w.Prober, "config", one("backup", time.Hour))
		forTime(recheck + DefaultRecover + recheck)
		same(t, "changes", s.changes(), []string{"backup down", "backup up"})
		w.stop()
	})
}

// Re-checks are five seconds apart from begin to begin; one that takes longer is followed at once.
func TestSlowRechecks(t *testing.T) {
	for _, c := range []struct{ takes, apart time.Duration }{{2 * time.Second, 5 * time.Second}, {5 * time.Second, 5 * time.Second}, {8 * time.Second, 8 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			s := newSink(t)
			w := newWorld(t, s, Options{}, func(*target, int) (bool, time.Duration) { return false, c.takes }).run(t)
			x := one("a", 30*time.Second)
			x.Confirm = time.Hour
			set(t, w.Prober, "config", x)
			forTime(5 * time.Minute)
			var at []time.Duration
			for _, r := range s.results("a") {
				d, err := time.ParseDuration(strings.Fields(r)[0])
				if err != nil {
					t.Fatal(err)
				}
				at = append(at, d)
			}
			for i := 1; i < len(at); i++ {
				if at[i]-at[i-1] != c.apart {
					t.Errorf("checks of %v begin %v apart", c.takes, at[i]-at[i-1])
				}
			}
			if len(at) < 30 {
				t.Errorf("%d checks", len(at))
			}
			w.stop()
		})
	}
}

func TestFlappingIsOneIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, func(_ *target, n int) (bool, time.Duration) { return n > 800 || n%2 == 0, 0 }).run(t)
		set(t, w.Prober, "config", one("sales", 10*time.Second))
		forTime(time.Hour)
		same(t, "changes", s.changes(), []string{"sales down"})
		forTime(time.Hour)
		same(t, "changes", s.changes(), []string{"sales down", "sales up"})
		w.stop()
	})
}

func TestSlowChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, func(tg *target, _ int) (bool, time.Duration) {
			if tg.Name == "slow" {
				return true, 25 * time.Second
			}
			return true, 0
		}).run(t)
		set(t, w.Prober, "config", one("slow", 10*time.Second), one("fast", 10*time.Second))
		forTime(5 * time.Minute)
		if n := len(s.results("fast")); n != 30 {
			t.Errorf("%d checks of the fast one", n)
		}
		// A check takes 25 s: it begins each 30 s, and the two between are left out.
		if n, skipped := len(s.results("slow")), w.Stats().Skipped; n < 9 || n > 10 || skipped != int64(2*n) {
			t.Errorf("%d checks of the slow one, %d left out", n, skipped)
		}
		if got := w.Stats(); got.InFlight != 1 {
			t.Errorf("%+v", got)
		}
		w.stop()
	})
}

func TestChecksAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{MaxChecks: 3}, func(*target, int) (bool, time.Duration) { return true, time.Second }).run(t)
		var list []Target
		for i := range 30 {
			list = append(list, one(fmt.Sprint("t", i), 10*time.Second))
		}
		set(t, w.Prober, "config", list...)
		forTime(time.Minute)
		if w.most != 3 {
			t.Errorf("%d checks at once", w.most)
		}
		if got := w.Stats(); got.Lag == 0 || got.Up != 30 || got.Checks < 170 {
			t.Errorf("%+v", got)
		}
		w.stop()
	})
}

func TestOffsetsAreSpread(t *testing.T) {
	var tens [6]int
	for i := range 600 {
		d := offset(fmt.Sprint("shop-", i), time.Minute)
		tens[d/(10*time.Second)]++
	}
	for _, n := range tens {
		if n < 60 || n > 140 {
			t.Fatalf("%v", tens)
		}
	}
}

func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, func(tg *target, n int) (bool, time.Duration) { return strings.HasPrefix(tg.Name, "good"), time.Second })
		set(t, w.Prober, "config", one("good", 10*time.Second), one("bad", 10*time.Second))
		w.run(t)
		forTime(time.Minute)
		same(t, "changes", s.changes(), []string{"bad down"})

		// The same again changes nothing: neither phase nor state.
		n := len(s.results("good"))
		for range 40 {
			set(t, w.Prober, "config", one("bad", 10*time.Second), one("good", 10*time.Second))
			forTime(time.Second)
		}
		if got := len(s.results("good")); got != n+4 {
			t.Errorf("%d checks more in 40 s", got-n)
		}

		// Another URL under the same name: checked at once, the state goes on.
		other := one("bad", 10*time.Second)
		other.URL = "http://elsewhere/"
		set(t, w.Prober, "config", one("good", 10*time.Second), other)
		forTime(30 * time.Second)
		same(t, "changes", s.changes(), []string{"bad down"})
		if last := s.producers["probe/bad"].events; field(&last[len(last)-1], "url") != "http://elsewhere/" {
			t.Errorf("still %s", field(&last[len(last)-1], "url"))
		}

		// Taken away: gone, once. And back: it begins anew.
		set(t, w.Prober, "config", one("good", 10*time.Second))
		set(t, w.Prober, "config", one("good", 10*time.Second))
		forTime(10 * time.Second)
		same(t, "changes", s.changes(), []string{"bad down", "bad gone"})
		if got := w.Stats(); got.Up != 1 || got.Down != 0 || got.Unknown != 0 || got.Transitions != 2 {
			t.Errorf("%+v", got)
		}
		checks := len(s.results("bad"))
		forTime(time.Minute)
		if len(s.results("bad")) != checks {
			t.Error("it is still probed")
		}
		set(t, w.Prober, "config", one("good", 10*time.Second), other)
		forTime(30 * time.Second)
		same(t, "changes", s.changes(), []string{"bad down", "bad gone", "bad down"})

		// Taken away and back before anything of it is stored.
		set(t, w.Prober, "config")
		set(t, w.Prober, "config", one("good", 10*time.Second), other)
		forTime(30 * time.Second)
		same(t, "changes", s.changes(), []string{"bad down", "bad gone", "bad down", "bad gone", "bad down"})
		w.stop()
		set(t, w.Prober, "config", one("late", time.Second)) // after the end: nothing happens
	})
}

// A target that is taken away during its check has no result, and one that is well is not told as gone.
func TestTakenAwayDuringACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, func(*target, int) (bool, time.Duration) { return false, time.Minute }).run(t)
		set(t, w.Prober, "config", one("a", time.Second))
		forTime(10 * time.Second)
		if got := w.Stats(); got.InFlight != 1 || got.Unknown != 1 {
			t.Errorf("%+v", got)
		}
		set(t, w.Prober, "config")
		forTime(time.Minute)
		if got := w.Stats(); got.InFlight != 0 || got.Checks != 0 || got.Unknown != 0 {
			t.Errorf("%+v", got)
		}
		same(t, "results", s.results("a"), nil)
		same(t, "changes", s.changes(), nil)
		w.mu.Lock()
		same(t, "checks", w.log, []string{fmt.Sprintf("%v a", offset("a", time.Second))})
		w.mu.Unlock()
		w.stop()
	})
}

// The checks of a target that has changed wait for the one that is still under way.
func TestChangedDuringACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, func(*target, int) (bool, time.Duration) { return true, 5 * time.Second })
		w.deaf = true
		w.run(t)
		for i := range 20 { // each check that begins is overtaken
			x := one("a", time.Second)
			x.Body = fmt.Sprint(i)
			set(t, w.Prober, "config", x)
			forTime(1500 * time.Millisecond)
		}
		forTime(time.Minute)
		if n := len(s.results("a")); n < 9 {
			t.Errorf("%d results", n)
		}
		w.stop()
	})
}

func TestSameTarget(t *testing.T) {
	base := func() Target {
		return Target{Name: "x", URL: "http://h/", Headers: map[string]string{"a": "b"}, Expect: mustQuery(t, "status:200")}
	}
	for _, c := range []struct {
		change func(*Target)
		same   bool
	}{
		{func(*Target) {}, true},
		{func(x *Target) { x.Every = DefaultEvery }, true}, // as it is by default
		{func(x *Target) { x.Expect = mustQuery(t, " status:200 ") }, true},
		{func(x *Target) { x.Expect = mustQuery(t, "status:201") }, false},
		{func(x *Target) { x.Expect = nil }, false},
		{func(x *Target) { x.Headers["a"] = "c" }, false},
		{func(x *Target) { x.URL = "http://h/x" }, false},
		{func(x *Target) { x.Page = true }, false},
		{func(x *Target) { x.Recover = time.Second }, false},
		{func(x *Target) { x.AllowLoopback = true }, false},
	} {
		x, y := base(), base()
		c.change(&y)
		a, err := prepare(&x, "config")
		b, err2 := prepare(&y, "config")
		if err != nil || err2 != nil || a.same(b) != c.same || b.same(a) != c.same {
			t.Errorf("%+v: %v %v, want %v", y, err, err2, c.same)
		}
	}
}

func TestNamesAreUniqueOverSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, script("g")).run(t)
		labelled := one("sales", 10*time.Second)
		labelled.URL = "http://172.17.0.2/status"
		url := func() string {
			forTime(30 * time.Second)
			s.mu.Lock()
			defer s.mu.Unlock()
			e := s.producers["probe/sales"].events
			return field(&e[len(e)-1], "url")
		}
		set(t, w.Prober, "config", one("customers", 10*time.Second))
		set(t, w.Prober, "docker", labelled)
		if got := url(); got != labelled.URL {
			t.Errorf("probes %s", got)
		}
		// The configuration was first, so it gets the name.
		set(t, w.Prober, "config", one("sales", 10*time.Second))
		if got := url(); got != "http://sales/status" {
			t.Errorf("probes %s", got)
		}
		problems := w.Set("docker", []Target{labelled})
		if len(problems) != 1 || problems[0].Error() != `probe "sales": the name is taken by a target of config: give it another one` {
			t.Errorf("%v", problems)
		}
		set(t, w.Prober, "config")
		if got := url(); got != labelled.URL {
			t.Errorf("probes %s", got)
		}
		twice := w.Set("docker", []Target{labelled, one("sales", 20*time.Second)})
		if len(twice) != 1 || !strings.Contains(twice[0].Error(), "taken by a target of docker") {
			t.Errorf("%v", twice)
		}
		w.stop()
	})
}

func TestProblems(t *testing.T) {
	var missing *query.Query
	base := Target{Name: "x", URL: "http://h/"}
	for _, c := range []struct {
		change func(*Target)
		want   string // empty: none
	}{
		{func(*Target) {}, ""},
		{func(t *Target) { t.Expect = missing }, ""},
		{func(t *Target) { t.URL = "tcp://h:22" }, ""},
		{func(t *Target) {
			t.URL = "https://u:secret@h:8443/a?b=c"
			t.Headers = map[string]string{"Host": "other", "X-Key": "k"}
		}, ""},
		{func(t *Target) { t.Every, t.Timeout, t.Confirm, t.Recover = MinEvery, time.Hour, 0, 0 }, ""},
		{func(t *Target) { t.Name = "" }, "it has no name"},
		{func(t *Target) { t.Name = strings.Repeat("x", 257) }, "its name has 257 bytes, the most is 256"},
		{func(t *Target) { t.Name = "a\nb" }, "its name has control characters"},
		{func(t *Target) { t.Name = "a\xff" }, "its name has control characters"},
		{func(t *Target) { t.URL = "" }, `url "" has no scheme: write http://, https:// or tcp:// before it`},
		{func(t *Target) { t.URL = "sales/status" }, `url "sales/status" has no scheme`},
		{func(t *Target) { t.URL = "icmp://h" }, "scheme icmp:// is not supported: use http://, https:// or tcp://"},
		{func(t *Target) { t.URL = "sales:8080/status" }, "scheme sales:// is not supported"},
		{func(t *Target) { t.URL = "http://:8080/status" }, "url http://:8080/status has no host: write http://host:port/path"},
		{func(t *Target) { t.URL = "http://u:secret@h:port/" }, `its url: invalid port ":port" after host`},
		{func(t *Target) { t.URL = "http://h/" + strings.Repeat("x", 4096) }, "its url has 4105 bytes, the most is 4096"},
		{func(t *Target) { t.URL = "tcp://h" }, "url tcp://h: write tcp://host:port"},
		{func(t *Target) { t.URL = "tcp://:22" }, "write tcp://host:port"},
		{func(t *Target) { t.URL = "tcp://h:22/x" }, "write tcp://host:port"},
		{func(t *Target) { t.URL, t.Method = "tcp://h:22", "GET" }, ""},
		{func(t *Target) { t.URL, t.Body = "tcp://h:22", "PING" }, "headers and body are for http:// and https:// only"},
		{func(t *Target) { t.URL, t.Headers = "tcp://h:22", map[string]string{"a": "b"} }, "headers and body are for http"},
		{func(t *Target) { t.Method = "GE T" }, `net/http: invalid method "GE T"`},
		{func(t *Target) { t.Headers = map[string]string{"a b": "c"} }, `header name "a b" is not one of HTTP`},
		{func(t *Target) { t.Headers = map[string]string{"": "c"} }, `header name "" is not one of HTTP`},
		{func(t *Target) { t.Headers = map[string]string{"a": "c\r\nd: e"} }, "the value of header a has control characters"},
		{func(t *Target) { t.Every = time.Millisecond }, "every 1ms is too often: 1s is the shortest interval"},
		{func(t *Target) { t.Every = -1 }, "is too often"},
		{func(t *Target) { t.Timeout = -1 }, "timeout, confirm and recover cannot be negative"},
		{func(t *Target) { t.Confirm = -1 }, "cannot be negative"},
		{func(t *Target) { t.Recover = -1 }, "cannot be negative"},
	} {
		p, err := New(Options{Sink: newSink(t)})
		if err != nil {
			t.Fatal(err)
		}
		x := base
		c.change(&x)
		got := p.Set("config", []Target{x})
		switch {
		case c.want == "" && len(got) > 0, c.want != "" && len(got) != 1:
			t.Errorf("%+v: %v, want %q", x, got, c.want)
		case c.want != "" && (!strings.HasPrefix(got[0].Error(), fmt.Sprintf("probe %q: ", x.Name)) || !strings.Contains(got[0].Error(), c.want)):
			t.Errorf("%+v: %v, want %q", x, got[0], c.want)
		case c.want != "" && strings.Contains(got[0].Error(), "secret"):
			t.Errorf("a password is in %v", got[0])
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no sink is no error")
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct{ every, timeout, wantEvery, wantTimeout, wantRecheck time.Duration }{
		{0, 0, 30 * time.Second, 10 * time.Second, 5 * time.Second},
		{2 * time.Second, 0, 2 * time.Second, 2 * time.Second, 2 * time.Second},
		{time.Minute, 0, time.Minute, 10 * time.Second, 5 * time.Second},
		{2 * time.Second, 7 * time.Second, 2 * time.Second, 7 * time.Second, 2 * time.Second},
	} {
		got, err := prepare(&Target{Name: "x", URL: "http://h/", Every: c.every, Timeout: c.timeout}, "config")
		if err != nil || got.Every != c.wantEvery || got.Timeout != c.wantTimeout || got.recheck() != c.wantRecheck || got.Service != "x" || got.Method != "GET" {
			t.Errorf("%+v: %+v %v", c, got, err)
		}
	}
}

func TestRunIsCalledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newSink(t), Options{}, script("g")).run(t)
		synctest.Wait()
		if err := w.Run(t.Context()); err == nil {
			t.Error("no error")
		}
		w.stop()
		if len(w.sink.all) > 0 {
			t.Errorf("without targets there are events: %s", w.sink.all[0].event.Message)
		}
	})
}

// pressure is an error that asks to wait.
type pressure struct{ after time.Duration }

func (p pressure) Error() string             { return "wait" }
func (p pressure) RetryAfter() time.Duration { return p.after }
func (p pressure) Full() bool                { return false }

// Results that find no room are dropped and counted; changes of state are not, and nothing is counted twice.
func TestPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		open := make(chan struct{})
		s.fault = func(int, *event.Batch) (bool, error) {
			select {
			case <-open:
				return true, nil
			default:
				return false, fmt.Errorf("append: %w", pressure{3 * time.Second})
			}
		}
		w := newWorld(t, s, Options{MaxPending: 20}, func(tg *target, n int) (bool, time.Duration) {
			return tg.Name != "flip" || n/40%2 == 0, 0
		}).run(t)
		set(t, w.Prober, "config", one("flip", time.Second), one("calm", time.Second))
		forTime(5 * time.Minute)
		got := w.Stats()
		if got.Pending < 20 || got.Pending > 20+10 || got.Dropped < 500 || got.Transitions != 0 {
			t.Errorf("%+v", got)
		}
		if len(s.all) != 0 {
			t.Error("something was stored")
		}
		s.mu.Lock()
		if tries := s.n; tries > 3*110 { // three producers, every 3 s
			t.Errorf("%d appends in 5 minutes", tries)
		}
		s.mu.Unlock()
		close(open)
		forTime(20 * time.Second)
		got = w.Stats()
		if results := int64(len(s.results("flip")) + len(s.results("calm"))); results+got.Dropped != got.Checks || got.Pending != 0 {
			t.Errorf("%d results stored, %+v", results, got)
		}
		changes := s.changes()
		if int64(len(changes)) != got.Transitions || len(changes) < 6 {
			t.Errorf("%v, %+v", changes, got)
		}
		for i, c := range changes {
			if c != [...]string{"flip down", "flip up"}[i%2] {
				t.Errorf("%v", changes)
			}
		}
		w.stop()
	})
}

// A sink that fails for another reason gets the batch again too, ever more slowly: it counts, so that is harmless.
func TestSinkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		s.fault = func(n int, b *event.Batch) (bool, error) {
			if b.Producer == rosterProducer {
				return true, nil
			}
			return n%2 == 0, fmt.Errorf("%d: %w", n, errLost) // kept every second time, and never said
		}
		w := newWorld(t, s, Options{}, script("gbb")).run(t)
		set(t, w.Prober, "config", one("sales", 10*time.Second))
		forTime(20 * time.Minute)
		s.mu.Lock()
		n := s.n
		s.fault = nil
		s.mu.Unlock()
		if n < 15 || n > 40 {
			t.Errorf("%d appends in 20 minutes", n)
		}
		forTime(2 * time.Minute)
		same(t, "changes", s.changes(), []string{"sales down"})
		if got := w.Stats(); int64(len(s.results("sales"))) != got.Checks || got.Transitions != 1 {
			t.Errorf("%d results, %+v", len(s.results("sales")), got)
		}
		w.stop()
	})
}

func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		after  time.Duration // until the sink works, from the shutdown
		stored bool
	}{{time.Second, true}, {time.Hour, false}} {
		synctest.Test(t, func(t *testing.T) {
			s := newSink(t)
			works := time.Now().Add(30*time.Second + c.after)
			s.fault = func(int, *event.Batch) (bool, error) {
				if time.Now().Before(works) {
					return false, pressure{100 * time.Millisecond}
				}
				return true, nil
			}
			w := newWorld(t, s, Options{}, script("b")).run(t)
			set(t, w.Prober, "config", one("sales", 5*time.Second))
			forTime(30 * time.Second)
			began := time.Now()
			w.stop()
			got := w.Stats()
			if took := time.Since(began); took > drainTime+time.Second {
				t.Errorf("it took %v", took)
			}
			if c.stored && (int64(len(s.results("sales"))) != got.Checks || got.Dropped != 0 || got.Transitions != 1) ||
				!c.stored && (len(s.all) != 0 || got.Dropped != got.Checks || got.Transitions != 0) || got.Pending != 0 {
				t.Errorf("%v: %d stored, %+v", c.after, len(s.all), got)
			}
		})
	}
}

// The process is killed at each append, before the sink has kept it or behind that with the answer lost, and starts
// again. Whatever happens, a change is told exactly once.
func TestKill(t *testing.T) {
	outage := func(*target, int) (bool, time.Duration) {
		at := time.Since(epoch)
		return at < time.Minute || at > 4*time.Minute, 0
	}
	// One life: from now until the sink dies at its n-th append, or until the end.
	life := func(t *testing.T, s *sink, n int, keep bool) (killed bool) {
		dead := make(chan struct{})
		var once sync.Once
		base := s.n
		s.fault = func(i int, _ *event.Batch) (bool, error) {
			select {
			case <-dead:
				return false, errLost
			default:
			}
			if n > 0 && i == base+n {
				once.Do(func() { close(dead) })
				return keep, errLost
			}
			return true, nil
		}
		w := newWorld(t, s, Options{}, outage).run(t)
		set(t, w.Prober, "config", one("sales", 10*time.Second))
		end := time.After(time.Until(epoch.Add(8 * time.Minute)))
		select {
		case <-dead:
			killed = true
		case <-end:
		}
		w.stop() // what it does from here on reaches nobody
		return killed
	}
	for _, keep := range []bool{true, false} {
		for n := 1; ; n++ {
			killed := false
			synctest.Test(t, func(t *testing.T) {
				s := newSink(t)
				killed = life(t, s, n, keep)
				life(t, s, 0, true)
				same(t, fmt.Sprintf("killed at %d, kept %v", n, keep), s.changes(), []string{"sales down", "sales up"})
			})
			if t.Failed() {
				return
			}
			if !killed {
				if n < 30 {
					t.Fatalf("only %d kill points", n)
				}
				break
			}
		}
	}
	// And killed all the time.
	for every := 2; every < 12; every++ {
		synctest.Test(t, func(t *testing.T) {
			s := newSink(t)
			for i := 0; time.Since(epoch) < 5*time.Minute; i++ {
				life(t, s, every, i%2 == 0)
			}
			life(t, s, 0, true)
			same(t, fmt.Sprintf("killed at each %d.", every), s.changes(), []string{"sales down", "sales up"})
		})
	}
}

// What was taken away while lookout was off is told as gone by the next one, once.
func TestGoneWhileOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		answer := func(tg *target, _ int) (bool, time.Duration) { return tg.Name == "well", 0 }
		w := newWorld(t, s, Options{}, answer).run(t)
		stays, leaves, label := one("stays", 10*time.Second), one("leaves", 10*time.Second), one("label", 10*time.Second)
		leaves.Service, leaves.Env, leaves.Container, leaves.Page = "shop", "prod", "shop-1", true
		set(t, w.Prober, "config", stays, leaves, one("well", 10*time.Second))
		set(t, w.Prober, "docker", label)
		forTime(time.Minute)
		w.stop()
		changes := s.changes()
		slices.Sort(changes)
		same(t, "changes", changes, []string{"label down", "leaves down", "stays down"})
		s.all = nil

		for range 3 {
			w = newWorld(t, s, Options{}, answer)
			set(t, w.Prober, "config", stays)
			w.run(t)
			forTime(time.Minute)
			w.stop()
			same(t, "changes", s.changes(), []string{"leaves gone"}) // docker has not said anything yet
		}
		for _, a := range s.all {
			if e := a.event; field(&e, "change") == "gone" {
				if string(e.Service) != "shop" || string(e.Env) != "prod" || string(e.Container) != "shop-1" || field(&e, "page") != "true" ||
					field(&e, "fingerprint") != "probe:leaves" || field(&e, "url") != "http://leaves/status" || e.Level != event.Info {
					t.Errorf("%s %+v", e.Message, e)
				}
			}
		}
		w = newWorld(t, s, Options{}, answer).run(t)
		set(t, w.Prober, "config", stays)
		set(t, w.Prober, "docker")
		forTime(time.Minute)
		w.stop()
		same(t, "changes", s.changes(), []string{"leaves gone", "label gone"})
		if got := string(s.producers[rosterProducer].cursor); got != `{"v":1,"targets":{"config":["stays"]}}` {
			t.Errorf("%s", got)
		}
	})
}

// Killed between taking a target away and storing that it is gone.
func TestGoneIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, script("b")).run(t)
		set(t, w.Prober, "config", one("a", 10*time.Second))
		forTime(time.Minute)
		s.mu.Lock()
		s.fault = func(_ int, b *event.Batch) (bool, error) { return b.Producer == rosterProducer, pressure{time.Second} }
		s.mu.Unlock()
		set(t, w.Prober, "config")
		forTime(time.Minute)
		w.stop()
		s.fault = nil
		same(t, "changes", s.changes(), []string{"a down"})
		names := func() string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return string(s.producers[rosterProducer].cursor)
		}
		if got := names(); got != `{"v":1,"targets":{"":["a"]}}` {
			t.Errorf("it is forgotten: %s", got)
		}
		// It takes a while again, but not for ever.
		until := time.Now().Add(10 * time.Second)
		s.fault = func(_ int, b *event.Batch) (bool, error) {
			if b.Producer != rosterProducer && time.Now().Before(until) {
				return false, pressure{time.Second}
			}
			return true, nil
		}
		w = newWorld(t, s, Options{}, script("b")).run(t)
		set(t, w.Prober, "config")
		forTime(time.Minute)
		same(t, "changes", s.changes(), []string{"a down", "a gone"})
		if got := names(); got != `{"v":1,"targets":{}}` {
			t.Errorf("it is not forgotten: %s", got)
		}
		w.stop()
		same(t, "changes", s.changes(), []string{"a down", "a gone"})
	})
}

// The list of names is as long as the log takes, and one that cannot be read is no reason not to probe.
func TestRoster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, script("g")).run(t)
		var list []Target
		for i := range 600 {
			list = append(list, one(fmt.Sprintf("%s-%d", strings.Repeat("<", 200), i), time.Hour))
		}
		set(t, w.Prober, "config", list...)
		forTime(10 * time.Second)
		w.stop()
		p := s.producers[rosterProducer]
		names, err := decodeRoster(p.cursor)
		if err != nil || len(names) < 45 || len(p.cursor) > 64<<10 {
			t.Errorf("%d names in %d bytes, %v", len(names), len(p.cursor), err)
		}
		if got := string(p.events[0].Message); got != "600 targets are probed" || len(p.events) > 2 {
			t.Errorf("%d events: %s", len(p.events), got)
		}
		p.cursor = []byte(`{"v":7}`)
		if _, err := decodeRoster(p.cursor); err == nil || !strings.Contains(err.Error(), "version 7") {
			t.Errorf("%v", err)
		}
		w = newWorld(t, s, Options{}, script("g")).run(t)
		set(t, w.Prober, "config", one("a", time.Second))
		forTime(10 * time.Second)
		w.stop()
		if len(s.results("a")) == 0 {
			t.Error("no results")
		}
	})
}

// A state that cannot be read is begun anew, and the count goes on.
func TestStoredStateOfAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		s.producers["probe/a"] = &producer{events: make([]event.Event, 3), cursor: []byte(`{"v":9}`)}
		w := newWorld(t, s, Options{}, script("b")).run(t)
		set(t, w.Prober, "config", one("a", 10*time.Second))
		forTime(time.Minute)
		w.stop()
		same(t, "changes", s.changes(), []string{"a down"})
	})
}

// Many targets at once under -race: all kinds of calls, and nothing lost.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t)
		w := newWorld(t, s, Options{}, func(tg *target, n int) (bool, time.Duration) { return (n+len(tg.Name))%7 > 3, 100 * time.Millisecond }).run(t)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 50 {
					var list []Target
					for k := range 5 {
						if (i+k)%3 > 0 {
							list = append(list, one(fmt.Sprint(g, "-", k), time.Duration(1+(i/10+k)%3)*time.Second))
						}
					}
					set(t, w.Prober, fmt.Sprint(g), list...)
					time.Sleep(2500 * time.Millisecond)
					w.Stats()
				}
				set(t, w.Prober, fmt.Sprint(g))
			})
		}
		wg.Wait()
		forTime(time.Minute)
		got := w.Stats()
		w.stop()
		total, balance := 0, map[string]int{}
		for name, p := range s.producers {
			for _, e := range p.events {
				if field(&e, "ok") != "" {
					total++
				}
				switch field(&e, "change") {
				case "down":
					balance[name]++
				case "up", "gone":
					balance[name]--
				}
				if balance[name] < 0 || balance[name] > 1 {
					t.Fatalf("%s: %s", name, e.Message)
				}
			}
		}
		for name, n := range maps.All(balance) {
			if n != 0 {
				t.Errorf("%s is still down", name)
			}
		}
		if int64(total) != got.Checks || got.Pending != 0 || len(w.runners) != 0 {
			t.Errorf("%d results, %+v, %d runners", total, got, len(w.runners))
		}
	})
}
