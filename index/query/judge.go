package query

import (
	"bytes"
)

// Judge says whether the texts of a pattern's form satisfy the test: Never and Always are certain for all values that the
// holes may have. A pattern whose marks and holes do not fit together is Maybe.
func (t *Test) Judge(p *Pattern) Verdict {
	if bytes.Count(p.Text, []byte{HoleMark}) != len(p.Holes) {
		return Maybe
	}
	if len(p.Holes) == 0 {
		return certain(t.p.test(p.Text))
	}
	return t.p.judge(&view{p.Text, p.Holes})
}

func certain(yes bool) Verdict {
	if yes {
		return Always
	}
	return Never
}

// view is a pattern with at least one hole, all of them open.
type view struct {
	text  []byte
	holes []Hole
}

func (anyValue) judge(*view) Verdict { return Always }

func (p anyOf) judge(*view) Verdict { return Maybe }

func (p contains) judge(*view) Verdict { return Maybe }

func (p equals) judge(*view) Verdict { return Maybe }

func (p *matchesRE) judge(*view) Verdict { return Maybe }

func (p *ordered) judge(*view) Verdict { return Maybe }

func (p *within) judge(*view) Verdict { return Maybe }

func (p *sameQuantity) judge(*view) Verdict { return Maybe }

func (p inNetwork) judge(*view) Verdict { return Maybe }

func (g *glob) judge(*view) Verdict { return Maybe }

func newContains(lit string, fold bool) contains { return contains{newFinder(lit, fold)} }

// Decimals says the test as a range of mantissas: a number written as m × 10^-scale, in plain decimal digits as JSON has
// them, satisfies it exactly when lo <= m <= hi. An empty set has lo > hi. When ok is false the test is no such range, and
// only [Test.Match] on the number's text decides.
func (t *Test) Decimals(scale int) (lo, hi int64, ok bool) { return 0, 0, false }

// MayMatchNumbers tells whether a JSON number from lo to hi, both included, can satisfy the test. Only false is certain.
func (t *Test) MayMatchNumbers(lo, hi float64) bool { return true }
