package query

import (
	"math/big"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/event"
)

// The naive matcher: what QUERY.md says, over the tree, with the standard library's string functions, exact fractions and
// nothing that makes it fast. It shares no code with the matcher but the tree.

func naive(n node, e *event.Event) bool {
	switch n := n.(type) {
	case allNode:
		return true
	case *andNode:
		return !slices.ContainsFunc(n.kids, func(k node) bool { return !naive(k, e) })
	case *orNode:
		return slices.ContainsFunc(n.kids, func(k node) bool { return naive(k, e) })
	case *notNode:
		return !naive(n.kid, e)
	case *textNode:
		return slices.ContainsFunc(naiveTexts(e), func(s string) bool { return naiveContains(s, n.lit, naiveSmart(n.lit)) })
	case *regexNode:
		re := regexp.MustCompile("(?sm)" + n.rx.src)
		return slices.ContainsFunc(naiveTexts(e), re.MatchString)
	case *fieldNode:
		return naiveField(n, e)
	}
	panic("unknown node")
}

func naiveTexts(e *event.Event) []string {
	out := []string{string(e.Message)}
	for _, f := range e.Fields {
		out = append(out, string(f.Value))
	}
	return out
}

func naiveValues(name string, e *event.Event) []string {
	known := func(p []byte) []string {
		if len(p) == 0 {
			return nil
		}
		return []string{string(p)}
	}
	switch name {
	case "service":
		return known(e.Service)
	case "env":
		return known(e.Env)
	case "host":
		return known(e.Host)
	case "container":
		return known(e.Container)
	case "stream":
		return known(e.Stream)
	case "level":
		return known([]byte(e.Level.String()))
	case "message":
		return []string{string(e.Message)}
	case "id":
		if e.Seq > 0 {
			return []string{strconv.FormatUint(e.Seq, 10)}
		}
		return nil
	}
	var out []string
	for _, f := range e.Fields {
		if string(f.Name) == name {
			out = append(out, string(f.Value))
		}
	}
	return out
}

func naiveField(n *fieldNode, e *event.Event) bool {
	values := naiveValues(n.name, e)
	some := func(test func(v string) bool) bool { return slices.ContainsFunc(values, test) }
	switch n.op {
	case opMatch:
		return some(regexp.MustCompile("(?sm)" + n.rx.src).MatchString)
	case opNotMatch:
		return len(values) > 0 && !some(regexp.MustCompile("(?sm)"+n.rx.src).MatchString)
	case opGt, opGe, opLt, opLe:
		return some(func(v string) bool {
			c, ok := naiveCompare(n.name, v, n.lim.text)
			return ok && (c > 0 && (n.op == opGt || n.op == opGe) || c < 0 && (n.op == opLt || n.op == opLe) ||
				c == 0 && (n.op == opGe || n.op == opLe))
		})
	case opNe:
		return len(values) > 0 && !some(func(v string) bool { return naiveValue(n, &n.vals[0], v) })
	}
	return some(func(v string) bool {
		return slices.ContainsFunc(n.vals, func(want value) bool { return naiveValue(n, &want, v) })
	})
}

func naiveValue(n *fieldNode, want *value, v string) bool {
	ci := n.op == opHas && naiveSmart(want.text)
	switch want.kind {
	case vExists:
		return true
	case vLevel:
		return v == want.level.String()
	case vGlob:
		pattern := naiveRunes(want.text, ci)
		if n.name == "message" {
			pattern = slices.Concat([]rune("*"), pattern, []rune("*"))
		}
		return naiveGlob(pattern, naiveRunes(v, ci))
	case vQuantity:
		if naiveEqual(v, want.text, ci) {
			return true
		}
		c, ok := naiveCompare(n.name, v, want.text)
		return ok && c == 0
	case vRange:
		a, ok := naiveCompare(n.name, v, want.lo.text)
		b, ok2 := naiveCompare(n.name, v, want.hi.text)
		return ok && ok2 && a >= 0 && b <= 0
	case vCIDR:
		_, network, err := net.ParseCIDR(want.prefix.String())
		ip := net.ParseIP(v)
		return err == nil && ip != nil && network.Contains(ip)
	}
	if n.name == "message" && n.op == opHas {
		return naiveContains(v, want.text, ci)
	}
	return naiveEqual(v, want.text, ci)
}

// naiveSmart tells whether a text is searched without case.
func naiveSmart(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsUpper(r) || unicode.IsTitle(r) })
}

// naiveRunes are the text's runes, the largest of each orbit when ci; a byte that is not UTF-8 is no rune.
func naiveRunes(s string, ci bool) []rune {
	var out []rune
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			r = 0x110000 + rune(s[i])
		} else if ci {
			for f := unicode.SimpleFold(r); f != r && f > r; f = unicode.SimpleFold(f) {
				r = f
			}
		}
		out = append(out, r)
		i += n
	}
	return out
}

func naiveContains(s, sub string, ci bool) bool {
	if !ci {
		return strings.Contains(s, sub)
	}
	a, b := naiveRunes(s, true), naiveRunes(sub, true)
	for i := 0; i+len(b) <= len(a); i++ {
		if slices.Equal(a[i:i+len(b)], b) {
			return true
		}
	}
	return false
}

func naiveEqual(a, b string, ci bool) bool {
	return slices.Equal(naiveRunes(a, ci), naiveRunes(b, ci))
}

// naiveGlob keeps, after each part of the pattern, the places in v where a match of it may end.
func naiveGlob(pattern, v []rune) bool {
	ends := make([]bool, len(v)+1)
	ends[0] = true
	for _, p := range pattern {
		next := make([]bool, len(v)+1)
		for i, reached := range ends {
			switch {
			case !reached:
			case p == '*':
				for j := i; j <= len(v); j++ {
					next[j] = true
				}
			case i < len(v) && (p == '?' || p == v[i]):
				next[i+1] = true
			}
		}
		ends = next
	}
	return ends[len(v)]
}

var (
	naiveNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)
	naivePart   = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?)(ns|us|µs|μs|ms|[smhd]|[kKMGT]?B|[KMGT]iB)`)
)

var naiveUnits = map[string]string{
	"ns": "1", "us": "1000", "µs": "1000", "μs": "1000", "ms": "1000000", "s": "1000000000", "m": "60000000000",
	"h": "3600000000000", "d": "86400000000000",
	"B": "1", "kB": "1000", "KB": "1000", "MB": "1000000", "GB": "1000000000", "TB": "1000000000000",
	"KiB": "1024", "MiB": "1048576", "GiB": "1073741824", "TiB": "1099511627776",
}

func rat(s string) *big.Rat {
	r, _ := new(big.Rat).SetString(s)
	return r
}

// naiveQuantity returns a value in ns, bytes or nothing; dim is t, b or n.
func naiveQuantity(s string) (r *big.Rat, dim string) {
	if naiveNumber.MatchString(s) {
		return rat(s), "n"
	}
	rest, neg := strings.CutPrefix(s, "-")
	sum := new(big.Rat)
	for first := true; first || rest != ""; first = false {
		m := naivePart.FindStringSubmatch(rest)
		if m == nil {
			return nil, ""
		}
		d := "t"
		if strings.HasSuffix(m[2], "B") {
			d = "b"
		}
		if !first && (d == "b" || dim == "b") {
			return nil, ""
		}
		dim = d
		sum.Add(sum, new(big.Rat).Mul(rat(m[1]), rat(naiveUnits[m[2]])))
		rest = rest[len(m[0]):]
	}
	if neg {
		sum.Neg(sum)
	}
	return sum, dim
}

// naiveWorse lists the levels' names by severity, the mildest first.
var naiveWorse = []string{
	"debug dbg trace verbose finest finer fine", "info information inf informational", "notice", "warning warn", "error err severe",
	"critical crit fatal", "alert", "emergency emerg panic",
}

func naiveSeverity(s string) int {
	return slices.IndexFunc(naiveWorse, func(names string) bool { return slices.Contains(strings.Fields(names), strings.ToLower(s)) })
}

func naiveCompare(name, v, lim string) (c int, ok bool) {
	if s := naiveSeverity(lim); s >= 0 {
		t := naiveSeverity(v)
		return t - s, t >= 0
	}
	a, adim := naiveQuantity(v)
	b, bdim := naiveQuantity(lim)
	if a == nil || b == nil {
		return 0, false
	}
	if adim != bdim {
		unit, dim := "", ""
		low := strings.ToLower(name)
		for suffix, u := range map[string]string{"_ns": "ns", "_us": "us", "_ms": "ms", "_s": "s", "_seconds": "s", "bytes": "B"} {
			if strings.HasSuffix(low, suffix) {
				unit, dim = naiveUnits[u], "t"
				if u == "B" {
					dim = "b"
				}
			}
		}
		if adim == "n" && dim == bdim {
			a, adim = new(big.Rat).Mul(a, rat(unit)), dim
		} else if bdim == "n" && dim == adim {
			b, bdim = new(big.Rat).Mul(b, rat(unit)), dim
		}
	}
	return a.Cmp(b), adim == bdim
}
