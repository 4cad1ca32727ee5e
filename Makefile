# SPDX-License-Identifier: Apache-2.0
#
# The front door. meson and ninja do the work; each build directory is one set of options:
#
#   build         the release build, always       build-asan, -ubsan, -tsan   sanitizers
#   build-faults  with faults in system calls     build-clang, build-fuzz     clang
#
#   make                install what is missing, build build/walbrook (CC=clang, SQLITE=DIR, WERROR=1)
#   make demo           the main job end to end, for a person to read
#   make test           all tests (TORTURE_SECS=20, TESTS="test/e2e/10-byhand.t")
#   make bench          benchmarks against the named references (BENCH=quick: some minutes)
#   make torture        real writers, kill -9, restores (SECS=60, SEED=n)
#   make torture-live   a primary, followers, their readers; kill -9, cuts (SECS=60, SEED=n)
#   make asan ubsan tsan          tests under a sanitizer         make clang    build with clang, -Werror
#   make fuzz           every fuzz target (SECS=10)               make model    check the models (model/)
#   make fmt fmt-check lint       format, import directions, sources that the build does not know
#   make install uninstall        PREFIX=/usr/local, DESTDIR=     make strip    the size that is installed
#   make deb            a Debian package in build/deb, seen by lintian
#   make docs           the tables of docs/configuration.md
#   make clean

SHELL = /bin/sh
SEED ?=
BENCH ?=
TESTS ?=
SQLITE ?= system
PREFIX ?= /usr/local
TORTURE_SECS ?= 20

# A compiler that was asked for (CC=clang), not make's own default name.
ifeq ($(origin CC),default)
CC =
endif
export CC TORTURE_SECS

COMMON = -Dprefix=$(PREFIX) -Dsqlite=$(SQLITE)
OPTIONS = $(COMMON) -Dwerror=$(if $(WERROR),true,false)
# Sanitizers and -O1 make gcc warn of other things; the warnings that count are those of the release build.
SANITIZED = $(COMMON) -Doptimization=1
NEED = @scripts/install-deps
BUILD = @scripts/build

.PHONY: all demo test bench torture torture-live asan ubsan tsan clang faults fuzz model docs fmt fmt-check lint lint-imports \
	install uninstall deb strip clean

all:
	$(NEED) build
	$(BUILD) build $(OPTIONS) -- walbrook documents

demo: all
	$(NEED) demo
	@scripts/demo.sh build/walbrook

test: faults
	$(NEED) test
	$(BUILD) build $(OPTIONS)
	@scripts/test.sh build $(TESTS)

bench:
	$(NEED) bench
	$(BUILD) build $(OPTIONS)
	@bench/run.sh $(BENCH)

torture:
	$(NEED) test
	$(BUILD) build $(OPTIONS)
	@scripts/torture.sh build "$(or $(SECS),60)" $(SEED)

torture-live:
	$(NEED) test
	$(BUILD) build $(OPTIONS)
	@python3 test/live/torture.py -secs "$(or $(SECS),60)" $(if $(SEED),-seed $(SEED)) build

# The test build whose file-changing system calls can fail or stop the process: used by the crash tests.
faults:
	$(NEED) test
	$(BUILD) build-faults $(OPTIONS) -Dfaults=true

asan:
	$(NEED) test
	$(BUILD) build-asan $(SANITIZED) -Db_sanitize=address,undefined
	@scripts/test.sh build-asan $(TESTS)

ubsan:
	$(NEED) test
	$(BUILD) build-ubsan $(SANITIZED) -Db_sanitize=undefined
	@scripts/test.sh build-ubsan $(TESTS)

tsan:
	$(NEED) test
	$(BUILD) build-tsan $(SANITIZED) -Db_sanitize=thread
	@scripts/test.sh build-tsan $(TESTS)

clang:
	$(NEED) clang
	@CC=clang scripts/build build-clang $(OPTIONS) -Dwerror=true

fuzz:
	$(NEED) clang
	@CC=clang scripts/build build-fuzz $(SANITIZED) -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
	@scripts/fuzz.sh build-fuzz "$(or $(SECS),10)"

model:
	$(NEED) model
	@model/check.sh

# The tables of docs/configuration.md, from the table of options.
docs: all
	@build/tools/gendoc tables docs/configuration.md

fmt:
	$(NEED) format
	@scripts/format -i

fmt-check:
	$(NEED) format
	@scripts/format --dry-run -Werror

lint: fmt-check lint-imports
	@scripts/check-sources

lint-imports:
	@scripts/check-imports

install: all
	@meson install --quiet --strip --no-rebuild -C build $(if $(DESTDIR),--destdir "$(abspath $(DESTDIR))")

uninstall: all
	@scripts/uninstall build $(if $(DESTDIR),"$(abspath $(DESTDIR))")

deb:
	$(NEED) deb
	@scripts/deb build/deb

strip: all
	@scripts/size.sh build/walbrook

clean:
	rm -rf build build-asan build-ubsan build-tsan build-clang build-fuzz build-faults
