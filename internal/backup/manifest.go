package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	manifestFormat  = "lookout backup"
	manifestVersion = 1
	idLayout        = "20060102T150405.000Z"
	maxManifest     = 256 << 20
)

// FormatVersion is the version of manifests that this lookout writes, and the newest it reads.
const FormatVersion = manifestVersion

// ErrVersion is wrapped by the error for a manifest, or a restore's mark, that a later lookout wrote.
var ErrVersion = errors.New("written by a later lookout")

// Manifest is one backup: which files it has, and which object each one is.
type Manifest struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	Lookout  string    `json:"lookout"`
	Sequence uint64    `json:"sequence"`
	Tokens   bool      `json:"tokens"`
	Files    []Entry   `json:"files"`
	// Sum is the SHA-256 of the manifest with an empty sum.
	Sum string `json:"sum"`
}

// Entry is a file of a backup.
type Entry struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256"`
	Modified time.Time `json:"modified,omitzero"`
}

// Bytes is what the files take.
func (m *Manifest) Bytes() (n int64) {
	for _, e := range m.Files {
		n += e.Size
	}
	return n
}

func (m *Manifest) encode() []byte {
	m.Sum = m.sum()
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		panic(err) // texts, numbers and times
	}
	return append(data, '\n')
}

func (m *Manifest) sum() string {
	c := *m
	c.Sum = ""
	data, err := json.Marshal(&c)
	if err != nil {
		panic(err) // texts, numbers and times
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func decodeManifest(data []byte) (*Manifest, error) {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil || head.Format != manifestFormat {
		return nil, errors.New("it is damaged: not a manifest")
	}
	if head.Version != manifestVersion {
		return nil, fmt.Errorf("%w: version %d of manifests, this one reads %d; use that lookout", ErrVersion, head.Version, manifestVersion)
	}
	m := &Manifest{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	// The checksum is of what was understood: a key in another case, say, is understood as well.
	if err := d.Decode(m); err != nil || m.sum() != m.Sum || !bytes.Equal(m.encode(), data) {
		return nil, errors.New("it is damaged: its checksum is wrong")
	}
	seen := map[string]bool{}
	for _, e := range m.Files {
		hash, err := hex.DecodeString(e.SHA256)
		if err != nil || len(hash) != sha256.Size || strings.ToLower(e.SHA256) != e.SHA256 || e.Size < 0 || !goodPath(e.Path) || seen[e.Path] {
			return nil, fmt.Errorf("it is damaged: it names a file %q that cannot be", e.Path)
		}
		seen[e.Path] = true
	}
	return m, nil
}

// goodPath tells whether a path stays inside of a folder, on every system.
func goodPath(path string) bool {
	return filepath.IsLocal(filepath.FromSlash(path)) && path != "." && !strings.ContainsAny(path, "\\:") && path != restoreFile && !strings.HasSuffix(path, restoringSuffix)
}

func readManifest(ctx context.Context, from Target, name string) (*Manifest, error) {
	r, err := from.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, fmt.Errorf("manifest %s of %s: %w", name, from, err)
	}
	if id, _ := idOf(name); id != m.ID {
		return nil, fmt.Errorf("manifest %s of %s: it is that of backup %s", name, from, m.ID)
	}
	return m, nil
}

// idOf returns the id of a manifest's name.
func idOf(name string) (id string, ok bool) {
	id, ok = strings.CutSuffix(strings.TrimPrefix(name, manifestDir), ".json")
	if _, err := time.Parse(idLayout, id); err != nil {
		return "", false
	}
	return id, ok
}

// Listed is a backup that [List] found.
type Listed struct {
	ID string
	*Manifest
	Err error // why its manifest cannot be read; Manifest is nil then
}

// List returns the backups, oldest first.
func List(ctx context.Context, from Target) ([]Listed, error) {
	objects, err := from.List(ctx, manifestDir)
	if err != nil {
		return nil, fmt.Errorf("listing the backups of %s: %w", from, err)
	}
	var list []Listed
	for _, o := range objects {
		id, ok := idOf(o.Name)
		if !ok {
			continue
		}
		m, err := readManifest(ctx, from, o.Name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		list = append(list, Listed{id, m, err})
	}
	return list, nil
}

// find returns the manifest of an id, or of the newest backup when the id is empty.
func find(ctx context.Context, from Target, id string) (*Manifest, error) {
	objects, err := from.List(ctx, manifestDir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, o := range objects {
		if found, ok := idOf(o.Name); ok {
			ids = append(ids, found)
		}
	}
	switch {
	case len(ids) == 0:
		return nil, fmt.Errorf("there is no backup at %s", from)
	case id == "":
		id = ids[len(ids)-1]
	case !slices.Contains(ids, id):
		return nil, fmt.Errorf("there is no backup %q at %s; `lookout backup list %s` shows those that are, the newest is %s", id, from, from, ids[len(ids)-1])
	}
	return readManifest(ctx, from, manifestDir+id+".json")
}

// Pruned says what [Prune] removed.
type Pruned struct {
	Backups int
	Objects int
	Bytes   int64
}

// Prune keeps the newest backups, so many, and removes the others and what no backup names. A manifest that cannot be read stops it: what
// it names is not known. So does a backup that runs.
func Prune(ctx context.Context, at Target, keep int, now time.Time) (Pruned, error) {
	p, err := prune(ctx, at, keep, now)
	if err != nil {
		return p, fmt.Errorf("pruning %s: %w", at, err)
	}
	return p, nil
}

func prune(ctx context.Context, at Target, keep int, now time.Time) (p Pruned, err error) {
	if keep < 1 {
		return p, errors.New("at least one backup must be kept")
	}
	if err := idle(ctx, at, now); err != nil {
		return p, err
	}
	list, err := List(ctx, at)
	if err != nil {
		return p, err
	}
	named := map[string]bool{}
	drop := list[:max(len(list)-keep, 0)]
	for _, l := range list[len(drop):] {
		if l.Err != nil {
			return p, fmt.Errorf("%w; nothing is removed, because what that backup needs is not known: mend the manifest or remove it", l.Err)
		}
		for _, e := range l.Files {
			named[objectDir+e.SHA256] = true
		}
	}
	objects, err := at.List(ctx, objectDir)
	if err != nil {
		return p, err
	}
	// The manifests first: one that is there has its objects.
	for _, l := range drop {
		if err := at.Delete(ctx, manifestDir+l.ID+".json"); err != nil {
			return p, err
		}
		p.Backups++
	}
	for _, o := range objects {
		if named[o.Name] {
			continue
		}
		if err := idle(ctx, at, now); err != nil {
			return p, err
		}
		if err := at.Delete(ctx, o.Name); err != nil {
			return p, err
		}
		p.Objects++
		p.Bytes += o.Size
	}
	if f, ok := at.(*Folder); ok {
		return p, f.sweep(now)
	}
	return p, nil
}

// idle is an error while a backup runs.
func idle(ctx context.Context, at Target, now time.Time) error {
	running, err := at.List(ctx, runningDir)
	if err != nil {
		return err
	}
	for _, o := range running {
		since, err := time.Parse(idLayout, strings.TrimPrefix(o.Name, runningDir))
		if said := readRunning(ctx, at, o.Name); said.Running.After(since) {
			since = said.Running
		}
		if err == nil && now.Sub(since) < runningFor {
			return fmt.Errorf("a backup runs there since %s; wait for its end, or if it was killed make another or remove %s", strings.TrimPrefix(o.Name, runningDir), o.Name)
		}
		if err := at.Delete(ctx, o.Name); err != nil {
			return err
		}
	}
	return nil
}

// Checked says what [Check] found.
type Checked struct {
	Backups, Objects int
	Bytes            int64
	Damage           []string
}

// Check reads the objects that a backup names, or all backups when id is empty, and compares their hashes.
func Check(ctx context.Context, at Target, id string, progress func(done, total int64)) (Checked, error) {
	var c Checked
	list, err := List(ctx, at)
	if err != nil {
		return c, err
	}
	users := map[string][]string{}
	sizes := map[string]int64{}
	var order []string
	total := int64(0)
	for _, l := range list {
		if id != "" && l.ID != id {
			continue
		}
		c.Backups++
		if l.Err != nil {
			c.Damage = append(c.Damage, fmt.Sprintf("backup %s cannot be restored: %v", l.ID, l.Err))
			continue
		}
		for _, e := range l.Files {
			if users[e.SHA256] == nil {
				order = append(order, e.SHA256)
				sizes[e.SHA256] = e.Size
				total += e.Size
			}
			users[e.SHA256] = append(users[e.SHA256], l.ID+" "+e.Path)
		}
	}
	if id != "" && c.Backups == 0 {
		_, err := find(ctx, at, id)
		return c, err
	}
	for _, hash := range order {
		err := checkObject(ctx, at, hash, sizes[hash])
		if ctx.Err() != nil {
			return c, ctx.Err()
		}
		if err != nil {
			used := users[hash]
			c.Damage = append(c.Damage, fmt.Sprintf("%s%s: %v; it is needed by %s (%d in all); remove the object and back up again while the server has the file still", objectDir, hash, err, used[0], len(used)))
		}
		c.Objects++
		c.Bytes += sizes[hash]
		if progress != nil {
			progress(c.Bytes, total)
		}
	}
	return c, nil
}

func checkObject(ctx context.Context, at Target, hash string, size int64) error {
	r, err := at.Get(ctx, objectDir+hash)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	switch {
	case err != nil:
		return err
	case n != size:
		return fmt.Errorf("it has %d bytes where %d belong", n, size)
	case hex.EncodeToString(h.Sum(nil)) != hash:
		return errors.New("its content is damaged")
	}
	return nil
}
