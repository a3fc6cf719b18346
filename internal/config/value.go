package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/index/query"
)

// scalar is a setting that is one text; set's errors are of type *bad.
type scalar interface{ set(text string) error }

// Redacted is what a [Secret] prints as.
const Redacted = "[redacted]"

// Secret is a text that no log and no error may contain: every way of printing it gives [Redacted], or nothing when it is
// empty. string(s) is the text itself.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Redacted
}

// Format is fmt.Formatter: it keeps verbs such as %x and %d from printing the text.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// GoString is fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// MarshalText is encoding.TextMarshaler, which encoding/json and yaml use too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(s.String())), nil }

// LogValue is slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// action is what text/template replaces.
var action = regexp.MustCompile(`\{\{[^{}\pC]*\}\}`)

// set cuts the newline a file ends with. The error never contains the text.
func (s *Secret) set(text string) error {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if text == "" {
		return &bad{message: "is empty", mend: "give the secret itself, in one line"}
	}
	// A way's address may be a template, which has spaces.
	if !utf8.ValidString(text) || strings.ContainsFunc(action.ReplaceAllString(text, ""), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return &bad{message: "is not one word", mend: "give the secret itself, in one line, without spaces"}
	}
	*s = Secret(text)
	return nil
}

// SecretLine is a [Secret] that may have spaces, such as a header's value.
type SecretLine struct{ Secret }

func (s *SecretLine) set(text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return &bad{message: "is not one line of text", mend: "write it in one line"}
	}
	s.Secret = Secret(text)
	return nil
}

// Duration is a length of time: Go's (1h30m, 500ms) and d, w and y for 24 hours, 7 days and 365 days.
type Duration time.Duration

func (d Duration) String() string {
	const day = 24 * time.Hour
	t := time.Duration(d)
	if t >= 2*day && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	s := t.String() // 1h0m0s
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (d *Duration) set(text string) error {
	v, ok := parseDuration(text)
	if !ok {
		return &bad{message: "is not a length of time", mend: "write it as 30s, 1h30m, 30d or 1y"}
	}
	*d = v
	return nil
}

// parseDuration reads numbers with units one after another. A duration of more than 292 years is none.
func parseDuration(text string) (Duration, bool) {
	units := map[string]time.Duration{
		"ns": time.Nanosecond, "us": time.Microsecond, "µs": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
		"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "y": 365 * 24 * time.Hour,
	}
	if text == "0" {
		return 0, true
	}
	sum := 0.0
	for rest := text; rest != ""; {
		n := digits(rest)
		number, err := strconv.ParseFloat(rest[:n], 64)
		if err != nil {
			return 0, false
		}
		rest = rest[n:]
		n = strings.IndexFunc(rest, func(r rune) bool { return r >= '0' && r <= '9' || r == '.' })
		if n < 0 {
			n = len(rest)
		}
		unit, ok := units[rest[:n]]
		if !ok {
			return 0, false
		}
		sum += number * float64(unit)
		rest = rest[n:]
	}
	if text == "" || sum >= math.MaxInt64 {
		return 0, false
	}
	return Duration(math.Round(sum)), true
}

// digits is the length of the decimal number text begins with.
func digits(text string) int {
	n := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if n < 0 {
		return len(text)
	}
	return n
}

// Size is a number of bytes: plain, or with B, kB, MB, GB, TB (powers of 1,000) or KiB, MiB, GiB, TiB (of 1,024).
type Size int64

var sizeUnits = [...]struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

func (s Size) String() string {
	for _, u := range sizeUnits {
		if int64(s) >= u.bytes && int64(s)%u.bytes == 0 && u.name != "B" {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

func (s *Size) set(text string) error {
	n := digits(text)
	number, err := strconv.ParseFloat(text[:n], 64)
	unit := float64(1)
	if rest := strings.TrimSpace(text[n:]); rest != "" {
		unit = 0
		for _, u := range sizeUnits {
			if rest == u.name {
				unit = float64(u.bytes)
			}
		}
	}
	if err != nil || unit == 0 || number*unit >= math.MaxInt64 {
		return &bad{message: "is not a size", mend: "write it as 200GB, 64MiB or a number of bytes"}
	}
	*s = Size(math.Round(number * unit))
	return nil
}

// Address is where to listen, host:port or :port, or off.
type Address string

// Off reports whether nothing is to listen.
func (a Address) Off() bool { return a == "off" }

func (a *Address) set(text string) error {
	if text == "off" {
		*a = "off"
		return nil
	}
	_, port, err := net.SplitHostPort(text)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || strconv.FormatUint(n, 10) != port {
		mend := "write it as :7171 or 127.0.0.1:7171; :0 picks a port"
		if _, numErr := strconv.ParseUint(text, 10, 16); numErr == nil {
			mend = "write it as :" + text
		}
		return &bad{message: "is not an address to listen on", mend: mend}
	}
	if strings.ContainsAny(text, " /@") {
		return &bad{message: "is not an address to listen on", mend: "leave out everything but host:port"}
	}
	*a = Address(text)
	return nil
}

// DockerAddress is where Docker's API is: unix:///path, tcp://host:port, npipe:////./pipe/name, or off.
type DockerAddress string

func (a *DockerAddress) set(text string) error {
	scheme, rest, ok := strings.Cut(text, "://")
	if text != "off" && (!ok || rest == "" || (scheme != "unix" && scheme != "tcp" && scheme != "npipe")) {
		return &bad{message: "is not the address of a Docker socket", mend: "write it as unix:///var/run/docker.sock or tcp://host:port, or off"}
	}
	*a = DockerAddress(text)
	return nil
}

// URL is an absolute address of another service. It holds no user and password: they would be printed.
type URL string

func (u *URL) set(text string) error {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme == "" || parsed.Host == "" {
		return &bad{message: "is not an absolute URL", mend: "write it as https://host/path"}
	}
	if parsed.User != nil {
		return &bad{message: "has a password or a user in it, which would be shown", mend: "take it out of the address"}
	}
	*u = URL(text)
	return nil
}

// Source is who may send without a token: an address, a range, or the word private.
type Source string

func (s *Source) set(text string) error {
	*s = Source(text)
	if _, err := collector.ParseAllowList(s.ranges()); err != nil {
		return &bad{message: errors.Unwrap(err).Error(), mend: "private means loopback and private ranges"}
	}
	return nil
}

// ranges is the source in the words of collector.
func (s Source) ranges() []string {
	if s == "private" {
		return strings.Split(collector.PrivateSources().String(), ", ")
	}
	return []string{string(s)}
}

// Range is a range of addresses, or one address, kept as a range: 169.254.7.0/24.
type Range string

func (p *Range) set(text string) error {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return &bad{message: "is neither an address nor a range", mend: "write it as 169.254.7.0/24"}
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	*p = Range(prefix.Masked().String())
	return nil
}

// Channel is a channel of Slack, #name or an id; pushover; or the name of one of the ways.
type Channel string

func (c *Channel) set(text string) error {
	if text == "" || text == "#" || len(text) > 80 || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == ',' }) {
		return &bad{message: "is not a channel", mend: `write it as "#ops" or as an id such as C024BE91L`}
	}
	*c = Channel(text)
	return nil
}

// Severity is how bad a rule's matches are: critical, error, warning or info.
type Severity string

func (s *Severity) set(text string) error {
	switch text {
	case "critical", "error", "warning", "info":
		*s = Severity(text)
		return nil
	}
	return &bad{message: "is not a severity", mend: "use critical, error, warning or info"}
}

// Query is a parsed query.
type Query struct{ *query.Query }

func (q *Query) set(text string) error {
	parsed, err := query.Parse(text)
	if qe := (*query.Error)(nil); errors.As(err, &qe) {
		return &bad{message: qe.Message, mend: qe.Mend, detail: qe.Caret()}
	}
	if err != nil {
		return &bad{message: err.Error()}
	}
	q.Query = parsed
	return nil
}

func validName(name string) bool {
	if len(name) == 0 || len(name) > 64 || strings.TrimSpace(name) != name {
		return false
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" ._-", r) {
			return false
		}
	}
	return true
}

// ParseSize reads a number of bytes as a person writes it: 64MiB, 200GB, 1000.
func ParseSize(text string) (Size, error) {
	var s Size
	if err := s.set(strings.TrimSpace(text)); err != nil {
		return 0, fmt.Errorf("%q is not a size; write it as 200GB, 64MiB or a number of bytes", text)
	}
	return s, nil
}
