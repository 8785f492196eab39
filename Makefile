# Two commands matter: `make demo` and `make test`. Every target first installs what it needs; finished
# steps leave a stamp named for the content they came from, so that a second run is quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.toolchain/node/bin:$(PATH)
export NODE_NO_WARNINGS := 1

.PHONY: help demo up test check bench matrix package setup build clean docs fuzz

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install system packages, Node 24 and npm packages where they are missing
	@bash tools/setup.sh

build: setup ## setup, then build the BPF object, the recorder and the launcher
	@$(MAKE) --no-print-directory -s -C packages/kernel

demo: build ## a one-host cluster in a temporary folder, a real recorded session, and its evidence
	@node tools/demo.ts

up: build ## keep a one-host cluster running; prints how to log in
	@node tools/up.ts

check: build ## the fast loop: types, lint, shelves, generated files, unit tests, unused code
	@node tools/check.ts

test: build ## every test that can run here; ends with "N passed, N failed, N skipped"
	@bash tools/setup.sh test
	@node tools/run-tests.ts unit interop root e2e matrix

matrix: build ## the kernel matrix in QEMU
	@node tools/run-tests.ts matrix

bench: build ## measure, and write docs/reference/benchmarks.md
	@node bench/run.ts
	@node bench/cluster.ts
	@node bench/transfer.ts

package: build ## signed packages for both architectures, in dist/<version>/: .deb, tar.gz, npm
	@bash tools/setup.sh package
	@flock .build/package.lock node tools/package/main.ts $(if $(VERSION),--version=$(VERSION)) $(if $(ARCH),--arch=$(ARCH))

docs: build ## write the generated reference pages anew
	@node tools/gen-pages.ts

clean: ## remove what was built (not what was downloaded)
	@$(MAKE) --no-print-directory -s -C packages/kernel clean; rm -rf .build
