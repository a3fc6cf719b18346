package native

import (
	"testing"
	"time"
)

// What all inputs take is tested in internal/timestamp; here is where they differ.
func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{ // "" is no time
		"2026-11-21T11:22:33Z":      "2026-11-21T11:22:33Z",
		"2026-11-21t11:22:33z":      "2026-11-21T11:22:33Z",
		"2026-11-21 11:22:33,123":   "2026-11-21T11:22:33.123Z",
		"2026-11-21 11:22:33 +0100": "2026-11-21T10:22:33Z",
		"2026-12-31T23:59:60-08":    "2027-01-01T08:00:00Z",
		"2026-11-21T11:22Z":         "",
		"2026-11-21T11:22:33UTC":    "",
		"2026-11-21 11:22:33.5 GMT": "",
		"1979-12-31T23:59:59Z":      "",
		"1795235739":                "2026-11-21T04:35:39Z",
		"0001795235739.411":         "2026-11-21T04:35:39.411Z",
		"17952357394110e-4":         "2026-11-21T04:35:39.411Z",
		"1795235739.":               "",
		"1795235739.e0":             "",
		".1795235739e10":            "",
		"7258118400":                "",
	} {
		ns, ok := parseTime([]byte(in))
		got := ""
		if ok {
			got = time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("parseTime(%q) = %q, want %q", in, got, want)
		}
	}
}
