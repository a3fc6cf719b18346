package block

import "github.com/lookoutlog/lookout/index/query"

// BucketLen is the length of the buckets of time in which a segment counts events, in ns: five minutes.
const BucketLen = int64(5 * 60 * 1e9)

// Bucket returns the bucket a time is in: it holds the times from Bucket × [BucketLen] on.
func Bucket(t int64) int64 {
	b := t / BucketLen
	if t%BucketLen < 0 {
		b--
	}
	return b
}

// Info is what a builder tells of a block beside its bytes: what a segment's footer keeps, so that a search need not open
// the block. Its slices are valid until the builder's next block.
type Info struct {
	Meta
	// Texts are the forms of the texts in the block's message and extra fields, by column and local number.
	Texts []Text
	// Keys are the distinct filter keys: whatever [query.Query.FilterKeys] may ask for is among them.
	Keys []uint64
	// Messages say when the block has messages of each form and level, and each one without a form; see [Builder.NoteMessages].
	Messages []MessageTimes
	// Counts are the block's events by level and bucket of time, each pair once, in order of bucket and level.
	Counts []Count
}

// MessageTimes say when the messages of one form and level are first and last.
type MessageTimes struct {
	Text        []byte // the form's, with a query.HoleMark in each hole, or a message that has none
	Form        bool
	Level       uint8 // event.Level
	First, Last int64 // ns since the Unix epoch
}

// Count is the number of events of one level in one bucket of time.
type Count struct {
	Bucket int64 // see [Bucket]
	Level  uint8 // event.Level
	Rows   int
}

// TextKind says what is known of the texts that a [Text] stands for.
type TextKind uint8

// The kinds of texts.
const (
	Patterned TextKind = iota // they have the form of a pattern
	Raw                       // nothing is known of them
	Numbers                   // they are JSON numbers from Lo to Hi
	Rest                      // nothing is known of them, nor of the names of their fields
)

// Text stands for the values of one form in one column of a block.
type Text struct {
	Column int    // 0 is the message, the others number the extra fields, one column for each name and kind
	Name   string // the field's name, empty for the message
	Kind   TextKind
	Local  int // the pattern's number in its column, from 0
	// Values is how many values the form has in the block, Rows in how many events they are: an event may have several
	// values of one name.
	Values, Rows int
	// Pattern is the form of [Patterned] texts. Of [Numbers] it has one hole, which says what is known of how they are written.
	query.Pattern
	Lo, Hi float64 // of Numbers: the least and the greatest value
}
