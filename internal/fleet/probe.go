package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// Probe is what is known of a probe, as /api/v1/probes shows it. What is not known is left out.
type Probe struct {
	Name      string `json:"name"`
	Target    string `json:"target"` // the service
	Env       string `json:"env,omitempty"`
	Container string `json:"container,omitempty"`
	Host      string `json:"host,omitempty"` // who probes
	URL       string `json:"url,omitempty"`
	OK        bool   `json:"ok"` // the last result
	// State is up, down (confirmed), or unknown: not decided yet, or without results for too long.
	State string `json:"state"`
	// Since is when the state began.
	Since      *time.Time `json:"since,omitempty"`
	Last       time.Time  `json:"last"` // of the last result
	DurationMS float64    `json:"duration_ms"`
	Status     int        `json:"status,omitempty"`     // of HTTP
	Size       int64      `json:"size_bytes,omitempty"` // of the body, in bytes
	// PhasesMS is where the time of HTTP went: resolve, connect, tls, processing, transfer.
	PhasesMS    map[string]float64 `json:"phases_ms,omitempty"`
	CertDays    *float64           `json:"cert_days,omitempty"`
	CertExpires *time.Time         `json:"cert_expires,omitempty"`
	Error       string             `json:"error,omitempty"`
	Page        bool               `json:"page"` // whether a person is paged when it is down
}

// The states of a probe.
const (
	Up      = "up"
	Down    = "down"
	Unknown = "unknown"
)

// phases are those of an HTTP probe, in order.
var phases = [...]string{"resolve", "connect", "tls", "processing", "transfer"}

type probe struct {
	Probe
	last     int64         // when it was last heard of
	changed  int64         // of the last change of state
	result   int64         // of the last raw result, 0 before the first
	interval time.Duration // between the last two raw results
}

// probed takes a raw result (service probe) or a change of state.
func (f *Fleet) probed(e *event.Event, received int64) {
	v := fields{e: e}
	name, change := v.text("probe"), v.text("change")
	if name == "" {
		if change != "" || e.Field("ok") != nil { // else it is about the prober itself
			f.nameless.Add(1)
		}
		return
	}
	if change != "" {
		f.changed(&v, key{text(e.Host), name}, change, seen(e, received))
	} else {
		f.result(&v, key{text(e.Host), name}, seen(e, received))
	}
	f.badValues.Add(uint64(v.bad))
}

func (f *Fleet) result(v *fields, k key, at int64) {
	p := f.probe(k, at, func(p *probe) int64 { return p.last })
	if p == nil {
		return
	}
	if p.result != 0 && at > p.result {
		p.interval = time.Duration(at - p.result)
	}
	p.last, p.result = at, at
	was := p.State
	p.Probe = Probe{
		Name: k.name, Target: v.text("target"), Env: text(v.e.Env), Container: text(v.e.Container), Host: k.host, URL: v.text("url"),
		OK: v.bool("ok"), State: v.text("state"), Since: p.Since, Last: time.Unix(0, at).UTC(),
		Status: v.status(), Size: v.whole("size_bytes"), Error: v.text("error"), Page: v.bool("page"),
	}
	if p.State != Up && p.State != Down {
		p.State = Unknown
	}
	if since, err := time.Parse(time.RFC3339, v.text("since")); err == nil {
		p.since(since.UnixNano())
	} else if was != "" && p.State != was && at > p.changed {
		p.since(at)
	}
	if n := v.number("duration_ms"); n != nil {
		p.DurationMS = *n
	}
	for _, phase := range phases {
		if n := v.number("phase." + phase + "_ms"); n != nil {
			if p.PhasesMS == nil {
				p.PhasesMS = map[string]float64{}
			}
			p.PhasesMS[phase] = *n
		}
	}
	p.CertDays = v.signed("cert_days")
	if n := v.number("cert_expires"); n != nil && *n <= maxUnix {
		t := time.Unix(int64(*n), 0).UTC()
		p.CertExpires = &t
	} else if n != nil {
		v.bad++
	}
}

// maxUnix is the last second that RFC 3339 can write.
const maxUnix = 253_402_300_799

func (p *probe) since(at int64) {
	t := time.Unix(0, at).UTC()
	p.Since, p.changed = &t, at
}

// changed takes that a probe is up, down or gone.
func (f *Fleet) changed(v *fields, k key, change string, at int64) {
	if change == "gone" {
		if p := f.probes[k]; p != nil && at >= p.last {
			delete(f.probes, k)
		}
		return
	}
	if change != Up && change != Down {
		v.bad++
		return
	}
	p := f.probe(k, at, func(p *probe) int64 { return p.changed })
	if p == nil {
		return
	}
	p.since(at)
	p.Name, p.Host, p.Page = k.name, k.host, v.bool("page")
	if p.last <= at { // else its results know better
		p.State, p.OK, p.Target = change, change == Up, text(v.e.Service)
		p.Env, p.Container, p.URL = text(v.e.Env), text(v.e.Container), v.text("url")
		p.Status, p.Error = v.status(), v.text("error")
		p.last, p.Last = at, time.Unix(0, at).UTC()
		if n := v.number("duration_ms"); n != nil {
			p.DurationMS = *n
		}
	}
}

// probe finds a probe's record, or makes one. It is nil when there are too many, and for an event that is older than what
// newest says.
func (f *Fleet) probe(k key, at int64, newest func(*probe) int64) *probe {
	p := f.probes[k]
	switch {
	case p != nil && f.outdated(at, newest(p)):
		return nil
	case p == nil:
		if len(f.probes) >= f.maxProbes {
			f.forgetProbes()
		}
		if len(f.probes) >= f.maxProbes {
			f.tooMany.Add(1)
			return nil
		}
		p = &probe{}
		f.probes[k] = p
	}
	return p
}

func (f *Fleet) forgetProbes() {
	now := f.now()
	for k, p := range f.probes {
		if now.Sub(p.Last) > max(forget, 4*p.interval) {
			delete(f.probes, k)
		}
	}
}

// stale tells whether a probe's results have stopped coming.
func (p *probe) stale(now time.Time) bool {
	return now.Sub(p.Last) > max(Stale, 3*p.interval)
}

// Probes returns the newest result of each probe, by name and host. One without results for too long is unknown; when
// another host probes the same by now, it is left out.
func (f *Fleet) Probes() []Probe {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetProbes()
	now := f.now()
	fresh := map[string]bool{}
	for k, p := range f.probes {
		if !p.stale(now) {
			fresh[k.name] = true
		}
	}
	list := make([]Probe, 0, len(f.probes))
	for k, p := range f.probes {
		shown := p.Probe
		if p.stale(now) {
			if fresh[k.name] {
				continue
			}
			shown.State, shown.Since = Unknown, nil
		}
		list = append(list, shown)
	}
	slices.SortFunc(list, func(a, b Probe) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Host, b.Host)
	})
	return list
}
