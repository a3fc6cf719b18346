package segment

import (
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// A segment whose checksums are all right, and whose footer does not fit its blocks: only a deep look finds that.
func TestVerifyFooter(t *testing.T) {
	for name, c := range map[string]struct {
		change func(i *block.Info)
		say    string
	}{
		"nothing":  {func(*block.Info) {}, ""},
		"level":    {func(i *block.Info) { i.Levels[event.Info], i.Levels[event.Error] = 0, i.Levels[event.Info] }, "of the levels"},
		"time":     {func(i *block.Info) { i.MaxTime++ }, "times from"},
		"sequence": {func(i *block.Info) { i.MinSeq-- }, "sequences from"},
		"bytes":    {func(i *block.Info) { i.Bytes++ }, "events of"},
		"service":  {func(i *block.Info) { i.Service = "wex" }, "service"},
		"host":     {func(i *block.Info) { i.Hosts = []string{"h2"} }, "other hosts"},
		"field":    {func(i *block.Info) { i.Fields = i.Fields[1:] }, "names of fields"},
		"filter":   {func(i *block.Info) { i.Keys = []uint64{1, 2, 3, 4, 5, 6, 7, 8} }, "not in the block's filter"},
		"no keys":  {func(i *block.Info) { i.Keys = nil }, "filter in the footer is empty"},
		"counts":   {func(i *block.Info) { i.Counts[0].Rows++ }, "the counts"},
		"bucket":   {func(i *block.Info) { i.Counts[0].Bucket++ }, "the counts"},
		"form":     {func(i *block.Info) { i.Texts[0].Pattern.Text = []byte("request \x00 lasted \x00") }, "the footer says"},
		"place":    {func(i *block.Info) { i.Texts[0].Local++ }, "the block does not have"},
		"values":   {func(i *block.Info) { i.Texts[0].Values++ }, "the footer says"},
		"missing":  {func(i *block.Info) { i.Texts = i.Texts[:len(i.Texts)-1] }, "the footer does not have"},
		"no form":  {func(i *block.Info) { i.Texts = i.Texts[1:] }, "holds no"},
		"holes": {func(i *block.Info) {
			holes := slices.Clone(i.Texts[0].Holes)
			holes[0].Set, holes[0].Min, holes[0].Max = query.CharSet{}, 2, 2
			holes[0].Set.Add('z')
			i.Texts = slices.Clone(i.Texts)
			i.Texts[0].Holes = holes
		}, "holds no"},
		"numbers": {func(i *block.Info) { numbersOf(i).Hi = 100 }, "numbers from"},
		"column":  {func(i *block.Info) { numbersOf(i).Name = "state" }, "a column of"},
		"constant": {func(i *block.Info) {
			i.Texts[len(i.Texts)-1].Pattern = query.Pattern{Text: []byte("v\x00"), Holes: make([]query.Hole, 1)}
		}, "the footer says"},
	} {
		t.Run(name, func(t *testing.T) {
			blocks := small(t)
			info := *blocks[0].info
			c.change(&info)
			blocks[0].info = &info
			dir := t.TempDir()
			s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, 0, 24, blocks...))
			verify := func(deep bool) (all string) {
				done := int64(0)
				flaws, err := s.Verify(t.Context(), deep, func(n int64) { done += n })
				if err != nil {
					t.Fatal(err)
				}
				if done != s.Size() {
					t.Errorf("%d of %d bytes done", done, s.Size())
				}
				for _, f := range flaws {
					all += f.Err.Error() + "\n"
				}
				return all
			}
			if quick := verify(false); quick != "" {
				t.Error(quick)
			}
			if deep := verify(true); !strings.Contains(deep, c.say) || (deep == "") != (c.say == "") {
				t.Errorf("%q", deep)
			}
		})
	}
}

func numbersOf(i *block.Info) *block.Text {
	for k := range i.Texts {
		if i.Texts[k].Kind == block.Numbers {
			return &i.Texts[k]
		}
	}
	panic("no column of numbers")
}

// Sequences that are twice in a segment, or not its own.
func TestVerifySequences(t *testing.T) {
	for _, c := range []struct {
		lo, hi uint64
		twice  bool
		say    string
	}{{0, 24, false, ""}, {0, 24, true, "is there twice"}, {0, 20, false, "is not the segment's"}, {1 << 40, 1<<40 + 24, false, "is not the segment's"}} {
		blocks := small(t)
		if c.twice {
			blocks = append(blocks, blocks[0])
		}
		dir := t.TempDir()
		s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, c.lo, c.hi, blocks...))
		flaws, err := s.Verify(t.Context(), true, func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		if (len(flaws) == 0) != (c.say == "") || len(flaws) > 0 && !strings.Contains(flaws[0].Err.Error(), c.say) {
			t.Errorf("%+v: %v", c, flaws)
		}
	}
}
