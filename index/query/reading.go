package query

// Reading says what a search would read, found out from the segments' footers alone.
type Reading struct {
	Segments int // segments
	Blocks   int // blocks in them
	Range    int // ruled out by time or service
	Filter   int // ruled out by a filter of tokens and values
	Forms    int // ruled out because no form of text, level or field in them can match
	Open     int // that hold matches, or may
	Known    int // of Open: the number of matches is known, so that counting does not read them
	Plain    int // of Open: of plain rows, as lookout wrote them before it had patterns

	// Of the blocks of Open: the bytes of their events, uncompressed; how many of the events match at least and at most,
	// whatever their time; and how many of their forms of text may match some term, or always do, a form counted in each block.
	Bytes                   int64
	Least, Most             int64
	MaybeForms, AlwaysForms int

	Memory int64 // events in memory in range, which are looked at one by one

	// Complete and Reasons are as in [Summary].
	Complete bool
	Reasons  []string
	// UnknownFields are the fields the query names that no event in range has.
	UnknownFields []string
}
