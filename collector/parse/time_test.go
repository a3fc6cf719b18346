package parse

import (
	"strconv"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	at := func(s string) int64 {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixNano()
	}
	for _, c := range []struct {
		in      string
		want    string // RFC 3339; empty: refused
		seconds bool
	}{
		{"2026-11-21T11:22:33Z", "2026-11-21T11:22:33Z", true},
		{"2026-11-21T11:22:33.5Z", "2026-11-21T11:22:33.5Z", false},
		{"2026-11-21T11:22:33.000Z", "2026-11-21T11:22:33Z", false},
		{"2026-11-21T11:22:33,123Z", "2026-11-21T11:22:33.123Z", false},
		{"2026-11-21T11:22:33.123456789Z", "2026-11-21T11:22:33.123456789Z", false},
		{"2026-11-21T11:22:33.1234567899999Z", "2026-11-21T11:22:33.123456789Z", false},
		{"2026-11-21t11:22:33z", "2026-11-21T11:22:33Z", true},
		{"2026-11-21 11:22:33+02:00", "2026-11-21T09:22:33Z", true},
		{"2026-11-21 11:22:33 +0200", "2026-11-21T09:22:33Z", true},
		{"2026-11-21 11:22:33.25-0530", "2026-11-21T16:52:33.25Z", false},
		{"2026-11-21T11:22:33-08", "2026-11-21T19:22:33Z", true},
		{"2026-11-21 11:22:33.125 UTC", "2026-11-21T11:22:33.125Z", false},
		{"2026-11-21 11:22:33 GMT", "2026-11-21T11:22:33Z", true},
		{"2026-11-21T11:22Z", "2026-11-21T11:22:00Z", true},
		{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", true},
		{"2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z", true},
		{"2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z", true},
		{"1973-03-03T09:46:40Z", "1973-03-03T09:46:40Z", true},
		{"1795260153", "2026-11-21T11:22:33Z", true},
		{"1795260153.411", "2026-11-21T11:22:33.411Z", false},
		{"1795260153.123456789123", "2026-11-21T11:22:33.123456789Z", false},
		{"1795260153411", "2026-11-21T11:22:33.411Z", false},
		{"1795260153411.5", "2026-11-21T11:22:33.4115Z", false},
		{"1795260153411222", "2026-11-21T11:22:33.411222Z", false},
		{"1795260153411222333", "2026-11-21T11:22:33.411222333Z", false},
		{"1.795260153411E9", "2026-11-21T11:22:33.411Z", false},
		{"1.795260153e+12", "2026-11-21T11:22:33Z", false},
		{"100000000", "1973-03-03T09:46:40Z", true},

		{"", "", false},
		{"0", "", false},
		{"9999", "", false},
		{"99999999", "", false},
		{"000000001795260153x", "", false},
		{"-1795260153", "", false},
		{"-2026-11-21T11:22:33Z", "", false},
		{"99999999999", "", false},         // seconds beyond 2262
		{"9223372036854775808", "", false}, // one ns beyond
		{"17952601534112223334", "", false},
		{"1e400", "", false},
		{"000000000e19", "", false},
		{"000000e11", "", false},
		{"0.000000000000000000000001e33", "2001-09-09T01:46:40Z", false},
		{"9.999999999999999999e18", "", false},
		{"1000000000.000000000000000000000000000000001", "2001-09-09T01:46:40Z", false},
		{"1795260153e", "", false},
		{"1795260153e-3", "", false},
		{"1.7952.60153", "", false},
		{".1795260153", "", false},
		{"NaN000000", "", false},
		{"2026-11-21T11:22:33", "", false}, // no zone
		{"2026-11-21 11:22:33,123", "", false},
		{"2026-11-21T11:22:33.Z", "", false},
		{"2026-11-21T24:00:00Z", "", false},
		{"2026-11-21T11:60:00Z", "", false},
		{"2026-11-21T11:22:61Z", "", false},
		{"2026-13-21T11:22:33Z", "", false},
		{"2026-00-21T11:22:33Z", "", false},
		{"2026-11-00T11:22:33Z", "", false},
		{"2026-11-31T11:22:33Z", "", false},
		{"2025-02-29T11:22:33Z", "", false},
		{"2100-02-29T11:22:33Z", "", false},
		{"2026-11-21T11:22:33+2:00", "", false},
		{"2026-11-21T11:22:33+02-00", "", false},
		{"2026-11-21T11:22:33*02:00", "", false},
		{"2026-11-21T11:22:33CET", "", false},
		{"2026-11-21T11:22:33Z ", "", false},
		{"2026-11-21T11:22:33Zulu", "", false},
		{"9999-12-31T23:59:59Z", "", false},
		{"1970-01-01T00:00:00Z", "", false},
		{"0001-01-01T00:00:00Z", "", false},
		{"2o26-11-21T11:22:33Z", "", false},
		{"2026-11-21", "", false},
		{"2026-11-21T11:22", "", false},
	} {
		ns, seconds, ok := parseTime([]byte(c.in))
		if ok != (c.want != "") {
			t.Errorf("parseTime(%q): ok %v", c.in, ok)
			continue
		}
		if ok && (ns != at(c.want) || seconds != c.seconds) {
			t.Errorf("parseTime(%q) = %s, whole seconds %v; want %s, %v", c.in, time.Unix(0, ns).UTC().Format(time.RFC3339Nano), seconds, c.want, c.seconds)
		}
	}
}

func TestParseTimeDoesNotAllocate(t *testing.T) {
	a, b := []byte("2026-11-21T11:22:33.123456+02:00"), []byte("1795260153.411")
	if n := testing.AllocsPerRun(100, func() { ParseTime(a); ParseTime(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Every day between the bounds agrees with the standard library.
func TestParseTimeEveryDay(t *testing.T) {
	for d := time.Date(1973, 4, 1, 1, 2, 3, 4000, time.UTC); d.Year() < 2262; d = d.Add(24*time.Hour + 17*time.Minute + 3*time.Second) {
		for _, in := range []string{d.Format(time.RFC3339Nano), strconv.FormatInt(d.UnixMicro(), 10)} {
			if ns, ok := ParseTime([]byte(in)); !ok || ns != d.UnixNano() {
				t.Fatalf("ParseTime(%q) = %d, %v; want %d", in, ns, ok, d.UnixNano())
			}
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-11-21T11:22:33.123Z", "1795260153.411", "1.7e9", "2026-11-21 11:22:33 +0200"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		ns, ok := ParseTime(p)
		if ok && ns < minTime {
			t.Errorf("ParseTime(%q) = %d", p, ns)
		}
		want, err := time.Parse(time.RFC3339Nano, string(p))
		// The standard library takes an hour of one digit.
		if err == nil && p[13] == ':' && want.Unix() >= minTime/1e9 && want.Year() < 2262 && len(p) <= 64 && (!ok || ns != want.UnixNano()) {
			t.Errorf("ParseTime(%q) = %d, %v; want %d", p, ns, ok, want.UnixNano())
		}
	})
}
