#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 10800
#
# What depends on the kernel, on each of those that vmtest/kernels names:
# tracker, cut engine and devices under the causal-chain oracle, and a volume
# protected, lost and restored by both daemons. Without hardware virtualisation
# a guest is some ten times slower than its host.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=3300

# guest KERNEL: the smoke set there; its counts are this file's output
guest()
{
	local last

	cd "$BATS_TEST_DIRNAME/../.." || return
	vmtest/run -k "$1" -t 3000 -- tests/run root/ flow/protect |
		tee "$BATS_TEST_TMPDIR/out"
	[ "${PIPESTATUS[0]}" -eq 0 ]
	last=$(tail -n 1 "$BATS_TEST_TMPDIR/out")
	[[ $last == *" 0 failed,"* ]]
	echo "# $1: $last" >&3
}

@test "tracker, cut and devices on 6.1" {
	guest 6.1
}

@test "tracker, cut and devices on 6.12" {
	guest 6.12
}

@test "tracker, cut and devices on the newest kernel" {
	guest new
}
