#!/bin/sh
# Bundles the page into dist/, or into the folder that is given. Needs Go, Node.js and npm; what it writes is committed, so
# that nobody else needs them.
set -eu
cd "$(dirname "$0")"
out=${1:-dist}
# What npm noted of its last run is newer than what is asked for, or it runs again.
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --silent --no-audit --no-fund --prefer-offline --fetch-retries=5
fi
rm -rf "$out"
mkdir -p "$out"
go tool esbuild src/main.tsx src/style.css --bundle --minify --format=esm --target=es2022,chrome123,firefox121,safari17.5 \
	--jsx=automatic --jsx-import-source=preact --charset=utf8 --legal-comments=none --log-level=warning --outdir="$out"
cp src/index.html "$out/index.html"
