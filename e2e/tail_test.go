package e2e

import (
	"testing"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/tailsoak"
)

// The short form of `go run ./e2e/bench -tail-soak 10m`: every event comes once, or is told as left out, over a stop and a
// kill of the server. How fast is not looked at.
func TestTailSoak(t *testing.T) {
	r, err := tailsoak.Run(t.Context(), tailsoak.Options{Binary: binary, Dir: t.TempDir(), For: 5 * time.Second, Rate: 2000, Tails: 15})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Stops != 1 || r.Kills != 1 || r.Reconnects < 15 {
		t.Errorf("%d stops, %d kills, %d connections made again", r.Stops, r.Kills, r.Reconnects)
	}
}
