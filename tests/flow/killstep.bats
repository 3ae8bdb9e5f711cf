#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Either daemon is killed before one chosen system call of a scripted life (see
# tests/lib/killstep.bash): here at a sample drawn by lot, of each call by name
# the first, the last and one in the middle, as many as the time allows.
#
# FLOW_STEPS=all	every call of the life instead (tests/long)
# FLOW_SECONDS=		for each daemon, 12

bats_require_minimum_version 1.5.0

load ../lib/flow
load ../lib/killstep

setup()
{
	flow_setup
	flow_seed
}

teardown()
{
	flow_teardown
}

# plan WHO: steps to try, in the order to try them
plan()
{
	local name n

	sort "$RIG/$1.steps" | uniq -c | while read -r n name; do
		if [ "${FLOW_STEPS:-}" = all ]; then
			seq 1 "$n"
		else
			printf '%s\n' 1 "$n" $((1 + n / 2)) | sort -un
		fi | sed "s/^/$name:/"
	done | shuf --random-source=<(yes "$SEED")
}

# What is left of one that failed must not spoil the next.
clear_away()
{
	daemon_stop source KILL
	daemon_stop replica KILL
	rig_untrack
}

killed_at_steps()
{
	local who=$1 step done=0 bad=0 all end

	steps_prepare
	steps_count "$who"
	plan "$who" >"$RIG/plan"
	all=$(wc -l <"$RIG/plan")
	end=$((SECONDS + ${FLOW_SECONDS:-12}))
	while read -r step && [ $SECONDS -lt $end ]; do
		steps_one "$who" "$step" || {
			bad=$((bad + 1))
			tail -n 20 "$RIG"/source.log "$RIG"/replica.log
			clear_away
		}
		done=$((done + 1))
	done <"$RIG/plan"
	echo "# $who: $done of $all steps, $bad bad" >&3
	[ $bad -eq 0 ]
	[ $done -ge 1 ]
	[ "${FLOW_STEPS:-}" != all ] || [ $done -eq "$all" ]
}

@test "a source killed at any step loses no promised point" {
	killed_at_steps source
}

@test "a replica killed at any step loses no promised point" {
	killed_at_steps replica
}

@test "the judge of killed steps says no" {
	local seq image

	steps_prepare
	# shellcheck disable=SC2034 # read there
	STEPS_WHO=source
	steps_fresh
	steps_start replica
	steps_start source
	steps_point
	steps_key ctl vol
	steps_key rctl web1/vol >/dev/null
	steps_judge
	read -r seq image <"$RIG/promised"
	# A point that nobody made.
	echo "9 $image" >>"$RIG/promised"
	run ! steps_points_are_right
	run ! steps_points_are_listed
	echo "$seq $image" >"$RIG/promised"
	steps_points_are_right
	# Another content.
	printf x | dd of="$image" bs=1 seek=77777 conv=notrunc status=none
	run ! steps_points_are_right
	# A change that no point has.
	steps_change
	run ! steps_points_are_listed
	# Files and pins that nobody owns.
	: >"$RIG/source-state/volumes/x.tmp"
	run ! steps_nothing_is_left
	rm "$RIG/source-state/volumes/x.tmp"
	steps_nothing_is_left
	echo more >>"$RIG/pins.first"
	run ! steps_pins_are_right
	# More sent than there is to send.
	# shellcheck disable=SC2034 # read there
	STEPS_SENT=-9000000
	run ! steps_hardly_anything_twice
	# A key that was cut short.
	truncate -s 20 "$STEPS_KEY"
	cp "$STEPS_KEY" "$RIG/key.rctl.0"
	echo >>"$RIG/key.rctl.0"
	run ! steps_keys_are_right
}
