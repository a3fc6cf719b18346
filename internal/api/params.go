package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index/query"
)

// maxForm is the longest body of a search, in bytes.
const maxForm = 1 << 20

// takes begins the list of an address's parameters, in the error about another one.
const takes = "this address takes "

// params are the parameters of a request, each given once.
type params map[string]string

// readParams reads the parameters from the address and, of a POST or PUT, from the body: a form or a flat JSON object. One that
// is not among the names is an error: a mistyped limit must not become no limit.
func readParams(w http.ResponseWriter, r *http.Request, names ...string) (params, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &apiError{Status: http.StatusBadRequest, Code: "bad_parameter", Message: "the parameters in the address cannot be read", Mend: "write % as %25, ; as %3B, & as %26 and # as %23"}
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		body, err := readBody(w, r, maxForm)
		if err != nil {
			return nil, err
		}
		for name, v := range body {
			values[name] = append(values[name], v...)
		}
	}
	p := params{}
	for name, v := range values {
		switch {
		case !slices.Contains(names, name):
			return nil, &apiError{Status: http.StatusBadRequest, Code: "bad_parameter", Message: "there is a parameter that is not known here", Mend: takes + cmp.Or(strings.Join(names, ", "), "no parameters")}
		case len(v) > 1:
			return nil, badParameter(name, "is given more than once", "give it once")
		}
		p[name] = v[0]
	}
	return p, nil
}

// readBody reads a form or a flat JSON object of at most so many bytes.
func readBody(w http.ResponseWriter, r *http.Request, most int64) (url.Values, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &apiError{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: fmt.Sprintf("the body is longer than %d KiB", most>>10),
			Mend: "send less; a query has at most 64 KiB"}
	}
	if err != nil {
		return nil, &apiError{Status: http.StatusBadRequest, Code: "bad_body", Message: "the body did not come", Mend: "send it again"}
	}
	if len(body) == 0 {
		return nil, nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "application/x-www-form-urlencoded", r.Header.Get("Content-Type") == "":
		values, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, &apiError{Status: http.StatusBadRequest, Code: "bad_body", Message: "the form in the body cannot be read", Mend: "write % as %25, ; as %3B, & as %26 and + as %2B"}
		}
		return values, nil
	case err == nil && kind == "application/json":
		return readObject(body)
	}
	return nil, &apiError{Status: http.StatusUnsupportedMediaType, Code: "bad_body", Message: "the body is of a type that is not read here", Mend: "send a form (application/x-www-form-urlencoded) or JSON (application/json)"}
}

// readObject reads a flat JSON object: texts, numbers and booleans.
func readObject(body []byte) (url.Values, error) {
	bad := func(message string) error {
		return &apiError{Status: http.StatusBadRequest, Code: "bad_body", Message: message, Mend: `send one flat object, such as {"q":"error","limit":10}`}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, bad("the body is not a JSON object")
	}
	values := url.Values{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, bad("the body is not JSON")
		}
		value, err := d.Token()
		if err != nil {
			return nil, bad("the body is not JSON")
		}
		name := key.(string) // the decoder lets nothing else stand there
		switch v := value.(type) {
		case string:
			values.Add(name, v)
		case json.Number:
			values.Add(name, strings.TrimSuffix(v.String(), ".0")) // 10.0 is a whole number, too
		case bool:
			values.Add(name, strconv.FormatBool(v))
		case nil: // not given
		default:
			return nil, bad("a value in the body is an object or a list")
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, bad("the body is not JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("something follows the object in the body")
	}
	return values, nil
}

// number returns a whole number from 0 to most, 0 when the parameter is not given.
func (p params) number(name string, most uint64) (uint64, error) {
	text := p[name]
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && n > most {
		return 0, badParameter(name, "is too large", "the most is "+strconv.FormatUint(most, 10))
	}
	if err != nil {
		return 0, badParameter(name, "is not a whole number", "write digits only")
	}
	return n, nil
}

func (p params) flag(name string) (bool, error) {
	switch p[name] {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, badParameter(name, "is neither true nor false", "write true or false")
}

// reports are what probes and containers say regularly, whether there is something new or not.
const reports = "(service:probe stream:probe) OR (service:docker stream:stats)"

// noReports is what is left without reports.
var noReports = func() *query.Query {
	q, err := query.Parse("-(" + reports + ")")
	if err != nil {
		panic(err) // the line above
	}
	return q
}()

// beside is what neighbours are to match when not only those of a source are shown, nil for no condition: with reports=false the
// regular reports are no neighbours either, unless q names a service or a stream.
func (p params) beside(by query.ContextBy) *query.Query {
	q, err := query.Parse(p["q"])
	with, flagErr := p.flag("reports")
	if err != nil || flagErr != nil || with || p["reports"] == "" || by == (query.ContextBy{}) || q.Names("service", "stream") {
		return nil
	}
	return noReports
}

// contextBy is the parameter context_by.
func (p params) contextBy() (query.ContextBy, error) {
	by, err := query.ParseContextBy(p["context_by"])
	if err != nil {
		message, mend, _ := strings.Cut(err.Error(), "; ")
		return by, badParameter("context_by", "cannot be used: "+message, mend)
	}
	return by, nil
}

// query is the parameter q. With reports=false it leaves out the regular reports, unless it names a service or a stream:
// who does knows what to get.
func (p params) query() (*query.Query, error) {
	q, err := query.Parse(p["q"])
	if err != nil || p["reports"] == "" {
		return q, err
	}
	with, err := p.flag("reports")
	if err != nil || with || q.Names("service", "stream") {
		return q, err
	}
	text := "-(" + reports + ")"
	if !q.Everything() {
		text = "(" + q.String() + ") " + text
	}
	return query.Parse(text)
}

// time returns ns since the Unix epoch, 0 when the parameter is not given: RFC 3339, unix time in s, ms, µs or ns, or a
// duration back from now. What lies outside of 1677 to 2262 becomes the end of that range.
func (p params) time(name string, now time.Time) (int64, error) {
	text := p[name]
	if text == "" {
		return 0, nil
	}
	if ns, ok := parseUnix(text); ok {
		return ns, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return clamp(t), nil
	}
	if back, ok := parseBack(text); ok {
		return clamp(now.Add(-back)), nil
	}
	return 0, badParameter(name, "is not a time", "write it as 2026-11-21T14:05:00Z (in an address + is %2B), as unix time, or as a duration back such as 15m, 1h30m or 7d")
}

func clamp(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// parseUnix reads unix time; its unit is told by its size: seconds until the year 5138, and so on.
func parseUnix(text string) (int64, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.HasPrefix(text, "+") {
		return 0, false
	}
	unit := int64(time.Second)
	for size := n / 100_000_000_000; size != 0 && unit > 1; size /= 1000 {
		unit /= 1000
	}
	part := 0.0
	if strings.Contains(text, ".") {
		digits, err := strconv.ParseUint(fraction, 10, 64)
		if err != nil {
			return 0, false
		}
		part = math.Round(float64(digits) / math.Pow10(len(fraction)) * float64(unit))
		if strings.HasPrefix(text, "-") {
			part = -part
		}
	}
	switch {
	case n >= math.MaxInt64/unit:
		return math.MaxInt64, true
	case n <= math.MinInt64/unit:
		return math.MinInt64, true
	}
	return n*unit + int64(part), true
}

// parseBack reads a duration of Go with d for days in front: 1h30m, 7d, 1d12h.
func parseBack(text string) (time.Duration, bool) {
	days := time.Duration(0)
	if number, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, false
		}
		if days, text = time.Duration(n)*24*time.Hour, rest; text == "" {
			return days, true
		}
	}
	if strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-") {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	return days + d, err == nil && days+d >= 0
}
