package parse

import (
	"github.com/lookoutlog/lookout/internal/event"
)

// role is what a field of a JSON or logfmt message means to an event.
type role uint8

const (
	noRole role = iota
	messageRole
	timeRole
	levelRole     // a name, or a number that is pino's, bunyan's or syslog's
	otlpRole      // OpenTelemetry's severity number
	pythonRole    // logging's levelno
	priorityRole  // journald's PRIORITY
	mongoRole     // MongoDB's one letter
	serviceRole   // service, and further to streamRole: see builtin
	envRole       //
	hostRole      //
	containerRole //
	streamRole    //
	markRole      // a key that pino and bunyan always write
	roles
)

// meaning is a role and how well the name says it: of several fields of one role the lowest rank counts, the first in the
// message among equals. A borrowed field stays a field too, because its name may mean something else to its program.
type meaning struct {
	role     role
	rank     uint8
	borrowed bool
}

// meaningOf returns what a name means. Names are those that loggers write: Go's slog, zap, zerolog, logrus and go-kit;
// pino, bunyan and winston; Python's json-logger and structlog; logback, log4j 2 and ECS; Serilog and .NET's console;
// Monolog; Rust's tracing; OpenTelemetry; GCP; MongoDB, PostgreSQL, Docker's json-file and journald's export.
func meaningOf(name []byte) meaning {
	if len(name) > 24 {
		return meaning{}
	}
	switch string(name) {
	case "message":
		return meaning{messageRole, 0, false}
	case "msg":
		return meaning{messageRole, 1, false}
	case "@message", "@m", "fields.message":
		return meaning{messageRole, 2, false}
	case "Message", "MESSAGE", "Msg", "MSG":
		return meaning{messageRole, 3, false}
	case "short_message", "RenderedMessage", "textPayload", "body", "body.stringValue", "Body":
		return meaning{messageRole, 4, false}
	case "log":
		return meaning{messageRole, 5, false}
	case "@mt", "event", "text":
		return meaning{messageRole, 6, true}

	case "time":
		return meaning{timeRole, 0, false}
	case "timestamp":
		return meaning{timeRole, 1, false}
	case "ts", "@timestamp", "@t", "t.$date":
		return meaning{timeRole, 2, false}
	case "Time", "Timestamp", "TIMESTAMP", "datetime", "timeMillis", "timeUnixNano", "time_unix_nano", "__REALTIME_TIMESTAMP":
		return meaning{timeRole, 3, false}
	case "t", "instant.epochSecond", "eventTime", "asctime":
		return meaning{timeRole, 4, false}

	case "level", "lvl", "severity", "log.level", "levelname", "level_name", "@level", "@l", "LogLevel", "Level", "LEVEL",
		"loglevel", "logLevel", "log_level", "Severity", "SEVERITY", "severity_text", "severityText", "SeverityText", "error_severity":
		return meaning{levelRole, 0, false}
	case "severity_number", "severityNumber", "SeverityNumber":
		return meaning{otlpRole, 1, false}
	case "levelno":
		return meaning{pythonRole, 1, false}
	case "PRIORITY":
		return meaning{priorityRole, 1, false}
	case "s":
		return meaning{mongoRole, 2, false}

	case "service":
		return meaning{serviceRole, 0, false}
	case "service.name":
		return meaning{serviceRole, 1, false}
	case "service_name", "serviceName", "resource.service.name":
		return meaning{serviceRole, 2, false}
	case "app", "application":
		return meaning{serviceRole, 3, true}
	case "env":
		return meaning{envRole, 0, false}
	case "environment", "service.environment", "deployment.environment":
		return meaning{envRole, 1, false}
	case "host":
		return meaning{hostRole, 0, false}
	case "host.name":
		return meaning{hostRole, 1, false}
	case "hostname":
		return meaning{hostRole, 2, false}
	case "container":
		return meaning{containerRole, 0, false}
	case "container.name", "container_name":
		return meaning{containerRole, 1, false}
	case "stream":
		return meaning{streamRole, 0, false}
	case "pid", "v":
		return meaning{markRole, 0, false}
	}
	return meaning{}
}

// builtin tells whether a name is one of the query language's own: a field of that name gets a trailing _.
func builtin(name []byte) bool {
	switch string(name) {
	case "service", "env", "host", "container", "stream", "level", "message", "time", "id":
		return true
	}
	return false
}

// atoi reads a small non-negative integer.
func atoi(p []byte) (n int, ok bool) {
	if len(p) == 0 || len(p) > 6 {
		return 0, false
	}
	for _, c := range p {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// levelValue returns the level that a field of a level's role gives, and the text for level_text, nil when the level's
// name says it all. pino tells whether the object looks like pino's or bunyan's.
func levelValue(r role, f *event.Field, pino bool) (l event.Level, text []byte, ok bool) {
	if f.Kind != event.String && f.Kind != event.Number {
		return event.None, nil, false
	}
	n, number := atoi(f.Value)
	switch r {
	case levelRole:
		switch {
		case !number:
			l, more, ok := namedLevel(f.Value)
			if more {
				return l, f.Value, ok
			}
			return l, nil, ok
		case n < 8:
			l = event.FromSyslog(n)
		case pino || n%10 == 0:
			l = event.FromPino(n)
			text = numberText(n, n%10 == 0, f.Value, 10, 60)
		}
	case otlpRole:
		l = event.FromOTLP(n)
		text = numberText(n, n%4 == 1, f.Value, 1, 21)
	case pythonRole:
		l = event.FromPython(n)
		text = numberText(n, n%10 == 0, f.Value, -1, -1)
	case priorityRole:
		l = event.FromSyslog(n)
	}
	return l, text, number && l != event.None
}

var traceText, fatalText = []byte("trace"), []byte("fatal")

// numberText returns level_text for a numeric level: a scale's numbers for trace and fatal have names that say more than
// lookout's, and a number between the named ones (not exact) is kept.
func numberText(n int, exact bool, value []byte, trace, fatal int) []byte {
	switch {
	case n == trace:
		return traceText
	case n == fatal:
		return fatalText
	case !exact:
		return value
	}
	return nil
}

// mongoLevel reads MongoDB's letter.
func mongoLevel(v []byte) (event.Level, bool) {
	if len(v) == 0 || len(v) > 2 {
		return event.None, false
	}
	switch v[0] {
	case 'F', 'E', 'W', 'I', 'D':
		return androidLevel(v[0]), true
	}
	return event.None, false
}
