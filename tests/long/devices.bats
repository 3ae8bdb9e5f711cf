#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 14400
#
# Causal chains at counts for which neither `make check` nor guests have time,
# on devices of this host that anybody may make: one of requests, one of bios.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=14000

# Points in all.
POINTS=100000

@test "100000 points of dependent writers on this host are legal" {
	local rc=0

	cd "$BATS_TEST_DIRNAME/../.." || return
	BUILD=${BUILD:-build}
	tests/vm/devices -p $((POINTS / 2)) -t 3000 -o 1000 loop zram \
		>"$BATS_TEST_TMPDIR/out" 2>&1 || rc=$?
	tests/vm/collect host <"$BATS_TEST_TMPDIR/out" | sed 's/^/# /' >&3
	cat "$BATS_TEST_TMPDIR/out"
	[ "$rc" -eq 0 ]
	[ "$(jq -s 'map(.points // 0) | add' \
		"$BUILD/results/devices/host.jsonl")" -ge $POINTS ]
}
