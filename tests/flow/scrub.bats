#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What is stored is read and checked while the daemons run: damage is named with
# the points that it concerns, remembered, and healed by a resync.

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

# Three points of 8 MiB each; the second is overwritten by the third.
three_points()
{
	flow_pair $size "interval = 1h" "rpo = 2h" "key-escrow = no" \
		"audit = off"
	"$TOOLS/blocks" fill "$DEV" 0 $((8 << 20)) 1
	wait_for 30 volume_is vol protected
	sync_point vol
	"$TOOLS/blocks" fill "$DEV" $((8 << 20)) $((8 << 20)) 2
	SECOND=$(sync_point vol)
	"$TOOLS/blocks" fill "$DEV" $((8 << 20)) $((8 << 20)) 3
	THIRD=$(sync_point vol)
	SEGMENT=$(find "$RIG/store/volumes" -name '*.seg')
	[ -n "$SEGMENT" ]
}

# scrub_says EXIT JQ-CONDITION [ARG...]
scrub_says()
{
	local rc=0 want=$1 condition=$2

	shift 2
	rctl --json scrub vol "$@" >"$RIG/scrub.json" || rc=$?
	cat "$RIG/scrub.json"
	[ $rc -eq "$want" ] && jq -e "$condition" "$RIG/scrub.json" >/dev/null
}

@test "a sound store is called sound, with and without the key" {
	three_points
	ctl key export vol --to "$RIG/vol.key"
	scrub_says 0 ".damaged_points == 0 and .findings == [] and
		.with_key == false and .opened_units == 0 and
		.points >= 3 and .read_bytes > 16000000 and .loose_bytes == 0"
	scrub_says 0 ".with_key and .opened_units > 256 and
		.unopened_units == 0 and .findings == []" --key "$RIG/vol.key"
	[[ $(rctl scrub vol) == *"no damage"*"seals were not checked"* ]]
	rctl --json events | jq -es 'any(.slug == "scrubbed")'
}

@test "a flipped byte is named with its points, kept over a restart, and healed" {
	local offset

	three_points
	# In the middle of what the newest point brought.
	offset=$(($(stat -c %s "$SEGMENT") - (3 << 20)))
	flip_byte "$SEGMENT" $offset
	scrub_says 1 ".error.code == \"damaged\" and .error.damaged_points == 1 and
		(.error.findings | length) == 1 and .error.findings[0].what == \"data\" and
		.error.findings[0].first_seq == $THIRD and
		.error.findings[0].segment_offset <= $offset and
		.error.findings[0].segment_offset + .error.findings[0].segment_bytes
			> $offset and (.error.remedy | contains(\"resync\"))"
	[ "$(point_field vol "$THIRD" state)" = damaged ]
	[ "$(point_field vol "$SECOND" state)" = ok ]
	# It is what a restore meets.
	ctl key export vol --to "$RIG/vol.key"
	fails 1 rctl restore "vol@$THIRD" --to "$RIG/out" --key "$RIG/vol.key"
	[[ $output == *segment* ]]
	rctl restore "vol@$SECOND" --to "$RIG/out2" \
		--key "$RIG/vol.key"
	daemon_stop replica
	daemon_start replica
	[ "$(point_field vol "$THIRD" state)" = damaged ]
	# The source still has the bytes.
	wait_for 30 volume_is vol protected
	ctl resync vol --yes vol
	wait_for 60 volume_is vol protected
	HEALED=$(sync_point vol)
	[ "$(point_field vol "$HEALED" state)" = ok ]
	[ "$(point_field vol "$THIRD" state)" = damaged ]
	restored_equals "vol@$HEALED" "$DEV" --key "$RIG/vol.key"
	scrub_says 1 ".error.damaged_points >= 1 and .error.findings[0].first_seq == $THIRD"
}

@test "it is given at the replica, and a key of another volume is refused" {
	three_points
	fails 1 ctl scrub vol
	[[ $output == *"at its replica"* ]]
	ctl key export vol --to "$RIG/vol.key"
	sed -i 's/^/x/' "$RIG/vol.key"
	fails 1 rctl scrub vol --key "$RIG/vol.key"
	[[ $output == *key* ]]
	fails 2 rctl scrub vol --rate fast
	[[ $output == *"no rate"* ]]
	fails 1 rctl scrub none
	[[ $output == *"no such volume"* ]]
}

slow_scrub()
{
	exec "$BUILD/understudyctl" --socket "$RIG/replica.sock" \
		--progress=json scrub vol --rate 1KiB/s
}

scrub_is_under_way()
{
	grep -q '"read"' "$RIG/slow_scrub.out"
}

scrub_was_canceled()
{
	rctl --json events | jq -es \
		'any(.slug == "scrub-failed" and .reason == "canceled")'
}

@test "a scrub that nobody waits for any more ends" {
	three_points
	rig_spawn_function slow_scrub
	wait_for 10 scrub_is_under_way
	rig_kill slow_scrub || true
	wait_for 10 scrub_was_canceled
}
