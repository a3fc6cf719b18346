package docker

import (
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

const probeLabel = "lookout.probe"

// targetOf returns what a container's label asks to be probed. An empty host becomes the container's address; ok is false
// when it has none now (then its name stands there), and without the label. An URL that cannot be read is left as it is, for
// the prober to refuse.
func targetOf(d *details) (t Target, ok bool) {
	address := d.labels[probeLabel]
	if address == "" {
		return Target{}, false
	}
	n := nameOf(d.labels, d.name, d.image)
	t = Target{Name: d.name, Service: n.service, Env: n.env, Container: d.name, URL: address, HostNetwork: d.hostNetwork}
	for k, v := range d.labels {
		if name, ok := strings.CutPrefix(k, probeLabel+"."); ok && name != "" {
			if t.Labels == nil {
				t.Labels = map[string]string{}
			}
			t.Labels[name] = v
		}
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() != "" {
		return t, true
	}
	host := d.address
	if d.hostNetwork {
		host = "127.0.0.1"
	}
	ok = host != ""
	if !ok {
		host = d.name // it has no address now
	}
	if port := u.Port(); port != "" {
		u.Host = net.JoinHostPort(host, port)
	} else if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	} else {
		u.Host = host
	}
	t.URL = u.String()
	return t, ok
}

// retarget brings a container's target up to date. A container that ended without being asked to stays one, with the address
// it had: that it is down is what the probe is to find. in.mu is held.
func (c *watched) retarget() {
	t, ok := targetOf(&c.details)
	switch {
	case c.off != "":
		c.target = nil
	case c.running() && ok:
		c.target = &t
	case c.state == "created", c.asked:
		c.target = nil
	case c.running(): // without an address for the moment
	case c.target == nil && c.details.labels[probeLabel] != "":
		// It ended before it was seen to run. 0 and 143 (SIGTERM) are how one ends that was stopped.
		if c.state == "restarting" || c.exitCode != 0 && c.exitCode != 143 {
			c.target = &t
		}
	}
}

// publish hands the targets to who wants them, when they have changed.
func (in *Input) publish() {
	if in.o.Targets == nil {
		return
	}
	in.publishing.Lock()
	defer in.publishing.Unlock()
	in.mu.Lock()
	list := []Target{}
	for _, c := range in.containers {
		if c.target != nil {
			list = append(list, *c.target)
		}
	}
	in.mu.Unlock()
	slices.SortFunc(list, func(a, b Target) int { return strings.Compare(a.Name, b.Name) })
	if in.published != nil && reflect.DeepEqual(list, in.published) {
		return
	}
	in.published = list
	in.o.Targets(slices.Clone(list))
}
