// Package timestamp reads the times that loggers write: RFC 3339 and what is written for it, and unix numbers.
//
// # Use
//
//	ns, form, ok := timestamp.Parse(text)
//	if !ok || form&timestamp.NoZone != 0 {
//		// no time, or one that may be hours off
//	}
//
// [Parse] takes all that any input takes; the [Form] tells how the time was written, so that each input can refuse what its
// protocol does not have.
//
// # What it takes
//
//   - 2026-11-21T11:22:33.123456789+01:00: T, t or a space between date and time; the seconds may be missing; a fraction of
//     any length behind '.' or ','; the zone as Z, z, ±hh:mm, ±hhmm, ±hh, UTC or GMT, with or without a space before it, or
//     none at all, which is read as UTC. The second 60 is the next minute's first.
//   - 1795260153.411, 1.795260153411e9: a decimal number of s, ms, µs or ns since 1970, told apart by magnitude, with a
//     fraction and an exponent if need be. It may have leading zeros, but no sign.
//
// # What it guarantees
//
// A time is from [Min] up to, not including, [Max]. Numbers are read digit by digit, not as a float, whose 53 bits lose a ns
// number's last three digits. What is finer than ns is cut, never rounded. Nothing is allocated or kept; the work is linear
// in the text's length.
package timestamp

// Min and Max bound all times, in ns since 1970: Min is the first that is one, Max the first that is none. Between them the
// numbers of s, ms, µs and ns have 9–10, 12–13, 15–16 and 18–19 digits, so that the magnitude tells the unit. What is outside
// is a clock that was never set, a counter or a duration: 1980 is where the clocks of PCs begin, and the oldest logs people
// import are from the nineties.
const (
	Min = 315532800 * 1e9  // 1980-01-01T00:00:00Z
	Max = 7258118400 * 1e9 // 2200-01-01T00:00:00Z
)

// Form is how a time was written, a set of the bits below. A date in RFC 3339 with a fraction has none of them.
type Form uint8

const (
	Unix      Form = 1 << iota // a number since 1970
	Seconds                    // nothing finer than seconds: no fraction, no exponent, no number of a smaller unit
	NoZone                     // a date without a zone
	NoSeconds                  // a date that ends with the minute; Seconds is set too
	NamedZone                  // UTC or GMT instead of Z
	Variant                    // a date otherwise not as in [time.RFC3339] (space, t, z, +0100, +01, the second 60); a number that has a point but no digit behind it
)

// Parse returns the time that text is, in ns since 1970, and how it is written. ok is false when text as a whole is no time,
// or one outside of [Min] and [Max].
func Parse(text []byte) (ns int64, form Form, ok bool) {
	// A number with its exponent's sign at this place is below 1,000, which is no time.
	if len(text) > len("2006-01-02") && text[4] == '-' {
		return parseDate(text)
	}
	return parseUnix(text)
}

func parseDate(p []byte) (ns int64, form Form, ok bool) {
	if len(p) < len("2006-01-02T15:04") || p[7] != '-' || p[13] != ':' {
		return 0, 0, false
	}
	switch p[10] {
	case 'T':
	case 't', ' ':
		form = Variant
	default:
		return 0, 0, false
	}
	century, ok0 := digits2(p, 99)
	year, ok1 := digits2(p[2:], 99)
	month, ok2 := digits2(p[5:], 12)
	day, ok3 := digits2(p[8:], 31)
	hour, ok4 := digits2(p[11:], 23)
	minute, ok5 := digits2(p[14:], 59)
	if !(ok0 && ok1 && ok2 && ok3 && ok4 && ok5) || month == 0 || day == 0 {
		return 0, 0, false
	}
	year += century * 100
	if day > daysIn(year, month) {
		return 0, 0, false
	}
	p = p[len("2006-01-02T15:04"):]
	form |= Seconds
	second, fraction := 0, uint64(0)
	if len(p) >= len(":05") && p[0] == ':' {
		if second, ok = digits2(p[1:], 60); !ok {
			return 0, 0, false
		}
		if second == 60 {
			form |= Variant
		}
		p = p[len(":05"):]
		if len(p) > 0 && (p[0] == '.' || p[0] == ',') {
			form &^= Seconds
			i := 1
			for ; i < len(p) && p[i]-'0' <= 9; i++ {
				if i <= 9 {
					fraction = fraction*10 + uint64(p[i]-'0')
				}
			}
			if i == 1 {
				return 0, 0, false
			}
			fraction *= pow10[max(0, 10-i)]
			p = p[i:]
		}
	} else {
		form |= NoSeconds // and no fraction, which would be the minute's
	}
	offset, zone, ok := parseZone(p)
	s := daysSince1970(year, month, day)*86400 + int64(hour*3600+minute*60+second) - offset
	if !ok || s < Min/1e9 || s >= Max/1e9 {
		return 0, 0, false
	}
	return s*1e9 + int64(fraction), form | zone, true
}

// parseZone returns the seconds that p, all that is left of a date, is east of Greenwich.
func parseZone(p []byte) (offset int64, form Form, ok bool) {
	if len(p) > 1 && p[0] == ' ' {
		p, form = p[1:], Variant
	}
	hour, minute := 0, 0
	switch len(p) {
	case 0:
		return 0, NoZone, true
	case 1:
		if p[0] == 'z' {
			form = Variant
		}
		return 0, form, p[0]|0x20 == 'z'
	case len("+01"):
		if string(p) == "UTC" || string(p) == "GMT" {
			return 0, form | NamedZone, true
		}
		form = Variant
		hour, ok = digits2(p[1:], 23)
	case len("+0100"):
		form = Variant
		if hour, ok = digits2(p[1:], 23); ok {
			minute, ok = digits2(p[3:], 59)
		}
	case len("+01:00"):
		if hour, ok = digits2(p[1:], 23); ok && p[3] == ':' {
			minute, ok = digits2(p[4:], 59)
		} else {
			ok = false
		}
	}
	offset = int64(hour*3600 + minute*60)
	switch p[0] {
	case '+':
		return offset, form, ok
	case '-':
		return -offset, form, ok
	}
	return 0, 0, false
}

// digits2 returns the number that p's first two digits are, false when they are none or it is above limit.
func digits2(p []byte, limit int) (int, bool) {
	a, b := p[0]-'0', p[1]-'0'
	n := int(a)*10 + int(b)
	return n, a <= 9 && b <= 9 && n <= limit
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

// daysSince1970 counts the days from 1970-01-01 in the Gregorian calendar. Years start in March, so that the leap day comes
// last.
func daysSince1970(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return int64(365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468)
}

var pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// parseUnix reads digits[.[digits]][e[±]digits].
func parseUnix(p []byte) (ns int64, form Form, ok bool) {
	const most = 19    // digits that fit a uint64
	var m uint64       // the first of them from the first that is not 0; the number is m·10^exp
	taken, exp := 0, 0 // taken: digits in m
	i, point := 0, -1  // point: the place behind the decimal point
	for ; i < len(p); i++ {
		c := p[i] - '0'
		if c > 9 {
			if p[i] != '.' || point >= 0 || i == 0 {
				break
			}
			point = i + 1
			continue
		}
		if taken < most {
			if m = m*10 + uint64(c); m != 0 {
				taken++
			}
			if point >= 0 {
				exp--
			}
		} else if point < 0 {
			exp++
		}
	}
	if m == 0 {
		return 0, 0, false
	}
	form = Unix
	if point == i {
		form |= Variant
	}
	if i < len(p) {
		e, ok := parseExponent(p[i:])
		if !ok {
			return 0, 0, false
		}
		exp += e
	} else if point < 0 {
		form |= Seconds
	}
	switch taken + exp { // digits before the point
	case 9, 10:
		exp += 9
	case 12, 13:
		exp += 6
		form &^= Seconds
	case 15, 16:
		exp += 3
		form &^= Seconds
	case 18, 19:
		form &^= Seconds
	default:
		return 0, 0, false
	}
	// It has 18 or 19 digits now, 1 to 19 of them in m: exp is between -1 and 18, and nothing overflows.
	if exp < 0 {
		m /= 10
	} else {
		m *= pow10[exp]
	}
	if m < Min || m >= Max {
		return 0, 0, false
	}
	return int64(m), form, true
}

// parseExponent reads e9, E+09, e-3.
func parseExponent(p []byte) (e int, ok bool) {
	if p[0]|0x20 != 'e' {
		return 0, false
	}
	p = p[1:]
	negative := false
	if len(p) > 0 && (p[0] == '+' || p[0] == '-') {
		negative = p[0] == '-'
		p = p[1:]
	}
	if len(p) == 0 {
		return 0, false
	}
	for _, c := range p {
		if c-'0' > 9 || e >= 1000 { // nothing beyond four digits is of use
			return 0, false
		}
		e = e*10 + int(c-'0')
	}
	if negative {
		e = -e
	}
	return e, true
}
