package gelf

import "time"

// Times outside of these are impossible: a clock that was never set, or a number that is no time.
const (
	minTime = 315532800 * 1e9  // 1980-01-01T00:00:00Z
	maxTime = 7258118400 * 1e9 // 2200-01-01T00:00:00Z
)

// parseTime reads a timestamp, as the package describes it, in ns since 1970. Digits behind the nanosecond are cut.
func parseTime(text []byte) (ns int64, ok bool) {
	ns, ok = parseUnix(text)
	if !ok && len(text) >= len("2006-01-02T15:04:05Z") && len(text) <= 40 && text[4] == '-' {
		if t, err := time.Parse(time.RFC3339Nano, string(text)); err == nil && t.Year() > 1970 && t.Year() < 2200 { // others do not fit ns
			ns, ok = t.UnixNano(), true
		}
	}
	return ns, ok && ns >= minTime && ns < maxTime
}

// parseUnix reads a decimal number exactly, without the detour over a float: 1795235739.411, 1.795235739411e9. The digits
// before the point tell the unit: up to 10 are seconds, then milli-, micro- and nanoseconds.
func parseUnix(text []byte) (ns int64, ok bool) {
	const most = 19 // digits that fit a uint64
	var (
		number uint64
		digits int  // in number, without leading zeros
		exp    int  // number times 10^exp is the value
		point  bool // has been seen
		any    bool
	)
	i := 0
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		any = true
		switch {
		case digits == most: // too small to matter, or far too large
			if !point {
				exp++
			}
			continue
		case digits > 0 || c != '0':
			number = number*10 + uint64(c-'0')
			digits++
		}
		if point {
			exp--
		}
	}
	if !any || number == 0 {
		return 0, false
	}
	if i < len(text) {
		e, ok := parseExponent(text[i:])
		if !ok {
			return 0, false
		}
		exp += e
	}
	switch whole := digits + exp; { // digits before the point
	case whole <= 10:
		exp += 9
	case whole == 12 || whole == 13:
		exp += 6
	case whole == 15 || whole == 16:
		exp += 3
	case whole == 18 || whole == 19:
	default:
		return 0, false
	}
	for ; exp < 0 && number > 0; exp++ {
		number /= 10
	}
	for ; exp > 0; exp-- {
		number *= 10 // at most 19 digits: the nanoseconds of 10 digits of seconds
	}
	return int64(number), true
}

// parseExponent reads e9, E+09, e-3. Nothing beyond four digits is of use.
func parseExponent(text []byte) (e int, ok bool) {
	if text[0]|0x20 != 'e' {
		return 0, false
	}
	text = text[1:]
	negative := false
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		negative = text[0] == '-'
		text = text[1:]
	}
	if len(text) == 0 || len(text) > 4 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		e = e*10 + int(c-'0')
	}
	if negative {
		e = -e
	}
	return e, true
}
