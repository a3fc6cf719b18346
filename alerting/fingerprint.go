package alerting

import (
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

// Fingerprints carry their making in front, and a prefix never changes its meaning: an incident under another prefix is
// another incident.
//
//	m1:  xxhash64(service, 0, mask(headline(message))), see package mask
//	f1:  xxhash64(service, 0, the value of the event's field "fingerprint")
//	many what a service has beyond Limits.Patterns
//	gap  lookout could not read events
const (
	masked       = "m1:"
	given        = "f1:"
	manyPatterns = "many"
	gapPrint     = "gap"
)

// named tells a fingerprint that both events have, the one that opens an incident and the one that resolves it: a text is
// never the same.
func named(fingerprint string) bool { return strings.HasPrefix(fingerprint, given) }

// fingerprint groups an event with others of its kind; scratch is reused between calls.
func fingerprint(e *event.Event, scratch *[]byte) string {
	kind := masked
	buf := append((*scratch)[:0], e.Service...)
	buf = append(buf, 0)
	if f := e.Field("fingerprint"); f != nil && len(f.Value) > 0 {
		kind = given
		buf = append(buf, f.Value...)
	} else {
		buf = mask.Append(buf, mask.Headline(e.Message))
	}
	*scratch = buf
	return kind + strconv.FormatUint(xxhash.Sum64(buf), 16)
}
