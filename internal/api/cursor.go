package api

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/lookoutlog/lookout/index/query"
)

// cursor is where a search that ended at its limit goes on. It holds all that the parameters of the first page leave open, so that an
// until of "now" and a since of "an hour ago" stay what they were. It is no secret and gives no rights: what it says could be asked for
// by since, until and sequence as well. Its sum keeps one that was cut or edited, or that belongs to another search, from being an answer
// with a hole.
type cursor struct {
	place        query.Place
	since, until int64
	maxSeq       uint64 // the newest event of the first page's snapshot
}

const cursorVersion = 1

// searchKey tells searches apart for whom cursors are made: the parameters as they came, but for those that may change from page to page.
func (p params) searchKey() string {
	var b strings.Builder
	for _, name := range searchParams {
		if name != "cursor" && name != "limit" {
			fmt.Fprintf(&b, "%q", p[name])
		}
	}
	return b.String()
}

// text writes the cursor for a search.
func (c cursor) text(key string) string {
	b := []byte{cursorVersion}
	for _, n := range [...]uint64{uint64(c.place.Time), c.place.Seq, uint64(c.since), uint64(c.until), c.maxSeq} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return base64.RawURLEncoding.EncodeToString(binary.LittleEndian.AppendUint64(b, cursorSum(b, key)))
}

func cursorSum(b []byte, key string) uint64 {
	d := xxhash.New()
	_, _ = d.Write(b) // it never fails
	_, _ = d.WriteString(key)
	return d.Sum64()
}

// cursor reads the parameter; newest is the newest event of the store.
func (p params) cursor(newest uint64) (c cursor, err error) {
	const numbers = 5
	b, err := base64.RawURLEncoding.Strict().DecodeString(p["cursor"])
	switch {
	case err != nil, len(b) != 1+8*numbers+8, b[0] != cursorVersion:
		return c, badParameter("cursor", "is none of this server's", "give the next of the last answer, or begin again without cursor")
	case binary.LittleEndian.Uint64(b[len(b)-8:]) != cursorSum(b[:len(b)-8], p.searchKey()):
		return c, badParameter("cursor", "belongs to another search", "send the parameters of the first page with it; only limit may change")
	}
	n := func(i int) uint64 { return binary.LittleEndian.Uint64(b[1+8*i:]) }
	c = cursor{place: query.Place{Time: int64(n(0)), Seq: n(1)}, since: int64(n(2)), until: int64(n(3)), maxSeq: n(4)}
	if c.maxSeq == 0 || c.maxSeq > newest {
		return c, badParameter("cursor", fmt.Sprintf("is of events up to %d, and the newest is %d: this store is not the one it comes from", c.maxSeq, newest), "begin again without cursor")
	}
	return c, nil
}

// nextCursor is the summary's next: where a search whose rows ended at the place goes on. Every row up to there has been delivered.
func (s *searchRequest) nextCursor(place query.Place, snapshot uint64) string {
	if snapshot == 0 || s.Before > 0 || s.After > 0 { // an empty store; rows beside matches would come twice
		return ""
	}
	return cursor{place: place, since: s.Since, until: s.Until, maxSeq: snapshot}.text(s.key)
}

// next is the cursor of what follows an answer whose last row is at a place, empty when nothing does or it cannot be had.
func (s *searchRequest) next(sum *query.Summary, last query.Place) string {
	switch {
	case sum.Cut != 0:
		if place := s.cutPlace(sum.Cut); s.goesOn(place) {
			return s.nextCursor(place, sum.Sequence)
		}
	case s.Limit > 0 && sum.Matched == int64(s.Limit) && !s.CountOnly:
		return s.nextCursor(last, sum.Sequence)
	}
	return ""
}

// cutPlace is the place before the first row that was left out because of the limit of bytes.
func (s *searchRequest) cutPlace(cut int64) query.Place {
	if s.Newest {
		return query.Place{Time: cut, Seq: math.MaxUint64}
	}
	return query.Place{Time: cut}
}

// goesOn tells whether a place is behind the one where the search began: when it is not, a search from there would end there again.
func (s *searchRequest) goesOn(place query.Place) bool {
	switch {
	case s.Behind == nil && s.Newest:
		return s.Until == 0 || place.Time < s.Until
	case s.Behind == nil:
		return place.Time > s.Since
	case s.Newest:
		return place.Less(*s.Behind)
	}
	return s.Behind.Less(place)
}
