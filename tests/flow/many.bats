#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Many volumes of one daemon: all of them are copied, written at the same time,
# and come back. And a very large one, of which nothing is copied.

bats_require_minimum_version 1.5.0

load ../lib/flow

VOLUMES=${FLOW_VOLUMES:-64}
MIB=${FLOW_VOLUME_MIB:-1}

setup()
{
	flow_setup
}

teardown()
{
	flow_teardown
}

each_volume()
{
	seq -f 'v%g' "$VOLUMES"
}

# Each of other noise.
many_volumes()
{
	local v

	rig_replica >/dev/null
	for v in $(each_volume); do
		rig_loop "$v" "${MIB}MiB"
		rig_volume "$v" "${LOOP[$v]}"
	done
	at_once fill
	rig_source
}

fill()
{
	"$TOOLS/blocks" fill "${LOOP[$1]}" 0 $((MIB << 20)) "${1#v}"
}

# all_are STATE: of every volume
all_are()
{
	[ "$(ctl --json status | jq "[.volumes[] | select(.state == \"$1\")] |
		length")" -eq "$VOLUMES" ]
}

# at_once COMMAND...: with the name of each volume after it; all must succeed
at_once()
{
	local v pids=()

	for v in $(each_volume); do
		"$@" "$v" >/dev/null 3>&- &
		pids+=($!)
	done
	for v in "${pids[@]}"; do
		wait "$v" || return
	done
}

scatter()
{
	"$TOOLS/blocks" scatter "${LOOP[$1]}" 0 $((MIB << 20)) $((SEED + ${1#v})) 20
}

comes_back()
{
	rctl restore "$1" --to "$RIG/$1.out" >/dev/null &&
		same_bytes "$RIG/$1.out" "${LOOP[$1]}"
}

@test "many volumes of one daemon are copied, written at once, and come back" {
	many_volumes
	wait_for 60 all_are protected
	flow_seed
	at_once scatter
	# More at a time than processors, or than a daemon once took.
	at_once ctl sync --timeout 60s
	at_once comes_back
	# One is not the other.
	run ! same_bytes "$RIG/v1.out" "${LOOP[v2]}"
	[ "$(rctl --json status | jq '[.volumes[] | select(.state ==
		"following")] | length')" -eq "$VOLUMES" ]
	run ! sh -c "'$BUILD/understudyctl' --config '$RIG/source.conf' \
		--json events | grep -q tracking-lost"
}

# block_is BYTES
block_is()
{
	[ "$(volume_field huge block_bytes)" = "$1" ]
}

@test "a device of 64 TiB is refused where its bitmaps do not fit, or gets larger blocks" {
	mkdir "$RIG/memory"
	mount -t tmpfs -o size=64m none "$RIG/memory"
	# shellcheck disable=SC2034 # rig_end reads it
	MOUNTED["$RIG/memory"]=1
	truncate -s 64T "$RIG/memory/huge.img"
	LOOP["huge"]=$(losetup -f --show "$RIG/memory/huge.img")
	rig_replica >/dev/null
	rig_volume huge "${LOOP[huge]}" "granularity = 4KiB"
	rig_source
	wait_for 20 volume_is huge refused
	field_is huge reason tracker-memory
	[[ $(volume_field huge message) == *"64 TiB in blocks of 4 KiB take"* ]]
	[[ $(volume_field huge remedy) == *"tracker-memory = 1"*"granularity"* ]]
	# It begins to be copied, which nobody waits for.
	sed -i '/^granularity/d' "$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 20 block_is $((1 << 20))
	wait_for 20 volume_is huge initializing
	ctl pause huge
}
