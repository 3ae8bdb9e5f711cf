#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 5400
#
# Every tenth point of long runs of XFS and btrfs.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=2400

# run_of FILTER: in an environment of its own
run_of()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	# Ours has bats' own directory in front.
	env -i PATH="${PATH//"$BATS_LIBEXEC:"/}" TMPDIR="${TMPDIR:-/var/tmp}" \
		TEST_RUN="${TEST_RUN:-}" BUILD="${BUILD:-build}" \
		FLOW_POINTS=1000 FLOW_IMAGES=100 FLOW_LOTS=100 \
		bats --tap "tests/flow/$1.bats" -f "$2" 3>&-
}

@test "100 of 1000 points of a busy XFS are clean and hold every change" {
	run_of filesystems 'points of a busy XFS'
}

@test "100 of 1000 points of a busy btrfs are clean and hold every change" {
	run_of filesystems 'points of a busy btrfs'
}

@test "the independent reader agrees about 100 stores made by lot" {
	run_of reader 'made by lot'
}
