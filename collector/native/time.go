package native

// Times outside of these are taken for a clock that was never set, or a number that is no time: the event gets the time
// of receipt. 1980 is where the clocks of PCs begin; the oldest logs people import are from the nineties.
const (
	minTime = 315532800 * 1e9  // 1980-01-01T00:00:00Z
	maxTime = 7258118400 * 1e9 // 2200-01-01T00:00:00Z
)

// parseTime returns the time that text is, in ns since the Unix epoch: RFC 3339, or a decimal number of s, ms, µs or ns
// since the epoch. ok is false for anything else and for what is before 1980 or after 2199.
func parseTime(text []byte) (ns int64, ok bool) {
	if ns, ok = parseDate(text); !ok {
		ns, ok = parseUnix(text)
	}
	if !ok || ns < minTime || ns >= maxTime {
		return 0, false
	}
	return ns, true
}

// parseDate reads RFC 3339, and what is written instead of it: a space for the T, a comma before the fraction, +0100 and
// +01 for the offset. Without an offset it is UTC. Digits behind the ninth of the fraction are dropped.
func parseDate(p []byte) (ns int64, ok bool) {
	if len(p) < len("2006-01-02T15:04:05") || p[4] != '-' || p[7] != '-' || p[13] != ':' || p[16] != ':' ||
		p[10] != 'T' && p[10] != 't' && p[10] != ' ' {
		return 0, false
	}
	y1, y2, month, day := two(p), two(p[2:]), two(p[5:]), two(p[8:])
	hour, minute, second := two(p[11:]), two(p[14:]), two(p[17:])
	year := 100*y1 + y2
	if y1|y2|month|day|hour|minute|second < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	seconds := days(year, month, day)*86400 + int64(hour)*3600 + int64(minute)*60 + int64(second)

	p = p[19:]
	fraction := int64(0)
	if len(p) > 1 && (p[0] == '.' || p[0] == ',') {
		i := 1
		for unit := int64(1e8); i < len(p) && p[i]-'0' <= 9; i++ {
			fraction += int64(p[i]-'0') * unit
			unit /= 10
		}
		if i == 1 {
			return 0, false
		}
		p = p[i:]
	}
	offset, ok := parseOffset(p)
	if !ok || year < 1970 || year > 2261 { // beyond them ns do not fit
		return 0, false
	}
	return (seconds-offset)*1e9 + fraction, true
}

// parseOffset returns the seconds that a UTC offset stands for: nothing, Z, ±hh, ±hhmm or ±hh:mm.
func parseOffset(p []byte) (seconds int64, ok bool) {
	switch {
	case len(p) == 0 || len(p) == 1 && p[0]|0x20 == 'z':
		return 0, true
	case p[0] == ' ' && len(p) > 1 && p[1] != ' ':
		return parseOffset(p[1:])
	case p[0] != '+' && p[0] != '-':
		return 0, false
	}
	hours, minutes := -1, 0
	switch {
	case len(p) == 3:
		hours = two(p[1:])
	case len(p) == 5:
		hours, minutes = two(p[1:]), two(p[3:])
	case len(p) == 6 && p[3] == ':':
		hours, minutes = two(p[1:]), two(p[4:])
	}
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return 0, false
	}
	seconds = int64(hours)*3600 + int64(minutes)*60
	if p[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// two returns the number that p's first two digits are, -1 when they are none.
func two(p []byte) int {
	a, b := p[0]-'0', p[1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// days counts the days from the Unix epoch to a date. The year begins in March, so that the leap day is its last.
func days(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	return int64(year*365+year/4-year/100+year/400+dayOfYear) - 719468
}

// parseUnix reads a decimal number, also 1.7952357394e+09, as the time since the Unix epoch, exactly. Its magnitude tells
// the unit: between 1980 and 2199 those of s, ms, µs and ns do not meet.
func parseUnix(p []byte) (ns int64, ok bool) {
	var m uint64      // the first 19 significant digits; the value is m·10^exp
	exp, nd := 0, 0   // nd: digits of m
	i, point := 0, -1 // point: the place behind the decimal point
	for ; i < len(p); i++ {
		c := p[i] - '0'
		if c > 9 {
			if p[i] != '.' || point >= 0 {
				break
			}
			point = i + 1
			continue
		}
		if nd < 19 {
			if m = m*10 + uint64(c); m != 0 {
				nd++
			}
			if point >= 0 {
				exp--
			}
		} else if point < 0 {
			exp++
		}
	}
	if m == 0 || p[0] == '.' || point == i {
		return 0, false
	}
	if i < len(p) && p[i]|0x20 == 'e' {
		i++
		negative := i < len(p) && p[i] == '-'
		if i < len(p) && (p[i] == '-' || p[i] == '+') {
			i++
		}
		start, e := i, 0
		for ; i < len(p) && p[i]-'0' <= 9 && e < 1000; i++ {
			e = e*10 + int(p[i]-'0')
		}
		if i == start {
			return 0, false
		}
		if negative {
			e = -e
		}
		exp += e
	}
	if i != len(p) {
		return 0, false
	}
	switch nd + exp { // digits before the decimal point
	case 9, 10:
		exp += 9
	case 12, 13:
		exp += 6
	case 15, 16:
		exp += 3
	case 18, 19:
	default:
		return 0, false
	}
	for ; exp > 0; exp-- { // 19 digits at most: they fit
		m *= 10
	}
	for ; exp < 0; exp++ {
		m /= 10
	}
	if m >= maxTime {
		return 0, false
	}
	return int64(m), true
}
