package catalog

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/analysis/analyzer/keyword"
	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/mapping"

	"github.com/lookoutlog/lookout/index/query"
)

// indexVersion is the version of the index's documents. 1: template by words; service and level whole.
const indexVersion = 1

// The fields of a document, whose id is the kind's number as decimal text.
const (
	fieldTemplate = "template"
	fieldService  = "service"
	fieldLevel    = "level"
	fieldPlace    = "place" // the level's number as a digit and the service: one value to count facets by costs half of two
)

// document is a kind as it is indexed.
type document struct {
	Template string `json:"template"`
	Service  string `json:"service"`
	Level    string `json:"level"`
	Place    string `json:"place"`
}

// state is what an index says of itself, in each batch.
type state struct {
	Version int
	Ledger  string // the id of the ledger it was made from
	UpTo    uint64 // the highest number that is in it
	Whole   bool   // it was built to the end
}

var keyState = []byte("state")

// textIndex is an open index.
type textIndex struct {
	path string
	bleve.Index
	mu    sync.Mutex
	state state
}

// batchKinds is how many kinds are indexed at once: the fewer times, the less bleve merges; some tens of MB of memory.
const batchKinds = 5000

// settings are bleve's. Its merging takes as much time as indexing itself: what is there may lie in twice as many parts as it would have it, and
// small parts wait until there are some. Each index takes a copy: bleve writes the index's path into it.
var settings = map[string]any{
	"scorchMergePlanOptions": map[string]any{"MaxSegmentsPerTier": 20, "MaxSegmentSize": 5_000_000, "TierGrowth": 10.0, "SegmentsPerMergeTask": 20, "FloorSegmentSize": 100, "ReclaimDeletesWeight": 2.0},
}

// bleve has one queue of analyzing goroutines for all indexes, made when the program starts: here there is one goroutine, while
// an index is open.
var analyzing struct {
	sync.Mutex
	indexes int
}

func init() { bleve.Config.Shutdown() }

func startAnalyzing() {
	analyzing.Lock()
	defer analyzing.Unlock()
	if analyzing.indexes++; analyzing.indexes == 1 {
		bleve.Config.SetAnalysisQueueSize(1)
	}
}

func stopAnalyzing() {
	analyzing.Lock()
	defer analyzing.Unlock()
	if analyzing.indexes--; analyzing.indexes == 0 {
		bleve.Config.Shutdown()
	}
}

func newMapping() mapping.IndexMapping {
	whole := func(values bool) *mapping.FieldMapping {
		f := bleve.NewTextFieldMapping()
		f.Analyzer, f.Store, f.IncludeInAll, f.IncludeTermVectors, f.DocValues = keyword.Name, false, false, false, values
		return f
	}
	template := bleve.NewTextFieldMapping()
	template.Analyzer, template.Store, template.IncludeInAll, template.DocValues = analyzerName, false, false, false
	template.IncludeTermVectors = true // phrases
	doc := bleve.NewDocumentStaticMapping()
	doc.AddFieldMappingsAt(fieldTemplate, template)
	doc.AddFieldMappingsAt(fieldService, whole(false))
	doc.AddFieldMappingsAt(fieldLevel, whole(false))
	doc.AddFieldMappingsAt(fieldPlace, whole(true))
	m := bleve.NewIndexMapping()
	m.DefaultMapping, m.DefaultAnalyzer = doc, analyzerName
	m.StoreDynamic, m.IndexDynamic, m.DocValuesDynamic = false, false, false
	return m
}

// makeIndex makes an empty index.
func makeIndex(path, ledger string) (*textIndex, error) {
	startAnalyzing()
	x, err := bleve.NewUsing(path, newMapping(), scorch.Name, bleve.Config.DefaultKVStore, maps.Clone(settings))
	if err != nil {
		stopAnalyzing()
		return nil, fmt.Errorf("making an index of patterns: %w", err)
	}
	return &textIndex{path: path, Index: x, state: state{Version: indexVersion, Ledger: ledger}}, nil
}

// openTextIndex opens an index. The error says why it cannot be used.
func openTextIndex(path, ledger string) (x *textIndex, err error) {
	if err := checkFiles(path); err != nil {
		return nil, err
	}
	startAnalyzing()
	defer func() {
		if p := recover(); p != nil { // damage that bleve does not expect
			err = fmt.Errorf("%v", p)
		}
		if err != nil {
			stopAnalyzing()
		}
	}()
	b, err := bleve.Open(path)
	if err != nil {
		return nil, err
	}
	x = &textIndex{path: path, Index: b}
	data, err := b.GetInternal(keyState)
	if err == nil {
		err = json.Unmarshal(data, &x.state)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("reading its state: %w", err)
	case x.state.Version != indexVersion:
		err = fmt.Errorf("it is of version %d", x.state.Version)
	case !x.state.Whole:
		err = errors.New("it was not built to the end")
	case x.state.Ledger != ledger:
		err = errors.New("it is of another ledger")
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return x, nil
}

// checkFiles reads the checksums at the ends of bleve's segment files, which bleve itself does not look at.
func checkFiles(path string) error {
	names, err := filepath.Glob(filepath.Join(path, "store", "*.zap"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := checkFile(name); err != nil {
			return err
		}
	}
	return nil
}

func checkFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum, end := crc32.NewIEEE(), make([]byte, 4)
	if _, err := io.CopyN(sum, f, info.Size()-4); err != nil {
		return fmt.Errorf("reading %s: %w", filepath.Base(name), err)
	}
	if _, err := io.ReadFull(f, end); err != nil || sum.Sum32() != binary.BigEndian.Uint32(end) {
		return fmt.Errorf("the checksum of %s is wrong", filepath.Base(name))
	}
	return nil
}

func (x *textIndex) close() error {
	defer stopAnalyzing()
	return x.Index.Close()
}

func (x *textIndex) count() (uint64, error) { return x.DocCount() }

// upTo returns the highest number that is in the index.
func (x *textIndex) upTo() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.state.UpTo
}

// add indexes kinds, durably, with their highest number. Whole is set from the last of an index that is built on.
func (x *textIndex) add(numbers []uint64, kinds []query.Kind, whole bool) (err error) {
	defer func() {
		if p := recover(); p != nil { // damage that bleve does not expect
			err = fmt.Errorf("indexing patterns: %v", p)
		}
	}()
	x.mu.Lock()
	defer x.mu.Unlock()
	next := x.state
	next.Whole = next.Whole || whole
	b := x.NewBatch()
	for i, n := range numbers {
		k := &kinds[i]
		d := document{k.Template, k.Service, k.Level.String(), string(rune('0'+k.Level)) + k.Service}
		if err := b.Index(documentID(n), d); err != nil {
			return fmt.Errorf("indexing patterns: %w", err)
		}
		next.UpTo = max(next.UpTo, n)
	}
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	b.SetInternal(keyState, data)
	if err := x.Batch(b); err != nil {
		return fmt.Errorf("indexing patterns: %w", err)
	}
	x.state = next
	return nil
}

func documentID(n uint64) string { return strconv.FormatUint(n, 10) }

// generations returns the numbers of the folders of indexes, the newest first.
func (c *Catalog) generations() ([]uint64, error) {
	entries, err := os.ReadDir(c.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the folder of the index: %w", err)
	}
	var list []uint64
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 64); err == nil && documentID(n) == e.Name() {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b uint64) int { return cmp.Compare(b, a) })
	return list, nil
}

func (c *Catalog) generation(n uint64) string { return filepath.Join(c.dir(), documentID(n)) }

// openIndex opens the newest index that can be used, and removes the others; nil when there is none.
func (c *Catalog) openIndex() (*textIndex, error) {
	list, err := c.generations()
	if err != nil {
		return nil, err
	}
	var found *textIndex
	for _, n := range list {
		path := c.generation(n)
		if found == nil {
			x, err := openTextIndex(path, c.ledger.id)
			if err == nil {
				if err = c.agrees(x); err == nil {
					found = x
					continue
				}
				err = errors.Join(err, x.close())
			}
			c.o.Log.Warn("an index of patterns cannot be used; if there is no other, it is built anew", "index", path, "why", err)
		}
		if err := os.RemoveAll(path); err != nil {
			if found != nil {
				err = errors.Join(err, found.close())
			}
			return nil, fmt.Errorf("removing an index of patterns that is not used: %w", err)
		}
	}
	return found, nil
}

// agrees tells whether the index has as many kinds as the ledger up to its number.
func (c *Catalog) agrees(x *textIndex) error {
	have, err := x.count()
	if err != nil {
		return err
	}
	want, err := c.ledger.upTo(x.upTo())
	if err == nil && have != want && !c.ledger.purging() {
		err = fmt.Errorf("it has %d patterns where %d belong", have, want)
	}
	return err
}

// extend indexes the kinds that the index does not have yet. Only one caller at a time for an index. told hears how many were indexed.
func (c *Catalog) extend(ctx context.Context, x *textIndex, told func(n int)) error {
	var numbers []uint64
	var kinds []query.Kind
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		numbers, kinds = numbers[:0], kinds[:0]
		if err := c.ledger.after(x.upTo(), func(n uint64, k *query.Kind) bool {
			numbers, kinds = append(numbers, n), append(kinds, *k)
			return len(numbers) < batchKinds
		}); err != nil {
			return err
		}
		if len(numbers) == 0 {
			return nil
		}
		if err := x.add(numbers, kinds, false); err != nil {
			c.damaged.Store(true)
			return err
		}
		if told != nil {
			told(len(numbers))
		}
	}
}

// Rebuild builds the index anew from the ledger and puts it in the place of the old one, which answers until then. After a crash the
// next start finds one of them. told, which may be nil, hears how many kinds are done, of how many. When another
// call builds already, Rebuild waits for it and builds once more.
func (c *Catalog) Rebuild(ctx context.Context, told func(done, total int64)) (err error) {
	c.building.Lock()
	defer c.building.Unlock()
	if told == nil {
		told = func(int64, int64) {}
	}
	list, err := c.generations()
	if err != nil {
		return err
	}
	next := uint64(1)
	if len(list) > 0 {
		next = list[0] + 1
	}
	purge := c.ledger.purging()
	if purge {
		if err := c.alone(c.ledger.compact); err != nil {
			return err
		}
	}
	total := c.ledger.count()
	c.progress.Store(0)
	c.total.Store(max(int64(total), 1))
	defer c.total.Store(0)
	path := c.generation(next)
	if err := os.MkdirAll(c.dir(), 0o700); err != nil {
		return fmt.Errorf("making the folder of the index: %w", err)
	}
	x, err := makeIndex(path, c.ledger.id)
	if err != nil {
		return err
	}
	defer func() {
		if x != nil {
			err = errors.Join(err, x.close(), os.RemoveAll(path))
		}
	}()
	done := func(n int) { told(c.progress.Add(int64(n)), max(int64(total), c.progress.Load())) }
	done(0)
	if err := c.extend(ctx, x, done); err != nil {
		return err
	}
	c.o.hook("built")
	// What came meanwhile, and nothing can come now.
	return c.alone(func() error {
		if err := c.extend(ctx, x, done); err != nil {
			return err
		}
		if err := x.add(nil, nil, true); err != nil {
			return err
		}
		if err := syncDir(c.dir()); err != nil {
			return err
		}
		c.o.hook("whole")
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return ErrClosed
		}
		old := c.index
		c.index, x = x, nil
		c.damaged.Store(false)
		c.mu.Unlock()
		if old != nil {
			if err := old.close(); err != nil { // what it held is in the new one
				c.o.Log.Warn("the old index of patterns could not be closed", "error", err)
			}
		}
		for _, n := range list {
			if err := os.RemoveAll(c.generation(n)); err != nil {
				return fmt.Errorf("removing the old index of patterns: %w", err)
			}
		}
		c.o.hook("removed")
		if purge {
			return c.ledger.purged()
		}
		return nil
	})
}

// alone calls fn while nobody feeds.
func (c *Catalog) alone(fn func() error) error {
	c.wanted.Add(1)
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.wanted.Add(-1)
	return fn()
}
