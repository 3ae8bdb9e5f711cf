# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# One scripted life of a small volume, in which one daemon is killed before one
# chosen system call, and what must hold afterwards. After flow_setup:
#
#	steps_prepare		once in a test
#	steps_count WHO		a life without a kill; what WHO called, in
#				order, is in $RIG/WHO.steps
#	steps_one WHO STEP	kills WHO there (see tests/tools/killat) and
#				judges; 0: all is as it must be
#
# The life: both daemons start, an initial copy, points with a few changes
# between them, the key exported at either side, both daemons stop. Whoever is
# killed is started again, and what failed by that is asked for again. In the
# end both are started once more, for a last point.

STEPS_VOLUME_BYTES=$((4 << 20))
# Beyond a tenth of the volume: handshakes, fingerprints, the changes.
STEPS_SLACK_BYTES=$((512 << 10))
STEPS_WHO=
STEPS_STEP=
STEPS_KILLED=
STEPS_SEED=0

steps_prepare()
{
	rig_replica >/dev/null || return
	daemon_stop replica
	cp -a "$RIG/replica-state" "$RIG/replica-fresh"
	RIG_LINK_PORT=$(free_port)
	rig_spawn relay "$TOOLS/relay" "$RIG_LINK_PORT" "$RIG_PORT" \
		"$RIG/sent"
	wait_for 5 grep -q ready "$RIG/relay.out" || return
	rig_loop vol "$STEPS_VOLUME_BYTES"
	DEV=${LOOP[vol]}
	rig_volume vol "$DEV" "interval = 1h"
	rig_source_conf
}

# ---- daemons ----

steps_soon()
{
	local tries

	for ((tries = 0; tries < 2000; tries++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.01
	done
	echo "waited in vain for: $*"
	return 1
}

steps_gone()
{
	! kill -0 "${DAEMON[$1]}" 2>/dev/null
}

steps_up_or_gone()
{
	steps_gone "$1" || daemon_answers "$1"
}

# steps_start WHO [STEP]: 1 when it ended before it answered
steps_start()
{
	local who=$1 step=${2:-}
	local -a through=()

	# A leak checker cannot look while somebody watches.
	[ -z "$step" ] || through=(env "ASAN_OPTIONS=detect_leaks=0"
		"$TOOLS/killat" "$step" "$RIG/$who.steps")
	"${through[@]}" "$BUILD/understudyd" --config "$RIG/$who.conf" \
		>>"$RIG/$who.log" 2>&1 3>&- </dev/null &
	# shellcheck disable=SC2004 # its index is a name
	DAEMON[$who]=$!
	steps_soon steps_up_or_gone "$who" || return
	! steps_gone "$who"
}

# steps_may_be_killed WHO STATUS: once, by the one step
steps_may_be_killed()
{
	[ "$1" = "$STEPS_WHO" ] && [ -z "$STEPS_KILLED" ] && [ "$2" -eq 137 ]
}

# It has ended, and not by itself.
steps_reap()
{
	local rc=0

	wait "${DAEMON[$1]}" 2>/dev/null || rc=$?
	unset "DAEMON[$1]"
	steps_may_be_killed "$1" $rc || {
		echo "the $1 ended by itself, status $rc"
		return 1
	}
	STEPS_KILLED=1
}

# Started to be killed; if that came at once, then once more.
steps_begin()
{
	local who=$1 step=

	[ "$who" != "$STEPS_WHO" ] || step=$STEPS_STEP
	steps_start "$who" "$step" && return
	steps_reap "$who" && steps_start "$who"
}

# True when it had to be done.
steps_revive()
{
	if [ -n "$STEPS_KILLED" ] || ! steps_gone "$STEPS_WHO"; then
		return 1
	fi
	steps_reap "$STEPS_WHO" && steps_start "$STEPS_WHO"
}

# Until it succeeds; it may fail by the kill and for no other reason. A command
# at the source whose replica dies goes on when there is a replica again.
steps_do()
{
	local job rc=0 before=$STEPS_KILLED

	"$@" >"$RIG/said" 2>"$RIG/said.err" &
	job=$!
	while kill -0 $job 2>/dev/null; do
		steps_revive || sleep 0.005
	done
	wait $job || rc=$?
	[ $rc -ne 0 ] || return 0
	if [ -z "$before" ] && { [ -n "$STEPS_KILLED" ] ||
		steps_soon steps_gone "$STEPS_WHO"; }; then
		steps_revive
		"$@" >"$RIG/said" 2>"$RIG/said.err" && return
		rc=$?
	fi
	echo "exit $rc: $*"
	cat "$RIG/said" "$RIG/said.err"
	return 1
}

# steps_stop WHO: or it is killed as it stops
steps_stop()
{
	local rc=0

	kill -TERM "${DAEMON[$1]}" 2>/dev/null || true
	wait "${DAEMON[$1]}" 2>/dev/null || rc=$?
	unset "DAEMON[$1]"
	[ $rc -ne 0 ] || return 0
	steps_may_be_killed "$1" $rc || {
		echo "the $1 ended with status $rc"
		return 1
	}
	STEPS_KILLED=1
}

# ---- the life ----

steps_fresh()
{
	STEPS_KILLED=
	rm -rf "$RIG/source-state" "$RIG/replica-state" "$RIG/store" \
		"$RIG"/image.* "$RIG"/key.* "$RIG"/*.steps "$RIG"/*.log
	: >"$RIG/promised"
	cp -a "$RIG/replica-fresh" "$RIG/replica-state"
	"$TOOLS/blocks" fill "$DEV" 0 "$STEPS_VOLUME_BYTES" 1
	STEPS_SENT=$(cat "$RIG/sent" 2>/dev/null || echo 0)
}

steps_change()
{
	STEPS_SEED=$((STEPS_SEED + 1))
	"$TOOLS/blocks" scatter "$DEV" 0 "$STEPS_VOLUME_BYTES" $STEPS_SEED 6
}

# Nobody writes meanwhile: what was promised is what the device holds now.
steps_point()
{
	local seq

	steps_do ctl --json sync vol --timeout 20s "$@" || return
	seq=$(<"$RIG/said")
	seq=${seq##*\"seq\":}
	seq=${seq%%[,\}]*}
	seq=$((seq))
	dd if="$DEV" of="$RIG/image.$seq" bs=4M iflag=direct status=none ||
		return
	echo "$seq $RIG/image.$seq" >>"$RIG/promised"
}

# steps_key ctl|rctl VOLUME: into a file of its own each time it is tried
steps_key()
{
	STEPS_KEY=$RIG/key.$1.$RANDOM$RANDOM
	$1 key export "$2" --to "$STEPS_KEY"
}

steps_live()
{
	steps_begin replica &&
		steps_begin source &&
		steps_point &&
		steps_change &&
		steps_point --label one &&
		steps_do steps_key ctl vol &&
		steps_do steps_key rctl web1/vol &&
		steps_change &&
		steps_point &&
		steps_stop source &&
		steps_stop replica
}

steps_go_on()
{
	steps_start replica &&
		steps_start source &&
		steps_change &&
		steps_point
}

# ---- what must hold ----

steps_points_are_right()
{
	"$TOOLS/pointcmp" "$RIG/store" vol "$(steps_any_key)" <"$RIG/promised"
}

steps_any_key()
{
	local f

	for f in "$RIG"/key.ctl.*; do
		echo "$f"
		return
	done
}

# A key file that is there is whole, also that of an export that failed.
steps_keys_are_right()
{
	local f who want

	for who in ctl rctl; do
		want=
		for f in "$RIG/key.$who".*; do
			want=${want:-$f}
			cmp "$want" "$f" || return
		done
		[ -s "$want" ] || return
	done
}

# Every promised point is listed, and restores through the daemon as well.
steps_points_are_listed()
{
	local seq image

	rctl --json points vol >"$RIG/points" || return
	jq -r '.points[] | select(.state == "ok") | .seq' "$RIG/points" \
		>"$RIG/listed"
	while read -r seq image; do
		grep -qx "$seq" "$RIG/listed" || {
			echo "point $seq ($image) was promised, is not listed"
			return 1
		}
	done <"$RIG/promised"
	restored_equals vol "$DEV"
}

# So small a volume fits into the sockets' buffers, and what was in them when a
# daemon died is lost: what the replica did not have may be sent once more, and
# nothing else.
steps_hardly_anything_twice()
{
	local sent limit staged

	sent=$(($(cat "$RIG/sent") - STEPS_SENT))
	limit=$((STEPS_VOLUME_BYTES * 11 / 10 + STEPS_SLACK_BYTES))
	for staged in $(sed -n 's/.*session began, newest point 1:0, \([0-9]*\) bytes staged/\1/p' \
		"$RIG/replica.log" | tail -n +2); do
		[ "$staged" -ge $STEPS_VOLUME_BYTES ] ||
			limit=$((limit + STEPS_VOLUME_BYTES - staged))
	done
	[ $sent -le $limit ] || {
		echo "$sent bytes sent, $limit expected at most"
		return 1
	}
}

# Every segment is listed, no temporary file, one volume at either side.
# (Of a volume whose creation was cut off the source keeps the directory.)
steps_nothing_is_left()
{
	local left

	left=$(find "$RIG/source-state" "$RIG/replica-state" "$RIG/store" \
		-name '*.tmp' -o -name '*_new')
	[ -z "$left" ] || {
		echo "left behind: $left"
		return 1
	}
	left=$(find "$RIG/source-state/volumes" -name volume.json | wc -l)
	[ "$left" -eq 1 ] || {
		echo "$left volumes at the source"
		return 1
	}
	find "$RIG/store" -name '*.seg' | sed 's|.*/||; s|-||g; s|\.seg$||' |
		sort >"$RIG/segments.found"
	sqlite3 -readonly "$RIG/store/catalog.db" \
		"select lower(hex(segment)) from segments" |
		sort >"$RIG/segments.listed"
	diff "$RIG/segments.found" "$RIG/segments.listed"
}

# Pins of this rig's source: one directory, complete, and doctor knows whose.
steps_pins_are_right()
{
	local node dir

	node=$(<"$RIG/source-state/node")
	dir=/sys/fs/bpf/understudy-$node
	find "$dir" -mindepth 1 -printf '%f\n' |
		sed -E 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/UUID/' |
		sort >"$RIG/pins"
	[ -e "$RIG/pins.first" ] || cp "$RIG/pins" "$RIG/pins.first"
	diff "$RIG/pins.first" "$RIG/pins" || return
	ctl doctor "$DEV" >"$RIG/doctor" 2>&1 || true
	! grep -F "$RIG" "$RIG/doctor" | grep -i orphan
}

steps_untracked()
{
	local node

	node=$(<"$RIG/source-state/node")
	"$BUILD/understudyd" --config "$RIG/source.conf" --untrack \
		>>"$RIG/source.log" 2>&1 &&
		[ ! -e "/sys/fs/bpf/understudy-$node" ]
}

steps_judge()
{
	steps_keys_are_right &&
		steps_points_are_right &&
		steps_points_are_listed &&
		steps_hardly_anything_twice &&
		steps_nothing_is_left &&
		steps_pins_are_right
}

steps_one()
{
	STEPS_WHO=$1
	STEPS_STEP=$2
	steps_fresh
	if steps_live && steps_go_on && steps_judge &&
		steps_stop source && steps_untracked && steps_stop replica; then
		return 0
	fi
	echo "^ $1 killed at $2: $(tail -n 1 "$RIG/$1.steps")"
	return 1
}

steps_count()
{
	steps_one "$1" -
	[ -z "$STEPS_KILLED" ]
}
