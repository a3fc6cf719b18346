// Package backup copies a data folder's files to a folder or to S3-compatible storage, and brings them back.
//
// # Use
//
// [Open] a target, [Run] a backup of some files to it, [List] and [Prune] what is there, [Check] it, [Restore] one of the backups into an
// empty folder.
//
// # What it guarantees
//
// Content is stored once, under its SHA-256: objects/HASH. A backup is a manifest, backups/ID.json, that names the objects; it is
// written last, when all of these are there whole, so what is listed is complete. An object appears under its name whole or not at all. A
// backup that was killed leaves objects that the next one finds and does not send again.
//
// A restored file is the one that was saved, byte for byte: its hash is checked while it is written. A folder in which a restore was not
// finished says so ([Unfinished]), and the same restore goes on in it.
package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// File is a file to be saved.
type File struct {
	Path string // below the data folder, with slashes
	Size int64
	// ModTime is when the content was written last. When a backup before this has the same path, size and time, the content is not
	// read again. Zero: it is always read.
	ModTime time.Time
	// Open returns the content, of Size bytes, the same each time.
	Open func() (io.ReadCloser, error)
}

// Options say what a backup saves.
type Options struct {
	Files    []File
	Sequence uint64 // of the newest event
	Lookout  string // the version that saves
	Tokens   bool   // the tokens are among the files
	// By names the data folder, of which one backup at a time can run: what an earlier one left running that was killed is cleared away.
	By string
	// Rate bounds what is read and sent, in bytes a second; 0 for no bound.
	Rate int64
	// Progress is called with the bytes that are dealt with, of all; it may be nil.
	Progress func(done, total int64)
	// Now is the clock, time.Now unless set.
	Now func() time.Time
}

// Summary says what a backup did.
type Summary struct {
	ID        string `json:"id"`
	Sequence  uint64 `json:"sequence"`
	Files     int    `json:"files"`
	Bytes     int64  `json:"bytes"`
	SentFiles int    `json:"sent_files"`
	SentBytes int64  `json:"sent_bytes"`
}

const (
	objectDir   = "objects/"
	manifestDir = "backups/"
	runningDir  = "running/"
)

// runningFor is how long a backup that does not say that it still runs is taken to run.
const runningFor = 24 * time.Hour

// Run saves files. After an error nothing is listed, and what was sent is found by the next backup.
func Run(ctx context.Context, to Target, o Options) (Summary, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &run{o: o, to: to, have: map[string]int64{}, earlier: map[string]Entry{}}
	sum, err := r.run(ctx)
	if err != nil {
		return Summary{}, fmt.Errorf("backing up to %s: %w", to, err)
	}
	return sum, nil
}

type run struct {
	o       Options
	to      Target
	have    map[string]int64 // sizes of the objects by hash
	earlier map[string]Entry // of the newest backup, by path
	pace    pace
	done    int64 // half bytes: a file that is sent is read twice, once for its hash
	total   int64 // bytes
	sum     Summary
	marker  string
	marked  time.Time
}

func (r *run) run(ctx context.Context) (Summary, error) {
	now := r.o.Now().UTC()
	m := &Manifest{Format: manifestFormat, Version: manifestVersion, Created: now, Lookout: r.o.Lookout, Sequence: r.o.Sequence, Tokens: r.o.Tokens}
	list, err := r.to.List(ctx, manifestDir)
	if err != nil {
		return r.sum, err
	}
	// The id sorts by time, also when the clock went back.
	id := now.Format(idLayout)
	if n := len(list); n > 0 {
		if newest, ok := idOf(list[n-1].Name); ok && newest >= id {
			return r.sum, fmt.Errorf("there is a backup %s already, which is not older than this one (%s): is the clock right", newest, id)
		}
	}
	m.ID = id
	r.marker = runningDir + id
	if err := r.clear(ctx); err != nil {
		return r.sum, err
	}
	if err := r.mark(ctx, now); err != nil {
		return r.sum, err
	}
	defer func() { _ = r.to.Delete(context.WithoutCancel(ctx), r.marker) }() // one that stays is taken for a running backup for a day
	if err := r.lookup(ctx, list); err != nil {
		return r.sum, err
	}
	r.pace = pace{rate: r.o.Rate}
	for i := range r.o.Files {
		r.total += r.o.Files[i].Size
	}
	for i := range r.o.Files {
		e, err := r.save(ctx, &r.o.Files[i])
		if err != nil {
			return r.sum, fmt.Errorf("%s: %w", r.o.Files[i].Path, err)
		}
		m.Files = append(m.Files, e)
		r.sum.Files++
		r.sum.Bytes += e.Size
	}
	slices.SortFunc(m.Files, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	// Somebody may have removed objects meanwhile.
	if err := r.objects(ctx); err != nil {
		return r.sum, err
	}
	for _, e := range m.Files {
		if size, ok := r.have[e.SHA256]; !ok || size != e.Size {
			return r.sum, fmt.Errorf("the object of %s is gone while the backup ran: somebody removes what is there; run it again", e.Path)
		}
	}
	data := m.encode()
	if err := r.to.Put(ctx, manifestDir+id+".json", int64(len(data)), sha256.Sum256(data), opener(data)); err != nil {
		return r.sum, err
	}
	r.sum.ID, r.sum.Sequence = id, m.Sequence
	return r.sum, nil
}

func opener(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(data))), nil }
}

// mark says that a backup runs, so that nobody removes the objects that no manifest names yet.
func (r *run) mark(ctx context.Context, now time.Time) error {
	r.marked = now
	data, err := json.Marshal(running{now, r.o.By})
	if err != nil {
		return err
	}
	return r.to.Put(ctx, r.marker, int64(len(data)), sha256.Sum256(data), opener(data))
}

// running is what a backup says of itself while it runs.
type running struct {
	Running time.Time `json:"running"` // when it said so last
	By      string    `json:"by"`      // see Options
}

// readRunning returns what a backup says of itself; what cannot be read says nothing.
func readRunning(ctx context.Context, at Target, name string) (said running) {
	r, err := at.Get(ctx, name)
	if err != nil {
		return said
	}
	defer r.Close()
	if json.NewDecoder(io.LimitReader(r, 64<<10)).Decode(&said) != nil {
		return running{}
	}
	return said
}

// clear removes the marks of earlier backups of the same data folder, which were killed: this one could not run beside them.
func (r *run) clear(ctx context.Context) error {
	if r.o.By == "" {
		return nil
	}
	list, err := r.to.List(ctx, runningDir)
	if err != nil {
		return err
	}
	for _, o := range list {
		if readRunning(ctx, r.to, o.Name).By != r.o.By {
			continue
		}
		if err := r.to.Delete(ctx, o.Name); err != nil {
			return err
		}
	}
	return nil
}

// lookup learns what is there.
func (r *run) lookup(ctx context.Context, manifests []Object) error {
	if err := r.objects(ctx); err != nil {
		return err
	}
	for _, o := range slices.Backward(manifests) {
		if _, ok := idOf(o.Name); !ok {
			continue
		}
		// One that cannot be read costs only time: the files are read, and the objects are known.
		if m, err := readManifest(ctx, r.to, o.Name); err == nil {
			for _, e := range m.Files {
				r.earlier[e.Path] = e
			}
			break
		}
	}
	return nil
}

func (r *run) objects(ctx context.Context) error {
	list, err := r.to.List(ctx, objectDir)
	if err != nil {
		return err
	}
	clear(r.have)
	for _, o := range list {
		r.have[strings.TrimPrefix(o.Name, objectDir)] = o.Size
	}
	return nil
}

// save sees to it that a file's content is at the target.
func (r *run) save(ctx context.Context, f *File) (Entry, error) {
	e := Entry{Path: f.Path, Size: f.Size, Modified: f.ModTime.UTC()}
	if was, ok := r.earlier[f.Path]; ok && !f.ModTime.IsZero() && was.Size == f.Size && was.Modified.Equal(f.ModTime) {
		if size, ok := r.have[was.SHA256]; ok && size == f.Size {
			e.SHA256 = was.SHA256
			r.progress(2 * f.Size)
			return e, nil
		}
	}
	sum, err := r.hash(ctx, f)
	if err != nil {
		return e, err
	}
	e.SHA256 = hex.EncodeToString(sum[:])
	if size, ok := r.have[e.SHA256]; ok && size == f.Size {
		r.progress(f.Size)
		return e, nil
	}
	if now := r.o.Now(); now.Sub(r.marked) >= time.Hour {
		if err := r.mark(ctx, now); err != nil {
			return e, err
		}
	}
	before := r.done
	err = r.to.Put(ctx, objectDir+e.SHA256, f.Size, sum, func() (io.ReadCloser, error) {
		content, err := f.Open()
		if err != nil {
			return nil, err
		}
		r.done = before // a try before this may have come some way
		return &pacedReader{ctx: ctx, r: content, pace: &r.pace, read: r.progress}, nil
	})
	if err != nil {
		return e, err
	}
	r.have[e.SHA256] = f.Size
	r.sum.SentFiles++
	r.sum.SentBytes += f.Size
	return e, nil
}

// progress counts half bytes as done.
func (r *run) progress(n int64) {
	r.done += n
	if r.o.Progress != nil {
		r.o.Progress(r.done/2, r.total)
	}
}

func (r *run) hash(ctx context.Context, f *File) (sum [sha256.Size]byte, err error) {
	content, err := f.Open()
	if err != nil {
		return sum, err
	}
	defer content.Close()
	h := sha256.New()
	n, err := io.Copy(h, &pacedReader{ctx: ctx, r: content, pace: &r.pace, read: r.progress})
	if err == nil && n != f.Size {
		err = fmt.Errorf("it has %d bytes where %d belong", n, f.Size)
	}
	return [sha256.Size]byte(h.Sum(nil)), err
}

// pace keeps a rate.
type pace struct {
	rate  int64
	ready time.Time // when what was read so far may have been read
}

// take counts bytes, and waits until they fit into the rate.
func (p *pace) take(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	now := time.Now()
	if p.ready.Before(now) {
		p.ready = now
	}
	p.ready = p.ready.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	timer := time.NewTimer(p.ready.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pacedReader reads at a pace, and ends with a context.
type pacedReader struct {
	ctx  context.Context
	r    io.ReadCloser
	pace *pace
	read func(n int64)
}

func (r *pacedReader) Read(p []byte) (int, error) {
	if len(p) > 256<<10 {
		p = p[:256<<10]
	}
	n, err := r.r.Read(p)
	r.read(int64(n))
	if waitErr := r.pace.take(r.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}

func (r *pacedReader) Close() error { return r.r.Close() }

// Target is where backups are kept. Names have slashes, and are made of letters, digits, dots and dashes between them.
type Target interface {
	// Put stores what open returns under a name, whole or not at all, once its size and hash are found right. What had the name is replaced.
	Put(ctx context.Context, name string, size int64, sum [sha256.Size]byte, open func() (io.ReadCloser, error)) error
	// Get reads what has a name; an error that wraps fs.ErrNotExist says that nothing has.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns what is below a folder, which ends with a slash, sorted by name.
	List(ctx context.Context, dir string) ([]Object, error)
	// Delete removes what has a name, if anything has.
	Delete(ctx context.Context, name string) error
	// String names the target, for people; never with a secret.
	String() string
}

// Object is one thing at a target.
type Object struct {
	Name string
	Size int64
}

// Open returns the target of an address: a folder, or s3://BUCKET[/PREFIX].
func Open(address string, s3 S3Options) (Target, error) {
	if rest, ok := strings.CutPrefix(address, "s3://"); ok {
		return openS3(rest, s3)
	}
	if address == "" {
		return nil, errors.New("no target is given; name a folder, or s3://BUCKET/PREFIX")
	}
	if scheme, _, ok := strings.Cut(address, "://"); ok {
		return nil, fmt.Errorf("a target %s://… is not known; name a folder, or s3://BUCKET/PREFIX", scheme)
	}
	return &Folder{Dir: address}, nil
}
