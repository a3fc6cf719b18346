package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/auth"
)

// searching are requests that search, each another way.
var searching = []string{
	"/api/v1/query?q=x", "/api/v1/query?q=x&count=true", "/api/v1/query?q=x&before=1", "/api/v1/stats?q=x", "/api/v1/patterns?q=x", "/api/v1/fields?q=x", "/api/v1/values?q=x&field=service",
	"/api/v1/context?id=1",
}

// Every search has the limits of the configuration; none has more.
func TestBudgets(t *testing.T) {
	for _, c := range []struct {
		limits       Limits
		scan, memory int64
	}{
		{Limits{}, 100e9, query.DefaultMemory}, {Limits{QueryScan: 5000, QueryMemory: 70}, 5000, 70}, {Limits{QueryScan: -1}, 0, query.DefaultMemory},
	} {
		f := newFixture(t, func(o *Options) { o.Limits, o.Catalog = c.limits, &ledger{} })
		f.store.append(line("a", "x", 0))
		for _, target := range searching {
			asked := 0
			f.store.hook = func(_ context.Context, r query.Request) error {
				asked++
				scan := c.scan
				switch {
				case strings.Contains(target, "/values") && (scan == 0 || scan > valuesScan):
					scan = valuesScan
				case strings.Contains(target, "/context"): // has a smaller one
					if r.MaxBytes > 0 && (scan == 0 || r.MaxBytes < scan) {
						scan = r.MaxBytes
					}
				}
				if r.MaxBytes != scan || r.MaxMemory != c.memory {
					t.Errorf("%+v: %s may look at %d and hold %d bytes", c.limits, target, r.MaxBytes, r.MaxMemory)
				}
				return nil
			}
			if w := f.do("GET", target, ""); w.Code != 200 || asked == 0 {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
		var x struct{ Budget budgetJSON }
		f.store.hook = nil
		if w := f.do("GET", "/api/v1/explain?q=x", ""); json.Unmarshal(w.Body.Bytes(), &x) != nil || x.Budget != (budgetJSON{c.scan, c.memory, 60_000}) {
			t.Errorf("%+v: %s", c.limits, w.Body)
		}
	}
}

// A search that has reached a limit says which, from where on it is incomplete, and what to do; the metric counts it.
func TestBudgetReached(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Catalog = &ledger{} })
	f.store.append(line("a", "x", 0))
	for _, budget := range []string{query.BudgetScan, query.BudgetMemory} {
		f.store.scan = query.Summary{Reasons: []string{"enough; ask for less"}, Budget: budget, Cut: start}
		for i, target := range searching {
			w := f.do("GET", target, "")
			if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, `"complete":false,"reasons":["enough; ask for less"],"budget":"`+budget+`","cut":"2027-01-15T08:00:00.000000000Z"`) {
				t.Errorf("%s: %d %s", target, w.Code, body)
			}
			if got := f.do("GET", "/metrics", "").Body.String(); !strings.Contains(got, fmt.Sprintf("lookout_searches_ended_total{cause=%q} %d\n", budget, i+1)) && !strings.Contains(target, "context") {
				t.Errorf("%s is not counted", target)
			}
		}
	}
	// The next page begins with what was left out, in either order; not where that is where this one began.
	for order, want := range map[string]string{"oldest": "y z", "newest": "y x"} {
		f.store.scan = query.Summary{Reasons: []string{"enough"}, Budget: query.BudgetScan, Cut: start + 1e9}
		f.store.append(line("a", "y", 1), line("a", "z", 2))
		var s struct{ Summary struct{ Next string } }
		target := "/api/v1/query?order=" + order
		last := f.do("GET", target, "").Body.String()
		last = strings.TrimSpace(last[strings.LastIndex(strings.TrimSpace(last), "\n")+1:])
		if err := json.Unmarshal([]byte(last), &s); err != nil || s.Summary.Next == "" {
			t.Fatalf("%s: %s", order, last)
		}
		page := f.do("GET", target+"&cursor="+s.Summary.Next, "").Body.String()
		if got := strings.Join(messageText.FindAllString(page, -1), " "); got != strings.NewReplacer("x", `"message":"x"`, "y", `"message":"y"`, "z", `"message":"z"`).Replace(want) {
			t.Errorf("%s: %s", order, page)
		}
		if strings.Contains(page, `"next"`) {
			t.Errorf("%s goes round: %s", order, page)
		}
		f.store.events = f.store.events[:1]
	}
	f.store.scan = query.Summary{}
	f.o.Limits.QueryScan = 1
	if w := f.do("GET", "/api/v1/explain?q=x", ""); strings.Contains(w.Body.String(), "limits.query_scan") {
		t.Errorf("nothing would be read, and yet: %s", w.Body)
	}
}

var messageText = regexp.MustCompile(`"message":"."`)

// A deadline is said, as a status or in the midst of an answer as its last line, and counted.
func TestDeadline(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Limits.QueryTimeout, o.Catalog = time.Millisecond, &ledger{} })
	f.store.append(line("a", "x", 1))
	f.store.hook = func(ctx context.Context, _ query.Request) error {
		<-ctx.Done()
		return fmt.Errorf("reading: %w", ctx.Err())
	}
	for i, target := range append(searching, "/api/v1/explain?q=x") {
		w := f.do("GET", target, "")
		if a := errorOf(t, w.Body.Bytes()); w.Code != 504 || a.Error.Code != "timeout" || !strings.Contains(a.Error.Mend, "limits.query_timeout") {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
		if got := f.do("GET", "/metrics", "").Body.String(); !strings.Contains(got, fmt.Sprintf(`lookout_searches_ended_total{cause="deadline"} %d`+"\n", i+1)) {
			t.Errorf("%s is not counted", target)
		}
	}

	synctest.Test(t, func(t *testing.T) { // the first row has to come in time
		m := newMemory()
		m.append(line("a", "x", 1), line("a", "y", 2))
		f := newFixture(t, func(o *Options) { o.Store, o.Limits.QueryTimeout = stuck{m}, 50*time.Millisecond })
		lines := strings.SplitAfter(f.do("GET", "/api/v1/query", "").Body.String(), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], `{"event"`) || lines[2] != "" {
			t.Fatalf("%q", lines)
		}
		if a := errorOf(t, []byte(lines[1])); a.Error.Code != "timeout" || !strings.Contains(a.Error.Message, "the result is incomplete") {
			t.Errorf("%q", lines[1])
		}
	})
}

// stuck delivers one row and then nothing until its context ends.
type stuck struct{ *memory }

func (s stuck) Search(ctx context.Context, r query.Request, fn func(query.Row) error) (query.Summary, error) {
	r.Limit = 1
	if _, err := s.memory.Search(ctx, r, fn); err != nil {
		return query.Summary{}, err
	}
	<-ctx.Done()
	return query.Summary{}, ctx.Err()
}

// crowd is a fixture whose searches run until they are told to end.
type crowd struct {
	*fixture
	free    chan struct{}
	running chan struct{}
	answers chan *httptest.ResponseRecorder
}

func newCrowd(t *testing.T, change ...func(*Options)) *crowd {
	c := &crowd{fixture: newFixture(t, change...), free: make(chan struct{}), running: make(chan struct{}, 200), answers: make(chan *httptest.ResponseRecorder, 200)}
	c.store.hook = func(ctx context.Context, _ query.Request) error {
		c.running <- struct{}{}
		select {
		case <-c.free:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return c
}

// from sends a search from an address.
func (c *crowd) from(ctx context.Context, address string) {
	r := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/query", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r.RemoteAddr = address
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	c.answers <- w
}

// So many run, so many wait, the others are told to come back, at once; a place that becomes free is taken by one that waits.
func TestSearchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		for i := range 30 {
			go c.from(t.Context(), fmt.Sprintf("10.0.0.%d:1000", i))
		}
		synctest.Wait()
		if running, waiting := c.searches.counts(); len(c.running) != 4 || running != 4 || waiting != 16 || len(c.answers) != 10 {
			t.Fatalf("%d run, or %d; %d wait, %d are answered", len(c.running), running, waiting, len(c.answers))
		}
		for range 10 {
			w := <-c.answers
			if a := errorOf(t, w.Body.Bytes()); w.Code != 429 || w.Header().Get("Retry-After") != "1" || a.Error.Code != "busy" || a.Error.Message != "4 searches run and 16 wait, which is the most" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		if got := c.do("GET", "/metrics", "").Body.String(); !strings.Contains(got, "lookout_searches_refused_total 10\n") || !strings.Contains(got, "lookout_searches_running 4\n") ||
			!strings.Contains(got, "lookout_searches_waiting 16\n") {
			t.Error("the queue is not in the metrics")
		}
		close(c.free)
		for range 20 {
			if w := <-c.answers; w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		if running, waiting := c.searches.counts(); running != 0 || waiting != 0 || len(c.searches.running) != 0 {
			t.Error("places were not given back")
		}
	})
}

// One client has a part of the queue only, and who has less running comes first.
func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		for i := range 100 {
			go c.from(t.Context(), fmt.Sprintf("10.0.0.1:%d", 1000+i))
		}
		synctest.Wait()
		if _, waiting := c.searches.counts(); waiting != 12 || len(c.answers) != 84 {
			t.Fatalf("%d wait, %d are answered", waiting, len(c.answers))
		}
		for range 84 {
			if w := <-c.answers; w.Code != 429 || !strings.Contains(w.Body.String(), "4 searches of this client run and 12 wait") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		go c.from(t.Context(), "10.0.0.2:1000")
		synctest.Wait()
		c.free <- struct{}{} // one of the first client ends, and the second one's turn has come
		synctest.Wait()
		c.searches.mu.Lock()
		if n := c.searches.running["admin@10.0.0.2"]; n != 1 {
			t.Errorf("%d of the second client run: %v", n, c.searches.running)
		}
		c.searches.mu.Unlock()
		close(c.free)
		for range 17 {
			if w := <-c.answers; w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
	})
}

// Who is gone leaves the queue at once, and is no refusal; who has waited as long as a search may take is one.
func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, func(o *Options) { o.Limits = Limits{Searches: 1, Queue: 8, QueryTimeout: time.Minute} })
		first, leave := context.WithCancel(t.Context())
		go c.from(first, "10.0.0.1:1")
		synctest.Wait()
		time.Sleep(time.Second)
		gone, cancel := context.WithCancel(t.Context())
		for range 3 {
			go c.from(gone, "10.0.0.2:1")
		}
		go c.from(t.Context(), "10.0.0.3:1")
		synctest.Wait()
		cancel()
		synctest.Wait()
		if _, waiting := c.searches.counts(); waiting != 1 || len(c.answers) != 3 {
			t.Errorf("%d wait, %d are answered", waiting, len(c.answers))
		}
		for range 3 {
			if w := <-c.answers; w.Code != statusClientGone {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		time.Sleep(59 * time.Second) // the first one's time is up, the last one's turn has come
		synctest.Wait()
		if w := <-c.answers; w.Code != 504 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if running, waiting := c.searches.counts(); running != 1 || waiting != 0 {
			t.Errorf("%d run, %d wait", running, waiting)
		}
		leave()
		time.Sleep(time.Second)
		synctest.Wait()
		if w := <-c.answers; w.Code != 504 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		got := c.do("GET", "/metrics", "").Body.String()
		for _, want := range []string{"lookout_searches_refused_total 0\n", `lookout_searches_ended_total{cause="canceled"} 3` + "\n", `lookout_searches_ended_total{cause="deadline"} 2` + "\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s", want)
			}
		}
	})
}

// A place that is given in the moment in which its client goes away is given on.
func TestGateLosesNoPlace(t *testing.T) {
	g := newGate(2, 50)
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				go cancel()
			}
			if leave, err := g.enter(ctx, fmt.Sprint("client ", i%7)); err == nil {
				leave()
			}
		})
	}
	all.Wait()
	if running, waiting := g.counts(); running != 0 || waiting != 0 || len(g.running) != 0 {
		t.Errorf("%d run, %d wait, %v", running, waiting, g.running)
	}
}

// What reads little does not wait behind searches.
func TestShortRequestsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		for i := range 100 {
			go c.from(t.Context(), fmt.Sprintf("10.0.0.%d:1000", i))
		}
		synctest.Wait()
		c.store.mu.Lock()
		c.store.hook = nil
		c.store.mu.Unlock()
		for _, target := range []string{"/api/v1/explain?q=x", "/api/v1/values?field=service", "/api/v1/services", "/api/v1/check?q=x", "/metrics", "/healthz"} {
			if w := c.do("GET", target, ""); w.Code != 200 {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
		close(c.free)
		for range 100 {
			<-c.answers
		}
	})
}

// A client that goes away ends the search in the store, whatever it asked for, and is counted.
func TestCancellation(t *testing.T) {
	for i, target := range append(searching, "/api/v1/explain?q=x", "/api/v1/tail?last=5") {
		f := newFixture(t, func(o *Options) { o.Catalog = &ledger{} })
		f.store.append(line("a", "x", 0))
		entered, ended := make(chan struct{}, 1), make(chan error, 1)
		f.store.hook = func(ctx context.Context, _ query.Request) error {
			entered <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}
		s := f.server(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-entered
			cancel()
		}()
		r, err := http.NewRequestWithContext(ctx, "GET", s.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Header.Set("Authorization", "Bearer "+token); i%2 == 0 {
			r.Method = "POST" // whose body has been read
			if strings.Contains(target, "context") || strings.Contains(target, "tail") {
				r.Method = "GET"
			}
		}
		if resp, err := http.DefaultClient.Do(r); err == nil { // a tail's first line comes before
			if _, err := bufio.NewReader(resp.Body).ReadString(0); err == nil {
				t.Errorf("%s: no error", target)
			}
			resp.Body.Close()
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the store was not told", target)
		}
		http.DefaultClient.CloseIdleConnections()
		f.Close()
		s.Close()
		if got := f.do("GET", "/metrics", "").Body.String(); !strings.Contains(got, `lookout_searches_ended_total{cause="canceled"} 1`+"\n") {
			t.Errorf("%s is not counted", target)
		}
	}
}

func TestClientOf(t *testing.T) {
	seen := ""
	f := newFixture(t)
	f.store.hook = func(ctx context.Context, _ query.Request) error {
		seen = clientOf(ctx)
		return nil
	}
	f.do("GET", "/api/v1/query", "")
	if seen != "admin@192.0.2.1" || strings.Contains(seen, auth.Prefix) {
		t.Errorf("%q", seen)
	}
}
