// Package leak looks for goroutines that the tests of a package have left, as goleak does, which gives them less than half a second to end:
// on a busy machine one that ends by itself may need longer.
package leak

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end when all tests are over.
const patience = time.Minute

// VerifyTestMain is [goleak.VerifyTestMain], with patience.
func VerifyTestMain(m *testing.M) { goleak.VerifyTestMain(patient{m}) }

type patient struct{ m *testing.M }

// Run runs the tests, and waits until nothing is left of them. What is left then is goleak's to tell.
func (p patient) Run() int {
	code := p.m.Run()
	for end := time.Now().Add(patience); code == 0 && goleak.Find() != nil && time.Now().Before(end); { // Find waits some tenths of a second itself
	}
	return code
}
