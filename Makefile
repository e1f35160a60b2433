# What to run: `make help`.

GO      ?= go
FUZZTIME ?= 10s
BIN     := dist/tbcert

# Debian's mosquitto lives in /usr/sbin, which is not in every user's PATH.
export PATH := $(PATH):/usr/sbin

# Node.js with npm; another's packages of them are not to be replaced.
NODE_PACKAGES := $(shell command -v npm >/dev/null 2>&1 || echo nodejs npm)

# Debian packages that the tests talk to, and a command of each that shows it is there.
TEST_PACKAGES := mosquitto mosquitto-clients openssl default-jdk-headless gcc libc6-dev ca-certificates postgresql python3-venv nginx libnginx-mod-stream haproxy stunnel4 dropbear-bin dnsmasq-base prometheus libxml2-utils systemd chromium g++ libssl-dev libgnutls28-dev libmbedtls-dev libwolfssl-dev libbearssl-dev zbar-tools librsvg2-bin unzip knot softhsm2 opensc $(NODE_PACKAGES)
TEST_COMMANDS := mosquitto mosquitto_pub openssl keytool javac gcc g++ python3 nginx haproxy stunnel4 dropbear dnsmasq promtool xmllint systemd-analyze chromium zbarimg rsvg-convert unzip knotd keymgr softhsm2-util pkcs11-tool node npm cargo

.PHONY: help build test deps lint bench interop fuzz demo clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

build: ## the binary, dist/tbcert
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN) ./cmd/tbcert

demo: ## the whole story in a temporary directory, with Go alone
	@CGO_ENABLED=0 $(GO) run ./cmd/tbcert demo

# The race detector's own pause at the end of a process is a second, and the tests start thousands.
test: deps ## install what the tests need, then run them all
	$(GO) vet ./...
	$(GO) vet -tags bench,pkcs11 ./cmd ./certs/hsm
	GORACE=atexit_sleep_ms=10 $(GO) test -race -timeout 18m ./...

deps: ## the real components that the tests talk to (Debian packages)
	@missing=; for c in $(TEST_COMMANDS); do command -v $$c >/dev/null 2>&1 || missing="$$missing $$c"; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	ls /usr/lib/nginx/modules/ngx_stream_module.so >/dev/null 2>&1 || missing="$$missing libnginx-mod-stream"; \
	for h in openssl/ssl.h gnutls/gnutls.h mbedtls/ssl.h wolfssl/ssl.h bearssl/bearssl.h; do \
	  echo "#include <$$h>" | gcc -E - >/dev/null 2>&1 || missing="$$missing $$h"; done; \
	python3 -c 'import ensurepip' >/dev/null 2>&1 || missing="$$missing python3-venv"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	packages="$(TEST_PACKAGES)"; command -v cargo >/dev/null 2>&1 || packages="$$packages cargo-web"; \
	echo "The tests need$$missing: installing $$packages"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	export DEBIAN_FRONTEND=noninteractive; \
	$$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $$packages >/dev/null

lint: ## the linter, as pinned in go.mod
	$(GO) tool golangci-lint run ./...
	$(GO) mod tidy -diff

bench: deps ## measure against the peers and write docs/benchmarks.md
	$(GO) test -tags bench -count 1 -timeout 60m -run TestBenchmarks ./cmd -args -write

interop: deps ## devices with real TLS stacks against a server; write docs/compatibility.md
	$(GO) test -count 1 -run TestInterop ./cmd -args -interop

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p; \
	  done; done

clean: ## remove what was built
	rm -rf dist
	$(GO) clean -testcache
