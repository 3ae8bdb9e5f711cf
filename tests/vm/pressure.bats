#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 10800
#
# A processor that comes and goes, memory that is nearly full, and what
# stress-ng does beside it change nothing but speed: devices are judged by the
# same oracles, and a splat in the kernel's log is a failure.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=3300

pressed()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	vmtest/run -k "$1" -t 3000 -- env DEVICE_MIB=32 \
		tests/vm/pressure-guest 200 null_blk-timer null_blk-softirq dm-striped
}

@test "hot-plug and memory pressure on 6.1" {
	pressed 6.1
}

@test "hot-plug and memory pressure on 6.12" {
	pressed 6.12
}

@test "hot-plug and memory pressure on the newest kernel" {
	pressed new
}
