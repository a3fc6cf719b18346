package app

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/api"
	"github.com/lookoutlog/lookout/internal/event"
)

// watched is a sink that notes when one input last appended something.
type watched struct {
	collector.Counted
	last atomic.Int64 // unix ns; 0 for never
}

// Append hands the batch on.
func (s *watched) Append(ctx context.Context, b *event.Batch) error {
	err := s.Counted.Append(ctx, b)
	if err == nil && len(b.Events) > 0 {
		s.last.Store(time.Now().UnixNano())
	}
	return err
}

func (s *watched) time() time.Time {
	if ns := s.last.Load(); ns != 0 {
		return time.Unix(0, ns).UTC().Truncate(time.Millisecond)
	}
	return time.Time{}
}

// watch returns the sink for the input of a name.
func (a *App) watch(name string) collector.Counted {
	if a.watches == nil {
		a.watches = map[string]*watched{}
	}
	s := &watched{Counted: a.sink}
	a.watches[name] = s
	return s
}

// The inputs' names, as the API lists them.
const (
	inputNDJSON = "ndjson"
	inputGELF   = "gelf"
	inputDocker = "docker"
	inputProbes = "probes"

	inputAlertmanager = "alertmanager"
)

// Inputs says how each way in does. It answers when the server has started.
func (a *App) Inputs() []api.Input {
	const listening, off = "listening", "off"
	drops := func(pairs map[string]int64) map[string]int64 {
		for cause, n := range pairs {
			if n == 0 {
				delete(pairs, cause)
			}
		}
		return pairs
	}
	var list []api.Input
	add := func(in api.Input) {
		if w := a.watches[in.Name]; w != nil {
			in.Last = w.time()
		}
		if in.Drops == nil {
			in.Drops = map[string]int64{}
		}
		list = append(list, in)
	}
	if a.listener != nil {
		s := a.native.Stats()
		add(api.Input{
			Name: inputNDJSON, State: listening, Address: "http://" + reachable(a.listener.Addr()) + "/api/v1/events", Events: s.Accepted, Bytes: s.Bytes,
			Drops: drops(map[string]int64{
				"bad_json": s.RejectedJSON, "too_long": s.RejectedLong, "empty": s.RejectedEmpty,
				"busy": s.Pressure, "full": s.Full, "too_large": s.TooLarge, "bad_request": s.Invalid, "failed": s.Failed,
			}),
		})
	}
	if a.listener != nil && a.received != nil {
		s := a.received.Stats()
		add(api.Input{
			Name: inputAlertmanager, State: listening, Address: "http://" + reachable(a.listener.Addr()) + "/api/v2/alerts", Note: fmt.Sprintf("%d alerts fire", s.Firing), Events: s.Events,
			Drops: drops(map[string]int64{"refused": s.Refused}),
		})
	}
	if a.gelf != nil {
		s := a.gelf.Stats()
		by := map[string]int64{}
		for _, d := range s.Drops() {
			by[d.Cause] = d.Count
		}
		add(api.Input{Name: inputGELF, State: listening, Address: "udp://" + reachable(a.gelf.Addr()), Events: s.Events - s.Joined, Bytes: s.Bytes, Drops: drops(by)})
	} else {
		add(api.Input{Name: inputGELF, State: off, Note: "LOOKOUT_GELF is off"})
	}
	if a.docker != nil {
		s := a.docker.Stats()
		in := api.Input{
			Name: inputDocker, State: "connected", Address: a.engineAddress, Note: fmt.Sprintf("%d containers followed", s.Followed), Events: s.Events, Bytes: s.Bytes,
			Drops: drops(map[string]int64{"gap": s.Gaps, "empty": s.Empty, "oversize": s.Oversize}),
		}
		if !s.Connected {
			in.State, in.Note = "waiting", "the engine does not answer"
		}
		add(in)
	} else {
		add(api.Input{Name: inputDocker, State: off, Note: "LOOKOUT_DOCKER is off, or no engine was found at the start"})
	}
	s := a.prober.Stats()
	switch targets := s.Up + s.Down + s.Unknown; {
	case targets == 0:
		add(api.Input{Name: inputProbes, State: off, Note: "nothing is to be probed"})
	default:
		add(api.Input{
			Name: inputProbes, State: "connected", Note: fmt.Sprintf("%d targets: %d up, %d down", targets, s.Up, s.Down), Events: s.Checks - s.Dropped,
			Drops: drops(map[string]int64{"slow": s.Dropped, "skipped": s.Skipped}),
		})
	}
	return list
}
