package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

// asker is a server that answers.
type asker interface {
	Do(ctx context.Context, method, path string, body []byte) (*http.Response, error)
}

// answer is what is compared of two answers.
type answer struct {
	matched int64 // events
	groups  int64 // of an aggregate
	oldest  int64 // the oldest event's time of few rows, in unix ns: two times the newest 100 are the same events
	bytes   int64 // of the answer
}

// figures are the measurements of one question to one server.
type figures struct {
	answer
	walls, cpus []time.Duration // one a repetition
}

func (f figures) wall() time.Duration { return median(f.walls) }
func (f figures) cpu() time.Duration  { return median(f.cpus) }

func median(d []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(d))[len(d)/2]
}

// errNotThere is the answer for what a server does not have yet.
var errNotThere = errors.New("not there yet")

// queries asks both everything and prints a line a question, as they come.
func (c *comparison) queries(ctx context.Context, lookout, vl server, f facts) error {
	lookoutPeak, vlPeak := lookout.Peak(), vl.Peak()
	defer lookoutPeak()
	defer vlPeak()
	// That both hold everything is not left to a row that -only may leave out.
	everything := span{f.since, f.until}
	for _, s := range []struct {
		name string
		asker
		ask
	}{{"lookout", lookout, everything.count("*")}, {"VictoriaLogs", vl, everything.vlCount("*")}} {
		got, err := once(ctx, s.asker, s.ask)
		if err != nil {
			return fmt.Errorf("counting what %s holds: %w", s.name, err)
		}
		if got.matched != int64(f.events) {
			return fmt.Errorf("%s was sent %d events and holds %d", s.name, f.events, got.matched)
		}
	}
	fmt.Fprintf(c.text, "%-37s %9s %9s %9s %9s %7s %7s %5s\n", fmt.Sprintf("queries, warm, medians of %d turns", c.reps), "wall ms", "VL", "CPU ms", "VL", "× wall", "× CPU", "goal")
	var failed []error
	reached, asked := 0, 0
	busy := peer.OtherCPU(lookout, vl)
	begin := time.Now()
	for _, r := range rows(f) {
		if !c.only.MatchString(r.name) {
			continue
		}
		mine, theirs, err, vlErr := c.measure(ctx, r, lookout, vl)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.bench(r.name, "lookout", mine, err)
		c.bench(r.name, "victorialogs", theirs, vlErr)
		switch {
		case vlErr != nil:
			failed = append(failed, fmt.Errorf("%s: VictoriaLogs: %w", r.name, vlErr))
			fmt.Fprintf(c.text, "%-37s FAILED at VictoriaLogs\n", r.name)
		case errors.Is(err, errNotThere):
			fmt.Fprintf(c.text, "%-37s %9s %9s %9s %9s %7s %7s %5.2f %s\n", r.name, "", ms(theirs.wall()), "", ms(theirs.cpu()), "", "", r.goal, err)
		case err != nil:
			failed = append(failed, fmt.Errorf("%s: lookout: %w", r.name, err))
			fmt.Fprintf(c.text, "%-37s FAILED at lookout\n", r.name)
		default:
			wall, cpu := float64(mine.wall())/float64(theirs.wall()), float64(mine.cpu())/float64(theirs.cpu())
			ok := wall <= r.goal && cpu <= r.goal
			if asked++; ok {
				reached++
			}
			fmt.Fprintf(c.text, "%-37s %9s %9s %9s %9s %7.3f %7.3f %5.2f %-7s %s\n", r.name, ms(mine.wall()), ms(theirs.wall()), ms(mine.cpu()), ms(theirs.cpu()),
				wall, cpu, r.goal, verdict(ok), r.compare(mine, theirs))
		}
		if c.verbose {
			fmt.Fprintf(c.text, "    lookout  %s\n    VL       %s\n", r.lookout.text, r.vl.text)
		}
	}
	fmt.Fprintf(c.text, "\n%d of %d goals reached; a goal is for wall and CPU time, × is lookout's share of VictoriaLogs'\n", reached, asked)
	others := float64(busy()) / float64(time.Since(begin)) / float64(runtime.NumCPU()) * 100
	fmt.Fprintf(c.text, "other programs took %.0f %% of the machine meanwhile; where that is more than little, trust CPU time and not wall time\n", others)
	fmt.Fprintf(c.text, "peak RssAnon while asked: lookout %d MB, VictoriaLogs %d MB\n", lookoutPeak()/1_000_000, vlPeak()/1_000_000)
	return errors.Join(failed...)
}

// compare words whether the answers are the same.
func (r row) compare(mine, theirs figures) string {
	a, b, what := mine.matched, theirs.matched, "matched"
	if r.groups {
		a, b, what = mine.groups, theirs.groups, "groups"
	}
	s := fmt.Sprintf("%d %s", a, what)
	switch {
	case a != b:
		s = fmt.Sprintf("DIFFERENT: %d and %d %s", a, b, what)
		if r.why != "" {
			s += ", " + r.why
		}
	case mine.oldest != 0 && theirs.oldest != 0 && mine.oldest != theirs.oldest:
		s = fmt.Sprintf("DIFFERENT: %d of each, but not the same: the oldest are of %s and %s", a,
			time.Unix(0, mine.oldest).UTC().Format(time.RFC3339Nano), time.Unix(0, theirs.oldest).UTC().Format(time.RFC3339Nano))
	}
	if least := int64(10_000_000); mine.bytes >= least && theirs.bytes >= least {
		rate := func(f figures) float64 { return float64(f.bytes) / 1e6 / f.wall().Seconds() }
		s += fmt.Sprintf("; %.0f and %.0f MB/s of %d and %d MB", rate(mine), rate(theirs), mine.bytes/1_000_000, theirs.bytes/1_000_000)
	}
	return s
}

// bench prints a benchmark line a repetition.
func (c *comparison) bench(name, on string, f figures, err error) {
	if err != nil {
		return
	}
	for i := range f.walls {
		c.lines.Line("Query/"+name+"/on="+on, 1, "ns/op", float64(f.walls[i]), "cpu-ns/op", float64(f.cpus[i]))
	}
}

// The two take turns, so that what else runs on the machine and how fast its cores are at the moment is the same for both. A turn
// is one question, or as many as take so long, or so many: one of half a millisecond varies much from one to the next.
const (
	turn       = 20 * time.Millisecond
	turnAtMost = 10
)

// measure asks both once unmeasured, so that caches are warm and the answers are known, and then in turns as often as wanted.
// An error of one leaves the other its figures.
func (c *comparison) measure(ctx context.Context, r row, lookout, vl server) (mine, theirs figures, lookoutErr, vlErr error) {
	mine.answer, lookoutErr = once(ctx, lookout, r.lookout)
	theirs.answer, vlErr = once(ctx, vl, r.vl)
	for range c.reps {
		if lookoutErr == nil {
			lookoutErr = mine.take(ctx, lookout, r.lookout)
		}
		if vlErr == nil {
			vlErr = theirs.take(ctx, vl, r.vl)
		}
	}
	return mine, theirs, lookoutErr, vlErr
}

// take measures one turn.
func (f *figures) take(ctx context.Context, s server, a ask) error {
	total := time.Duration(0)
	for n := 0; n == 0 || total < turn && n < turnAtMost; n++ {
		cpu, begin := s.CPU(), time.Now()
		got, err := once(ctx, s, a)
		if err != nil {
			return err
		}
		wall := time.Since(begin)
		f.walls, f.cpus = append(f.walls, wall), append(f.cpus, s.CPU()-cpu)
		total += wall
		if got.matched != f.matched {
			return fmt.Errorf("it answered %d matched, and then %d", f.matched, got.matched)
		}
	}
	return nil
}

// once asks and reads the whole answer.
func once(ctx context.Context, s asker, a ask) (answer, error) {
	resp, err := s.Do(ctx, "GET", a.path, nil)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	t, err := drain(resp.Body)
	if err != nil {
		return answer{}, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusNotImplemented:
		return answer{}, errNotThere
	default:
		return answer{}, fmt.Errorf("%s: %.300s", resp.Status, t.last)
	}
	got, err := a.read(t)
	got.bytes = t.bytes
	return got, err
}

// tally is a body that was read: all of a small one, and what is needed of one of any size.
type tally struct {
	bytes, lines int64
	last         []byte // the last line, or as much of its end as fits
	all          []byte // nil when it is larger than keep
}

const keep = 4 << 20 // bytes of an answer that are kept

func drain(r io.Reader) (*tally, error) {
	t := &tally{}
	buf := make([]byte, 256<<10)
	var all []byte
	for {
		n, err := r.Read(buf)
		part := buf[:n]
		t.bytes += int64(n)
		t.lines += int64(bytes.Count(part, []byte("\n")))
		if t.bytes <= keep {
			all = append(all, part...)
		}
		t.last = lastLine(t.last, part)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(t.last) > 0 && t.last[len(t.last)-1] != '\n' {
		t.lines++
	}
	if t.bytes <= keep {
		t.all = all
	}
	return t, nil
}

// lastLine appends to the line at the end of what was read; a line that has ended stays the last one until another begins.
func lastLine(line, part []byte) []byte {
	if len(part) == 0 {
		return line
	}
	if i := bytes.LastIndexByte(part[:len(part)-1], '\n'); i >= 0 {
		return append(line[:0], part[i+1:]...)
	}
	if len(line) > 0 && line[len(line)-1] == '\n' {
		line = line[:0]
	}
	return append(line, part...)
}

// readSummary reads the count of a lookout's search.
func readSummary(t *tally) (answer, error) {
	n, err := peer.Summary(t.last)
	return answer{matched: int64(n)}, err
}

// readRows counts the rows of a lookout's search, which end with its summary.
func readRows(t *tally) (answer, error) {
	_, err := peer.Summary(t.last)
	return answer{matched: t.lines - 1, oldest: oldest(t.all)}, err
}

// readVLRows counts VictoriaLogs' rows.
func readVLRows(t *tally) (answer, error) {
	return answer{matched: t.lines, oldest: oldest(t.all)}, nil
}

// A quote of a message's text has a backslash before it.
var anyTime = regexp.MustCompile(`"_?time":"([^"]+)"`)

func oldest(rows []byte) (least int64) {
	for _, m := range anyTime.FindAllSubmatch(rows, -1) {
		if at, err := time.Parse(time.RFC3339Nano, string(m[1])); err == nil && (least == 0 || at.UnixNano() < least) {
			least = at.UnixNano()
		}
	}
	return least
}

// readVLStats adds up the counts, named c, of VictoriaLogs' groups, one a line: {"service":"linux","c":"34182"}.
func readVLStats(t *tally) (a answer, err error) {
	a.groups = t.lines
	for line := range bytes.Lines(t.all) {
		var group struct {
			C string `json:"c"`
		}
		if err := json.Unmarshal(line, &group); err != nil {
			return a, fmt.Errorf("reading %.100q: %w", line, err)
		}
		if group.C != "" {
			n, err := strconv.ParseInt(group.C, 10, 64)
			if err != nil {
				return a, fmt.Errorf("reading %.100q: %w", line, err)
			}
			a.matched += n
		}
	}
	return a, nil
}

// readStats adds up the counts of a lookout's groups, and counts the groups.
func readStats(t *tally) (a answer, err error) {
	var stats struct {
		Groups []struct {
			Count int64 `json:"count"`
		} `json:"groups"`
	}
	if err := json.Unmarshal(t.all, &stats); err != nil {
		return a, fmt.Errorf("reading %.100q: %w", t.all, err)
	}
	for _, g := range stats.Groups {
		a.groups++
		a.matched += g.Count
	}
	return a, nil
}

func ms(d time.Duration) string {
	f := d.Seconds() * 1000
	if f < 100 {
		return fmt.Sprintf("%.2f", f)
	}
	return fmt.Sprintf("%.0f", f)
}
