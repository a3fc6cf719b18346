package parse

import (
	"bytes"

	"github.com/lookoutlog/lookout/internal/event"
)

// What a line is to a stack trace. All of it is told by the line alone; what it means beside the lines before it is the
// joiner's (follow).

// head is what the first line of a trace, without a log line's header, is.
type head uint8

const (
	noHead     head = iota
	pythonHead      // Traceback (most recent call last):
	goPanic         // panic: …, fatal error: …
	goDump          // goroutine 1 [running]:, SIGQUIT: quit
	rustMain        // thread 'main' panicked at …
	rustThread      // thread 'worker' panicked at …
	nodePlace       // /app/x.js:3
	exception       // java.lang.X: …, TypeError: …, Exception in thread …, Unhandled exception. …
)

// level returns the level a head stands for. A panic that ends the process is critical; a trace that a program prints and
// survives is an error.
func (h head) level() event.Level {
	switch h {
	case goPanic, rustMain:
		return event.Critical
	case pythonHead, goDump, rustThread, exception:
		return event.Error
	}
	return event.None
}

// headOf tells what trace a line may begin. It does not look for exceptions named by a class (exceptionLine).
func headOf(p []byte) head {
	if len(p) < 6 {
		return noHead
	}
	switch p[0] {
	case 'T':
		if hasPrefix(p, "Traceback (most recent call last)") {
			return pythonHead
		}
	case 'p':
		if hasPrefix(p, "panic: ") {
			return goPanic
		}
	case 'f':
		if hasPrefix(p, "fatal error: ") {
			return goPanic
		}
		if hasPrefix(p, "file:///") && placeLine(p[len("file://"):]) {
			return nodePlace
		}
	case 'g':
		if goroutineLine(p) {
			return goDump
		}
	case 'S':
		if hasPrefix(p, "SIGQUIT: ") || hasPrefix(p, "SIGABRT: ") || hasPrefix(p, "SIGSEGV: ") {
			return goDump
		}
	case 't':
		if hasPrefix(p, "thread '") {
			p = p[len("thread '"):]
			if i := bytes.Index(p[:min(len(p), 200)], []byte(" panicked at ")); i > 0 {
				if hasPrefix(p, "main'") {
					return rustMain
				}
				return rustThread
			}
		}
	case '/':
		if placeLine(p) {
			return nodePlace
		}
	case 'n':
		if hasPrefix(p, "node:") && placeLine(p) {
			return nodePlace
		}
	case 'E':
		if hasPrefix(p, "Exception in thread \"") {
			return exception
		}
	case 'U':
		if hasPrefix(p, "Unhandled exception") || hasPrefix(p, "Uncaught ") {
			return exception
		}
	}
	return noHead
}

func hasPrefix(p []byte, prefix string) bool {
	return len(p) >= len(prefix) && string(p[:len(prefix)]) == prefix
}

func trimCR(p []byte) []byte {
	if n := len(p); n > 0 && p[n-1] == '\r' {
		return p[:n-1]
	}
	return p
}

// placeLine tells whether p is a file's name and a line's number and nothing else: /app/x.js:3.
func placeLine(p []byte) bool {
	p = trimCR(p)
	i := len(p)
	for i > 0 && isDigit(p[i-1]) {
		i--
	}
	if i == len(p) || i < 3 || p[i-1] != ':' || len(p) > 1024 {
		return false
	}
	return bytes.HasSuffix(p[:i-1], []byte("js")) || bytes.HasSuffix(p[:i-1], []byte("ts")) || hasPrefix(p, "node:")
}

// goroutineLine tells whether p begins like goroutine 1 [running]:.
func goroutineLine(p []byte) bool {
	const word = "goroutine "
	if !hasPrefix(p, word) || len(p) < len(word)+4 || !isDigit(p[len(word)]) {
		return false
	}
	p = trimCR(p)
	return p[len(p)-1] == ':' && bytes.IndexByte(p, '[') > 0
}

// exceptionLine tells whether p begins with the name of an exception's class: java.lang.IllegalStateException: x,
// TypeError: x, TypeError [ERR_X]: x, or the name alone.
func exceptionLine(p []byte) bool {
	i := 0
	for i < len(p) && i < 200 && (isLetter(p[i]) || isDigit(p[i]) || p[i] == '.' || p[i] == '_' || p[i] == '$' || p[i] == '\\') {
		i++
	}
	name := p[:i]
	switch {
	case i < len("Error") || i == 200:
		return false
	case bytes.HasSuffix(name, []byte("Error")), bytes.HasSuffix(name, []byte("Exception")), bytes.HasSuffix(name, []byte("Throwable")):
	default:
		return false
	}
	rest := trimCR(p[i:])
	switch {
	case len(rest) == 0:
		return true
	case rest[0] == ':':
		return len(rest) == 1 || rest[1] == ' '
	case hasPrefix(rest, " ["):
		k := bytes.IndexByte(rest, ']')
		return k > 0 && k+1 < len(rest) && rest[k+1] == ':'
	}
	return false
}

// dotnetHead tells whether p is the first of the lines .NET's console logger writes for one event: fail: App.Shop[12].
func dotnetHead(p []byte) bool {
	p = trimCR(p)
	n := len(p)
	if n < 10 || p[4] != ':' || p[5] != ' ' || p[n-1] != ']' || bytes.IndexByte(p[6:], ' ') >= 0 {
		return false
	}
	switch string(p[:4]) {
	case "fail", "crit", "warn", "info", "dbug", "trce":
	default:
		return false
	}
	i := n - 1
	for i > 0 && isDigit(p[i-1]) {
		i--
	}
	return i < n-1 && p[i-1] == '['
}

// line is what a line can be behind others.
type line uint8

const (
	textLine   line = iota // anything else
	blankLine              // empty, or white space
	indentLine             // begins with white space: of a trace only when one is open
	frameLine              // of a trace wherever it stands: \tat …, from x.rb:1:in, #0 /x.php(3)
	causeLine              // the same, without indentation: Caused by:, Stack trace:
	pythonLine             // File "x.py", line 1
	closeLine              // } alone: the end of what Node prints of an error
)

// lineOf tells what a line can be behind others.
func lineOf(p []byte) line {
	if len(p) > 0 && p[0] == 0x1b { // Node greys its own frames on a terminal
		p = p[ansiLen(p):]
	}
	i := 0
	for i < len(p) && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	if i == len(p) {
		return blankLine
	}
	if i > 0 {
		return indented(p[i:])
	}
	switch p[0] {
	case 'C':
		if hasPrefix(p, "Caused by:") {
			return causeLine
		}
	case 'S':
		if hasPrefix(p, "Stack trace:") || hasPrefix(p, "Stack backtrace:") || hasPrefix(p, "Suppressed: ") {
			return causeLine
		}
	case 'W':
		if hasPrefix(p, "Wrapped by: ") {
			return causeLine
		}
	case '-':
		if hasPrefix(p, "--- End of ") {
			return causeLine
		}
	case '[':
		if hasPrefix(p, "[stacktrace]") {
			return causeLine
		}
	case '#':
		if phpFrame(p) {
			return frameLine
		}
	case '"': // Monolog ends a JSON context with it that holds a trace
		if hasPrefix(p, "\"}") && len(p) <= 4 {
			return closeLine
		}
	case '}':
		if p = trimCR(p); len(p) <= 3 && bytes.Trim(p, "}]),;") == nil {
			return closeLine
		}
	}
	if rubyFrame(p) {
		return frameLine
	}
	return textLine
}

// indented tells what a line with white space before p is.
func indented(p []byte) line {
	switch p[0] {
	case 'a':
		if hasPrefix(p, "at ") && atFrame(p[3:]) {
			return frameLine
		}
	case '.':
		if hasPrefix(p, "... ") && len(p) > 4 && isDigit(p[4]) { // ... 12 more, ... 3 common frames omitted
			return frameLine
		}
	case 'C':
		if hasPrefix(p, "Caused by: ") {
			return frameLine
		}
	case 'S':
		if hasPrefix(p, "Suppressed: ") {
			return frameLine
		}
	case '-':
		if hasPrefix(p, "---> ") || hasPrefix(p, "--- End of ") {
			return frameLine
		}
	case 'f':
		if hasPrefix(p, "from ") && rubyFrame(p[5:]) {
			return frameLine
		}
	case 'F':
		if hasPrefix(p, "File \"") && bytes.Contains(p, []byte("\", line ")) {
			return pythonLine
		}
	case '+':
		if hasPrefix(p, "+ Exception Group Traceback (most recent call last)") {
			return pythonLine
		}
	}
	return indentLine
}

// atFrame tells whether what stands behind "at " is a place: a call with parentheses, a file with a line, a name with
// dots, but not prose.
func atFrame(p []byte) bool {
	p = trimCR(p)
	space, place := false, false
	for _, c := range p[:min(len(p), maxHead)] {
		switch c {
		case ' ':
			space = true
		case '(', ':', '<', '$':
			return true
		case '.':
			place = true
		}
	}
	return place && !space
}

// phpFrame tells whether p is like #0 /app/x.php(12): f() or #1 {main}.
func phpFrame(p []byte) bool {
	i := 1
	for i < len(p) && isDigit(p[i]) {
		i++
	}
	if i == 1 || i+1 >= len(p) || p[i] != ' ' {
		return false
	}
	return p[i+1] == '{' || bytes.IndexByte(p, '(') > 0
}

// rubyFrame tells whether p begins with a Ruby file, a line and a method: app/x.rb:10:in 'foo'.
func rubyFrame(p []byte) bool {
	k := bytes.IndexByte(p[:min(len(p), maxHead)], ':')
	if k < 4 || string(p[k-3:k]) != ".rb" || bytes.IndexByte(p[:k], ' ') >= 0 {
		return false
	}
	p = p[k+1:]
	i := 0
	for i < len(p) && isDigit(p[i]) {
		i++
	}
	return i > 0 && hasPrefix(p[i:], ":in ")
}

// goLine tells whether a line without indentation belongs to a Go trace.
func goLine(p []byte) bool {
	p = trimCR(p)
	switch p[0] {
	case 'g':
		if goroutineLine(p) || hasPrefix(p, "goroutine running on other thread") {
			return true
		}
	case 'c':
		if hasPrefix(p, "created by ") {
			return true
		}
	case 'e':
		if hasPrefix(p, "exit status ") {
			return true
		}
	case '[':
		return hasPrefix(p, "[signal ") || hasPrefix(p, "[originating from goroutine ")
	case 'r':
		if hasPrefix(p, "runtime stack:") {
			return true
		}
	case 'P':
		return hasPrefix(p, "PC=0x")
	case '.':
		return hasPrefix(p, "...additional frames elided...")
	}
	// A call: main.(*T).run(0xc000012345, {0x1, 0x2}), panic({0x4a1, 0x4f2}).
	if p[len(p)-1] == ')' {
		k := bytes.IndexByte(p, '(')
		return k > 0 && bytes.IndexByte(p[:k], ' ') < 0 && (bytes.IndexByte(p[:k], '.') > 0 || string(p[:k]) == "panic")
	}
	// A register: rax    0x0.
	i := 0
	for i < len(p) && i < 7 && (p[i] >= 'a' && p[i] <= 'z' || isDigit(p[i])) {
		i++
	}
	return i >= 2 && i < 7 && len(p) < 32 && hasPrefix(bytes.TrimLeft(p[i:], " "), "0x")
}

// pythonError tells whether p can be the line that ends a Python traceback: a class's name, alone or with a colon.
func pythonError(p []byte) bool {
	p = trimCR(p)
	i := 0
	for i < len(p) && (isLetter(p[i]) || isDigit(p[i]) || p[i] == '.' || p[i] == '_' || p[i] >= 0x80) {
		i++
	}
	return i > 0 && !isDigit(p[0]) && (i == len(p) || p[i] == ':' && (i+1 == len(p) || p[i+1] == ' '))
}

func pythonChain(p []byte) bool {
	return hasPrefix(p, "During handling of the above exception") || hasPrefix(p, "The above exception was the direct cause")
}

// structured tells whether a line has fields of its own: JSON or logfmt.
func structured(p []byte) bool {
	for len(p) > 0 && classes[p[0]] == cSpace {
		p = p[1:]
	}
	if len(p) < 2 {
		return false
	}
	return p[0] == '{' && (p[1] == '"' || p[1] == '}' || p[1] == ' ') && lastByte(p) == '}' || logfmtHead(p)
}

// lastByte returns the last byte that is no white space, 0 when there is none.
func lastByte(p []byte) byte {
	for i := len(p) - 1; i >= 0; i-- {
		if classes[p[i]] != cSpace {
			return p[i]
		}
	}
	return 0
}

// traceLines bounds what traceLevel looks at: a trace that begins later in a message is not worth the time.
const traceLines = 200

// traceLevel returns the level of the worst trace in a message of several lines, None when it holds none.
func traceLevel(text []byte) event.Level {
	l := event.None
	for n := 0; n < traceLines && len(text) > 0 && l != event.Critical; n++ {
		p := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			p, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		l = worse(l, headOf(p).level())
		if l != event.None || len(p) == 0 {
			continue
		}
		switch lineOf(p) {
		case frameLine, causeLine, pythonLine:
			l = event.Error
		case textLine:
			if exceptionLine(p) {
				l = event.Error
			}
		}
	}
	return l
}
