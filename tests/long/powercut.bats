#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 10800
#
# flow/powercut.bats at counts for which `make check` has no time.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=3600

# again FILTER
again()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	# Ours has bats' own directory in front.
	env -i PATH="${PATH//"$BATS_LIBEXEC:"/}" TMPDIR="${TMPDIR:-/var/tmp}" \
		TEST_RUN="${TEST_RUN:-}" BUILD="${BUILD:-build}" \
		FLOW_CUTS=10000 FLOW_POINTS=150 \
		bats --tap tests/flow/powercut.bats -f "$1" 3>&-
}

@test "10000 power cuts under ext4" {
	again 'under ext4'
}

@test "10000 power cuts under XFS" {
	again 'under XFS'
}

@test "10000 power cuts under btrfs" {
	again 'under btrfs'
}
