#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 3600
#
# The flow tests that draw lots, at counts for which `make check` has no time.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=2400

# again FILE FILTER VARIABLE...: in an environment of its own
again()
{
	local file=$1 filter=$2
	shift 2

	cd "$BATS_TEST_DIRNAME/../.." || return
	# Ours has bats' own directory in front.
	env -i PATH="${PATH//"$BATS_LIBEXEC:"/}" TMPDIR="${TMPDIR:-/var/tmp}" \
		TEST_RUN="${TEST_RUN:-}" BUILD="${BUILD:-build}" "$@" \
		bats --tap "tests/flow/$file.bats" -f "$filter" 3>&-
}

@test "500 kills of either daemon lose no promised point" {
	again kill 'kills of either daemon' FLOW_KILLS=500
}

@test "5000 points under dependent writers are legal" {
	again causal 'under dependent writers' FLOW_POINTS=5000
}

@test "200 laps of the audit beside a busy file system raise no alarm" {
	again audit 'no false alarm' FLOW_LAPS=200
}

@test "100 of 1000 points of a busy ext4 are clean and hold every change" {
	again ext4 'hold every durable change' FLOW_POINTS=1000 FLOW_IMAGES=100
}

@test "200 volumes of one daemon are copied, written at once, and come back" {
	again many 'written at once' FLOW_VOLUMES=200 FLOW_VOLUME_MIB=4 \
		TEST_SLOWER=4
}
