package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 10, 30, 15, 500, time.UTC) // 11:30:15 in Berlin
	for text, want := range map[string]string{
		"now":                            "2026-11-21T10:30:15.0000005Z",
		"15m":                            "2026-11-21T10:15:15.0000005Z",
		"-15m":                           "2026-11-21T10:15:15.0000005Z",
		"1h30m":                          "2026-11-21T09:00:15.0000005Z",
		"1.5h":                           "2026-11-21T09:00:15.0000005Z",
		"2h ago":                         "2026-11-21T08:30:15.0000005Z",
		" 2h   ago ":                     "2026-11-21T08:30:15.0000005Z",
		"-2h":                            "2026-11-21T08:30:15.0000005Z",
		"3d":                             "2026-11-18T10:30:15.0000005Z",
		"2w":                             "2026-11-07T10:30:15.0000005Z",
		"1d2h":                           "2026-11-20T08:30:15.0000005Z",
		"90S":                            "2026-11-21T10:28:45.0000005Z",
		"500ms":                          "2026-11-21T10:30:14.5000005Z",
		"500ns":                          "2026-11-21T10:30:15Z",
		"today":                          "2026-11-20T23:00:00Z",
		"yesterday":                      "2026-11-19T23:00:00Z",
		"Yesterday 14:00":                "2026-11-20T13:00:00Z",
		"today 14:05:06":                 "2026-11-21T13:05:06Z",
		"14:05":                          "2026-11-21T13:05:00Z",
		"14:05:06.75":                    "2026-11-21T13:05:06.75Z",
		"2026-10-01":                     "2026-09-30T22:00:00Z", // summer time
		"2026-10-01 14:05":               "2026-10-01T12:05:00Z",
		"2026-11-01 14:05:06.789":        "2026-11-01T13:05:06.789Z",
		"2026-11-01T14:05":               "2026-11-01T13:05:00Z",
		"2026-10-01T14:05:06Z":           "2026-10-01T14:05:06Z",
		"2026-10-01t14:05:06.123456789z": "2026-10-01T14:05:06.123456789Z",
		"2026-10-01T14:05:06+05:30":      "2026-10-01T08:35:06Z",
		"2026-10-01 14:05:06 +0530":      "2026-10-01T08:35:06Z",
		"2026-10-01T14:05Z":              "2026-10-01T14:05:00Z",
		"1795257015":                     "2026-11-21T10:30:15Z",
		"1795257015.25":                  "2026-11-21T10:30:15.25Z",
		"1795257015250":                  "2026-11-21T10:30:15.25Z",
		"1795257015250.5":                "2026-11-21T10:30:15.2505Z",
		"1795257015250001":               "2026-11-21T10:30:15.250001Z",
		"1795257015250001.5":             "2026-11-21T10:30:15.2500015Z",
		"1795257015250000001":            "2026-11-21T10:30:15.250000001Z",
	} {
		got, err := parseTime(text, now, berlin)
		if err != nil {
			t.Error(err)
		} else if s := got.UTC().Format(time.RFC3339Nano); s != want {
			t.Errorf("%q: got %s, want %s", text, s, want)
		}
	}
	for _, text := range []string{"", "-", "ago", "15", "lunch", "15x", "m", "1h30", "25:00", "today 25:00", "now 14:00", "2026-13-01", "2026-02-30", "1795257015.2x", "-1795257015", "999999999999999h", "1..5h", "2026-10-01T"} {
		if got, err := parseTime(text, now, berlin); err == nil {
			t.Errorf("%q was taken for %s", text, got)
		} else if !strings.Contains(err.Error(), "is not a time; write 15m") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// yesterday is the day before, also when that has 23 or 25 hours.
func TestYesterdayAcrossTheChangeOfTheClock(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 10, 26, 0, 30, 0, 0, berlin) // the 25th has 25 hours
	got, err := parseTime("yesterday 00:15", now, berlin)
	if want := time.Date(2026, 10, 25, 0, 15, 0, 0, berlin); err != nil || !got.Equal(want) {
		t.Error(got, err)
	}
}

func TestParseRange(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	at := func(h int) time.Time { return time.Date(2026, 11, 21, h, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		since, until string
		all          bool
		want         timeRange
		err          string
	}{
		{"", "", false, timeRange{at(9), time.Time{}}, ""},
		{"3h", "", false, timeRange{at(7), time.Time{}}, ""},
		{"07:00", "08:00", false, timeRange{at(7), at(8)}, ""},
		{"", "08:00", false, timeRange{at(7), at(8)}, ""},
		{"", "", true, timeRange{}, ""},
		{"", "08:00", true, timeRange{time.Time{}, at(8)}, ""},
		{"1h", "", true, timeRange{}, "--all and --since do not go together"},
		{"x", "", false, timeRange{}, `--since: "x" is not a time`},
		{"", "x", false, timeRange{}, `--until: "x" is not a time`},
		{"08:00", "07:00", false, timeRange{}, "the range is empty: since 2026-11-21 08:00:00 is not before until 2026-11-21 07:00:00"},
		{"11:00", "", false, timeRange{}, "the range is empty"},
		{"08:00", "08:00", false, timeRange{}, "the range is empty"},
	} {
		got, err := parseRange(c.since, c.until, c.all, now, time.UTC)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v", c, err)
			}
		case err != nil || !got.since.Equal(c.want.since) || !got.until.Equal(c.want.until):
			t.Errorf("%+v: %v %v", c, got, err)
		}
	}
}

func TestParseZone(t *testing.T) {
	for _, c := range []struct {
		tz   string
		utc  bool
		want string
		err  string
	}{
		{"", false, "Local", ""},
		{"", true, "UTC", ""},
		{"Europe/Berlin", false, "Europe/Berlin", ""},
		{"Mars", false, "", `--tz: "Mars" is not a time zone`},
		{"UTC", true, "", "do not go together"},
	} {
		loc, err := parseZone(c.tz, c.utc)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v", c, err)
			}
		} else if err != nil || loc.String() != c.want {
			t.Errorf("%+v: %v %v", c, loc, err)
		}
	}
}
