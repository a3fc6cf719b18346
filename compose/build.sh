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

image=$work/lookout
mkdir -p "$image/certs" "$image/data" "$image/token"
build "$image/lookout" ./cmd/lookout
# The certificates of Slack and Pushover are checked against these: the first that is there, as Go looks for them.
for certs in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem none; do
	[ -f "$certs" ] && break
done
if [ "$certs" = none ]; then
	echo "build.sh: no certificates of authorities on this machine: https to Slack and Pushover will fail; set SSL_CERT_FILE" >&2
	: >"$image/certs/ca-certificates.crt"
else
	cp "$certs" "$image/certs/ca-certificates.crt"
fi
docker build -q -f compose/Dockerfile --target host -t lookout "$image"

for service in customers sales; do
	mkdir "$work/$service"
	build "$work/$service/service" "./compose/demo/$service"
	docker build -q -f compose/demo/Dockerfile --target host -t "shop/$service" "$work/$service"
done
