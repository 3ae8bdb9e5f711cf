#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 600
#
# A guest that fails must be seen to fail, however it does.

bats_require_minimum_version 1.5.0

setup()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	export VMTEST_KEEP_BASE=${VMTEST_KEEP_BASE:-}
}

@test "a command that succeeds does, and its output comes" {
	run --separate-stderr vmtest/run -- echo from the guest
	[ "$status" -eq 0 ]
	[ "$output" = "from the guest" ]
}

@test "a command that fails fails with its status" {
	run vmtest/run -- bash -c 'exit 37'
	[ "$status" -eq 37 ]
}

@test "a panic is a failure" {
	run vmtest/run -t 120 -- bash -c 'echo c >/proc/sysrq-trigger; sleep 60'
	[ "$status" -eq 125 ]
	[ "$SECONDS" -lt 120 ]
}

@test "a guest that hangs is ended, and is a failure" {
	run vmtest/run -t 40 -- sleep 1000
	[ "$status" -eq 124 ]
}

@test "a guest that goes without a word is a failure" {
	run vmtest/run -- bash -c 'echo o >/proc/sysrq-trigger; sleep 60'
	[ "$status" -eq 125 ]
}

@test "a complaint of the kernel is a failure" {
	run vmtest/run -- bash -c \
		'echo "WARNING: CPU: 0 PID: 1 at kernel/x.c:1 made up" >/dev/kmsg'
	[ "$status" -eq 126 ]
}

@test "a log that cannot be read is a failure" {
	run vmtest/splats "$BATS_TEST_TMPDIR/none"
	[ "$status" -ne 0 ]
	echo nothing of a boot >"$BATS_TEST_TMPDIR/log"
	run vmtest/splats "$BATS_TEST_TMPDIR/log"
	[ "$status" -ne 0 ]
	echo '[    0.0] Linux version 6.1' >"$BATS_TEST_TMPDIR/log"
	vmtest/splats "$BATS_TEST_TMPDIR/log"
	echo '[    9.0] BUG: unable to handle page fault' \
		>>"$BATS_TEST_TMPDIR/log"
	run vmtest/splats "$BATS_TEST_TMPDIR/log"
	[ "$status" -ne 0 ]
}
