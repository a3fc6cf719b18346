package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"strconv"
	"strings"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/eventjson"
)

// A part of an export has so many events unless the request says how many, at most so many, and is as long as can be sent in half of the
// time that a search has: a client on a slow line gets shorter parts and not broken ones.
const (
	partEvents    = 100_000
	maxPartEvents = 1_000_000
)

// exportForms are what an export's events may be written as.
var exportForms = map[string]struct {
	kind   string
	append func(dst []byte, e *event.Event) []byte
	header string // of each part
}{
	"ndjson": {"application/x-ndjson; charset=utf-8", func(dst []byte, e *event.Event) []byte { return append(eventjson.AppendFlat(dst, e), '\n') }, ""},
	"csv":    {"text/csv; charset=utf-8; header=present", appendCSV, "time,level,service,env,host,container,stream,message,fields\n"},
	"raw":    {"text/plain; charset=utf-8", func(dst []byte, e *event.Event) []byte { return append(append(dst, e.Message...), '\n') }, ""},
}

// The trailers of a part: what there is to check it by, and where the next one begins. They come behind the body, as they are known then.
const (
	trailerEvents   = "Lookout-Events"
	trailerSum      = "Lookout-Sha256" // of the body as it is when it is decompressed
	trailerNext     = "Lookout-Next"   // the cursor; missing at the end
	trailerComplete = "Lookout-Complete"
	trailerReasons  = "Lookout-Reasons"
)

// export writes a part of the events that match, as files are to have them: GET or POST /api/v1/export. A part that cannot be finished is
// cut off.
func (a *API) export(w http.ResponseWriter, r *http.Request) {
	s, form, err := a.readExport(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	f := exportForms[form]
	h := w.Header()
	for _, name := range []string{trailerEvents, trailerSum, trailerNext, trailerComplete, trailerReasons} {
		h.Add("Trailer", name)
	}
	out := newStream(w)
	out.kind = f.kind
	defer out.end()
	sum := sha256.New()
	var last query.Place
	var buf []byte
	write := func(text []byte) error {
		_, _ = sum.Write(text) // it never fails
		return out.text(text)
	}
	began, late := a.o.Clock(), false
	events := 0
	if err = write([]byte(f.header)); err == nil {
		var summary query.Summary
		summary, err = a.search(r.Context(), s.Request, func(row query.Row) error {
			last = query.Place{Time: row.Event.Time, Seq: row.Event.Seq}
			buf = f.append(buf[:0], row.Event)
			events++
			if late = events%1000 == 0 && a.o.Clock().Sub(began) > a.o.Limits.QueryTimeout/2; late {
				return errors.Join(write(buf), errEnough)
			}
			return write(buf)
		})
		if err == nil || late && errors.Is(err, errEnough) {
			a.endPart(w, out, sum, &s, &summary, last, events, late)
			return
		}
	}
	if !out.begun() {
		h.Del("Trailer")
		out.fail(err)
		return
	}
	_ = errorLine(w, err)       // for the log
	panic(http.ErrAbortHandler) // there is no place for an error in a file: what came must not look whole
}

// endPart sends what is left of a part, and its trailers.
func (a *API) endPart(w http.ResponseWriter, out *stream, sum hash.Hash, s *searchRequest, summary *query.Summary, last query.Place, events int, late bool) {
	next := s.next(summary, last)
	if late {
		next = s.nextCursor(last, summary.Sequence)
	}
	_ = out.flushNow() // what can fail is the connection
	h := w.Header()
	if !out.begun() { // no event, and no header
		h.Set("Content-Type", out.kind)
		_ = out.control.Flush() // what is set from here on is a trailer
	}
	h.Set(trailerEvents, strconv.Itoa(events))
	h.Set(trailerSum, hex.EncodeToString(sum.Sum(nil)))
	if next != "" {
		h.Set(trailerNext, next)
	}
	// A part that ended because of a limit is whole when the next one goes on where it ended.
	whole := summary.Complete || late || next != "" && len(summary.Reasons) == 1 && summary.Cut != 0
	h.Set(trailerComplete, strconv.FormatBool(whole))
	if !whole {
		h.Set(trailerReasons, strings.Join(strings.Fields(strings.Join(summary.Reasons, "; ")), " "))
	}
}

func (a *API) readExport(w http.ResponseWriter, r *http.Request) (s searchRequest, form string, err error) {
	p, err := readParams(w, r, "q", "since", "until", "limit", "after_sequence", "sequence", "reports", "cursor", "form")
	if err != nil {
		return s, "", err
	}
	if form = p["form"]; form == "" {
		form = "ndjson"
	}
	if _, ok := exportForms[form]; !ok {
		return s, "", badParameter("form", "is none there is", "use ndjson, csv or raw")
	}
	if _, err := p.number("limit", maxPartEvents); err != nil {
		return s, "", err
	}
	if s, err = a.searchOf(p); s.Limit == 0 {
		s.Limit = partEvents
	}
	return s, form, err
}

// appendCSV appends an event as a line of CSV. Its times are UTC; extra fields are JSON.
func appendCSV(dst []byte, e *event.Event) []byte {
	var b bytes.Buffer
	c := csv.NewWriter(&b)
	level, fields := "", ""
	if e.Level != event.None {
		level = e.Level.String()
	}
	if len(e.Fields) > 0 {
		fields = string(eventjson.AppendFields(nil, e))
	}
	record := []string{timeText(e.Time), level, string(e.Service), string(e.Env), string(e.Host), string(e.Container), string(e.Stream), string(e.Message)}
	for i := range record {
		record[i] = harmless(record[i])
	}
	if err := c.Write(append(record, fields)); err != nil {
		panic(err) // a buffer takes all
	}
	c.Flush()
	return append(dst, b.Bytes()...)
}

// harmless keeps a spreadsheet from taking text of a log for a formula: a quote before = + - @, tab and return. Numbers stay numbers.
func harmless(text string) string {
	if text == "" || !strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return text
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text
	}
	return "'" + text
}
