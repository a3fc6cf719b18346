# Everything a developer or CI runs. `make test` is all that CI does.

GO        ?= go
PACKAGES  := ./...
KILLS     ?= 200
FUZZTIME  ?= 1h
# How long the store's answers are compared with brute force, beside the other tests.
DIFFERENTIAL ?= 2m
# Property tests draw the same cases each time, so that a change fails by what it changed. RAPID_SEED=0 make test draws others.
export RAPID_SEED ?= 1

.PHONY: run test setup lint unit bench torture fuzz

run:
	$(GO) run ./cmd/lookout serve

# As root on Debian or Ubuntu installs what the real tests need; elsewhere says what is missing and how to get it.
setup:
	@sh e2e/setup.sh

test: setup lint unit

lint:
	@out="$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))"; test -z "$$out" || { echo "gofmt would change: $$out"; exit 1; }
	$(GO) vet $(PACKAGES)
	$(GO) tool staticcheck $(PACKAGES)
	for os in darwin windows; do GOOS=$$os $(GO) vet ./cmd/lookout && GOOS=$$os $(GO) build -o /dev/null ./cmd/lookout || exit 1; done

# The end-to-end tests have the machine for themselves: real clients and engines do not wait for what else runs.
unit:
	$(GO) test -race -timeout 20m $$($(GO) list $(PACKAGES) | grep -v '/e2e$$')
	$(GO) test -race -timeout 20m ./e2e
	$(GO) test ./index -run '^TestDifferential$$' -differential=$(DIFFERENTIAL)

# The figures of docs/performance.md, one line each.
bench:
	$(GO) run ./e2e/bench

# Kills a loaded server and checks that nothing acknowledged is lost or doubled, and no alert lost.
torture:
	$(GO) test ./e2e -run 'TestKill' -count=1 -v -timeout 2h -kills $(KILLS)

# Every fuzz target in turn, each for FUZZTIME. Minimizing is cut short: a run that ends within it fails for no reason.
fuzz:
	@for p in $$($(GO) list $(PACKAGES)); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p || exit 1; \
	  done; done
