// Package parse reads what is inside log lines: JSON and logfmt messages become fields, levels are found in plain text, and
// the lines of a stack trace become one event.
//
// # Use
//
//	joiner := parse.NewJoiner(parse.JoinOptions{})
//	stage := parse.New(parse.Options{})
//	…
//	joiner.Join(batch, now)   // or JoinWithin, for an input that acknowledges the batch
//	stage.Process(batch)
//
// Joining comes first: a line that continues a trace must not be read as one of its own.
//
// # JSON and logfmt
//
// A message that is one JSON object, or a line of logfmt pairs, is taken apart. The message's key (message, msg, log, …)
// becomes the Message; the keys of level, time, service, env, host, container and stream fill the event's own parts; every
// other leaf is a field, nested names joined with dots, arrays as the same name several times. Where there is no message's
// key the whole text stays the Message. Nothing is lost: what does not fill a part stays a field, under its name or, when
// that is a built-in name of the query language, with a trailing _ (message_, id_). Names that a sender's fields have too
// occur twice, as an array's do.
//
// What the sender said wins over what the message says: a service, env, host, container or stream that is set stays. So
// does a level, unless the stream is stdout or stderr, whose level is only Docker's 3 or 6. A level's original text is kept
// as level_text where it says more than lookout's name: trace, fatal, INFO+2.
//
// # Time
//
// Inputs have set an event's time already, to the sender's or to the time of receipt, and its own order is the order of
// the lines. A time inside plain text is therefore not used: it adds nothing to what Docker says, often lacks year or zone,
// and would tear lines with one and lines without apart. The time of a JSON or logfmt message is used, since it is when the
// event happened, if it is at most 24 h before and 5 min after the input's; otherwise it stays a field. It must be a date
// with a zone or a unix number, as package timestamp reads them. A time in whole seconds takes the input's fraction of that
// second, or the second's end when the input's time is up to 10 s later: so the lines of a source stay in the order in
// which they came, also beside plain ones. Older than that it is used as it stands.
//
// # Level of plain text
//
// The level is looked for in a line's header only, the part before prose begins, see level.go; "no error found" has none,
// and neither has an access log's 500. Colour codes stay in the message and do not hide a level. In a message of several
// lines a stack trace counts too: at least error; a panic or fatal error that ends a Go or Rust program is critical.
//
// # What it guarantees
//
// The stage never changes the number or order of events. The joiner keeps every byte: the messages joined with "\n" are the
// lines that came. Both are safe with any input, hold bounded memory and allocate nothing for the usual lines once warm.
package parse
