package fleet

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/event"
)

const (
	maxText  = 1024 // bytes of a name or text that is kept
	maxValue = 1e18 // what is larger is no measurement, such as the "no limit" of a cgroup
)

// text keeps bytes as a string that can be shown.
func text(p []byte) string {
	if len(p) > maxText {
		p = p[:maxText]
		for len(p) > 0 && !utf8.RuneStart(p[len(p)-1]) {
			p = p[:len(p)-1]
		}
		if n := len(p); n > 0 && p[n-1] >= utf8.RuneSelf { // a rune's first byte without the rest
			p = p[:n-1]
		}
	}
	return strings.ToValidUTF8(string(p), "\uFFFD")
}

// fields reads an event's extra fields, the first of each name.
type fields struct {
	e   *event.Event
	bad int // values that are not what they should be
}

func (f *fields) text(name string) string {
	if v := f.e.Field(name); v != nil && v.Kind != event.Null {
		return text(v.Value)
	}
	return ""
}

// number returns nil for a field that is not there, and for one that is no finite number from 0 to maxValue. Text is
// taken for the number it says: an input may not know the kinds.
func (f *fields) number(name string) *float64 {
	v, ok := f.float(name)
	if !ok {
		return nil
	}
	if v < 0 {
		f.bad++
		return nil
	}
	return &v
}

// signed is number with negative ones allowed.
func (f *fields) signed(name string) *float64 {
	v, ok := f.float(name)
	if !ok {
		return nil
	}
	return &v
}

func (f *fields) float(name string) (float64, bool) {
	p := f.e.Field(name)
	if p == nil || p.Kind == event.Null {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(p.Value[:min(len(p.Value), 64)]), 64)
	if err != nil || len(p.Value) > 64 || math.IsNaN(v) || math.Abs(v) > maxValue {
		f.bad++
		return 0, false
	}
	return v, true
}

// whole is number for counts.
func (f *fields) whole(name string) int64 {
	v := f.number(name)
	if v == nil {
		return 0
	}
	return int64(*v)
}

// status is that of an HTTP response, 0 for none.
func (f *fields) status() int {
	n := f.whole("status")
	if n > 999 {
		f.bad++
		return 0
	}
	return int(n)
}

func (f *fields) bool(name string) bool {
	v := f.e.Field(name)
	switch {
	case v == nil || v.Kind == event.Null:
	case string(v.Value) == "true":
		return true
	case string(v.Value) != "false":
		f.bad++
	}
	return false
}

// stamp is a time as RFC 3339, zero when there is none.
func (f *fields) stamp(name string) time.Time {
	v := f.e.Field(name)
	if v == nil || v.Kind == event.Null || len(v.Value) == 0 {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, string(v.Value[:min(len(v.Value), 64)]))
	if err != nil || t.Year() < 1970 {
		f.bad++
		return time.Time{}
	}
	return t.UTC()
}
