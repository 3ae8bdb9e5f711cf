# SPDX-License-Identifier: Apache-2.0
#
# Understudy. `make help` lists what can be made; CONTRIBUTING.md explains.
#
# Sources and tests are found by wildcard: adding a file edits no list.
# Everything is written under $(BUILD); a sanitizer or fault build goes into a
# directory of its own below it, so that builds never mix.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

comma := ,
empty :=
space := $(empty) $(empty)

# ---- what a caller may set ----

BUILD ?= build
# address,undefined or thread
SAN ?=
FUZZ ?=
# 1: fault points, see agent/base/fault.h
FAULT ?=
WERROR ?=
V ?=
PREFIX ?= /usr/local
DESTDIR ?=
# A part of the tree while another part does not compile.
LAYERS ?= base wire pki net store device tracker source replica control freeze

ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
CLANG ?= clang
LLVM_STRIP ?= llvm-strip
BPFTOOL ?= $(shell command -v bpftool || echo /usr/sbin/bpftool)
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
LDFLAGS ?=

variant := $(subst $(space),-,$(strip $(if $(FAULT),fault) \
	$(subst $(comma),-,$(SAN))))
B := $(BUILD)$(if $(variant),/$(variant))
GEN := $(B)/gen

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n' $(1) '$(2)'
MAKEFLAGS += --no-print-directory
endif

# ---- flags ----

PKGS := libbpf liburing libnl-3.0 libnl-genl-3.0 openssl libzstd liblz4 \
	libxxhash sqlite3 jansson inih smartcols libmicrohttpd mount blkid \
	libcap-ng

# Asked for when the first recipe needs it, not when this file is read: the
# packages may be installed by the same run of make.
pkg = $(or $(shell $(PKG_CONFIG) $(1)),$(error libraries are missing, see \
	above: run "sudo make deps"))
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(call pkg,--cflags $$(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(call pkg,--libs $$(PKGS)))$(PKG_LIBS)

# Tests may be clients of NBD.
TEST_LIBS = $(eval TEST_LIBS := $$(call pkg,--libs libnbd))$(TEST_LIBS)

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wimplicit-fallthrough $(if $(WERROR),-Werror)
INCLUDES := -Iagent -Ibpf -I$(GEN)
HARDEN := -fstack-protector-strong $(if $(SAN),,-D_FORTIFY_SOURCE=2)
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer \
	-fno-sanitize-recover=all)

ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE $(WARN) $(HARDEN) -fPIC -pthread \
	$(SAN_FLAGS) $(if $(FAULT),-DUS_FAULT) $(INCLUDES) $(PKG_CFLAGS) \
	$(CFLAGS)
ALL_LDFLAGS = -pthread -Wl,--as-needed -Wl,-z,relro,-z,now $(SAN_FLAGS) $(LDFLAGS)
DEPFLAGS = -MMD -MP -MF $(@:.o=.d)

BPF_ARCH := $(shell uname -m | sed -e 's/x86_64/x86/' -e 's/aarch64/arm64/' \
	-e 's/ppc64.*/powerpc/' -e 's/s390x/s390/' -e 's/riscv64/riscv/')
BPF_CFLAGS = -target bpf -mcpu=v3 -O2 -g -D__TARGET_ARCH_$(BPF_ARCH) \
	-Wall -Wextra -Wno-unused-parameter $(if $(WERROR),-Werror) \
	$(if $(FAULT),-DUS_FAULT) -Ibpf -I$(GEN)

# ---- what there is ----

is_main := %_main.c %/main.c
layer_src = $(filter-out $(is_main),$(wildcard agent/$(1)/*.c))
objs = $(patsubst %.c,$(B)/%.o,$(1))

LIBS := $(foreach l,$(LAYERS),$(if $(call layer_src,$(l)),$(B)/lib/$(l).a))
CTL_SRC := $(filter-out $(is_main),$(wildcard ctl/*.c))
CTL_LIB := $(if $(CTL_SRC),$(B)/lib/ctl.a)
TEST_LIB := $(if $(wildcard tests/lib/*.c),$(B)/lib/tests.a)
NBD_SRC := $(wildcard agent/nbd/*.c)

# A program is a main: agent/<layer>/X_main.c or ctl/X_main.c makes X.
MAIN_SRC := $(wildcard $(LAYERS:%=agent/%/*_main.c) ctl/*_main.c)
PROGRAMS := $(patsubst %_main,$(B)/%,$(basename $(notdir $(MAIN_SRC))))
ifneq ($(wildcard ctl/main.c),)
PROGRAMS += $(B)/understudyctl
endif
PLUGIN := $(if $(NBD_SRC),$(B)/nbdkit-understudy-plugin.so)

SKELS := $(patsubst bpf/%.bpf.c,$(GEN)/%.skel.h,$(wildcard bpf/*.bpf.c))

test_programs = $(patsubst %.c,$(B)/%,$(wildcard $(1)))
UNIT_TESTS := $(call test_programs,tests/unit/test_*.c)
ROOT_TESTS := $(call test_programs,tests/root/test_*.c)
TEST_TOOLS := $(call test_programs,tests/tools/*.c)
TEST_BENCH := $(call test_programs,tests/bench/*.c)
HARNESS_TESTS := $(call test_programs,tests/harness/*.c)
# Loaded by another program: nbdkit, or ld.so.
TEST_MODULES := $(patsubst %.c,$(B)/%.so,$(wildcard tests/powercut/*.c))
FUZZERS := $(call test_programs,tests/fuzz/fuzz_*.c)
TEST_PROGRAMS := $(UNIT_TESTS) $(ROOT_TESTS) $(TEST_TOOLS) $(TEST_BENCH) \
	$(HARNESS_TESTS)

# ---- building ----

.PHONY: all tests unit-tests test-tools
all: $(PROGRAMS) $(PLUGIN)
	@:
tests: $(TEST_PROGRAMS) $(TEST_MODULES)
	@:
unit-tests: $(UNIT_TESTS)
	@:
test-tools: $(TEST_TOOLS) $(TEST_MODULES)
	@:

.PHONY: FORCE
FORCE:

# Files that change only when what they say does; objects and archives depend
# on them, so that other flags or a removed source rebuild what they must.
define stamp
	@mkdir -p $(@D)
	@printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' >$@
endef

$(B)/flags: FORCE
	$(call stamp,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))

$(B)/%.o: %.c $(B)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(EXTRA_CFLAGS) $(DEPFLAGS) -c -o $@ $<

# Whoever may include a skeleton waits for all of them once; after that the
# dependency files know which object uses which.
$(call objs,$(wildcard agent/tracker/*.c agent/source/*.c \
	agent/control/*.c ctl/*.c)): | $(SKELS)
$(ROOT_TESTS:=.o) $(TEST_TOOLS:=.o) $(TEST_BENCH:=.o): | $(SKELS)

$(B)/tests/%.o: EXTRA_CFLAGS = -I. -Itests -Itests/lib
$(B)/ctl/%.o: EXTRA_CFLAGS = -I.
# nbdkit's registration macro defines a function without declaring it.
$(B)/agent/nbd/%.o: EXTRA_CFLAGS = -Wno-missing-prototypes

define archive
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@
	$(Q)$(AR) rcsD $@ $(filter %.o,$^)
endef

define archive_rule
$(B)/lib/$(1).list: FORCE
	$$(call stamp,$(2))
$(B)/lib/$(1).a: $(call objs,$(2)) $(B)/lib/$(1).list
	$$(archive)
endef

$(foreach l,$(LAYERS),$(eval $(call archive_rule,$(l),$(call layer_src,$(l)))))
$(eval $(call archive_rule,ctl,$(CTL_SRC)))
$(eval $(call archive_rule,tests,$(wildcard tests/lib/*.c)))

define link
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(1) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(PKG_LIBS) $(LINK_LIBS)
endef

define program_rule
$(patsubst %_main.c,$(B)/%,$(notdir $(1))): $(call objs,$(1)) $(LIBS) \
	$(if $(filter ctl/%,$(1)),$(CTL_LIB))
	$$(call link)
endef
$(foreach m,$(MAIN_SRC),$(eval $(call program_rule,$(m))))

ifneq ($(wildcard ctl/main.c),)
$(B)/understudyctl: $(B)/ctl/main.o $(CTL_LIB) $(LIBS)
	$(call link)
endif

# nbdkit itself gives the nbdkit_* symbols; ours stay inside.
$(B)/nbdkit-understudy-plugin.so: $(call objs,$(NBD_SRC)) $(LIBS)
	$(call link,-shared -Wl$(comma)--exclude-libs$(comma)ALL)

$(TEST_PROGRAMS): LINK_LIBS = $(TEST_LIBS)
$(TEST_PROGRAMS): $(B)/%: $(B)/%.o $(TEST_LIB) $(CTL_LIB) $(LIBS)
	$(call link)

# nbdkit's registration macro again.
$(B)/tests/powercut/%.o: EXTRA_CFLAGS = -Wno-missing-prototypes
$(TEST_MODULES): $(B)/%.so: $(B)/%.o
	$(call link,-shared)

# ---- BPF ----

BTF := /sys/kernel/btf/vmlinux
.PRECIOUS: $(GEN)/%.bpf.o $(GEN)/%.skel.h $(GEN)/vmlinux.h $(B)/%.o

$(GEN)/vmlinux.h:
	$(call say,BTF,$@)
	@mkdir -p $(@D)
	@test -r $(BTF) || { echo "error: $(BTF) is absent: the BPF programs" \
		"need a kernel built with CONFIG_DEBUG_INFO_BTF=y" >&2; exit 1; }
	$(Q)$(BPFTOOL) btf dump file $(BTF) format c >$@

$(GEN)/%.bpf.o: bpf/%.bpf.c $(GEN)/vmlinux.h $(B)/bpf-flags
	$(call say,BPF,$<)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MF $(GEN)/$*.bpf.d -c -o $@ $<
	$(Q)$(LLVM_STRIP) -g $@

$(B)/bpf-flags: FORCE
	$(call stamp,$(CLANG) $(BPF_CFLAGS))

$(GEN)/%.skel.h: $(GEN)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< >$@

# ---- tests and judgement ----

.PHONY: check check-long check-unit check-layers lint fuzz bench demo coverage
# All processors, unless the caller said -j.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

# The makes inside see the packages that deps has just installed.
define build_for_check
	+$(Q)$(MAKE) $(PARALLEL) all tests
	+$(Q)$(MAKE) $(PARALLEL) SAN=address,undefined unit-tests fuzz-targets
endef

# Without the emulator, or a network to fetch it by, guests are skipped.
deps_for_guests = +$(Q)$(MAKE) deps-vm || echo 'no guests: see above'

check: deps
	$(deps_for_guests)
	$(build_for_check)
	$(Q)BUILD=$(BUILD) tests/run

check-long: deps deps-vm
	$(build_for_check)
	+$(Q)$(MAKE) $(PARALLEL) SAN=thread unit-tests
	$(Q)BUILD=$(BUILD) tests/run --long

# Tests in guests with other kernels: make vm KERNEL=6.1 TEST=root/test_tracker
.PHONY: vm check-vm devices-table
KERNEL ?= 6.1
TEST ?= root/
vm: deps
	$(if $(shell command -v qemu-system-x86_64),,+$(Q)$(MAKE) deps-vm)
	+$(Q)$(MAKE) $(PARALLEL) all tests
	$(Q)BUILD=$(BUILD) vmtest/run -k $(KERNEL) -t 3000 -- tests/run $(TEST)

check-vm: deps deps-vm
	+$(Q)$(MAKE) $(PARALLEL) all tests
	$(Q)BUILD=$(BUILD) tests/run --long vm/

# docs/devices.md, from what check-long or check-vm has found.
devices-table:
	$(Q)BUILD=$(BUILD) tests/vm/table

# Of this build's flavour: make SAN=thread check-unit
check-unit: $(UNIT_TESTS)
	$(Q)BUILD=$(B) tests/run --unit

check-layers:
	$(Q)tests/layers/check-layers

COVERAGE_DIR := $(BUILD)/coverage
coverage: deps
	@mkdir -p $(COVERAGE_DIR)
	$(Q)$(CC) -c -o $(COVERAGE_DIR)/gcov_exit.o tests/coverage/gcov_exit.c
	+$(Q)$(MAKE) $(PARALLEL) BUILD=$(COVERAGE_DIR) \
		CFLAGS='-O0 -g -U_FORTIFY_SOURCE --coverage \
		-fprofile-update=atomic' LDFLAGS='--coverage \
		-Wl$(comma)--wrap=_exit $(abspath $(COVERAGE_DIR))/gcov_exit.o' \
		unit-tests fuzz-targets
	$(Q)BUILD=$(COVERAGE_DIR) tests/coverage/run

SHELL_FILES = $(shell find .ci tests vmtest docs -type f 2>/dev/null | \
	while read -r f; do case $$f in (*.bats|*.bash|*.sh) echo "$$f";; \
	(*) head -c 64 "$$f" | head -n 1 | grep -aqE '^\#!.*\b(ba)?sh\b' && \
	echo "$$f";; esac; done)

lint:
	$(Q)echo 'shellcheck'
	$(Q)shellcheck -x $(SHELL_FILES)
	$(Q)echo 'cppcheck'
	$(Q)cppcheck --quiet --std=c11 --language=c --inline-suppr \
		--enable=warning,performance,portability --error-exitcode=1 \
		--suppressions-list=tests/lint/cppcheck.txt \
		-D_GNU_SOURCE -Iagent -Ibpf agent ctl
	$(Q)find agent ctl bpf tests -name '*.[ch]' | xargs clang-format \
		--dry-run 2>&1 | grep -c 'code should be clang-formatted' | \
		sed 's/.*/clang-format: & places differ (advice)/' || true

# Plain builds run the fuzz targets over their corpus; FUZZ=1 (clang) makes
# fuzzers of them.
.PHONY: fuzz-targets
fuzz-targets: $(FUZZERS)
	@:
ifeq ($(FUZZ),1)
$(FUZZERS): $(B)/%: $(B)/%.o $(CTL_LIB) $(LIBS)
	$(call link,-fsanitize=fuzzer)
else
$(FUZZERS): $(B)/%: $(B)/%.o $(B)/tests/fuzz/replay.o $(CTL_LIB) $(LIBS)
	$(call link)
endif

FUZZ_SECONDS ?= 60
FUZZ_DIR := $(BUILD)/fuzz
fuzz:
	$(if $(FUZZERS),,@echo 'fuzz: tests/fuzz has no fuzz_*.c' >&2; exit 1)
	+$(Q)$(MAKE) $(PARALLEL) CC=$(CLANG) BUILD=$(FUZZ_DIR) FUZZ=1 \
		SAN=address,undefined CFLAGS='-O1 -g -fsanitize=fuzzer-no-link' \
		fuzz-targets
	$(Q)FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run \
		$(FUZZ_DIR)/address-undefined/tests/fuzz

bench: deps
	+$(Q)$(MAKE) $(PARALLEL) all test-tools $(TEST_BENCH)
	$(Q)if [ -x tests/bench/run ]; then BUILD=$(BUILD) tests/bench/run; \
	else echo 'bench: tests/bench/run is not there' >&2; exit 1; fi

demo: deps
	+$(Q)$(MAKE) $(PARALLEL) all test-tools
	$(Q)if [ -x tests/demo/run ]; then BUILD=$(BUILD) tests/demo/run; \
	else echo 'demo: tests/demo/run is not there' >&2; exit 1; fi

# ---- packages ----

DEPS := gcc make git pkg-config clang llvm clang-format cppcheck \
	shellcheck libclang-rt-dev bpftool libbpf-dev liburing-dev libnl-3-dev \
	libnl-genl-3-dev libssl-dev libzstd-dev liblz4-dev libxxhash-dev \
	libsqlite3-dev libjansson-dev libinih-dev libsmartcols-dev \
	libmicrohttpd-dev libmount-dev libblkid-dev libcap-ng-dev libc6-dev \
	nbdkit nbdkit-plugin-dev libnbd-dev libnbd-bin qemu-utils bats spin fio \
	postgresql sqlite3 jq openssl rsync strace parted fdisk e2fsprogs \
	xfsprogs btrfs-progs util-linux bsdextrautils mount kmod procps \
	iproute2 curl dmsetup ca-certificates python3 python3-cryptography \
	python3-zstandard python3-lz4 python3-xxhash gcovr

# For guests: the emulator, and what a guest gets of this machine.
DEPS_VM := qemu-system-x86 cpio xz-utils zstd mdadm lvm2 stress-ng

# Asks dpkg first: when nothing is missing the network is not touched.
define install
	@command -v dpkg-query >/dev/null || { \
		echo 'deps: no dpkg here; install what the lists DEPS and' \
		'DEPS_VM in the Makefile name' >&2; exit 1; }; \
	missing=; for p in $(1); do \
		case "$$(dpkg-query -W -f '$${Status}' "$$p" 2>/dev/null)" in \
		*' ok installed') ;; *) missing="$$missing $$p";; esac; done; \
	[ -z "$$missing" ] && exit 0; \
	echo "deps: installing$$missing"; \
	[ "$$(id -u)" = 0 ] || { echo 'deps: needs root:' \
		"run \"sudo make $@\"" >&2; exit 1; }; \
	export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a; \
	apt-get update -qq </dev/null && \
	apt-get install -y -qq --no-install-recommends \
		-o Dpkg::Use-Pty=0 $$missing </dev/null
endef

.PHONY: deps deps-vm
deps:
	$(call install,$(DEPS))
deps-vm:
	$(call install,$(DEPS_VM))

# ---- the rest ----

MAN := $(wildcard docs/man/*.[1-8])
NBDKIT_PLUGINDIR ?= $(shell $(PKG_CONFIG) --variable=plugindir nbdkit || \
	echo $(PREFIX)/lib/nbdkit/plugins)

.PHONY: install
install: all
	$(Q)set -e; for p in $(PROGRAMS); do case $$p in \
		*ctl) d=bin;; *) d=sbin;; esac; \
		install -D -m 755 $$p $(DESTDIR)$(PREFIX)/$$d/$${p##*/}; done
	$(Q)set -e; for p in $(PLUGIN); do install -D -m 755 $$p \
		$(DESTDIR)$(NBDKIT_PLUGINDIR)/$${p##*/}; done
	$(Q)set -e; for m in $(MAN); do install -D -m 644 $$m \
		$(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

.PHONY: clean help
clean:
	$(Q)rm -rf $(BUILD)

help:
	@echo 'all            programs and the nbdkit plugin (default)'
	@echo 'deps           install the Debian packages (root)'
	@echo 'check          deps, build, every test'
	@echo 'check-long     as check, and the tests that take long'
	@echo 'vm             tests/run TEST= in a guest with KERNEL= (vmtest/kernels)'
	@echo 'check-vm       tests in guests with each kernel'
	@echo 'devices-table  write into docs/devices.md what check-vm found'
	@echo 'check-unit     unit tests of this build'
	@echo 'check-layers   who includes whom'
	@echo 'coverage       lines and branches of store and wire that tests reach'
	@echo 'lint           shellcheck, cppcheck, clang-format as advice'
	@echo 'fuzz           run each fuzz target for FUZZ_SECONDS'
	@echo 'bench          measure; writes $(BUILD)/bench.json'
	@echo 'demo           protect a volume, lose it, bring it back'
	@echo 'install        DESTDIR= PREFIX='
	@echo 'clean'
	@echo 'V=1 commands; WERROR=1; CC=clang; SAN=address,undefined or thread;'
	@echo 'FAULT=1 fault points; BUILD=dir; LAYERS="base wire" part of the tree'

-include $(shell [ -d $(B) ] && find $(B) -name '*.d')
