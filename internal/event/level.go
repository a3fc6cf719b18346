package event

import "strconv"

// Level is a severity. The order is syslog's, shifted by one so that the zero value is "none": a smaller Level is worse.
type Level uint8

// The levels: RFC 5424's eight severities, and none.
const (
	None Level = iota
	Emergency
	Alert
	Critical
	Error
	Warning
	Notice
	Info
	Debug
)

var levelNames = [...]string{"", "emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"}

// String returns the level's name, empty for [None].
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return "level(" + strconv.Itoa(int(l)) + ")"
}

// Syslog returns RFC 5424's number, 0 to 7, or -1 for [None].
func (l Level) Syslog() int { return int(l) - 1 }

// FromSyslog returns the level of RFC 5424's severity n (GELF's level too), [None] when n is not 0 to 7.
func FromSyslog(n int) Level {
	if n < 0 || n > 7 {
		return None
	}
	return Level(n + 1)
}

// FromPino returns the level of pino's and bunyan's numbers: 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal.
// Numbers between take the milder neighbour. [None] below 10 and above 60.
func FromPino(n int) Level {
	switch {
	case n < 10 || n > 60:
		return None
	case n < 30:
		return Debug
	case n < 40:
		return Info
	case n < 50:
		return Warning
	case n < 60:
		return Error
	}
	return Critical
}

// FromPython returns the level of Python's logging numbers: 10 DEBUG, 20 INFO, 30 WARNING, 40 ERROR, 50 CRITICAL.
func FromPython(n int) Level {
	switch {
	case n < 1 || n > 50:
		return None
	case n < 20:
		return Debug
	case n < 30:
		return Info
	case n < 40:
		return Warning
	case n < 50:
		return Error
	}
	return Critical
}

// FromSlog returns the level of log/slog's numbers: -4 debug, 0 info, 4 warn, 8 error.
func FromSlog(n int) Level {
	switch {
	case n < 0:
		return Debug
	case n < 4:
		return Info
	case n < 8:
		return Warning
	}
	return Error
}

// FromOTLP returns the level of OpenTelemetry's SeverityNumber: 1–8 trace and debug, 9–12 info, 13–16 warn, 17–20 error,
// 21–24 fatal; [None] otherwise.
func FromOTLP(n int) Level {
	switch {
	case n < 1 || n > 24:
		return None
	case n <= 8:
		return Debug
	case n <= 12:
		return Info
	case n <= 16:
		return Warning
	case n <= 20:
		return Error
	}
	return Critical
}

// ParseLevel returns the level that text names, in any case: the names of RFC 5424 and the short and foreign forms in
// use (err, warn, fatal, panic, trace, finest, …). A digit 0 to 7 is syslog's number. ok is false for anything else.
func ParseLevel(text []byte) (l Level, ok bool) {
	if len(text) == 0 || len(text) > 13 {
		return None, false
	}
	if len(text) == 1 && text[0] >= '0' && text[0] <= '7' {
		return Level(text[0]-'0') + 1, true
	}
	var low [13]byte
	for i, c := range text {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	switch string(low[:len(text)]) {
	case "emergency", "emerg", "panic":
		return Emergency, true
	case "alert":
		return Alert, true
	case "critical", "crit", "fatal":
		return Critical, true
	case "error", "err", "severe":
		return Error, true
	case "warning", "warn":
		return Warning, true
	case "notice":
		return Notice, true
	case "info", "information", "inf", "informational":
		return Info, true
	case "debug", "dbg", "trace", "verbose", "finest", "finer", "fine":
		return Debug, true
	}
	return None, false
}
