package docker

import (
	"strings"
	"testing"
)

func TestNameOf(t *testing.T) {
	type m = map[string]string
	for _, c := range []struct {
		name   string
		labels m
		called string
		image  string
		want   naming
	}{
		{"plain", nil, "web", "nginx:1.27", naming{"web", "", "1.27"}},
		{"compose 1.29", m{"com.docker.compose.project": "shop", "com.docker.compose.service": "sales", "com.docker.compose.container-number": "2", "com.docker.compose.version": "1.29.2"},
			"shop_sales_2", "shop_sales", naming{"sales", "shop", ""}},
		{"compose 2", m{"com.docker.compose.project": "shop", "com.docker.compose.service": "sales", "com.docker.compose.version": "2.30.0", "com.docker.compose.image": "sha256:1"},
			"shop-sales-2", "shop-sales:v7", naming{"sales", "shop", "v7"}},
		{"Swarm", m{"com.docker.swarm.service.name": "shop_sales", "com.docker.stack.namespace": "shop", "com.docker.swarm.task.name": "shop_sales.1.x"},
			"shop_sales.1.x", "r.example.com/sales:3@sha256:0123", naming{"shop_sales", "shop", "3"}},
		{"Swarm without a stack", m{"com.docker.swarm.service.name": "web1"}, "web1.1.x", "web", naming{"web1", "", ""}},
		{"ours before all", m{"lookout.service": "pay", "lookout.env": "prod", "lookout.version": "9", "com.docker.compose.service": "x", "com.docker.compose.project": "y",
			"com.docker.swarm.service.name": "z", "org.opencontainers.image.version": "8"}, "n", "i:7", naming{"pay", "prod", "9"}},
		{"stack before project", m{"com.docker.stack.namespace": "s", "com.docker.compose.project": "p"}, "n", "", naming{"n", "s", ""}},
		{"the image's own version", m{"org.opencontainers.image.version": "2.1"}, "n", "i:7", naming{"n", "", "2.1"}},
		{"empty labels are none", m{"lookout.service": "", "com.docker.compose.service": "a", "lookout.env": ""}, "n", "", naming{"a", "", ""}},
	} {
		if got := nameOf(c.labels, c.called, c.image); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	for image, want := range map[string]string{
		"": "", "nginx": "", "nginx:latest": "", "nginx:1.2": "1.2", "registry:5000/shop": "", "registry:5000/shop:1.2": "1.2",
		"registry:5000/a/b:v1@sha256:00": "v1", "nginx@sha256:00": "", "sha256:0123456789ab": "", "[::1]:5000/x": "", "ghcr.io/a/b:main-abc": "main-abc",
	} {
		if got := tagOf(image); got != want {
			t.Errorf("the tag of %q is %q", image, got)
		}
	}
}

func TestFindSelf(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	other := strings.Repeat("fedcba9876543210", 4)
	mount := func(root, at string) string { return "511 500 254:0 " + root + " " + at + " rw - ext4 /dev/vda rw\n" }
	for _, c := range []struct {
		name, cgroup, mountinfo, hostname string
		want                              self
	}{
		{"a host", "0::/init.scope\n", mount("/", "/"), "vm", self{}},
		{"cgroup 1", "5:cpu:/docker/" + id + "\n4:memory:/docker/" + id + "\n", "", "web", self{id: id}},
		{"systemd's cgroups", "1:name=systemd:/system.slice/docker-" + id + ".scope\n", "", "web", self{id: id}},
		{"a pod", "5:cpu:/kubepods/burstable/pod1/" + id + "\n", "", "web", self{id: id}},
		{"cgroup 2", "0::/\n", mount("/", "/") + mount("/var/lib/docker/containers/"+id+"/hostname", "/etc/hostname"), "web", self{id: id}},
		{"mounts before cgroup", "5:cpu:/docker/" + other + "\n", mount("/d/containers/"+id+"/resolv.conf", "/etc/resolv.conf"), "", self{id: id}},
		{"a host sees its containers' folders", "0::/\n", mount("/var/lib/docker/containers/"+other+"/mounts/shm", "/var/lib/docker/containers/"+other+"/mounts/shm"), "vm", self{}},
		{"only a host name", "0::/\n", "", id[:12], self{hostname: id[:12]}},
		{"a host name that is none", "0::/\n", "", "abcdefghijkl", self{}},
		{"rubbish", "\x00\n:::\n", "a b\n", "", self{}},
	} {
		got := findSelf(c.cgroup, c.mountinfo, c.hostname)
		if got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
		if got.is(other) || got.is(id) != (c.want != self{}) {
			t.Errorf("%s: takes another for itself", c.name)
		}
	}
}
