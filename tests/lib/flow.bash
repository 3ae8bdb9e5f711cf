# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What flow tests share: a rig for each test, and words for what they ask.
# After a failure the daemons' logs are shown.

# shellcheck source=tests/lib/rig.bash
. "$BATS_TEST_DIRNAME/../lib/rig.bash"

flow_setup()
{
	[ "$(id -u)" = 0 ] || skip "needs root"
	cd "$BATS_TEST_DIRNAME/../.." || return
	# Short: a socket's path has little room.
	rig_begin "$(mktemp -d "${TMPDIR:-/var/tmp}/rig-XXXXXX")"
}

flow_teardown()
{
	local rc=0

	[ -n "$RIG" ] || return 0
	rig_end || true
	[ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 30 "$RIG"/*.log
	flow_sanitizers_are_silent || rc=1
	rm -rf --one-file-system "$RIG"
	return $rc
}

# Of a build that has them: what they say is in the daemons' logs.
flow_sanitizers_are_silent()
{
	! grep -A 30 -E 'Sanitizer|runtime error:' "$RIG"/*.log
}

# A replica, and a source of one volume "vol" on a loop device of this size.
flow_pair()
{
	local size=$1
	shift

	rig_loop vol "$size"
	DEV=${LOOP[vol]}
	rig_replica >/dev/null
	rig_volume vol "$DEV" "$@"
	rig_source
}

# The seed of a test that draws lots; TEST_SEED repeats one.
flow_seed()
{
	SEED=${TEST_SEED:-$((RANDOM * 32768 + RANDOM))}
	RANDOM=$((SEED % 32768))
	echo "# seed $SEED" >&3
}

# sync_point VOLUME [ARG...]: makes a point, prints its number
sync_point()
{
	ctl sync --timeout $((30 * ${TEST_SLOWER:-1}))s "$@"
}

# point_field VOLUME SEQ FIELD
point_field()
{
	rctl --json points "$1" |
		jq -r ".points[] | select(.seq == $2) | .$3"
}

counter()
{
	ctl --json status "$1" | jq -r ".volumes[0].counters.$2"
}

# field_is VOLUME FIELD VALUE: of status at the source
field_is()
{
	[ "$(volume_field "$1" "$2")" = "$3" ]
}

# at the replica: replica_field VOLUME FIELD
replica_field()
{
	rctl --json status "$1" | jq -r ".volumes[0].$2"
}

replica_is()
{
	[ "$(replica_field "$1" state)" = "$2" ]
}

# more POINTS than before, made by the daemon itself
points_after()
{
	[ "$(volume_field "$1" last_point.seq)" -gt "$2" ]
}

# restored_equals VOLUME FILE-OR-DEVICE [RESTORE-ARG...]
restored_equals()
{
	local volume=$1 with=$2
	shift 2

	rm -f "$RIG/restored"
	rctl restore "$volume" --to "$RIG/restored" "$@" >/dev/null || return
	same_bytes "$RIG/restored" "$with"
}

# flip_byte FILE OFFSET
flip_byte()
{
	local was

	was=$(od -An -tu1 -j "$2" -N 1 "$1")
	# shellcheck disable=SC2059 # the byte is the format
	printf "\\x$(printf %02x $((was ^ 255)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
	sync "$1"
}

# shellcheck disable=SC2154 # run sets status and output
# fails EXIT COMMAND...: it exits so; what it said is in $output
fails()
{
	local want=$1
	shift

	run "$@"
	if [ "$status" -ne "$want" ]; then
		echo "exit $status, not $want: $*"
		echo "$output"
		return 1
	fi
}
