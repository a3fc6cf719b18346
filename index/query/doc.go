// Package query is lookout's query language. One expression serves the command line, the UI, the live tail, alert rules,
// probes, saved searches and the SDK; [Parse] compiles it once, for all of them. Time is never a part of it: a range of
// time stands beside it.
//
// # The language
//
// It is grep first. A bare word is a substring, words are joined by AND, and nothing has to be chosen before searching:
//
//	timeout                                   the message or any extra field's value contains it
//	"connection refused" -healthz             a phrase, and without a word
//	~"panic|fatal"                            a regular expression (RE2) over the same
//	service:pay* level>=warning               a field: glob, level
//	status:500..599 duration>1.5s             a range, both ends included; a duration
//	path~"^/api/v[12]/" NOT user.id:*         a regular expression on a field; a field is absent
//	(level>=error OR ~"panic|fatal") -service:(canary, loadtest)
//	ip:10.0.0.0/8 bytes>10MB                  a network; a size
//
// Operators, the tightest first: NOT, also - or ! touching what follows; AND, also a space; OR. They are upper case:
// "not found" and "or" are words. Parentheses group. An empty query, * and "" are everything; a bare * among other terms
// is everything too, the character is "*".
//
// What is text: a bare word runs up to a space, ( ) or |, and a quote inside it is a character (don't). Quotes open at a
// term's start, or behind an operator, a sign or ~. In "…" only \" and \\ are escapes, so ~"\d+" and "C:\new" are what
// they look like; '…' and `…` are raw. Signs by themselves, --x and arrows are text: x - y, !, ->.
//
// What is a field: a name (letters, digits, _ - @, parts joined by dots; anything in quotes) touching an operator. A name
// with a colon before a space, the end, /, : or \ where that makes error: refused, http://x, a::b or C:\dir is text, and
// so are a->b, a=>b and 12:30. The first operator splits: a:b:c is the field a with b:c. An unknown field finds nothing;
// [Query.NotFound] words what is then said, so that main.go:42 is seen to need quotes.
//
//	f:v       the whole value, smart case, with the globs * and ?; quoted, globs and numbers are plain text.
//	          message:v is a part of the message
//	f:(a, b)  any of them; parted by a comma or OR
//	f:*       the field is there; an empty text counts
//	f:1..5    a range of numbers, durations, sizes or levels
//	f:1.2.3.0/24   an address in the network
//	f=v       the whole value with its case, no globs
//	f!=v      f:* -f=v: the field is there and no value of it is v
//	f>v …     > >= < <= compare numbers, durations, sizes and levels; another value does not match
//	f~re      a regular expression finds something in it; f!~re as f!=v
//
// Built-in fields are service, env, host, container, stream, level, message and id; an empty one is absent, except for
// the message. All others are extra fields, nested ones with dots; an array is one name with several values, any of which
// may match. A comparison with an absent field is false, its negation with - true.
//
// Case is smart, term by term: without an upper-case letter a text is found in any case (Unicode's simple folding). A
// regular expression has case unless it says (?i); . matches a newline, ^ and $ are per line. [FromGrep] says how -i and
// --case-sensitive are written in the language.
//
// Numbers compare as decimals, exactly: f=500 finds 500, "500" and 5e2, f="500" the text only. Units: ns us µs ms s m h d
// and 1h30m; B kB KB MB GB TB KiB MiB GiB TiB. A number without a unit compares with its like; against a value with a
// unit, the field's name gives it one when it ends in _ns, _us, _ms, _s, _seconds or bytes (in any case), and otherwise
// nothing matches.
//
// Levels compare by severity: level>=warning is warning and worse. A number is syslog's, where less is worse: level<=4 is
// the same. A range may be written in either direction. An event without a level matches neither a comparison nor
// level:*.
//
// Limits: [MaxText], [MaxDepth], [MaxTerms], [MaxGlob], [MaxRegex]; a regular expression's repeats and classes are bounded
// as well, before it is compiled.
//
// # Use
//
// [Query.Match] decides on an event. [Query.String] is the normal form, which parses to itself; links and rules carry it.
// An error of Parse is an [*Error] with the place and the mend, [Query.Hints] is advice about what is valid. [Quote],
// [QuoteRegex] and [FromGrep] write queries.
//
// A store skips what cannot match: by service ([Query.MayMatchService]), by the keys of a filter
// ([Query.FilterKeys], with [AppendTokenKeys] and [FieldKey] on the writer's side), and by bytes that an encoded event
// must hold ([Query.Needles]).
//
// A store that keeps events in columns, texts as patterns with holes, asks in three steps. [Query.Tests] are the query's terms as
// predicates on one value, and [Test.Judge] says what a pattern means to one, [Test.Decimals] the same for numbers. With
// how many rows each pattern has, a block answers [Facts], and [Query.Bounds] how many of its rows match, at least and at
// most: often that is all. Otherwise the block is a [Table], which [Query.Select] narrows to the rows that match.
// [Query.Explain] puts this into words.
//
// # Guarantees
//
// A Query is immutable and safe for concurrent use. Match keeps nothing of the event, and allocates nothing except for
// id and for what package regexp needs. For a given query its time is linear in the event's size. What prunes is sound:
// nothing that matches is ruled out, and nothing that does not is counted. Keys of filters are stored: AppendTokenKeys and
// FieldKey give a text the same keys for ever, or the block format gets a new version.
package query
