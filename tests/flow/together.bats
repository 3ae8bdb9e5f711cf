#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Volumes of a group: their points are of one moment. A chain of writes that
# hops between three devices (tests/tools/hop.c) holds in every point that they
# have in common, and does not where one of them is of another moment.

bats_require_minimum_version 1.5.0

load ../lib/flow

POINTS=${FLOW_GROUP_POINTS:-100}

setup()
{
	flow_setup
}

teardown()
{
	flow_teardown
}

# group_pair [LINE...]: a replica, and a source of the group "shop" of db1, wal1
# and log1
group_pair()
{
	local v

	rig_replica >/dev/null
	for v in db1 wal1 log1; do
		rig_loop $v 16MiB
		printf '[volume %s]\ndevice = %s\n' $v "${LOOP[$v]}" \
			>>"$RIG/volumes.conf"
	done
	printf '[group shop]\nvolumes = db1 wal1 log1\nreplicas = dr1\n' \
		>>"$RIG/volumes.conf"
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$RIG/volumes.conf"
	rig_source
}

all_are()
{
	volume_is db1 "$1" && volume_is wal1 "$1" && volume_is log1 "$1"
}

group_points()
{
	rctl --json points shop | jq '.points | length'
}

group_points_at_least()
{
	[ "$(group_points)" -ge "$1" ]
}

hopping_writers()
{
	rig_spawn writers "$TOOLS/hop" write "${PAUSE:-200}" "${LOOP[db1]}" \
		"${LOOP[wal1]}" "${LOOP[log1]}"
}

keys()
{
	local v

	for v in db1 wal1 log1; do
		ctl key export $v --to "$RIG/$v.key" >/dev/null
	done
}

same_as_devices()
{
	local v

	rm -rf "$RIG/out"
	mkdir "$RIG/out"
	rctl restore shop --to "$RIG/out" --key "$RIG/db1.key" \
		--key "$RIG/wal1.key" --key "$RIG/log1.key" >/dev/null
	for v in db1 wal1 log1; do
		same_bytes "${LOOP[$v]}" "$RIG/out/$v.img"
	done
}

@test "a chain that hops between three devices holds in every point of the group" {
	group_pair "interval = 50ms"
	wait_for 60 all_are protected
	keys
	hopping_writers
	wait_for $((120 + POINTS)) group_points_at_least "$POINTS"
	rig_kill writers
	run "$TOOLS/hop" points "$RIG/store" "$RIG" db1 wal1 log1
	echo "$output"
	[ "$status" -eq 0 ]
	echo "# $output" >&3
	# The oracle objects where one device is of another moment.
	run -1 "$TOOLS/hop" stitched "$RIG/store" "$RIG" db1 wal1 log1
	# And all of it is there in the end.
	ctl sync shop --timeout 60s >/dev/null
	same_as_devices
}

@test "sync of a group makes one point of all its members, with the label" {
	local before after v

	group_pair "interval = 1h"
	wait_for 60 all_are protected
	keys
	dd if=/dev/urandom of="${LOOP[wal1]}" bs=64K count=3 seek=9 \
		oflag=direct status=none
	before=$(rctl --json points shop | jq '.points[-1].seq')
	after=$(ctl --json sync shop --label before-sale --timeout 60s |
		tee "$RIG/sync.json" | jq .seq)
	[ "$after" -gt "$before" ]
	[ "$(jq -r .group "$RIG/sync.json")" = shop ]
	[ "$(rctl --json points shop | jq -r '.points[-1].label')" = before-sale ]
	[ "$(rctl --json points shop | jq '.points[-1].members | length')" = 3 ]
	for v in db1 wal1 log1; do
		[ "$(rctl --json points $v | jq -r \
			'.points[-1].group.name')" = shop ]
	done
	same_as_devices
	# A member's own wish is the group's.
	before=$(group_points)
	ctl sync db1 --timeout 60s
	wait_for 20 group_points_at_least $((before + 1))
	[ "$(volume_field db1 group)" = shop ]
}

@test "without one of its members a group makes no point, and says whom it waits for" {
	local before

	group_pair "interval = 100ms"
	wait_for 60 all_are protected
	keys
	hopping_writers
	wait_for 60 group_points_at_least 3
	ctl pause wal1
	wait_for 20 volume_is wal1 paused
	before=$(rctl --json points db1 | jq '.points[-1].seq')
	run ! ctl sync shop --timeout 2s
	[[ $output == *"not all 3 members"* ]]
	[ "$(rctl --json points db1 | jq '.points[-1].seq')" -le \
		$((before + 1)) ]
	wait_for 20 field_is db1 limited_by group
	ctl resume wal1
	before=$(group_points)
	wait_for 60 group_points_at_least $((before + 5))
	rig_kill writers
	"$TOOLS/hop" points "$RIG/store" "$RIG" db1 wal1 log1
	ctl sync shop --timeout 60s >/dev/null
	same_as_devices
}

@test "a daemon killed again and again leaves only whole points of the group" {
	local before

	group_pair "interval = 50ms"
	wait_for 60 all_are protected
	keys
	hopping_writers
	for _ in {1..6}; do
		before=$(group_points)
		wait_for 60 group_points_at_least $((before + 4))
		daemon_stop source KILL || true
		daemon_start source
	done
	before=$(group_points)
	wait_for 60 group_points_at_least $((before + 4))
	rig_kill writers
	"$TOOLS/hop" points "$RIG/store" "$RIG" db1 wal1 log1
	ctl sync shop --timeout 60s >/dev/null
	same_as_devices
}

@test "what one member alone got durable is in a point of the group before it counts" {
	local before

	group_pair "interval = 100ms"
	wait_for 60 all_are protected
	keys
	hopping_writers
	wait_for 60 group_points_at_least 5
	# Killed somewhere between the members' commits, and then nobody writes.
	for _ in {1..8}; do
		daemon_stop source KILL || true
		daemon_start source
		before=$(group_points)
		wait_for 60 group_points_at_least $((before + 1))
	done
	daemon_stop source KILL || true
	rig_kill writers
	daemon_start source
	wait_for 30 all_are protected
	# Without an order: confirmed is only what the group has.
	wait_for 30 same_as_devices
}

group_file()
{
	echo "$RIG/source-state/groups/shop.group"
}

# has_event VOLUME SLUG
has_event()
{
	ctl --json events | jq -es "any(.object == \"$1\" and .slug == \"$2\")"
}

@test "a damaged file of a group fails its members and nobody else, until it is put back" {
	local before

	rig_loop alone 16MiB
	rig_volume alone "${LOOP[alone]}"
	group_pair "interval = 100ms"
	wait_for 60 all_are protected
	daemon_stop source
	cp "$(group_file)" "$RIG/saved"
	before=$(group_points)
	echo nonsense >"$(group_file)"
	daemon_start source
	wait_for 20 all_are failed
	field_is wal1 reason group-state-damaged
	[[ $(volume_field wal1 remedy) == *"put the file back"* ]]
	wait_for 20 volume_is alone protected
	sync_point alone
	run -1 ctl sync shop --timeout 20s
	[[ $output == *"cannot come together"*"group's identity"* ]]
	[ "$(cat "$(group_file)")" = nonsense ]
	[ "$(group_points)" = "$before" ]
	cp "$RIG/saved" "$(group_file)"
	wait_for 20 all_are protected
	# It is the group that it was.
	ctl sync shop --timeout 20s
	[ "$(group_points)" -gt "$before" ]
}

@test "no room for the number of a group's point: no member commits, and it goes on when there is room" {
	local groups before

	group_pair "interval = 1h"
	wait_for 60 all_are protected
	daemon_stop source
	groups=$RIG/source-state/groups
	cp "$(group_file)" "$RIG/saved"
	# One page: the file that is there.
	mount -t tmpfs -o size=4k none "$groups"
	# shellcheck disable=SC2034 # of rig.bash
	MOUNTED["$groups"]=1
	cp "$RIG/saved" "$(group_file)"
	before=$(rctl --json points db1 | jq '.points | length')
	daemon_start source
	wait_for 30 bash -c "'$BUILD/understudyctl' --config \
		'$RIG/source.conf' --json status | jq -e '[.volumes[] |
		select(.state == \"failed\" and
		.reason == \"state-unwritable\")] | length > 0'"
	run -1 ctl sync shop --timeout 2s
	[[ $output == *"not all 3 members"*"waits for"* ]]
	[ "$(rctl --json points db1 | jq '.points | length')" = "$before" ]
	mount -o remount,size=64k "$groups"
	ctl sync shop --timeout 30s
	wait_for 20 all_are protected
	[ "$(rctl --json points db1 | jq '.points | length')" -gt "$before" ]
	daemon_stop source
	rig_umount "$groups"
}

@test "members that come or go: compared for that reason, and a sync that waits is told" {
	local v

	group_pair "interval = 100ms"
	wait_for 60 all_are protected
	ctl pause log1
	wait_for 20 volume_is log1 paused
	wait_for 20 field_is db1 reason group-waits
	[[ $(volume_field db1 message) == *"group shop waits for log1" ]]
	rig_spawn sync "$BUILD/understudyctl" --config "$RIG/source.conf" \
		sync shop --timeout 60s
	run -1 ctl sync shop --timeout 1s
	[[ $output == *"waits for log1 (paused)"* ]]
	# Without it the others go on.
	sed -i 's,^volumes = .*,volumes = db1 wal1,;/^\[volume log1\]/a replicas = dr1' \
		"$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 20 grep -q 'configuration was read anew' "$RIG/sync.out"
	rig_kill sync || true
	wait_for 20 grep -q 'configuration reloaded' "$RIG/source.log"
	ctl resume log1
	ctl sync shop --timeout 30s
	[ "$(rctl --json points shop | jq '.points[-1].members | length')" = 2 ]
	for v in db1 wal1 log1; do
		wait_for 30 has_event $v group-changed
		wait_for 30 volume_is $v protected
		run ! has_event $v tracking-lost
	done
	keys
	ctl sync log1 --timeout 20s
	rctl restore shop --to "$RIG" --key "$RIG/db1.key" \
		--key "$RIG/wal1.key" >/dev/null
	same_bytes "${LOOP[wal1]}" "$RIG/wal1.img"
}
