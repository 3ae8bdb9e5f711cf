#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 2400
#
# The part of tests/vm that `make check` runs: on each kernel that vmtest/kernels
# names the tests of the tracker, and causal chains and comparisons on a few
# devices, chosen for how they complete requests: in an interrupt, in a softirq,
# on several queues. Two guests at a time, where there are two processors.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=1400

# Points in all on one kernel, and at least.
POINTS=200

# guest KERNEL: leaves its output and status in $BATS_FILE_TMPDIR
guest()
{
	local out=$BATS_FILE_TMPDIR/$1

	vmtest/fetch "$1" >"$out.fetch" 2>&1 || {
		tail -n 1 "$out.fetch" >"$out.lacks"
		return
	}
	vmtest/run -k "$1" -t 700 -d 32M -- tests/vm/smoke-guest \
		>"$out.out" 2>&1
	echo $? >"$out.rc"
}

setup_file()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	export BUILD=${BUILD:-build}
	[ "$(uname -m)" = x86_64 ] ||
		lacks="the guests' kernels are those of x86_64"
	command -v qemu-system-x86_64 >/dev/null || lacks="no qemu-system-x86"
	command -v cpio >/dev/null || lacks="no cpio"
	export lacks=${lacks:-}
	[ -z "$lacks" ] || return 0
	export -f guest
	export BATS_FILE_TMPDIR
	printf '%s\n' 6.12 6.1 new |
		xargs -P "$(($(nproc) > 1 ? 2 : 1))" -I{} bash -c 'guest {}'
}

# judge KERNEL
judge()
{
	local out=$BATS_FILE_TMPDIR/$1

	cd "$BATS_TEST_DIRNAME/../.." || return
	[ -z "$lacks" ] || skip "$lacks"
	[ ! -e "$out.lacks" ] ||
		skip "the kernel cannot be fetched: $(cat "$out.lacks")"
	cat "$out.out"
	tests/vm/collect "check-$1" <"$out.out" | sed 's/^/# /' >&3
	[ "$(cat "$out.rc")" -eq 0 ]
	[ "$(jq -s 'map(.points // 0) | add' \
		"$BUILD/results/devices/check-$1.jsonl")" -ge $POINTS ]
}

@test "tracker and devices on 6.1" {
	judge 6.1
}

@test "tracker and devices on 6.12" {
	judge 6.12
}

@test "tracker and devices on the newest kernel" {
	judge new
}
