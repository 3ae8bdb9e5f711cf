#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# `why`: what limits a volume, in sentences that are true in each state.

bats_require_minimum_version 1.5.0

load ../lib/flow

setup()
{
	flow_setup
}

teardown()
{
	flow_teardown
}

size=$((32 << 20))

# says CTL VOLUME SLUG [PATTERN]
says()
{
	"$1" --json why "$2" | jq -e --arg slug "$3" --arg like "${4:-}" \
		'any(.sentences[]; .slug == $slug and (.text | test($like)))'
}

silent_on()
{
	"$1" --json why "$2" | jq -e --arg slug "$3" \
		'all(.sentences[]; .slug != $slug)'
}

@test "protected, paused, disconnected, lagging, refused: each with its cause" {
	rig_loop vol $size
	DEV=$RIG/dev
	ln -s "${LOOP[vol]}" "$DEV"
	rig_replica >/dev/null
	rig_volume vol "$DEV" "interval = 100ms" "rpo = 2s"
	rig_source
	sync_point vol
	wait_for 10 volume_is vol protected
	says ctl vol protected "objective is 2.0 s"
	says ctl vol next-cut "100 ms"
	silent_on ctl vol link-down
	says rctl vol following
	says rctl web1/vol lag
	[[ $(ctl why vol) == "vol is protected"* ]]
	ctl --json why vol | jq -e '.volume == "vol" and
		(.sentences | all(keys == ["slug", "text"]))'
	fails 1 ctl why nobody
	fails 2 ctl why

	ctl pause vol
	says ctl vol paused "resume vol"
	silent_on ctl vol next-cut
	wait_for 5 says rctl vol disconnected "since 20"
	ctl resume vol
	sync_point vol

	daemon_stop replica
	wait_for 10 volume_is vol lagging
	says ctl vol lagging "objective of 2.0 s"
	wait_for 5 says ctl vol link-down "onnect"
	# Nothing moves, so nothing is said of a speed.
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 1 20
	silent_on ctl vol backlog-shrinks
	daemon_start replica
	sync_point vol
	wait_for 10 volume_is vol protected

	# Another device.
	daemon_stop source
	says rctl vol disconnected
	rig_loop other $size
	ln -sfn "${LOOP[other]}" "$DEV"
	daemon_start source
	wait_for 10 volume_is vol refused
	says ctl vol refused "device-changed"
	says ctl vol remedy "resync vol --yes vol"
	# None at all.
	daemon_stop source
	rm "$DEV"
	daemon_start source
	wait_for 10 volume_is vol failed
	says ctl vol failed "device-absent"
	silent_on ctl vol link-down
	# Nor has the replica's daemon heard of it since it started.
	daemon_stop replica
	daemon_start replica
	says rctl vol disconnected "since this daemon started"
}

@test "a backlog has the speed that was measured, and the limit that is set" {
	rig_loop vol 64MiB
	"$TOOLS/blocks" fill "${LOOP[vol]}" 0 $((64 << 20)) 1
	rig_replica >/dev/null
	rig_volume vol "${LOOP[vol]}" "read-limit = 4MiB/s"
	rig_source
	# In one answer: it takes two seconds.
	wait_for 10 eval "ctl --json why vol >$RIG/why &&
		grep -q backlog-shrinks $RIG/why"
	jq -r '.sentences[] | .slug + ": " + .text' "$RIG/why" | tee "$RIG/text"
	grep -qE 'backlog-shrinks: .* by [1-5]([.][0-9]+)? MiB/s' "$RIG/text"
	grep -q 'read-limit: .*the 4 MiB/s that' "$RIG/text"
	grep -q 'initializing: ' "$RIG/text"
	grep -q 'no-point: ' "$RIG/text"
	wait_for 10 says rctl vol initializing
}

@test "a replica without room is named at both ends" {
	rig_loop store 80MiB
	mkfs.ext4 -q "${LOOP[store]}"
	rig_mount "${LOOP[store]}" "$RIG/small"
	# shellcheck disable=SC2034 # for the rig
	RIG_STORE=$RIG/small/store
	flow_pair 128MiB "interval = 100ms" "rpo = 1s" "key-escrow = no"
	sync_point vol
	says ctl vol key-unsaved
	says rctl vol no-key
	"$TOOLS/blocks" fill "${LOOP[vol]}" 0 $((128 << 20)) 1
	wait_for 30 replica_is vol full
	says rctl vol store-full
	wait_for 20 says ctl vol replica-full
	daemon_stop source
}
