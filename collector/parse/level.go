package parse

import (
	"bytes"

	"github.com/lookoutlog/lookout/internal/event"
)

// The level of a plain line.
//
// A line begins with a header: time, host, program, thread, logger, brackets. It ends where prose begins. A level is a
// word of the header, or what a well-known runtime writes first (panic:, Traceback, W1121 11:22:33). So the finder walks
// over what can stand in a header, looks at each word on the way, and gives up at the first word of prose: "no error
// found" ends at "no", and GET /error at the quote. The less a word looks like a header's (upper case, brackets, a colon),
// the more of its surroundings must.

const (
	maxHead   = 512 // bytes looked at
	maxTokens = 32  // tokens looked at
)

// Classes of a token's first byte.
const (
	cPunct  uint8 = iota // stands alone: - | : * = # and the like
	cSpace               // also the other control characters
	cLetter              // a word, or what begins like one
	cDigit               // a time, a number, an address
	cOpen                // [ ( < {
	cQuote               // ends the header
	cPath                // / . _ $ @ and bytes beyond ASCII: goes on to the next space
)

var classes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c <= ' ' || c == 0x7f:
			t[c] = cSpace
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			t[c] = cLetter
		case c >= '0' && c <= '9':
			t[c] = cDigit
		case c >= 0x80:
			t[c] = cPath
		}
	}
	for _, c := range "[(<{" {
		t[c] = cOpen
	}
	for _, c := range "\"'`" {
		t[c] = cQuote
	}
	for _, c := range "/\\._$@%&~" {
		t[c] = cPath
	}
	return t
}()

func isLetter(c byte) bool { return classes[c] == cLetter }
func isDigit(c byte) bool  { return c-'0' <= 9 }
func isUpper(c byte) bool  { return c >= 'A' && c <= 'Z' }

// levelOf returns the level that the text of a plain message shows: of its first line and, where it has several, of the
// trace in it. None when it shows none.
func levelOf(text []byte) event.Level {
	line, rest := text, []byte(nil)
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		line, rest = text[:i], text[i+1:]
	}
	l := lineLevel(line)
	if rest != nil {
		l = worse(l, traceLevel(text))
	}
	return l
}

// worse returns the worse of two levels; any level is worse than None.
func worse(a, b event.Level) event.Level {
	if a == event.None || (b != event.None && b < a) {
		return b
	}
	return a
}

// lineLevel returns the level that one line shows.
func lineLevel(line []byte) event.Level {
	if len(line) > maxHead {
		line = line[:maxHead]
	}
	if bytes.IndexByte(line, 0x1b) >= 0 {
		var plain [maxHead]byte
		line = plain[:stripANSI(plain[:], line)]
	}
	start := 0
	for start < len(line) && classes[line[start]] == cSpace {
		start++
	}
	if line = line[start:]; len(line) < 2 {
		return event.None
	}
	if l := firstLevel(line); l != event.None {
		return l
	}
	s := scanner{text: line}
	return s.scan()
}

// stripANSI copies text into dst without its escape sequences and returns the bytes copied.
func stripANSI(dst, text []byte) int {
	n := 0
	for i := 0; i < len(text); {
		if text[i] == 0x1b {
			i += ansiLen(text[i:])
			continue
		}
		dst[n] = text[i]
		n++
		i++
	}
	return n
}

// ansiLen returns the length of the escape sequence that p begins with, at least 1.
func ansiLen(p []byte) int {
	if len(p) < 2 || p[1] != '[' {
		return 1
	}
	for i := 2; i < len(p); i++ {
		if p[i] >= 0x40 && p[i] <= 0x7e {
			return i + 1
		}
	}
	return len(p)
}

// firstLevel knows the lines that are told by how they begin.
func firstLevel(p []byte) event.Level {
	switch c := p[0]; {
	case c == '<':
		return priLevel(p)
	case c == '{':
		return jsonLevel(p)
	case isUpper(c):
		switch {
		case isDigit(p[1]):
			return klogLevel(p)
		case p[1] == '/':
			return androidBrief(p)
		}
		if l := headOf(p).level(); l != event.None {
			return l
		}
		if exceptionLine(p) {
			return event.Error
		}
	case c >= 'a' && c <= 'z':
		if l := headOf(p).level(); l != event.None {
			return l
		}
		if dotnetHead(p) {
			l, _ := word(p[:4])
			return l
		}
		if exceptionLine(p) {
			return event.Error
		}
	case isDigit(c):
		return redisLevel(p)
	}
	return event.None
}

// priLevel reads <PRI>, syslog's or sd-daemon's, when text follows it at once.
func priLevel(p []byte) event.Level {
	n, i := 0, 1
	for ; i < len(p) && i < 4 && isDigit(p[i]); i++ {
		n = n*10 + int(p[i]-'0')
	}
	if i == 1 || n > 191 || i+1 >= len(p) || p[i] != '>' || classes[p[i+1]] == cSpace {
		return event.None
	}
	return event.FromSyslog(n % 8)
}

// jsonLevel looks for a level in what begins like a JSON object and is none, such as one that was cut.
func jsonLevel(p []byte) event.Level {
	for {
		i := bytes.IndexByte(p, '"')
		if i < 0 {
			return event.None
		}
		p = p[i+1:]
		j := bytes.IndexByte(p, '"')
		if j < 0 || j+1 >= len(p) {
			return event.None
		}
		key := p[:j]
		if p = p[j+1:]; p[0] == ':' && levelKey(key) {
			v := bytes.TrimLeft(p[1:], " ")
			if len(v) > 0 && v[0] == '"' {
				if k := bytes.IndexByte(v[1:], '"'); k > 0 {
					l, _, _ := namedLevel(v[1 : 1+k])
					return l
				}
			}
			return event.None
		}
	}
}

func levelKey(key []byte) bool {
	switch string(key) {
	case "level", "lvl", "severity", "loglevel", "log.level", "log_level", "LEVEL", "Level":
		return true
	}
	return false
}

// klogLevel reads W1121 11:22:33 (klog) and W20261121 11:22:33 (newer glog).
func klogLevel(p []byte) event.Level {
	i := 1
	for i < len(p) && isDigit(p[i]) {
		i++
	}
	if (i != 5 && i != 9) || len(p) < i+9 || p[i] != ' ' || p[i+3] != ':' || p[i+6] != ':' {
		return event.None
	}
	switch p[0] {
	case 'I':
		return event.Info
	case 'W':
		return event.Warning
	case 'E':
		return event.Error
	case 'F':
		return event.Critical
	}
	return event.None
}

// androidBrief reads E/Tag( 1234): …
func androidBrief(p []byte) event.Level {
	for i := 2; i < len(p) && i < 40; i++ {
		if p[i] == '(' {
			for i++; i < len(p) && (p[i] == ' ' || isDigit(p[i])); i++ {
			}
			if i+1 < len(p) && p[i] == ')' && p[i+1] == ':' {
				return androidLevel(p[0])
			}
			return event.None
		}
	}
	return event.None
}

func androidLevel(c byte) event.Level {
	switch c {
	case 'V', 'D':
		return event.Debug
	case 'I':
		return event.Info
	case 'W':
		return event.Warning
	case 'E':
		return event.Error
	case 'F':
		return event.Critical
	}
	return event.None
}

// redisLevel reads 1:M 21 Nov 2026 11:22:33.123 # …
func redisLevel(p []byte) event.Level {
	i := 1
	for i < len(p) && isDigit(p[i]) {
		i++
	}
	const stamp = ":M 21 Nov 2026 11:22:33.123 # "
	if len(p) < i+len(stamp) {
		return event.None
	}
	if p = p[i:]; p[0] != ':' || !isUpper(p[1]) || p[2] != ' ' || !isDigit(p[3]) || p[5] != ' ' || p[17] != ':' || p[20] != ':' ||
		p[27] != ' ' || p[29] != ' ' {
		return event.None
	}
	switch p[28] {
	case '.', '-':
		return event.Debug
	case '*':
		return event.Notice
	case '#':
		return event.Warning
	}
	return event.None
}

// kind says how much a word needs around it to be taken for a level.
type kind uint8

const (
	notLevel    kind = iota
	plainKind        // upper case is enough: ERROR
	shortKind        // three or four letters: upper case behind a time, or in brackets
	colonKind        // a common word: a colon or brackets
	bracketKind      // brackets only
)

// word returns the level that a word in any case may be, and what it needs for that.
func word(w []byte) (event.Level, kind) {
	if len(w) < 3 || len(w) > 13 {
		return event.None, notLevel
	}
	var low [13]byte
	for i, c := range w {
		low[i] = c | 0x20
	}
	switch string(low[:len(w)]) {
	case "error", "err", "severe", "failure":
		return event.Error, plainKind
	case "warn", "warning":
		return event.Warning, plainKind
	case "info", "information", "informational":
		return event.Info, plainKind
	case "debug", "trace", "verbose", "finer", "finest":
		return event.Debug, plainKind
	case "fatal", "critical", "crit":
		return event.Critical, plainKind
	case "notice":
		return event.Notice, colonKind
	case "alert":
		return event.Alert, colonKind
	case "panic", "emerg", "emergency":
		return event.Emergency, colonKind
	case "inf":
		return event.Info, shortKind
	case "wrn":
		return event.Warning, shortKind
	case "dbg", "trc", "debu":
		return event.Debug, shortKind
	case "erro":
		return event.Error, shortKind
	case "ftl", "fata":
		return event.Critical, shortKind
	case "pnc", "pani":
		return event.Emergency, shortKind
	case "fail":
		return event.Error, bracketKind
	case "dbug", "trce":
		return event.Debug, bracketKind
	case "fine", "config":
		return event.Debug, colonKind
	case "log":
		return event.Info, colonKind
	case "note":
		return event.Info, bracketKind
	case "system":
		return event.Notice, bracketKind
	}
	return event.None, notLevel
}

// What the token before the current one was.
type before uint8

const (
	atStart before = iota
	afterTime
	afterBracket
	afterTag   // sshd[1]:
	afterPunct // - | :
	afterName  // com.example.Main, main.go:12, dn228
	afterInt
	afterPair // key=value
)

// scanner walks over a line's header.
type scanner struct {
	text     []byte
	i        int
	prev     before
	tokens   int
	time     bool // a time or a date has gone by
	ints     int  // integers that have gone by
	caps     int  // words in capitals that have gone by
	bracket  bool // text is what stood in brackets
	calendar bool // the last word was a month's name: syslog's time, a host follows it
	syslog   bool
	std      bool // a stream's name has gone by
}

func (s *scanner) scan() event.Level {
	for s.i < len(s.text) && s.tokens < maxTokens {
		c := s.text[s.i]
		switch classes[c] {
		case cSpace:
			s.i++
			continue
		case cPunct:
			s.i++
			s.prev = afterPunct
			continue
		case cQuote:
			return event.None
		case cOpen:
			l, ok := s.brackets()
			if l != event.None || !ok {
				return l
			}
		case cDigit:
			s.number()
		case cPath:
			s.skipToken()
			s.prev = afterName
		case cLetter:
			l, ok := s.letters()
			if l != event.None || !ok {
				return l
			}
		}
		s.tokens++
	}
	return event.None
}

// at returns the byte at i, 0 behind the end.
func (s *scanner) at(i int) byte {
	if i < len(s.text) {
		return s.text[i]
	}
	return 0
}

// skipToken goes to the next space or '|'.
func (s *scanner) skipToken() {
	for s.i < len(s.text) && classes[s.text[s.i]] != cSpace && s.text[s.i] != '|' {
		s.i++
	}
}

// number goes over a token that begins with a digit.
func (s *scanner) number() {
	start := s.i
	plain, stamp := true, false
	for s.i < len(s.text) {
		c := s.text[s.i]
		if !isDigit(c) {
			if classes[c] == cSpace || c == '|' || c == ']' {
				break
			}
			if c == '[' && stamp { // 11:22:33[ERROR]
				break
			}
			if c == ':' && s.bracket && isUpper(s.at(s.i+1)) { // Chromium's [1121/112233.444:ERROR:file.cc(1)]
				break
			}
			if plain && c != ',' {
				plain = false
			}
			stamp = stamp || ((c == ':' || c == '-' || c == '/' || c == '.') && s.i+2 < len(s.text) && s.i-start >= 2 &&
				isDigit(s.text[s.i+1]) && isDigit(s.text[s.i+2]))
		}
		s.i++
	}
	switch {
	case plain:
		s.ints++
		s.prev = afterInt
		if s.calendar { // the day of the month
			s.prev = afterName
		}
	case stamp && (!s.time || bytes.IndexByte(s.text[start:s.i], ':') > 0):
		s.time = true
		s.prev = afterTime
		s.syslog = s.calendar
		s.calendar = false
	default:
		s.prev = afterName
	}
}

// brackets looks into what stands in brackets and goes behind it; ok is false when the header ends here.
func (s *scanner) brackets() (l event.Level, ok bool) {
	open := s.text[s.i]
	if open == '{' && s.at(s.i+1) == '"' {
		return jsonLevel(s.text[s.i:]), false
	}
	close := open + 2
	if open == '(' {
		close = ')'
	}
	depth := 0
	for k := s.i; k < len(s.text); k++ {
		switch s.text[k] {
		case open:
			depth++
		case close:
			if depth--; depth == 0 {
				l, stamp := bracketLevel(s.text[s.i+1:k], open)
				s.time = s.time || stamp
				s.i = k + 1
				s.prev = afterBracket
				return l, true
			}
		}
	}
	return event.None, false
}

// bracketLevel returns the level that stands in brackets: alone, behind a module's name as in core:error, or in capitals
// in a header of its own.
func bracketLevel(p []byte, open byte) (l event.Level, stamp bool) {
	for len(p) > 0 && p[0] == ' ' {
		p = p[1:]
	}
	for len(p) > 0 && p[len(p)-1] == ' ' {
		p = p[:len(p)-1]
	}
	n := 0
	for n < len(p) && isLetter(p[n]) {
		n++
	}
	if n == len(p) {
		if l, k := word(p); k != notLevel && (open != '(' || isUpper(p[0])) {
			return l, false
		}
		return event.None, false
	}
	if open == '[' {
		if i := bytes.LastIndexByte(p, ':'); i > 0 {
			if l, k := word(p[i+1:]); k != notLevel && identifier(p[:i]) {
				return l, false
			}
		}
	}
	if open == '[' || open == '{' {
		s := scanner{text: p, bracket: true}
		l = s.scan()
		return l, s.time
	}
	return event.None, false
}

// identifier tells whether p is a name: letters, digits, dots and the like.
func identifier(p []byte) bool {
	if len(p) == 0 || !isLetter(p[0]) {
		return false
	}
	for _, c := range p {
		if !isLetter(c) && !isDigit(c) && c != '_' && c != '.' && c != '-' && c != '/' {
			return false
		}
	}
	return true
}

// letters looks at a token that begins with a letter; ok is false when it is prose.
func (s *scanner) letters() (l event.Level, ok bool) {
	start := s.i
	end := start
	upper, mixed := true, false
	for end < len(s.text) && isLetter(s.text[end]) {
		if isUpper(s.text[end]) {
			mixed = mixed || (end > start && !isUpper(s.text[end-1]))
		} else {
			upper = false
		}
		end++
	}
	w := s.text[start:end]
	if l, k := word(w); k != notLevel && s.accept(l, end, upper, k) {
		return l, true
	}
	next := s.at(end)
	if next == 0 || classes[next] == cSpace {
		return s.plainWord(w, end, upper, mixed)
	}
	// A token with more in it than letters.
	if next == ',' && len(w) == 1 && upper && s.at(end+1) == ' ' && s.at(end+2) == '[' { // Ruby's E, [time] ERROR -- :
		s.i = end + 1
		return event.None, true
	}
	if next == ',' || next == ';' || next == '!' || next == '?' || next == '\'' || (next == '.' && classes[s.at(end+1)] == cSpace) {
		if s.calendar = calendarWord(w); s.calendar && next == ',' { // Jan 1, 2026; Sun, 21 Nov
			s.i = end + 1
			return event.None, true
		}
		return event.None, false
	}
	if next == '|' {
		s.i = end
		s.prev = afterName
		return event.None, true
	}
	if next == '/' && len(w) == 1 && s.time && isUpper(w[0]) { // D/Tag: of logcat
		return androidLevel(w[0]), true
	}
	hyphens := true
	for s.i < len(s.text) {
		c := s.text[s.i]
		if classes[c] == cSpace || c == '|' {
			break
		}
		if c == '=' {
			return s.pair(start)
		}
		hyphens = hyphens && (isLetter(c) || c == '-' || c == ',')
		s.i++
	}
	if hyphens { // re-trying
		return event.None, false
	}
	s.prev = afterName
	if s.text[s.i-1] == ':' {
		if postgresDetail(w) {
			return event.None, false
		}
		s.prev = afterTag
		s.syslog = false
		token := s.text[start : s.i-1]
		if k := bytes.LastIndexByte(token, '.'); k > 0 && isUpper(token[len(token)-1]) { // Laravel's production.ERROR:
			if l, k := word(token[k+1:]); k == plainKind || k == colonKind {
				return l, true
			}
		}
	}
	return event.None, true
}

// postgresDetail tells whether w is what PostgreSQL writes before the lines that belong to a message.
func postgresDetail(w []byte) bool {
	switch string(w) {
	case "STATEMENT", "DETAIL", "HINT", "CONTEXT", "QUERY", "LOCATION":
		return true
	}
	return false
}

// accept tells whether a word that may be level l, of kind k and ending at end, is a level where it stands.
func (s *scanner) accept(l event.Level, end int, upper bool, k kind) bool {
	next := s.at(end)
	switch next {
	case ':':
		if k == bracketKind {
			return false
		}
		return s.colon(l, end, upper, k)
	case 0, ' ', '\t', '\r':
	case ']', '|', '[', '(', '/':
		if next == '/' && !s.bracket {
			return false
		}
		return k != bracketKind && (upper || next == '|')
	case ',':
		// 2016-09-28 04:30:30, Info is the time's comma; ERROR, … is CSV.
		return upper && k == plainKind
	case '!', '-', '>', '*', '=', ';', ')':
		after := s.at(end + 1)
		return upper && k == plainKind && (after == 0 || after == ' ' || after == next)
	default:
		return false
	}
	// A space follows.
	gap := next == '\t' || next == 0 || next == '\r' || s.at(end+1) == ' '
	sep := s.at(end+2) == ' ' && (s.at(end+1) == '-' || s.at(end+1) == '|' || s.at(end+1) == ':')
	header := s.time || s.bracket
	switch {
	case !upper:
		// Info in a padded column, between tabs or separators, behind a time: Windows' CBS, zap's console.
		return k == plainKind && header && (s.prev == afterTime || s.prev == afterPunct || s.prev == afterBracket || sep) &&
			s.prev != afterInt && (gap && next != 0 || sep)
	case s.prev == afterInt && s.tokens == 1 && !s.bracket:
		return false // 0 ERROR
	case k == plainKind:
		return true
	case k == shortKind:
		return header
	case k == colonKind:
		return header && (gap || sep || s.prev == afterTime || s.prev == afterInt)
	}
	return false
}

// colon tells whether a word with a colon behind it is a level: ERROR:root, error: x, but not error: none.
func (s *scanner) colon(l event.Level, end int, upper bool, k kind) bool {
	after := s.at(end + 1)
	if !upper {
		if classes[after] != cSpace && after != 0 {
			return false
		}
		if s.prev == afterInt && s.ints == 1 && !s.time || s.prev == afterPair || k == shortKind {
			return false
		}
		if s.prev == afterName && l > event.Warning { // IOPMPowerSource Information: onSleep
			return false
		}
	}
	rest := s.text[min(end+1, len(s.text)):]
	for len(rest) > 0 && rest[0] == ' ' {
		rest = rest[1:]
	}
	// A value that says "none of it", and nothing behind it.
	n := bytes.IndexAny(rest, " ,;")
	if n < 0 {
		n = len(rest)
	}
	if n == len(rest) || rest[n] != ' ' {
		switch string(rest[:n]) {
		case "none", "None", "null", "nil", "no", "false", "0", "-":
			return false
		}
	}
	return true
}

// pair goes over key=value and reads the value of a level's key.
func (s *scanner) pair(start int) (event.Level, bool) {
	key := s.text[start:s.i]
	s.i++
	value := s.text[s.i:]
	if len(value) > 0 && value[0] == '"' {
		k := bytes.IndexByte(value[1:], '"')
		if k < 0 {
			return event.None, false
		}
		value = value[1 : 1+k]
		s.i += k + 2
	} else {
		s.skipToken()
		value = bytes.TrimRight(s.text[len(s.text)-len(value):s.i], ",;]")
	}
	s.prev = afterPair
	if levelKey(key) && len(value) > 0 && isLetter(value[0]) { // a number here is a verbosity as often as a severity
		l, _, _ := namedLevel(value)
		return l, true
	}
	return event.None, true
}

// plainWord decides about a token of letters alone that is no level: skip it (ok) or end.
func (s *scanner) plainWord(w []byte, end int, upper, mixed bool) (l event.Level, ok bool) {
	rest := s.text[end:]
	skip := func() (event.Level, bool) {
		s.i = end
		s.prev = afterName
		return event.None, true
	}
	k := 0
	for k < len(rest) && classes[rest[k]] == cSpace {
		k++
	}
	rest = rest[k:]
	var next byte
	if len(rest) > 0 {
		next = rest[0]
	}
	switch {
	case calendarWord(w):
		s.calendar = true
		s.i = end
		return event.None, true
	case s.syslog: // the host behind syslog's time, when a program follows
		s.syslog = false
		n := 0
		for n < len(rest) && classes[rest[n]] != cSpace {
			n++
		}
		if n > 1 && rest[n-1] == ':' {
			return skip()
		}
		return event.None, false
	case len(w) == 1 && s.time && upper:
		// Android's "1702  2395 D Tag:", capnslog's "W | etcd:", MongoDB's "I NETWORK  [conn1]".
		if s.ints >= 2 && s.prev == afterInt || s.prev == afterTime && (isUpper(next) || next == '|') {
			return androidLevel(w[0]), false
		}
		if s.std && (w[0] == 'F' || w[0] == 'P') { // Kubernetes' "time stdout F text"
			s.i = end
			s.prev = afterTime
			return event.None, true
		}
		return event.None, false
	case next == '|', s.prev == afterPunct && next == '-': // 11:22:33 - shop - ERROR -
		return skip()
	case s.prev == afterTime && std(w):
		s.std = true
		return skip()
	case string(w) == "main" && s.time, string(w) == "npm" || string(w) == "PHP":
		return s.phpWord(w, rest, end)
	case mixed: // a CamelCase logger
		return skip()
	case upper && len(w) > 1 && s.time && s.caps < 4 && !negation(w):
		s.caps++
		return skip()
	case s.tokens == 0 && isDigit(next) && !s.bracket && (clock(rest) || upper && unixTime(rest)):
		return skip() // nginx 11:22:33.44 INFO ==>
	}
	return event.None, false
}

// phpWord goes on behind main, npm and PHP; PHP's own messages have a level of two words.
func (s *scanner) phpWord(w, rest []byte, end int) (event.Level, bool) {
	s.i = end
	s.prev = afterName
	if string(w) != "PHP" {
		return event.None, true
	}
	for _, m := range phpMessages {
		if bytes.HasPrefix(rest, m.text) {
			return m.level, true
		}
	}
	return event.None, false
}

var phpMessages = []struct {
	text  []byte
	level event.Level
}{
	{[]byte("Fatal error:"), event.Critical},
	{[]byte("Parse error:"), event.Error},
	{[]byte("Recoverable fatal error:"), event.Error},
	{[]byte("Warning:"), event.Warning},
	{[]byte("Notice:"), event.Notice},
	{[]byte("Deprecated:"), event.Notice},
}

// clock tells whether p begins with hh:mm:ss.
func clock(p []byte) bool {
	return len(p) >= 8 && isDigit(p[0]) && isDigit(p[1]) && p[2] == ':' && isDigit(p[3]) && isDigit(p[4]) && p[5] == ':'
}

// unixTime tells whether p begins with a number that may be a unix time in seconds.
func unixTime(p []byte) bool {
	i := 0
	for i < len(p) && isDigit(p[i]) {
		i++
	}
	return i == 10 && i < len(p) && p[i] == ' '
}

// calendarWord tells whether w is part of a written time.
func calendarWord(w []byte) bool {
	if len(w) < 2 || len(w) > 4 || !isUpper(w[0]) {
		return false
	}
	switch string(w) {
	case "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
		"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "AM", "PM",
		"UTC", "GMT", "CET", "CEST", "EST", "EDT", "CST", "CDT", "PST", "PDT", "MSK", "JST", "IST", "BST":
		return true
	}
	return false
}

// negation tells whether a word in capitals turns what follows into its opposite.
func negation(w []byte) bool {
	switch string(w) {
	case "NO", "NOT", "WITHOUT", "ZERO", "ANY", "IF", "ON", "LAST":
		return true
	}
	return false
}

// namedLevel returns the level that the value of a level's key names, in any case: what [event.ParseLevel] knows and the
// names of further loggers, and slog's offsets as in INFO+2. more is true when text says more than the level's name does.
func namedLevel(text []byte) (l event.Level, more, ok bool) {
	if len(text) == 0 || len(text) > 24 {
		return event.None, false, false
	}
	var low [24]byte
	for i, c := range text {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		low[i] = c
	}
	name := low[:len(text)]
	if l, ok = event.ParseLevel(name); ok {
		switch string(name) {
		case "panic", "fatal", "severe", "trace", "verbose", "finest", "finer", "fine":
			more = true
		}
		return l, more, true
	}
	switch string(name) {
	case "dpanic", "fata", "ftl":
		return event.Critical, true, true
	case "pani", "pnc":
		return event.Emergency, true, true
	case "erro":
		return event.Error, false, true
	case "fail", "failure":
		return event.Error, true, true
	case "wrn":
		return event.Warning, false, true
	case "http", "success", "log", "note":
		return event.Info, true, true
	case "debu", "dbug":
		return event.Debug, false, true
	case "trc", "trce", "silly", "config", "spam", "debug1", "debug2", "debug3", "debug4", "debug5":
		return event.Debug, true, true
	}
	// slog: a name and what is added to its number.
	i := bytes.IndexAny(name, "+-")
	if i < 0 || len(name)-i < 2 || len(name)-i > 4 {
		return event.None, false, false
	}
	n := 0
	for _, c := range name[i+1:] {
		if !isDigit(c) {
			return event.None, false, false
		}
		n = n*10 + int(c-'0')
	}
	if name[i] == '-' {
		n = -n
	}
	switch string(name[:i]) {
	case "debug":
		n -= 4
	case "info":
	case "warn":
		n += 4
	case "error":
		n += 8
	default:
		return event.None, false, false
	}
	return event.FromSlog(n), true, true
}
