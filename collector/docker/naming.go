package docker

import (
	"regexp"
	"strings"
)

// naming is what a container's events are filed under.
type naming struct{ service, env, version string }

// nameOf takes it from the container's labels, name (without the leading slash) and image, the first that is there:
//
//	service  lookout.service, com.docker.swarm.service.name, com.docker.compose.service, the name
//	env      lookout.env, com.docker.stack.namespace, com.docker.compose.project
//	version  lookout.version, org.opencontainers.image.version, the image's tag unless that is latest
func nameOf(labels map[string]string, name, image string) naming {
	first := func(keys ...string) string {
		for _, k := range keys {
			if v := labels[k]; v != "" {
				return v
			}
		}
		return ""
	}
	n := naming{
		service: first("lookout.service", "com.docker.swarm.service.name", "com.docker.compose.service"),
		env:     first("lookout.env", "com.docker.stack.namespace", "com.docker.compose.project"),
		version: first("lookout.version", "org.opencontainers.image.version"),
	}
	if n.service == "" {
		n.service = name
	}
	if n.version == "" {
		n.version = tagOf(image)
	}
	return n
}

// tagOf returns the tag of an image's name ("registry:5000/shop/sales:1.2@sha256:…"), empty for none and for latest.
func tagOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	_, tag, _ := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
	if tag == "latest" || strings.HasPrefix(image, "sha256:") {
		return ""
	}
	return tag
}

// self is what tells the container lookout runs in: its whole id, or a host name that is the beginning of one.
type self struct{ id, hostname string }

func (s self) is(id string) bool {
	return s.id != "" && s.id == id || s.hostname != "" && strings.HasPrefix(id, s.hostname)
}

var (
	hexID     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	shortID   = regexp.MustCompile(`^[0-9a-f]{12}$`)
	idInGroup = regexp.MustCompile(`(?:^|[/-])([0-9a-f]{64})(?:\.scope)?$`)
)

// findSelf finds it in /proc/self/cgroup (version 1: 5:cpu:/docker/ID, or …/docker-ID.scope) and /proc/self/mountinfo, where
// Docker's own files of a container are mounted from …/containers/ID/ (a host sees such folders too, but not there), and
// else by the host name, which is the id's beginning unless one was given.
func findSelf(cgroup, mountinfo, hostname string) self {
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 || f[4] != "/etc/hostname" && f[4] != "/etc/hosts" && f[4] != "/etc/resolv.conf" {
			continue
		}
		if _, rest, ok := strings.Cut(f[3], "/containers/"); ok {
			if id, _, _ := strings.Cut(rest, "/"); hexID.MatchString(id) {
				return self{id: id}
			}
		}
	}
	for line := range strings.Lines(cgroup) {
		if m := idInGroup.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			return self{id: m[1]}
		}
	}
	if shortID.MatchString(hostname) {
		return self{hostname: hostname}
	}
	return self{}
}
