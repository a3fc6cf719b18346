package fleet_test

import (
	"encoding/json"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/fleet"
)

// Whatever events say, the rows are JSON and the metrics can be gathered.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("probe"), []byte("h"), []byte("sales"), []byte("up"), []byte("12.5"), int64(0), int64(1e9))
	f.Add([]byte("stats"), []byte("h\xff"), []byte("sales"), []byte("running"), []byte("2026-11-21T14:00:00Z"), int64(-1), int64(1<<62))
	f.Add([]byte("probe"), []byte(""), []byte("\xff"), []byte("down"), []byte("NaN"), int64(1<<62), int64(-1<<62))
	f.Fuzz(func(t *testing.T, stream, host, name, state, value []byte, first, second int64) {
		fl := fleet.New(fleet.Options{})
		var events []event.Event
		for _, at := range []int64{first, second} {
			e := event.Event{Time: at, Received: first, Stream: stream, Host: host, Container: name, Service: state, Env: value}
			for _, n := range []string{
				"probe", "target", "change", "state", "ok", "url", "error", "page", "status", "size_bytes", "duration_ms", "phase.tls_ms", "cert_days", "cert_expires",
				"image", "started", "restarts", "cpu_seconds", "memory_bytes", "memory_limit_bytes", "network_receive_bytes", "network_transmit_bytes",
			} {
				v := value
				switch n {
				case "probe", "target":
					v = name
				case "state":
					v = state
				case "change":
					if at == first {
						continue
					}
					v = state
				}
				e.Fields = append(e.Fields, event.Field{Name: []byte(n), Value: v, Kind: event.Kind(uint64(second) % 5)})
			}
			events = append(events, e)
		}
		fl.Prime(events...)
		if _, err := json.Marshal(fl.Probes()); err != nil {
			t.Error(err)
		}
		if _, err := json.Marshal(fl.Containers()); err != nil {
			t.Error(err)
		}
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(fl)
		if _, err := r.Gather(); err != nil {
			t.Error(err)
		}
	})
}
