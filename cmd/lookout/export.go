package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

// What an export's events are written as, and how that is compressed.
const (
	formNDJSON = "ndjson"

	compressNone = "none"
	compressGzip = "gzip"
	compressZstd = "zstd"
)

const (
	// pageEvents is how many events one request brings: a search has its time limit, an export has none.
	pageEvents = 50_000
	// exportState is the file that says how far an export into a folder has come.
	exportState   = "export.json"
	exportFormat  = "lookout export"
	exportVersion = 1
)

type exportFlags struct {
	since, until, tz, out, form, compress string
	all, utc, resume                      bool
	part                                  int64
}

func (p *program) exportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export QUERY [SERVICE...]",
		Short: "Write events into files or to standard output, all of them, oldest first",
		Long: `export writes every event that matches, with all its fields, in order of time. Unlike grep it leaves out nothing
that probes and containers say regularly, and has no time limit.

With --out DIR it writes a file of a million events after the other, and notes what is done: after an
interruption --resume goes on behind the last whole file, with the events that were there when it began.

ndjson is what lookout import and POST /api/v1/events take; csv has the built-in columns, and the extra fields as
JSON; raw is the bare messages. The range is that of grep: the last hour unless -s, -u or --all say otherwise.`,
		Example: `  lookout export '*' --all --out ./export
  lookout export --resume --out ./export
  lookout export 'level>=error' shop -s 7d --form csv > errors.csv
  lookout export '*' web -s 1d | lookout import --url https://other:7171 -`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.export(cmd, args, &f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.since, "since", "s", "", "from this `time` on (default 1h ago)")
	fl.StringVarP(&f.until, "until", "u", "", "up to this `time`, which is left out (default now)")
	fl.BoolVar(&f.all, "all", false, "from the beginning")
	fl.StringVar(&f.out, "out", "-", "a `folder` for files, or - for standard output")
	fl.BoolVar(&f.resume, "resume", false, "go on with the export in the folder")
	fl.StringVar(&f.form, "form", formNDJSON, "`form`: ndjson, csv, raw")
	fl.StringVar(&f.compress, "compress", "", "`how`: zstd, gzip, none (default: zstd into files)")
	fl.Int64Var(&f.part, "part-events", 1_000_000, "`N` events in each file")
	fl.StringVar(&f.tz, "tz", "", "time `zone` for reading times, and for those in csv")
	fl.BoolVar(&f.utc, "utc", false, "the same as --tz UTC")
	complete(cmd, "form", formNDJSON, formCSV, formRaw)
	complete(cmd, "compress", compressZstd, compressGzip, compressNone)
	return cmd
}

// exported is the state of an export: what was asked for, and how far it has come.
type exported struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	Query    string    `json:"query"`
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"`
	Form     string    `json:"form"`
	Compress string    `json:"compress"`
	Zone     string    `json:"zone"`
	Part     int64     `json:"part_events"`
	Server   string    `json:"server"`
	// Sequence is the newest event's when the export began: later ones are not part of it.
	Sequence uint64 `json:"sequence"`
	Total    int64  `json:"total"` // events, as they were counted then

	Parts  int   `json:"parts"` // whole files
	Events int64 `json:"events"`
	// Last is the time of the last event, LastID its id, and Same how many have this time.
	Last   time.Time `json:"last,omitzero"`
	LastID uint64    `json:"last_id"`
	Same   int       `json:"same"`
	Done   bool      `json:"done"`
}

// exporter writes an export.
type exporter struct {
	out  io.Writer // standard output
	p    *program
	c    *sdk.Client
	dir  string // "" for standard output
	st   exported
	bar  *progress
	page int // pageEvents; less in tests
	// asked is the request of the last page, with the cursor of the next one.
	asked sdk.QueryRequest

	rows printer // of csv and raw
	part *partFile
	next exported // st with the events of the part that is being written
	here int64    // events in that
}

func (p *program) export(cmd *cobra.Command, args []string, f *exportFlags) error {
	e := &exporter{p: p, page: pageEvents, out: &interruptible{cmd.Context(), p.inert()}}
	if f.out != "-" {
		e.dir = f.out
	}
	var err error
	switch {
	case f.resume && e.dir == "":
		return errors.New("--resume needs --out: the folder of the export to go on with")
	case f.resume && len(args) > 0:
		return errors.New("--resume takes the query from the folder; leave it out")
	case f.resume:
		if e.st, err = readExport(e.dir); err != nil {
			return err
		}
	default:
		if e.st, err = p.newExport(args, f, e.dir); err != nil {
			return err
		}
	}
	if e.c, err = p.client(); err != nil {
		return err
	}
	if e.rows.zone, err = parseZone(e.st.Zone, false); err != nil {
		return err
	}
	e.rows.form = e.st.Form
	if e.st.Done {
		p.say("the export in %s is complete: %s", e.dir, counted(e.st.Events, "event"))
		return nil
	}
	ctx := cmd.Context()
	e.bar = p.progress("exporting")
	err = e.run(ctx, f.resume, args)
	e.bar.end()
	if err != nil && e.dir != "" && !errors.Is(err, errNoMatch) && e.st.Sequence > 0 {
		p.say("%s are whole; `lookout export --resume --out %s` goes on", counted(int64(e.st.Parts), "file"), e.dir)
	}
	if err == nil && e.dir != "" {
		p.say("exported %s in %s", counted(e.st.Events, "event"), counted(int64(e.st.Parts), "file"))
	}
	return p.explain(err)
}

// newExport is the state of an export that begins.
func (p *program) newExport(args []string, f *exportFlags, dir string) (st exported, err error) {
	if len(args) == 0 {
		return st, errors.New("export what? give a query, or '*' for everything; see `lookout export --help`")
	}
	compress := f.compress
	if compress == "" {
		if compress = compressNone; dir != "" {
			compress = compressZstd
		}
	}
	switch {
	case !slices.Contains([]string{formNDJSON, formCSV, formRaw}, f.form):
		return st, fmt.Errorf("--form: there is no form %q; use one of ndjson, csv, raw", f.form)
	case !slices.Contains([]string{compressZstd, compressGzip, compressNone}, compress):
		return st, fmt.Errorf("--compress: there is no %q; use one of zstd, gzip, none", compress)
	case f.part < 1:
		return st, fmt.Errorf("--part-events: %d is no number of events", f.part)
	}
	q, err := (&grepFlags{}).compile(args[:1], args[1:])
	if err != nil {
		return st, err
	}
	p.hints(args[0])
	zone, err := parseZone(f.tz, f.utc)
	if err != nil {
		return st, err
	}
	r, err := parseRange(f.since, f.until, f.all, p.now(), zone)
	if err != nil {
		return st, err
	}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return st, err
		}
		if _, err := os.Stat(filepath.Join(dir, exportState)); err == nil {
			return st, fmt.Errorf("there is an export in %s: go on with it by --resume, or name another folder", dir)
		}
		if len(entries) > 0 {
			return st, fmt.Errorf("%s is not empty: name an empty folder", dir)
		}
	}
	name := f.tz
	if f.utc {
		name = "UTC"
	}
	return exported{Format: exportFormat, Version: exportVersion, Query: q.String(), Since: r.since, Until: r.until, Form: f.form, Compress: compress, Zone: name, Part: f.part}, nil
}

func readExport(dir string) (st exported, err error) {
	data, err := os.ReadFile(filepath.Join(dir, exportState))
	if errors.Is(err, fs.ErrNotExist) {
		return st, fmt.Errorf("there is no export in %s to go on with", dir)
	}
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(data, &st); err != nil || st.Format != exportFormat {
		return st, fmt.Errorf("%s is damaged; begin the export anew in another folder", filepath.Join(dir, exportState))
	}
	if st.Version != exportVersion {
		return st, fmt.Errorf("%s was written by a later lookout (version %d, this one reads %d); use that one", filepath.Join(dir, exportState), st.Version, exportVersion)
	}
	return st, nil
}

func (e *exporter) run(ctx context.Context, resumed bool, args []string) error {
	if err := e.begin(ctx, resumed, args); err != nil {
		return err
	}
	err := e.pages(ctx)
	if e.part != nil {
		e.part.abort()
	}
	return err
}

// begin notes what there is to export, or looks at what an earlier run has noted.
func (e *exporter) begin(ctx context.Context, resumed bool, args []string) error {
	if !resumed {
		if len(args) > 1 {
			all, err := e.c.Services(ctx)
			if err != nil {
				return err
			}
			if _, err := matchServices(all, args[1:]); err != nil {
				return err
			}
		}
		sum, err := e.c.Count(ctx, sdk.QueryRequest{Query: e.st.Query, Since: e.st.Since, Until: e.st.Until})
		if incomplete := (*sdk.IncompleteError)(nil); errors.As(err, &incomplete) && incomplete.Budget == sdk.BudgetScan {
			sum.Matched, err = 0, nil // more than one search may look at: the pages find out how many there are
		} else if err == nil && sum.Matched == 0 {
			err = errNoMatch
		}
		if err != nil {
			return err
		}
		e.st.Sequence, e.st.Total, e.st.Server = sum.Sequence, sum.Matched, e.c.URL()
		if e.dir != "" {
			if err := os.MkdirAll(e.dir, 0o700); err != nil {
				return err
			}
			if err := e.save(); err != nil {
				return err
			}
		}
	} else if e.c.URL() != e.st.Server {
		return fmt.Errorf("the export in %s is of %s, not of %s: set LOOKOUT_URL to that one", e.dir, e.st.Server, e.c.URL())
	}
	e.next = e.st
	return nil
}

// pages asks for one page after the other, each behind the one before: by its cursor, and at the beginning of a run by the time and id of the
// last event there is.
func (e *exporter) pages(ctx context.Context) error {
	for more := true; more; {
		var err error
		if more, err = e.ask(ctx); err != nil {
			return err
		}
	}
	if err := e.finishPart(); err != nil {
		return err
	}
	e.st.Done = true
	if e.dir == "" {
		return nil
	}
	return e.save()
}

func (e *exporter) ask(ctx context.Context) (more bool, err error) {
	n := &e.next
	from, fromID := n.Last, n.LastID
	if e.asked.Cursor == "" {
		e.asked = sdk.QueryRequest{Query: n.Query, Since: n.Since, Until: n.Until, MaxSequence: n.Sequence, Limit: e.page}
		if !from.IsZero() {
			e.asked.Since = from
			e.asked.Limit += n.Same // those that are had come first
		}
	}
	r := e.asked
	rows, err := e.c.Query(ctx, r)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	came := 0
	for ; rows.Next(); came++ {
		row := rows.Row()
		id, err := strconv.ParseUint(row.ID, 10, 64)
		if err != nil {
			return false, fmt.Errorf("the server gave an event the id %q", row.ID)
		}
		if row.Time.Equal(from) && id <= fromID {
			continue
		}
		if err := e.write(row); err != nil {
			return false, err
		}
		if n.Same++; !row.Time.Equal(n.Last) {
			n.Same = 1
		}
		n.Last, n.LastID = row.Time, id
		n.Events++
		if e.here++; e.here%1000 == 0 {
			e.bar.set(n.Events, n.Total, "events")
		}
		if e.dir != "" && e.here >= n.Part {
			if err := e.finishPart(); err != nil {
				return false, err
			}
		}
	}
	// A server that gives no cursor is asked from the last event's time on.
	e.asked.Cursor, e.asked.Limit = rows.Summary().Next, e.page
	var incomplete *sdk.IncompleteError
	if err := rows.Err(); errors.As(err, &incomplete) && len(incomplete.Reasons) == 1 && incomplete.Cut.After(r.Since) {
		// The page had looked at as much as it may; the next one goes on there.
		n.Last, n.LastID, n.Same = incomplete.Cut, 0, 0
		return true, nil
	}
	return e.asked.Cursor != "" || came == r.Limit, rows.Err()
}

// write appends an event to the part.
func (e *exporter) write(row *sdk.Row) error {
	if e.part == nil {
		var err error
		if e.part, err = e.openPart(); err != nil {
			return err
		}
		e.rows.headed = false // each file has its header
	}
	buf := e.rows.buf[:0]
	e.rows.buf = buf
	var err error
	switch e.st.Form {
	case formNDJSON:
		e.rows.buf, err = row.AppendNDJSON(buf)
	case formCSV:
		err = e.rows.csv(row)
	default:
		e.rows.raw(row)
	}
	if err != nil {
		return err
	}
	_, err = e.part.w.Write(e.rows.buf)
	return err
}

func (e *exporter) openPart() (*partFile, error) {
	f := &partFile{file: e.out}
	if e.dir != "" {
		name := fmt.Sprintf("part-%06d.%s", e.st.Parts+1, e.st.Form)
		switch e.st.Compress {
		case compressGzip:
			name += ".gz"
		case compressZstd:
			name += ".zst"
		}
		f.path = filepath.Join(e.dir, name)
		file, err := os.OpenFile(f.path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		f.file, f.disk = file, file
	}
	f.buf = bufio.NewWriterSize(f.file, 256<<10)
	switch e.st.Compress {
	case compressGzip:
		f.comp = gzip.NewWriter(f.buf)
	case compressZstd:
		enc, err := zstd.NewWriter(f.buf, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		f.comp = enc
	}
	f.w = f.buf
	if f.comp != nil {
		f.w = f.comp
	}
	return f, nil
}

// finishPart makes the part a whole file, and notes that.
func (e *exporter) finishPart() error {
	if e.part == nil {
		return nil
	}
	part := e.part
	e.part = nil
	if err := part.close(); err != nil {
		return err
	}
	e.here = 0
	e.next.Parts++
	e.st = e.next
	if e.dir == "" {
		return nil
	}
	return e.save()
}

// save writes the state.
func (e *exporter) save() error {
	data, err := json.MarshalIndent(&e.st, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(e.dir, exportState)
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// partFile is one file of an export, or standard output.
type partFile struct {
	path string // "" for standard output
	file io.Writer
	disk *os.File // nil for standard output
	buf  *bufio.Writer
	comp io.WriteCloser // nil without compression
	w    io.Writer
}

func (f *partFile) close() error {
	var err error
	if f.comp != nil {
		err = f.comp.Close()
	}
	if err = errors.Join(err, f.buf.Flush()); f.disk == nil {
		return err
	}
	if err = errors.Join(err, f.disk.Sync(), f.disk.Close()); err != nil {
		return err
	}
	return os.Rename(f.path+".tmp", f.path)
}

// abort gives up a part that is not whole. What went to standard output is out, as far as it came.
func (f *partFile) abort() {
	if f.disk == nil {
		_ = f.close() // there is an error already
		return
	}
	f.disk.Close()
	_ = os.Remove(f.path + ".tmp") // the next run writes it anew
}

// What import reads.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// decompressed returns what r holds, be it plain, gzip or zstd.
func decompressed(r io.Reader) (io.Reader, func(), error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(b)
		return z, func() {}, err
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}

// partsOf returns the files of an export that has its folder named in place of them.
func partsOf(dir string) ([]string, error) {
	st, err := readExport(dir)
	if err != nil {
		return nil, err
	}
	if st.Form != formNDJSON {
		return nil, fmt.Errorf("the export in %s is %s; only ndjson can be imported", dir, st.Form)
	}
	if !st.Done {
		return nil, fmt.Errorf("the export in %s is not complete: `lookout export --resume --out %s` goes on, or name its files", dir, dir)
	}
	names, err := filepath.Glob(filepath.Join(strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(dir), "part-*."+formNDJSON+"*"))
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, ".tmp") })
	if len(names) != st.Parts {
		return nil, fmt.Errorf("the export in %s has %d files where %d belong", dir, len(names), st.Parts)
	}
	return names, nil
}
