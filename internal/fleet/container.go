package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// Container is what is known of a container, as /api/v1/containers shows it. What is not known is left out: one that does
// not run has no measurements.
type Container struct {
	Name     string     `json:"container"`
	Service  string     `json:"service"`
	Env      string     `json:"env,omitempty"`
	Host     string     `json:"host"`
	Image    string     `json:"image,omitempty"`
	Version  string     `json:"version,omitempty"`
	ID       string     `json:"container_id,omitempty"`
	State    string     `json:"state"`            // running, exited, …: Docker's words
	Health   string     `json:"health,omitempty"` // of its health check
	Logs     string     `json:"logs,omitempty"`   // how its lines come here, in words
	Started  *time.Time `json:"started,omitempty"`
	Restarts int64      `json:"restarts"`
	// CPUPercent is between the last two measurements; 100 is one core.
	CPUPercent           *float64  `json:"cpu_percent,omitempty"`
	CPUSeconds           *float64  `json:"cpu_seconds,omitempty"`
	MemoryBytes          *float64  `json:"memory_bytes,omitempty"`
	MemoryLimitBytes     *float64  `json:"memory_limit_bytes,omitempty"`
	NetworkReceiveBytes  *float64  `json:"network_receive_bytes,omitempty"`
	NetworkTransmitBytes *float64  `json:"network_transmit_bytes,omitempty"`
	Last                 time.Time `json:"last"` // of the measurement
}

// Running is the state of a container that runs.
const Running = "running"

// shortest is the least time between two measurements that a CPU percentage is computed from.
const shortest = time.Second

type container struct {
	Container
	last int64
}

func (f *Fleet) measured(e *event.Event, received int64) {
	v := fields{e: e}
	k := key{text(e.Host), text(e.Container)}
	if k.name == "" {
		f.nameless.Add(1)
		return
	}
	at := seen(e, received)
	was := f.containers[k]
	if was != nil && f.outdated(at, was.last) {
		return
	}
	state := v.text("state")
	if state == "removed" {
		delete(f.containers, k)
		return
	}
	if was == nil {
		if len(f.containers) >= f.maxTargets {
			f.forgetContainers()
		}
		if len(f.containers) >= f.maxTargets {
			f.tooMany.Add(1)
			return
		}
	}
	c := &container{last: at, Container: Container{
		Name: k.name, Service: v.text("target"), Env: text(e.Env), Host: k.host, Image: v.text("image"), Version: v.text("version"),
		ID: v.text("container_id"), State: state, Health: v.text("health"), Logs: v.text("logs"), Restarts: v.whole("restarts"),
		CPUSeconds: v.number("cpu_seconds"), MemoryBytes: v.number("memory_bytes"), MemoryLimitBytes: v.number("memory_limit_bytes"),
		NetworkReceiveBytes: v.number("network_receive_bytes"), NetworkTransmitBytes: v.number("network_transmit_bytes"),
		Last: time.Unix(0, at).UTC(),
	}}
	if t := v.stamp("started"); !t.IsZero() {
		c.Started = &t
	}
	c.CPUPercent = c.busy(was)
	f.containers[k] = c
	f.badValues.Add(uint64(v.bad))
}

// busy is the CPU percentage since the measurement before, nil when both are not of one run.
func (c *container) busy(was *container) *float64 {
	if was == nil || c.CPUSeconds == nil || was.CPUSeconds == nil || c.ID != was.ID || *c.CPUSeconds < *was.CPUSeconds ||
		(c.Started == nil) != (was.Started == nil) || c.Started != nil && !c.Started.Equal(*was.Started) {
		return nil
	}
	passed := time.Duration(c.last - was.last)
	if passed < shortest {
		return was.CPUPercent // a change of state between two measurements
	}
	percent := 100 * (*c.CPUSeconds - *was.CPUSeconds) / passed.Seconds()
	return &percent
}

func (f *Fleet) forgetContainers() {
	old := f.now().Add(-Stale).UnixNano()
	for k, c := range f.containers {
		if c.last < old {
			delete(f.containers, k)
		}
	}
}

// Containers returns the newest measurement of each container, by host and name.
func (f *Fleet) Containers() []Container {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetContainers()
	list := make([]Container, 0, len(f.containers))
	for _, c := range f.containers {
		list = append(list, c.Container)
	}
	slices.SortFunc(list, func(a, b Container) int {
		if c := strings.Compare(a.Host, b.Host); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}
