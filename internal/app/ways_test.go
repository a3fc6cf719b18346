package app

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/api"
)

// Each input counts what comes and what it drops, and knows when the last event came.
func TestInputs(t *testing.T) {
	a := start(t, options(t, nil))
	inputs := func() map[string]api.Input {
		_, text := get(t, a, "/api/v1/inputs", true)
		var answer struct{ Inputs []api.Input }
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatal(err, text)
		}
		by := map[string]api.Input{}
		for _, in := range answer.Inputs {
			by[in.Name] = in
		}
		return by
	}
	before := inputs()
	if g := before[inputGELF]; g.State != "listening" || g.Events != 0 || !g.Last.IsZero() || !strings.HasPrefix(g.Address, "udp://127.0.0.1:") || len(g.Drops) != 0 {
		t.Errorf("%+v", g)
	}
	if d := before[inputDocker]; d.State != "off" || d.Note == "" {
		t.Errorf("%+v", d)
	}
	conn, err := net.Dial("udp", strings.TrimPrefix(before[inputGELF].Address, "udp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, text := range []string{"nonsense", `{"version":"1.1","host":"h","short_message":"one"}`} {
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	for {
		g := inputs()[inputGELF]
		if g.Events == 1 && g.Drops["not_an_object"] == 1 && !g.Last.IsZero() {
			break
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("%+v", g)
		}
	}
	if in := inputs()[inputNDJSON]; in.Events != 0 || !in.Last.IsZero() {
		t.Errorf("%+v", in)
	}
}
