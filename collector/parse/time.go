package parse

import (
	"math"
	"math/bits"
)

// minTime is the earliest time [ParseTime] takes, 1973-03-03: from here on the magnitude of a unix number tells its unit,
// and a smaller number is a counter, a duration or an unset clock.
const minTime = 1e8 * 1e9

// ParseTime returns the time that text names, in ns since the Unix epoch:
//   - RFC 3339 and what is written for it: T, t or a space between date and time, a fraction of any length behind '.' or
//     ',' (digits beyond ns are cut), seconds left out, the zone as Z, z, +02:00, +0200, +02, UTC or GMT, with or without
//     a space before it;
//   - a unix time in s, ms, µs or ns, told apart by magnitude, with a fraction or an exponent if need be.
//
// ok is false for anything else, for a time without a zone (it may be hours off) and for a time outside 1973-03-03 to
// 2262-04-11, which is what makes 0, 9999 and negative numbers no times. It does not allocate.
func ParseTime(text []byte) (ns int64, ok bool) {
	ns, _, ok = parseTime(text)
	return ns, ok
}

// parseTime is [ParseTime] that also tells whether the time is in whole seconds because nothing finer was written.
func parseTime(text []byte) (ns int64, seconds, ok bool) {
	if len(text) < 9 || len(text) > 64 {
		return 0, false, false
	}
	if len(text) > 10 && text[4] == '-' {
		return parseRFC3339(text)
	}
	return parseUnix(text)
}

// digits2 returns the number that two digits write, false when they are none or it is above limit.
func digits2(p []byte, limit int) (int, bool) {
	a, b := p[0]-'0', p[1]-'0'
	n := int(a)*10 + int(b)
	return n, a <= 9 && b <= 9 && n <= limit
}

func parseRFC3339(p []byte) (ns int64, seconds, ok bool) {
	if len(p) < 17 || p[7] != '-' || p[13] != ':' || (p[10] != 'T' && p[10] != 't' && p[10] != ' ') {
		return 0, false, false
	}
	century, ok0 := digits2(p, 99)
	year, ok1 := digits2(p[2:], 99)
	month, ok2 := digits2(p[5:], 12)
	day, ok3 := digits2(p[8:], 31)
	hour, ok4 := digits2(p[11:], 23)
	minute, ok5 := digits2(p[14:], 59)
	if !(ok0 && ok1 && ok2 && ok3 && ok4 && ok5) || month == 0 || day == 0 {
		return 0, false, false
	}
	year += century * 100
	if day > daysIn(year, month) {
		return 0, false, false
	}
	p = p[16:]
	second := 0
	if len(p) >= 3 && p[0] == ':' {
		if second, ok = digits2(p[1:], 60); !ok { // 60: a leap second, which becomes the next minute's first
			return 0, false, false
		}
		p = p[3:]
	}
	frac := int64(0)
	seconds = true
	if len(p) > 1 && (p[0] == '.' || p[0] == ',') {
		seconds = false
		unit := int64(1e8)
		i := 1
		for ; i < len(p) && p[i]-'0' <= 9; i++ {
			frac += unit * int64(p[i]-'0')
			unit /= 10
		}
		if i == 1 {
			return 0, false, false
		}
		p = p[i:]
	}
	offset, ok := parseZone(p)
	if !ok || year < 1970 || year > 2262 {
		return 0, false, false
	}
	s := daysSince1970(year, month, day)*86400 + int64(hour*3600+minute*60+second) - offset
	if s < minTime/1e9 || s >= math.MaxInt64/1_000_000_000 {
		return 0, false, false
	}
	return s*1e9 + frac, seconds, true
}

// parseZone returns the seconds that p, all that is left of a time, is east of Greenwich.
func parseZone(p []byte) (int64, bool) {
	if len(p) > 1 && p[0] == ' ' {
		p = p[1:]
	}
	switch len(p) {
	case 1:
		return 0, p[0] == 'Z' || p[0] == 'z'
	case 3, 5, 6:
		if string(p) == "UTC" || string(p) == "GMT" {
			return 0, true
		}
		hour, ok := digits2(p[1:], 23)
		minute := 0
		if len(p) > 3 && ok {
			if len(p) == 6 && p[3] != ':' {
				return 0, false
			}
			minute, ok = digits2(p[len(p)-2:], 59)
		}
		s := int64(hour*3600 + minute*60)
		switch p[0] {
		case '+':
			return s, ok
		case '-':
			return -s, ok
		}
	}
	return 0, false
}

func leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysIn(year, month int) int {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts the days from 1970-01-01 in the Gregorian calendar; years start in March so that the leap day
// comes last.
func daysSince1970(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return int64(365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468)
}

var pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// parseUnix reads digits[.digits][e[+]digits]. It works on decimal digits, not on a float, whose 53 bits lose a ns
// number's last digits.
func parseUnix(p []byte) (ns int64, seconds, ok bool) {
	var mantissa uint64
	taken, exp := 0, 0 // digits in mantissa; the power of ten it is to be multiplied by
	i := 0
	whole := true
	for ; i < len(p); i++ {
		c := p[i]
		if c == '.' && whole && i > 0 {
			whole = false
			continue
		}
		if c-'0' > 9 {
			break
		}
		switch {
		case taken < 19:
			if mantissa > 0 || c != '0' {
				taken++
			}
			mantissa = mantissa*10 + uint64(c-'0')
			if !whole {
				exp--
			}
		case whole:
			return 0, false, false // 20 digits are no time
		}
	}
	seconds = whole
	if i < len(p) {
		if p[i] != 'e' && p[i] != 'E' {
			return 0, false, false
		}
		i++
		if i < len(p) && p[i] == '+' {
			i++
		}
		e := 0
		if i == len(p) || len(p)-i > 2 {
			return 0, false, false
		}
		for ; i < len(p); i++ {
			if p[i]-'0' > 9 {
				return 0, false, false
			}
			e = e*10 + int(p[i]-'0')
		}
		exp += e
		seconds = false
	}
	if taken == 0 {
		return 0, false, false
	}
	// The number of digits before the point tells the unit: seconds have 9 to 11, and each smaller unit three more.
	var unit int
	switch before := taken + exp; {
	case before < 9 || before > 19:
		return 0, false, false
	case before <= 11:
		unit = 9
	case before <= 14:
		unit, seconds = 6, false
	case before <= 17:
		unit, seconds = 3, false
	default:
		seconds = false
	}
	exp += unit
	// A mantissa of 1 to 19 digits, 9 to 19 of the number before its point: exp is between -10 and 19.
	if exp < 0 {
		mantissa /= pow10[-exp]
	} else {
		hi, lo := bits.Mul64(mantissa, pow10[exp])
		if hi != 0 {
			return 0, false, false
		}
		mantissa = lo
	}
	if mantissa < minTime || mantissa > math.MaxInt64 {
		return 0, false, false
	}
	return int64(mantissa), seconds, true
}
