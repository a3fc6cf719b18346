package mask

import (
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Pattern appends to dst what kind of line a message is: its [Headline] without what differs. Text is the message itself or its
// form, with a [query.HoleMark] in each hole, and the result is the same: every word that a block takes for variable is
// taken out here, those with a digit and those of four letters and more that are all a to f, but for a few words ([query.IsWord]). It appends 1,024 bytes at most. It is part of the meaning of the prefix "p1:".
func Pattern(dst, text []byte) []byte {
	var buf [2 * maskLimit]byte
	line, before, behind := headline(text)
	return Append(dst, fillHoles(buf[:0], line, before, behind))
}

// fill stands for a variable word.
const fill = '0'

// fillHoles appends the beginning of a line, at least maskLimit bytes of it, with the variable words filled. The line stands between
// before and behind, which its first and its last word may reach into: the block has taken the whole word.
func fillHoles(dst, line []byte, before, behind int) []byte {
	for i := before; i < behind && len(dst) < maskLimit; {
		if c := line[i]; !isToken(c) {
			if c == query.HoleMark {
				c = fill
			}
			dst = append(dst, c)
			i++
			continue
		}
		start, from := i, i
		for start > 0 && isToken(line[start-1]) {
			start--
		}
		for i < len(line) && isToken(line[i]) {
			i++
		}
		if token := line[start:i]; isHole(token) && !query.IsWord(token) {
			dst = append(dst, fill)
		} else {
			dst = append(dst, line[from:min(i, behind, from+maskLimit)]...)
		}
	}
	return dst
}

func isToken(c byte) bool { return c == '_' || isAlnum(c) }

// isHole tells whether a block takes a token out of a form: index/block/token.go.
func isHole(token []byte) bool {
	high := false
	run, longest := 0, 0 // of letters a to f between bytes above 0x7F
	for _, c := range token {
		switch {
		case c >= '0' && c <= '9':
			return true
		case c >= 0x80:
			high = true
			run, longest = 0, max(run, longest)
		case !isHexLetter(c):
			run = -len(token) // not of a to f only, up to the next
		default:
			run++
		}
	}
	longest = max(run, longest)
	if high {
		return longest >= 5
	}
	return longest == len(token) && len(token) >= 4
}

// Hash is what the fingerprint of a pattern says: of the events of one service and level whose messages [Pattern] makes the
// same. scratch is reused between calls.
func Hash[T string | []byte](service string, level event.Level, pattern T, scratch *[]byte) uint64 {
	buf := append((*scratch)[:0], service...)
	buf = append(buf, 0, byte(level))
	buf = append(buf, pattern...)
	*scratch = buf
	return xxhash.Sum64(buf)
}

const prefix = "p1:"

// Fingerprint writes a [Hash] as people see it.
func Fingerprint(hash uint64) string {
	text := strconv.FormatUint(hash, 16)
	return prefix + "0000000000000000"[len(text):] + text
}

// ParseFingerprint is the reverse of [Fingerprint].
func ParseFingerprint(text string) (hash uint64, ok bool) {
	if len(text) != len(prefix)+16 || text[:len(prefix)] != prefix {
		return 0, false
	}
	hash, err := strconv.ParseUint(text[len(prefix):], 16, 64)
	return hash, err == nil && Fingerprint(hash) == text
}
