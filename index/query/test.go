package query

import (
	"fmt"
	"slices"
	"strings"
)

// Test is one term of a query as a predicate on one value: of a text, a message, an extra field or a built-in one. It does
// not change, and is safe for concurrent use.
type Test struct {
	id  int
	key string // equal for equal predicates
	p   pred

	// What the query applies it to.
	onMessage bool
	onAll     bool     // every extra field
	on        []string // extra fields

}

// Equal returns the text that a value has to equal, if the test asks for nothing else: with fold without case, and the text is
// ASCII then. The caller must not change it.
func (t *Test) Equal() (text []byte, fold, ok bool) {
	p, ok := t.p.(*equals)
	if !ok || p.f.fold && !p.f.ascii {
		return nil, false, false
	}
	return p.f.text, p.f.fold, true
}

// ID is the test's index in [Query.Tests].
func (t *Test) ID() int { return t.id }

// Match tells whether the value satisfies the test. It keeps nothing of v.
func (t *Test) Match(v []byte) bool { return t.p.test(v) }

// OnMessage tells whether the query applies the test to messages.
func (t *Test) OnMessage() bool { return t.onMessage }

// OnField tells whether the query applies the test to values of the extra field.
func (t *Test) OnField(name string) bool { return t.onAll || slices.Contains(t.on, name) }

// Tests returns the query's tests in order of ID, those of terms on service and level left out: they are decided without.
// Equal terms share a test. The caller must not change the slice.
func (q *Query) Tests() []*Test { return q.tests }

// share returns the test with the key, a new one when there is none.
func (c *compiler) share(key string, p func() pred) *Test {
	if t := c.byKey[key]; t != nil {
		return t
	}
	t := &Test{id: len(c.tests), key: key, p: p()}
	if c.byKey == nil {
		c.byKey = make(map[string]*Test)
	}
	c.byKey[key] = t
	c.tests = append(c.tests, t)
	return t
}

func (c *compiler) literal(lit string, fold bool) *Test {
	return c.share(fmt.Sprintf("contains %t %s", fold, lit), func() pred { return newContains(lit, fold) })
}

func (c *compiler) regex(rx *regex) *Test {
	return c.share("regex "+rx.src, func() pred { return compilePred(rx) })
}

// exists returns the test that every value passes, nil unless it is needed.
func (c *compiler) exists(needed bool) *Test {
	if !needed {
		return nil
	}
	return c.share("any", func() pred { return anyValue{} })
}

// field returns the test of a field's values; for != and !~ the one that must not hold.
func (c *compiler) field(n *fieldNode) *Test {
	if n.rx != nil {
		return c.regex(n.rx)
	}
	if len(n.vals) == 1 {
		switch v := &n.vals[0]; {
		case v.kind == vExists:
			return c.exists(true)
		case v.kind == vText && n.name == nameMessage && n.op == opHas:
			return c.literal(v.text, !hasUpper(v.text))
		}
	}
	op := n.op
	if op == opNe {
		op = opEq
	}
	var key strings.Builder
	fmt.Fprintf(&key, "%d %v %t", op, fieldUnit(n.name), n.name == nameMessage)
	if op.ordered() {
		fmt.Fprintf(&key, " %q", n.lim.text)
	}
	for i := range n.vals {
		v := &n.vals[i]
		fmt.Fprintf(&key, " %d %q %d %q %q %v", v.kind, v.text, v.level, v.lo.text, v.hi.text, v.prefix)
	}
	return c.share(key.String(), func() pred { return fieldPred(n) })
}
