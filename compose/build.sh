#!/bin/sh
# Makes the images lookout, shop/customers and shop/sales without a registry: Go of this machine builds the binaries, Docker only copies
# them. compose.yaml takes these images when they are there.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

arch=${GOARCH:-$(docker version --format '{{.Server.Arch}}')}
VERSION=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || true)}
build() { # build OUTPUT PACKAGE
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o "$1" "$2"
}

image() { # image NAME DOCKERFILE FOLDER: what the Dockerfile's first stage makes lies in the folder
	sed '/^FROM golang/,/^$/d; s/--from=build //' "$2" >"$3/Dockerfile"
	docker build -q -t "$1" "$3"
}

lookout=$work/lookout
mkdir -p "$lookout/empty"
build "$lookout/lookout" ./cmd/lookout
# The certificates of Slack and Pushover are checked against these: the first that is there, where Go looks for them too.
for certificates in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
	[ -f "$certificates" ] && break
done
cp "$certificates" "$lookout/certificates" || {
	echo "build.sh: this machine has no certificates of authorities; set SSL_CERT_FILE to a file with some (curl.se/ca/cacert.pem)" >&2
	exit 1
}
image lookout compose/Dockerfile "$lookout"

for service in customers sales; do
	mkdir "$work/$service"
	build "$work/$service/service" "./compose/demo/$service"
	image "shop/$service" compose/demo/Dockerfile "$work/$service"
done
