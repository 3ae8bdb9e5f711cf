#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 7200
#
# Each daemon killed before every single system call of its life; about 900
# lives.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=3600

# every WHO
every()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	# Ours has bats' own directory in front.
	env -i PATH="${PATH//"$BATS_LIBEXEC:"/}" TMPDIR="${TMPDIR:-/var/tmp}" \
		TEST_RUN="${TEST_RUN:-}" BUILD="${BUILD:-build}" \
		FLOW_STEPS=all FLOW_SECONDS=3500 BATS_TEST_TIMEOUT=3600 \
		bats --tap tests/flow/killstep.bats -f "a $1 killed" 3>&-
}

@test "a source killed before each of its system calls" {
	every source
}

@test "a replica killed before each of its system calls" {
	every replica
}
