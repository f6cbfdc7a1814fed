# rqlited: `make run` builds and starts a node, `make test` runs every test.
# `make help` lists the rest.  Everything made goes below build/.

VERSION  := v1.0.0-dev
VARIANT  ?= release
BUILD    := build/$(VARIANT)
GEN      := build/gen
BIN      := $(if $(filter release,$(VARIANT)),build/bin,$(BUILD)/bin)
PREFIX   ?= /usr/local
COMMIT   := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
SHELL    := /bin/bash

# --- compiler -------------------------------------------------------------------------------
CC       ?= cc
WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wwrite-strings -Wundef -Wvla -Wformat=2 $(if $(CI),-Werror)
OPT_release := -O2
OPT_asan    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_tsan    := -O1 -fsanitize=thread
OPT_fuzz    := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
OPT_cov     := -O0 --coverage
FLAGS    := -std=c17 -D_GNU_SOURCE -g -fno-omit-frame-pointer -pthread $(OPT_$(VARIANT)) \
            -I. -I$(GEN) -I$(GEN)/llhttp $(EXTRA_FLAGS)
LIBS_PC  := sqlite3 libprotobuf-c libevent libevent_pthreads libnghttp2 libcurl jansson libssl libcrypto zlib libedit
PKG_CFLAGS = $(shell pkg-config --cflags $(LIBS_PC) 2>/dev/null)
PKG_LIBS   = $(shell pkg-config --libs $(1))
NODE_LIBS  = $(call PKG_LIBS,sqlite3 libprotobuf-c libevent libevent_pthreads libnghttp2 jansson libssl libcrypto zlib libcurl) -lcrypt -lm
CLI_LIBS   = $(call PKG_LIBS,libcurl jansson libedit) -lm
# The packages of design 9 by their Debian names; `make deps` installs what is missing.
PACKAGES := build-essential pkg-config libsqlite3-dev libprotobuf-c-dev protobuf-c-compiler libevent-dev \
            libnghttp2-dev node-llhttp libcurl4-openssl-dev libjansson-dev libssl-dev libcrypt-dev zlib1g-dev libedit-dev
PACKAGES_TEST := $(PACKAGES) libcmocka-dev clang libclang-rt-14-dev clang-format python3 python3-pytest python3-venv sqlite3 \
            nghttp2-client curl git openssl

# --- modules, lowest first: a module may include only those it names here (tests/lib/check-includes) ---
MODULES        := core/base core/tls core/auth core/raft core/wal core/snapshot core/db core/net core/node core/cluster gateway core/server cli
DEPS_core/base     :=
DEPS_core/tls      := core/base
DEPS_core/auth     := core/base
DEPS_core/raft     := core/base
DEPS_core/wal      := core/raft core/base
DEPS_core/snapshot := core/raft core/base
DEPS_core/db       := core/base
DEPS_core/net      := core/tls core/base proto
DEPS_core/node     := core/raft core/wal core/snapshot core/db core/net core/tls core/base proto
DEPS_core/cluster  := core/node core/auth core/raft core/wal core/snapshot core/db core/net core/tls core/base proto
DEPS_gateway       := core/auth core/db core/tls core/base proto llhttp
DEPS_core/server   := gateway core/cluster core/node core/auth core/raft core/wal core/snapshot core/db core/net core/tls core/base proto llhttp
DEPS_cli           := core/base

PROTO_GEN := $(patsubst proto/%.proto,$(GEN)/proto/%.pb-c.c,$(wildcard proto/*.proto))
PROTO_OBJ := $(PROTO_GEN:$(GEN)/%.c=$(BUILD)/gen/%.o)
LLHTTP_SRC := /usr/share/llhttp
LLHTTP_GEN := $(addprefix $(GEN)/llhttp/,api.c http.c llhttp.c)
LLHTTP_OBJ := $(LLHTTP_GEN:$(GEN)/%.c=$(BUILD)/gen/%.o)

SRC = $(wildcard $(1)/*.c) $(wildcard $(1)/api/*.c) $(wildcard $(1)/shell/*.c)
OBJ = $(patsubst %.c,$(BUILD)/%.o,$(call SRC,$(1)))
LIB = $(BUILD)/lib/$(subst /,-,$(1)).a
MAINS := core/server/main.c cli/rqlite.c cli/rqbench.c

BINARIES := $(addprefix $(BIN)/,rqlited rqlite rqbench)

.DEFAULT_GOAL := all
.SECONDARY:
.DELETE_ON_ERROR:

all: $(BINARIES) ## build build/bin/rqlited, rqlite and rqbench

# --- the two commands a visitor needs --------------------------------------------------------
run: deps ## install what is missing, build, start a node (ARGS="flags and data dir", default ./data)
	@$(MAKE) --no-print-directory all
	@exec $(BIN)/rqlited $(if $(ARGS),$(ARGS),data)

test: deps-test ## install what is missing, build, run every test (T=name runs only what matches)
	@VARIANT=$(VARIANT) T="$(T)" UPDATE="$(UPDATE)" bash tests/lib/run-tests

deps: ; @bash tests/lib/install-packages $(PACKAGES)
deps-test: ; @bash tests/lib/install-packages $(PACKAGES_TEST)
deps-console: ## install a browser, so that the console's tests run, too
	@bash tests/lib/install-packages chromium chromium-driver python3-selenium

# --- generated code --------------------------------------------------------------------------
$(GEN)/proto/%.pb-c.c $(GEN)/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(GEN)/proto
	protoc-c --c_out=$(GEN) -I. $<
$(GEN)/llhttp/%: $(LLHTTP_SRC)/%
	@mkdir -p $(GEN)/llhttp
	cp $< $@
$(GEN)/llhttp/llhttp.h: /usr/share/include/llhttp/llhttp.h
	@mkdir -p $(GEN)/llhttp
	cp $< $@
GENERATED := $(PROTO_GEN) $(PROTO_GEN:.c=.h) $(LLHTTP_GEN) $(GEN)/llhttp/llhttp.h $(GEN)/version.h $(GEN)/console_files.h
$(GEN)/version.h: Makefile FORCE
	@mkdir -p $(GEN)
	@printf '#define RQ_VERSION "%s"\n#define RQ_COMMIT "%s"\n' "$(VERSION)" "$(COMMIT)" > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
FORCE:
# The files of the console, each as an array of bytes.
$(GEN)/console_files.h: $(wildcard gateway/console/*)
	@mkdir -p $(GEN)
	@for f in $^; do \
	    echo "static const unsigned char console_$$(basename $$f | tr . _)[] = {"; \
	    od -An -v -tx1 $$f | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'; echo '};'; \
	done > $@.new && mv $@.new $@

# Strict: a chunk that does not end where its size says is an error (request smuggling).
$(LLHTTP_OBJ): FLAGS += -DLLHTTP_STRICT_MODE=1
# Generated and foreign code is compiled without our warnings: it is not ours to change.
$(BUILD)/gen/%.o: $(GEN)/%.c | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(PKG_CFLAGS) $(CFLAGS) -w -c -o $@ $<
$(BUILD)/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(WARN) $(WARN_$(<D)) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
# Where a silent conversion could lose an index or a length, every one is written out.
WARN_core/raft := -Wconversion
WARN_core/wal  := -Wconversion

$(BUILD)/lib/proto.a: $(PROTO_OBJ)
$(BUILD)/lib/llhttp.a: $(LLHTTP_OBJ)
$(BUILD)/lib/%.a: ; @mkdir -p $(@D); rm -f $@; $(AR) rcs $@ $^

define MODULE
$(call LIB,$(1)): $(filter-out $(MAINS:%.c=$(BUILD)/%.o),$(call OBJ,$(1)))
endef
$(foreach m,$(MODULES),$(eval $(call MODULE,$(m))))
include clients/c/build.mk

LIBS_OF = $(call LIB,$(1)) $(foreach d,$(DEPS_$(1)),$(call LIB,$(d)))

$(BIN)/rqlited: $(BUILD)/core/server/main.o $(call LIBS_OF,core/server)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(NODE_LIBS)
$(BIN)/rqlite $(BIN)/rqbench: $(BIN)/%: $(BUILD)/cli/%.o $(call LIBS_OF,cli)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(CLI_LIBS)

# --- unit tests: tests/unit/<module>/test_*.c, each a program ---------------------------------
UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)
# The module a test directory mirrors, and the libraries its programs are linked with.
UNIT_OF_gateway := gateway
UNIT_OF_cli     := cli
unit_module = $(if $(UNIT_OF_$(1)),$(UNIT_OF_$(1)),core/$(1))
define UNIT
$(patsubst %.c,$(BUILD)/%,$(1)): $(patsubst %.c,$(BUILD)/%.o,$(1)) $(call LIBS_OF,$(call unit_module,$(notdir $(patsubst %/,%,$(dir $(1))))))
	@mkdir -p $$(@D)
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $(NODE_LIBS) -ledit -lcmocka
endef
$(foreach t,$(UNIT_SRC),$(eval $(call UNIT,$(t))))
unit-build: $(UNIT_BIN)
unit: unit-build ## run the unit tests (T=name)
	@VARIANT=$(VARIANT) T="$(T)" bash tests/lib/run-unit

# --- the simulator -----------------------------------------------------------------------------
SIM_SRC := $(wildcard tests/sim/*.c) tests/lib/faulty_io.c
SIM_LIBS := $(foreach m,core/node core/raft core/wal core/snapshot core/db core/net core/tls core/base proto,$(call LIB,$(m)))
$(BUILD)/tests/sim/sim: $(SIM_SRC:%.c=$(BUILD)/%.o) $(SIM_LIBS)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(NODE_LIBS)

# The same around code that makes mistakes on purpose, to see that they are noticed.
MUTANT_SRC := $(SIM_SRC) $(wildcard core/raft/*.c) $(addprefix core/node/,walworker.c member.c applier.c images.c restart.c)
$(BUILD)/mutants/%.o: FLAGS += -DRAFT_MUTATIONS
$(BUILD)/mutants/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(WARN) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/tests/sim/sim-mutants: $(MUTANT_SRC:%.c=$(BUILD)/mutants/%.o) $(SIM_LIBS)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(NODE_LIBS)

# --- fuzzing (clang's libFuzzer): tests/fuzz/fuzz_*.c -------------------------------------------
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(FUZZ_SRC:%.c=build/fuzz/%)
fuzz-build: ; @$(MAKE) --no-print-directory CC=clang VARIANT=fuzz fuzz-bin
fuzz-bin: $(FUZZ_BIN)
FUZZ_LIBS := $(foreach m,$(filter-out cli,$(MODULES)) proto llhttp,$(BUILD)/lib/$(subst /,-,$(m)).a)
$(FUZZ_BIN): build/fuzz/%: build/fuzz/%.o $(FUZZ_LIBS)
	$(CC) $(FLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $< -Wl,--start-group $(FUZZ_LIBS) -Wl,--end-group $(NODE_LIBS)
fuzz: fuzz-build ## run the fuzz targets (T=name, SECONDS_EACH=n)
	@T="$(T)" SECONDS_EACH=$(or $(SECONDS_EACH),10) bash tests/lib/run-fuzz

# --- other targets ------------------------------------------------------------------------------
asan tsan: deps-test ## unit and system tests under sanitizers
	@VARIANT=$@ T="$(T)" bash tests/lib/run-tests
check: unit check-includes ## before a commit: unit tests, format, includes that point upwards
	@git ls-files '*.c' '*.h' | xargs -r clang-format --dry-run -Werror
check-includes: ; @python3 tests/lib/check-includes
format: ## clang-format every source
	@git ls-files '*.c' '*.h' | xargs -r clang-format -i
readme: all ## write the flags' tables into README.md
	@python3 tests/lib/readme-flags --write
bench: all ## measure the machine and the node in one run
	@python3 tests/bench/bench.py $(ARGS)
soak: deps-test all ## simulator, fuzzers and crash tests until told to stop
	@bash tests/lib/soak

install: all ## install binaries and man pages (PREFIX, DESTDIR)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 755 $(BINARIES) $(DESTDIR)$(PREFIX)/bin
	$(BIN)/rqlited -man > $(DESTDIR)$(PREFIX)/share/man/man8/rqlited.8
	$(BIN)/rqlite --man > $(DESTDIR)$(PREFIX)/share/man/man1/rqlite.1
	$(BIN)/rqbench -man > $(DESTDIR)$(PREFIX)/share/man/man1/rqbench.1

compile_commands.json: ## for editors
	@$(MAKE) --always-make --dry-run all | python3 tests/lib/compile-commands > $@
clean: ## remove build/
	rm -rf build
help: ## this list
	@grep -hE '^[a-z_. -]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 28

.PHONY: all run test deps deps-test deps-console unit unit-build fuzz fuzz-build fuzz-bin asan tsan check check-includes format readme bench soak install clean help FORCE

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
