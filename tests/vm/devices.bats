#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 32400
#
# Every kind of device on every kernel that vmtest/kernels names: causal chains,
# byte for byte, discards, a partition; see tests/lib/devices.bash for the kinds
# and tests/tools/devjudge.c for what judges. `make devices-table` writes what
# came out into docs/devices.md.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=10800

# Points in all on one kernel.
POINTS=5000

setup()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	. tests/lib/devices.bash
}

# judge_all KERNEL
judge_all()
{
	local kinds tracked=0 kind release rc

	release=$(cat "$(vmtest/fetch "$1")/release")
	read -ra kinds <<<"${DEVICE_KINDS//[[:space:]]/ }"
	for kind in "${kinds[@]}"; do
		[ "$(device_expect "$kind" "$release")" != tracked ] ||
			tracked=$((tracked + 1))
	done
	# A tenth more is judged on a partition; not all kinds are everywhere.
	vmtest/run -k "$1" -t 10000 -d 64M -n 64M -a 'memmap=64M!1G' -- \
		tests/vm/devices -p $((POINTS / (tracked - 2) + 1)) \
		"${kinds[@]}" >"$BATS_TEST_TMPDIR/out" 2>&1
	rc=$?
	tests/vm/collect "$1" <"$BATS_TEST_TMPDIR/out" | sed 's/^/# /' >&3
	cat "$BATS_TEST_TMPDIR/out"
	[ "$rc" -eq 0 ]
	[ "$(jq -s 'map(.points // 0) | add' \
		"${BUILD:-build}/results/devices/$1.jsonl")" -ge $POINTS ]
}

@test "devices on 6.1" {
	judge_all 6.1
}

@test "devices on 6.12" {
	judge_all 6.12
}

@test "devices on the newest kernel" {
	judge_all new
}
