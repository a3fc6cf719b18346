package alerting

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Backtest is what [Backtest.Run] holds the events of the past against: engines, each with its own rules.
type Backtest struct {
	Source Source
	// Dir is where the engines' states are while it runs, in files of their own that are removed.
	Dir string
	// Since is when the first event was received that is held against the rules, and Until when the clock stops: what is queued then
	// is delivered, and nothing else happens.
	Since, Until time.Time
	// Engines are the options of the engines, see [NewReplay].
	Engines []Options
	// Take gets the notifications of the engine of an index.
	Take func(engine int, n Notification)
	// Progress gets how many events of how many were held against the rules; nil for nobody.
	Progress func(done, total int64)
}

// BacktestResult is what a backtest found beside the notifications.
type BacktestResult struct {
	Events  int64 // held against the rules
	Gaps    int   // ranges of events that could not be read
	Engines []Stats
}

// lookEvery is how long a follower may be silent before it is asked where it stands: at the store's end nothing may come.
const lookEvery = 2 * time.Second

// settle is for how long what is queued at the end is still delivered: a channel takes a message a second.
const settle = time.Minute

// backtestFolder begins the name of the folder that a backtest has in its Dir; digits follow.
const backtestFolder = "backtest-"

var (
	backtestName = regexp.MustCompile(`^` + backtestFolder + `\d+$`)
	backtestFile = regexp.MustCompile(`^\d+\.db$`)
)

// RemoveBacktests removes what backtests left in dir that were killed. Nobody else may run one there. A folder in which there is
// something else than a backtest makes is left as it is.
func RemoveBacktests(dir string) error {
	folders, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking for what backtests left: %w", err)
	}
	var errs []error
	for _, folder := range folders {
		if !folder.IsDir() || !backtestName.MatchString(folder.Name()) {
			continue
		}
		path := filepath.Join(dir, folder.Name())
		files, err := os.ReadDir(path)
		if err == nil && !slices.ContainsFunc(files, func(f os.DirEntry) bool { return !f.Type().IsRegular() || !backtestFile.MatchString(f.Name()) }) {
			err = os.RemoveAll(path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("removing what a backtest left: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Run reads the events once, and ends with ctx. What it holds in memory does not grow with them.
func (b *Backtest) Run(ctx context.Context) (*BacktestResult, error) {
	dir, err := os.MkdirTemp(b.Dir, backtestFolder)
	if err != nil {
		return nil, fmt.Errorf("a folder for the state of the backtest: %w", err)
	}
	defer os.RemoveAll(dir)
	replays := make([]*Replay, len(b.Engines))
	for i, o := range b.Engines {
		db, err := bbolt.Open(filepath.Join(dir, fmt.Sprintf("%d.db", i)), 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true})
		if err != nil {
			return nil, fmt.Errorf("a file for the state of the backtest: %w", err)
		}
		defer db.Close()
		o.DB = db
		if replays[i], err = NewReplay(o, func(n Notification) { b.Take(i, n) }); err != nil {
			return nil, err
		}
	}
	last := b.Source.LastSeq()
	first, err := firstSince(ctx, b.Source, b.Since.UnixNano(), last)
	if err != nil {
		return nil, err
	}
	result := &BacktestResult{}
	for _, r := range replays {
		r.start(b.Since)
	}
	err = readAll(ctx, b.Source, first, last, func(events []event.Event, gap *query.GapError) error {
		for _, r := range replays {
			var err error
			if gap != nil {
				err = r.Gap(ctx, gap)
			} else {
				err = r.Feed(ctx, events)
			}
			if err != nil {
				return err
			}
		}
		if gap != nil {
			result.Gaps++
		}
		result.Events += int64(len(events))
		if b.Progress != nil && len(events) > 0 {
			b.Progress(int64(events[len(events)-1].Seq-first), int64(last-first))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range replays {
		if err := r.Until(ctx, b.Until); err != nil {
			return nil, err
		}
		if err := r.Drain(ctx, settle); err != nil {
			return nil, err
		}
		s, err := r.Stats()
		if err != nil {
			return nil, err
		}
		result.Engines = append(result.Engines, s)
	}
	return result, nil
}

// readAll calls do with the events behind after up to last, a batch at a time.
func readAll(ctx context.Context, source Source, after, last uint64, do func([]event.Event, *query.GapError) error) error {
	f := source.Follow(after)
	defer f.Close()
	for f.Position() < last {
		events, err := lookNext(ctx, f)
		var gap *query.GapError
		switch {
		case errors.As(err, &gap):
			err = do(nil, gap)
		case err != nil:
			return fmt.Errorf("reading the store behind event %d: %w", f.Position(), err)
		default:
			n := sort.Search(len(events), func(i int) bool { return events[i].Seq > last })
			if n > 0 {
				err = do(events[:n], nil)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lookNext returns the next events, none when there were none for a while: those before the store's end may have been deleted.
func lookNext(ctx context.Context, f query.Follower) ([]event.Event, error) {
	short, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	events, err := f.Next(short)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return events, err
}

// firstSince returns a sequence behind which all events are that were received since a time, in ns, and hardly any others. It halves
// the sequences, since Received times grow with them.
func firstSince(ctx context.Context, source Source, since int64, last uint64) (uint64, error) {
	// Everything up to low was received before; nothing behind high, as far as is known, was.
	low, high := uint64(0), last
	for low < high {
		middle := low + (high-low)/2
		received, seq, err := receivedBehind(ctx, source, middle, last)
		if err != nil {
			return 0, err
		}
		if seq == 0 || received >= since {
			high = middle
		} else {
			low = max(seq, middle+1)
		}
	}
	return low, nil
}

// receivedBehind returns when the first event behind a sequence was received, and its own; 0 when there is none up to last.
func receivedBehind(ctx context.Context, source Source, after, last uint64) (received int64, seq uint64, err error) {
	f := source.Follow(after)
	defer f.Close()
	for f.Position() < last {
		events, err := lookNext(ctx, f)
		if len(events) > 0 {
			return events[0].Received, events[0].Seq, nil
		}
		var gap *query.GapError
		if err != nil && !errors.As(err, &gap) {
			return 0, 0, fmt.Errorf("reading the store behind event %d: %w", after, err)
		}
	}
	return 0, 0, nil
}
