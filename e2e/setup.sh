#!/bin/sh
# Gets what the real tests need: a C compiler (go test -race), Node.js with the GELF client gelf-pro and the logger pino, a Docker engine.
# As root on Debian or Ubuntu it installs; elsewhere it names what is missing. With CI set, missing is failing.
set -u
cd "$(dirname "$0")"
missing=""
updated=""
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# A mirror or a registry that is away for a moment is asked again. What was said last is in $said.
again() { # again COMMAND…
	for pause in 5 15 60; do
		"$@" >"$said" 2>&1 && return
		! grep -q 'Unable to locate package\|no installation candidate' "$said" || return
		sleep $pause
	done
	"$@" >"$said" 2>&1
}

# Another apt may be at work on a machine that has just been started.
apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"; }

need() { # need COMMAND PACKAGES…
	command -v "$1" >/dev/null 2>&1 && return
	cmd=$1
	shift
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		echo "setup: installing $*"
		[ -n "$updated" ] || again apt -o APT::Update::Error-Mode=any update || cat "$said" >&2
		updated=1
		# Programs are wanted, not servers that run from now on: while this file says 101, no package starts one.
		policy=/usr/sbin/policy-rc.d
		if [ -e $policy ]; then policy=""; else printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy; fi
		again apt install -y --no-install-recommends "$@" || cat "$said" >&2
		[ -z "$policy" ] || rm -f "$policy"
	fi
	command -v "$cmd" >/dev/null 2>&1 || missing="$missing $cmd($*)"
}

need gcc gcc libc6-dev
need node nodejs
need npm npm
need chromium chromium # the page's tests
need dockerd docker.io iptables cgroupfs-mount
need docker docker-cli # a package of its own in newer releases
need docker-compose docker-compose
need busybox busybox-static
need nginx nginx-light # in front of the demo's services
need ip iproute2
need amtool prometheus-alertmanager # it talks to lookout as to an Alertmanager
need fish fish # completion is typed into real shells; bash is the other
# A machine without systemd may have no cgroups mounted: no container starts there.
if [ "$(id -u)" = 0 ] && command -v cgroupfs-mount >/dev/null 2>&1 && ! grep -q ' /sys/fs/cgroup ' /proc/mounts; then
	echo "setup: mounting cgroups"
	cgroupfs-mount
fi
if command -v npm >/dev/null 2>&1 && ! { [ -d clients/node_modules/gelf-pro ] && [ -d clients/node_modules/pino ]; }; then
	echo "setup: npm ci in e2e/clients"
	cd clients
	again npm ci --no-audit --no-fund || { cat "$said" >&2; missing="$missing gelf-pro,pino(npm ci in e2e/clients)"; }
	cd ..
fi
# The modules too, so that no test waits for a proxy.
modules() { (cd .. && go list -deps -test ./... tool && cd e2e/clients/gogelf && go list -deps .); }
if command -v go >/dev/null 2>&1; then
	again modules || { cat "$said" >&2; missing="$missing modules(go list -deps -test ./... in the root and in e2e/clients/gogelf)"; }
fi
if [ -n "$missing" ]; then
	echo "setup: missing:$missing" >&2
	echo "setup: the tests that need it are left out; install it (in brackets: Debian's packages), or run as root on Debian or Ubuntu" >&2
	[ -z "${CI:-}" ] || exit 1
fi
exit 0
