package vfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
)

// ErrStopped is what every call returns after the process has "died": see [Crash.StopAt], [Crash.Crash] and [Crash.Kill].
var ErrStopped = errors.New("the process was stopped")

// Op names a call that changes something, for [Crash.Inject].
type Op struct {
	Index int    // counts these calls from 1
	Kind  string // create, write, sync, truncate, rename, remove, mkdir or syncdir
	Name  string // the path; of a rename, the new one
}

// Crash is a file system in memory that loses what POSIX allows to be lost.
//
// Writes go to a volatile image, the page cache; File.Sync makes a file's contents durable and SyncDir a folder's entries.
// [Crash.Crash] takes the power away: of each write that was not synced, nothing, all, a part, or only the growth of the
// file may have reached the disk, in any order; each entry that was made, renamed or removed without SyncDir may have been
// forgotten, in any order. What was synced stays. [Crash.Kill] kills only the process: the page cache lives on.
//
// A rename is kept or forgotten as a whole, or leaves both names. A Sync that fails ([Crash.Inject]) writes some of what
// was dirty and drops the rest for good, though reads go on showing it and later Syncs succeed, as Linux does; a SyncDir
// that fails does nothing. Truncate counts as a write. Not in the model: links, modes, locks, damage to what was synced.
//
// The seed decides all choices: the same calls from one goroutine have the same outcome, whatever the files are called. It is safe for concurrent use.
type Crash struct {
	mu     sync.Mutex
	s      *crashState
	dead   bool
	ops    int
	stopAt int
	inject func(Op) error
}

// crashState is what outlives a process.
type crashState struct {
	rng     *rand.Rand
	root    *inode
	pending []*dirOp // entries that were changed since their folder's SyncDir, in order
	stamp   int      // of the newest dirOp
	used    int64    // bytes of all files
	space   int64    // the most that used may grow to
}

// inode is a file or a folder.
type inode struct {
	dir bool

	// Of a folder: the entries as seen, and as they are on disk.
	entries map[string]*inode
	durable map[string]durableEntry

	// Of a file: the contents as seen, those on disk, and the writes between them.
	data   []byte
	disk   []byte
	writes []dataWrite
	links  int
}

type durableEntry struct {
	node  *inode
	stamp int
}

// dataWrite is bytes written at off; with data nil, a truncation to off.
type dataWrite struct {
	off  int64
	data []byte
}

// dirOp is a change of entries: put makes an entry, drop takes one away, a rename has both.
type dirOp struct {
	stamp             int
	putDir, dropDir   *inode
	putName, dropName string
	node              *inode
}

const noLimit = int64(1) << 62

// NewCrash returns an empty file system. It has the folders / and . only.
func NewCrash(seed uint64) *Crash {
	return &Crash{s: &crashState{rng: rand.New(rand.NewPCG(seed, 0x9E3779B97F4A7C15)), root: newDir(), space: noLimit}}
}

func newDir() *inode {
	return &inode{dir: true, entries: map[string]*inode{}, durable: map[string]durableEntry{}}
}

// StopAt lets the process die at its n-th changing call from the file system's start (see [Crash.Ops]): that call does
// nothing, and it and all later calls of any kind return [ErrStopped]. 0 takes this back.
func (c *Crash) StopAt(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopAt = n
}

// Ops is the number of changing calls so far.
func (c *Crash) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops
}

// Inject sets a function that is asked before each changing call and may let it fail. A write that fails may have written
// a part. The function must not call the file system; nil takes it back.
func (c *Crash) Inject(fn func(Op) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inject = fn
}

// FailSyncs lets the syncs (of files and folders) from the k-th from now on fail with EIO, n of them, or all when n is
// negative. It replaces what [Crash.Inject] has set.
func (c *Crash) FailSyncs(k, n int) {
	seen := 0
	c.Inject(func(op Op) error {
		if op.Kind != "sync" && op.Kind != "syncdir" {
			return nil
		}
		seen++
		if seen >= k && (n < 0 || seen < k+n) {
			return syscall.EIO
		}
		return nil
	})
}

// SetSpace sets how many bytes more the files may hold; beyond that, writes stop half-way with ENOSPC. Removing and
// truncating gives space back. A negative number lifts the limit.
func (c *Crash) SetSpace(free int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s.space = noLimit
	if free >= 0 {
		c.s.space = c.s.used + free
	}
}

// Crash takes the power away and returns what the next boot finds, all of it durable. The old file system is dead.
func (c *Crash) Crash() *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	s := c.s
	// Some crashes are plain, so that both ends are met often.
	mood := s.rng.IntN(6)
	for _, op := range s.pending {
		switch choice := s.rng.IntN(5); {
		case mood == 0: // nothing was kept
		case mood == 1, choice < 2:
			op.apply()
		case choice == 2 && op.putDir != nil:
			op.put()
		}
	}
	n := &Crash{s: &crashState{rng: s.rng, root: newDir(), space: noLimit}}
	n.s.boot(s.root, n.s.root, mood, map[*inode]*inode{})
	return n
}

// boot copies what is on disk below from to the new folder to.
func (s *crashState) boot(from, to *inode, mood int, seen map[*inode]*inode) {
	names := make([]string, 0, len(from.durable))
	for name := range from.durable {
		names = append(names, name)
	}
	// The choices must not depend on a map's order, nor on names: of temporary files they are drawn.
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(from.durable[a].stamp, from.durable[b].stamp) })
	for _, name := range names {
		old := from.durable[name].node
		node := seen[old]
		if node == nil {
			if old.dir {
				node = newDir()
				s.boot(old, node, mood, seen)
			} else {
				disk := old.disk
				for _, w := range old.writes {
					disk = s.persist(disk, w, mood)
				}
				node = &inode{data: disk, disk: slices.Clone(disk)}
				s.used += int64(len(disk))
			}
			seen[old] = node
		}
		node.links++
		to.entries[name] = node
		s.stamp++
		to.durable[name] = durableEntry{node, s.stamp}
	}
}

// persist returns disk with what a power cut leaves of a write.
func (s *crashState) persist(disk []byte, w dataWrite, mood int) []byte {
	if w.data == nil {
		if mood == 1 || mood > 1 && s.rng.IntN(2) == 0 {
			return w.apply(disk)
		}
		return disk
	}
	choice := s.rng.IntN(8)
	switch {
	case mood == 0:
		return disk
	case mood == 1:
		choice = 7
	}
	n := int64(len(w.data))
	switch choice {
	case 0: // nothing
	case 1: // any number of bytes
		return dataWrite{w.off, w.data[:s.rng.Int64N(n+1)]}.apply(disk)
	case 2: // up to the end of a sector
		end := (w.off + s.rng.Int64N(n+1)) / sector * sector
		return dataWrite{w.off, w.data[:max(end-w.off, 0)]}.apply(disk)
	case 3, 4: // any of its sectors; the file has grown, and shows zeros or, rarely, what the disk held there before
		disk = grow(disk, w.off+n)
		for at := w.off; at < w.off+n; {
			end := min((at/sector+1)*sector, w.off+n)
			switch s.rng.IntN(8) {
			case 0, 1, 2, 3:
				copy(disk[at:end], w.data[at-w.off:])
			case 4:
				for i := at; i < end; i++ {
					disk[i] = stale
				}
			}
			at = end
		}
	case 5: // only its size
		return grow(disk, w.off+n)
	default:
		return w.apply(disk)
	}
	return disk
}

const (
	sector = 512
	stale  = 0xDB // what unwritten sectors hold that do not show zeros
)

func grow(b []byte, size int64) []byte {
	if n := size - int64(len(b)); n > 0 {
		b = append(b, make([]byte, n)...)
	}
	return b
}

func (w dataWrite) apply(b []byte) []byte {
	if w.data == nil {
		return grow(b, w.off)[:w.off]
	}
	if len(w.data) == 0 {
		return b
	}
	b = grow(b, w.off+int64(len(w.data)))
	copy(b[w.off:], w.data)
	return b
}

func (op *dirOp) apply() {
	if op.dropDir != nil && op.dropDir.durable[op.dropName].node == op.node {
		delete(op.dropDir.durable, op.dropName)
	}
	op.put()
}

func (op *dirOp) put() {
	if op.putDir != nil && op.putDir.durable[op.putName].stamp < op.stamp {
		op.putDir.durable[op.putName] = durableEntry{op.node, op.stamp}
	}
}

// Kill kills the process but not the machine: what it had written is still in the page cache, durable or not. The old
// file system is dead, the returned one goes on from there, with what Inject and, if that is still to come, StopAt have
// set.
func (c *Crash) Kill() *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	next := &Crash{s: c.s, ops: c.ops, inject: c.inject}
	if c.stopAt > c.ops {
		next.stopAt = c.stopAt
	}
	return next
}

// step begins a changing call. c.mu is held.
func (c *Crash) step(kind, name string) error {
	if c.dead {
		return ErrStopped
	}
	c.ops++
	if c.stopAt > 0 && c.ops >= c.stopAt {
		c.dead = true
		return ErrStopped
	}
	if c.inject != nil {
		return c.inject(Op{Index: c.ops, Kind: kind, Name: name})
	}
	return nil
}

func fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// find returns the folder that holds name, and its last part; the root has no part.
func (c *Crash) find(op, name string) (*inode, string, error) {
	if c.dead {
		return nil, "", fail(op, name, ErrStopped)
	}
	clean := strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if clean == "." || clean == "" {
		return c.s.root, "", nil
	}
	parts := strings.Split(clean, "/")
	dir := c.s.root
	for _, part := range parts[:len(parts)-1] {
		dir = dir.entries[part]
		if dir == nil {
			return nil, "", fail(op, name, fs.ErrNotExist)
		}
		if !dir.dir {
			return nil, "", fail(op, name, syscall.ENOTDIR)
		}
	}
	return dir, parts[len(parts)-1], nil
}

func (c *Crash) change(op *dirOp) {
	c.s.stamp++
	op.stamp = c.s.stamp
	c.s.pending = append(c.s.pending, op)
}

// unlink takes a name off a file, which lives on while it is open or remembered on disk.
func (c *Crash) unlink(n *inode) {
	if n.links--; n.links == 0 && !n.dir {
		c.s.used -= int64(len(n.data))
	}
}

// OpenFile implements [FS]. Of the flags it knows O_CREATE, O_EXCL, O_TRUNC, O_APPEND and the access modes.
func (c *Crash) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, base, err := c.find("open", name)
	if err != nil {
		return nil, err
	}
	n := dir.entries[base]
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	switch {
	case base == "" || n != nil && n.dir:
		return nil, fail("open", name, syscall.EISDIR)
	case n == nil && flag&os.O_CREATE == 0:
		return nil, fail("open", name, fs.ErrNotExist)
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, fail("open", name, fs.ErrExist)
	case n == nil:
		if err := c.step("create", name); err != nil {
			return nil, fail("open", name, err)
		}
		n = &inode{links: 1}
		dir.entries[base] = n
		c.change(&dirOp{putDir: dir, putName: base, node: n})
	case writes && flag&os.O_TRUNC != 0 && len(n.data) > 0:
		if err := c.step("truncate", name); err != nil {
			return nil, fail("open", name, err)
		}
		c.truncate(n, 0)
	}
	return &crashFile{c: c, n: n, name: name, writes: writes, appends: flag&os.O_APPEND != 0}, nil
}

// Rename implements [FS].
func (c *Crash) Rename(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fromDir, fromName, err := c.find("rename", from)
	if err != nil {
		return err
	}
	toDir, toName, err := c.find("rename", to)
	if err != nil {
		return err
	}
	n, old := fromDir.entries[fromName], toDir.entries[toName]
	switch {
	case n == nil:
		return fail("rename", from, fs.ErrNotExist)
	case toName == "" || old != nil && (old.dir || n.dir):
		return fail("rename", to, fs.ErrExist)
	}
	if err := c.step("rename", to); err != nil {
		return fail("rename", from, err)
	}
	if old == n {
		return nil
	}
	if old != nil {
		c.unlink(old)
	}
	delete(fromDir.entries, fromName)
	toDir.entries[toName] = n
	c.change(&dirOp{putDir: toDir, putName: toName, dropDir: fromDir, dropName: fromName, node: n})
	return nil
}

// Remove implements [FS]; a folder must be empty.
func (c *Crash) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, base, err := c.find("remove", name)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		return fail("remove", name, fs.ErrNotExist)
	case n.dir && len(n.entries) > 0:
		return fail("remove", name, syscall.ENOTEMPTY)
	}
	if err := c.step("remove", name); err != nil {
		return fail("remove", name, err)
	}
	delete(dir.entries, base)
	c.unlink(n)
	c.change(&dirOp{dropDir: dir, dropName: base, node: n})
	return nil
}

// MkdirAll implements [FS].
func (c *Crash) MkdirAll(name string, _ fs.FileMode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, _, err := c.find("mkdir", "."); err != nil {
		return err
	}
	dir := c.s.root
	for part := range strings.SplitSeq(filepath.ToSlash(filepath.Clean(name)), "/") {
		if part == "" || part == "." {
			continue
		}
		next := dir.entries[part]
		if next == nil {
			if err := c.step("mkdir", name); err != nil {
				return fail("mkdir", name, err)
			}
			next = newDir()
			dir.entries[part] = next
			c.change(&dirOp{putDir: dir, putName: part, node: next})
		}
		if !next.dir {
			return fail("mkdir", name, syscall.ENOTDIR)
		}
		dir = next
	}
	return nil
}

func (c *Crash) folder(op, name string) (*inode, error) {
	dir, base, err := c.find(op, name)
	if err != nil {
		return nil, err
	}
	if base != "" {
		dir = dir.entries[base]
	}
	if dir == nil {
		return nil, fail(op, name, fs.ErrNotExist)
	}
	if !dir.dir {
		return nil, fail(op, name, syscall.ENOTDIR)
	}
	return dir, nil
}

// ReadDir implements [FS].
func (c *Crash) ReadDir(name string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, err := c.folder("open", name)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(dir.entries))
	for n := range dir.entries {
		names = append(names, n)
	}
	sort.Strings(names)
	return names, nil
}

// SyncDir implements [FS].
func (c *Crash) SyncDir(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, err := c.folder("sync", name)
	if err != nil {
		return err
	}
	if err := c.step("syncdir", name); err != nil {
		return fail("sync", name, err)
	}
	c.s.pending = slices.DeleteFunc(c.s.pending, func(op *dirOp) bool {
		if op.putDir != dir && op.dropDir != dir {
			return false
		}
		op.apply()
		return true
	})
	return nil
}

// Dump lists the files as seen, with their sizes, for messages of failing tests.
func (c *Crash) Dump() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	var walk func(n *inode, path string)
	walk = func(n *inode, path string) {
		names := make([]string, 0, len(n.entries))
		for name := range n.entries {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			if e := n.entries[name]; e.dir {
				walk(e, path+"/"+name)
			} else {
				fmt.Fprintf(&b, "%s/%s %d bytes, %d on disk\n", path, name, len(e.data), len(e.disk))
			}
		}
	}
	walk(c.s.root, "")
	return b.String()
}

type crashFile struct {
	c       *Crash
	n       *inode
	name    string
	pos     int64
	writes  bool
	appends bool
	closed  bool
}

// use tells whether the file can be used. c.mu is held.
func (f *crashFile) use(op string) error {
	switch {
	case f.c.dead:
		return fail(op, f.name, ErrStopped)
	case f.closed:
		return fail(op, f.name, fs.ErrClosed)
	}
	return nil
}

func (f *crashFile) Write(p []byte) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.use("write"); err != nil {
		return 0, err
	}
	if !f.writes {
		return 0, fail("write", f.name, syscall.EBADF)
	}
	err := f.c.step("write", f.name)
	if errors.Is(err, ErrStopped) {
		return 0, fail("write", f.name, err)
	}
	if f.appends {
		f.pos = int64(len(f.n.data))
	}
	if err != nil {
		p = p[:f.c.s.rng.IntN(len(p)+1)]
	}
	if room := f.c.s.space - f.c.s.used; f.n.links > 0 && f.pos+int64(len(p))-int64(len(f.n.data)) > room {
		p = p[:max(room+int64(len(f.n.data))-f.pos, 0)]
		err = syscall.ENOSPC
	}
	if len(p) > 0 {
		w := dataWrite{f.pos, slices.Clone(p)}
		before := len(f.n.data)
		f.n.data = w.apply(f.n.data)
		f.n.writes = append(f.n.writes, w)
		if f.n.links > 0 {
			f.c.s.used += int64(len(f.n.data) - before)
		}
		f.pos += int64(len(p))
	}
	if err != nil {
		return len(p), fail("write", f.name, err)
	}
	return len(p), nil
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.use("read"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fail("read", f.name, syscall.EINVAL)
	}
	n := 0
	if off < int64(len(f.n.data)) {
		n = copy(p, f.n.data[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *crashFile) Sync() error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.use("sync"); err != nil {
		return err
	}
	err := f.c.step("sync", f.name)
	if errors.Is(err, ErrStopped) {
		return fail("sync", f.name, err)
	}
	for _, w := range f.n.writes {
		if err == nil {
			f.n.disk = w.apply(f.n.disk)
		} else {
			f.n.disk = f.c.s.persist(f.n.disk, w, 2)
		}
	}
	f.n.writes = nil
	if err != nil {
		return fail("sync", f.name, err)
	}
	return nil
}

func (f *crashFile) Truncate(size int64) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.use("truncate"); err != nil {
		return err
	}
	if !f.writes || size < 0 {
		return fail("truncate", f.name, syscall.EINVAL)
	}
	if err := f.c.step("truncate", f.name); err != nil {
		return fail("truncate", f.name, err)
	}
	f.c.truncate(f.n, size)
	return nil
}

func (c *Crash) truncate(n *inode, size int64) {
	w := dataWrite{off: size}
	before := len(n.data)
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
	if n.links > 0 {
		c.s.used += int64(len(n.data) - before)
	}
}

func (f *crashFile) Size() (int64, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.use("stat"); err != nil {
		return 0, err
	}
	return int64(len(f.n.data)), nil
}

func (f *crashFile) Close() error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.closed {
		return fail("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
