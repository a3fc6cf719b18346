package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/docker"
	"github.com/lookoutlog/lookout/collector/gelf"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/collector/probe"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/config"
)

// dockerSocket is where the engine listens unless it was told otherwise.
const dockerSocket = "/var/run/docker.sock"

// stages find fields, level and time in the text. An agent leaves that to its server, so that it is done once.
func (a *App) stages() []collector.Stage {
	if a.queue != nil {
		return nil
	}
	return []collector.Stage{parse.New(parse.Options{})}
}

// openInputs makes what collects beside HTTP; it listens to nothing yet.
func (a *App) openInputs() error {
	c := a.o.Config
	if !c.GELF.Off() {
		a.gelf = gelf.New(gelf.Options{
			Addr: string(c.GELF), Allow: c.AllowList(), Sink: a.watch(inputGELF), Joiner: parse.NewJoiner(parse.JoinOptions{}), Stages: a.stages(), Log: a.log,
		})
	}

	host, err := os.Hostname()
	if err != nil {
		a.log.Warn("this machine has no name; probes' events have no host", "error", err)
	}
	a.prober, err = probe.New(probe.Options{Sink: a.watch(inputProbes), Host: host, Allow: c.ProbePrefixes(), Version: a.o.Version, Log: a.log})
	if err != nil {
		return err
	}
	if problems := a.prober.Set("configuration", configured(c)); len(problems) > 0 {
		return errors.Join(problems...)
	}

	switch a.engineAddress = string(c.Docker); {
	case a.engineAddress == "" && a.dockerIsHere():
		a.engineAddress = "unix://" + dockerSocket
	case a.engineAddress == "", a.engineAddress == "off":
		a.engineAddress = ""
		a.prober.Set("docker", nil) // what was down when Docker was still followed is told as gone
		return nil
	}
	a.docker, err = docker.New(docker.Options{
		Address: a.engineAddress, Sink: a.watch(inputDocker), Stages: a.stages,
		Joiner:  func() docker.Joiner { return parse.NewJoiner(parse.JoinOptions{}) },
		Targets: a.probeContainers, Log: a.log,
	})
	return err
}

// dockerIsHere tells whether the engine can be asked. A socket that this user may not open is worth a word, no more.
func (a *App) dockerIsHere() bool {
	conn, err := net.DialTimeout("unix", dockerSocket, time.Second)
	switch {
	case err == nil:
		return conn.Close() == nil
	case errors.Is(err, fs.ErrPermission):
		a.log.Warn("Docker is here, but this user may not use its socket; containers are not followed: add the user to the group docker, or set LOOKOUT_DOCKER=off", "socket", dockerSocket)
	}
	return false
}

// configured are the probes of the configuration.
func configured(c *config.Config) []probe.Target {
	list := make([]probe.Target, len(c.Probes))
	for i, p := range c.Probes {
		list[i] = probe.Target{
			Name: p.Name, Service: p.Service, Env: p.Env, URL: string(p.URL), Method: p.Method, Headers: p.HeaderTexts(), Body: p.Body,
			Every: time.Duration(p.Every), Timeout: time.Duration(p.Timeout), Confirm: time.Duration(p.Confirm), Recover: time.Duration(p.Recover),
			Page: p.Page, AllowLoopback: true,
		}
		if p.Expect.Query != nil {
			list[i].Expect = p.Expect.Query
		}
	}
	return list
}

// probeContainers puts the containers that ask for it by label among the probes.
func (a *App) probeContainers(containers []docker.Target) {
	var list []probe.Target
	for _, c := range containers {
		t, err := labelled(c)
		if err != nil {
			a.log.Warn("a container's labels ask for a probe that cannot be made", "container", c.Name, "error", err)
			continue
		}
		list = append(list, t)
	}
	for _, err := range a.prober.Set("docker", list) {
		a.log.Warn("a container cannot be probed as its labels say", "error", err)
	}
}

// labelled is the probe that a container's labels describe.
func labelled(c docker.Target) (probe.Target, error) {
	t := probe.Target{
		Name: c.Name, Service: c.Service, Env: c.Env, Container: c.Container, URL: c.URL, AllowLoopback: c.HostNetwork,
		Confirm: probe.DefaultConfirm, Recover: probe.DefaultRecover,
	}
	for name, to := range map[string]*time.Duration{"every": &t.Every, "timeout": &t.Timeout, "confirm": &t.Confirm, "recover": &t.Recover} {
		text, set := c.Labels[name]
		if !set {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return t, fmt.Errorf("label lookout.probe.%s: %q is not a length of time; write it as 30s", name, text)
		}
		*to = d
	}
	if text, set := c.Labels["page"]; set {
		page, err := strconv.ParseBool(text)
		if err != nil {
			return t, fmt.Errorf("label lookout.probe.page: %q is neither true nor false", text)
		}
		t.Page = page
	}
	if text := c.Labels["expect"]; text != "" {
		q, err := query.Parse(text)
		if err != nil {
			return t, fmt.Errorf("label lookout.probe.expect: %w", err)
		}
		t.Expect = q
	}
	return t, nil
}
