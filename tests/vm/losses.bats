#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 7200
#
# The ledger of losses in guests: what takes SCSI and NVMe disks, persistent
# memory, and kernels whose programs can be interrupted; and that what the host
# shows (flow/losses, flow/resize) holds on the other kernels too.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=3300

# guest KERNEL [RUN-ARG...] -- COMMAND...: all of it passed there
guest()
{
	local kernel=$1
	shift

	cd "$BATS_TEST_DIRNAME/../.." || return
	vmtest/run -k "$kernel" -t 3000 "$@" | tee "$BATS_TEST_TMPDIR/out"
	[ "${PIPESTATUS[0]}" -eq 0 ]
}

devices()
{
	truncate -s 8M "$BATS_TEST_TMPDIR/nvme"
	guest "$1" -a 'memmap=128M!1G' -q -drive \
		-q "file=$BATS_TEST_TMPDIR/nvme,if=none,id=nv,format=raw" \
		-q -device -q nvme,drive=nv,serial=nv -- \
		bats tests/vm/losses.guest
	run ! grep '^ok .* # skip' "$BATS_TEST_TMPDIR/out"
}

@test "commands, disks that go and DAX on 6.1" {
	devices 6.1
}

@test "commands, disks that go and DAX on 6.12" {
	devices 6.12
}

@test "commands, disks that go and DAX on the newest kernel" {
	devices new
}

@test "the host's ledger and changes of size on 6.1" {
	guest 6.1 -- tests/run flow/losses flow/resize
}

@test "the host's ledger and changes of size on the newest kernel" {
	guest new -- tests/run flow/losses flow/resize
}

# mapper KERNEL: none of it left out
mapper()
{
	guest "$1" -- tests/run flow/mapper
	[[ $(tail -n 1 "$BATS_TEST_TMPDIR/out") == *" 0 failed, 0 skipped" ]]
}

@test "another table under a device of the device mapper on 6.1" {
	mapper 6.1
}

@test "another table under a device of the device mapper on 6.12" {
	mapper 6.12
}

@test "another table under a device of the device mapper on the newest kernel" {
	mapper new
}
