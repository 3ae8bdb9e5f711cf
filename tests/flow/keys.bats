#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Keys of volumes: rotated while points are made, exported, brought back at
# either side, and what is told of a key that is not enough.

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

size=$((16 << 20))

generations()
{
	grep -c '^key ' "$1"
}

# from_store FILE KEY POINT: restore without a daemon
from_store()
{
	"$BUILD/understudyctl" restore "vol@$3" --store "$RIG/store" \
		--key "$2" --to "$1"
}

escrowed()
{
	local key=("$RIG"/replica-state/keys/*.key)

	[ "$(generations "${key[0]}")" = "$1" ]
}

@test "points before and after a rotation are read, and nothing is shipped again" {
	local first second shipped

	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	first=$(sync_point vol)
	cp "$DEV" "$RIG/first.img"
	ctl key export vol --to "$RIG/one.key"
	run -0 ctl --json key rotate vol
	[ "$(jq -c '[.volume, .id, .escrow]' <<<"$output")" = '["vol",2,true]' ]
	shipped=$(counter vol bytes_shipped)
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 10
	second=$(sync_point vol)
	wait_for 10 escrowed 2
	# Ten blocks, and what a session costs: not the volume.
	[ $(($(counter vol bytes_shipped) - shipped)) -lt $((1 << 20)) ]
	# All of it is looked at again, under the same fingerprints.
	ctl resync vol --yes vol
	wait_for 20 volume_is vol protected
	[ $(($(counter vol bytes_shipped) - shipped)) -lt $((1 << 20)) ]
	# The replica has what it needs for both.
	restored_equals vol "$RIG/first.img" --point "$first"
	restored_equals vol "$DEV" --point "$second"
	# So has who exports now; the older file says what it lacks.
	ctl key export vol --to "$RIG/two.key"
	[ "$(generations "$RIG/one.key") $(generations "$RIG/two.key")" = "1 2" ]
	[ "$(stat -c %s "$RIG/two.key")" -lt 512 ]
	from_store "$RIG/out" "$RIG/two.key" "$first"
	cmp "$RIG/out" "$RIG/first.img"
	from_store "$RIG/out" "$RIG/two.key" "$second"
	cmp "$RIG/out" "$DEV"
	from_store "$RIG/out" "$RIG/one.key" "$first"
	cmp "$RIG/out" "$RIG/first.img"
	cp "$RIG/first.img" "$RIG/untouched"
	fails 1 from_store "$RIG/untouched" "$RIG/one.key" "$second"
	[[ $output == *"generation 2"* ]]
	cmp "$RIG/untouched" "$RIG/first.img"
	fails 1 rctl restore "vol@$second" --key "$RIG/one.key" \
		--to "$RIG/untouched"
	[[ $output == *"generation 2"* ]]
	cmp "$RIG/untouched" "$RIG/first.img"
	# The source restores with its own, over the session.
	ctl restore "vol@$second" --to "$RIG/out2"
	cmp "$RIG/out2" "$DEV"
	# A restart finds all generations.
	daemon_stop source KILL
	daemon_start source
	"$TOOLS/blocks" scatter "$DEV" 0 $size 3 10
	sync_point vol
	restored_equals vol "$DEV"
	restored_equals vol "$RIG/first.img" --point "$first"
}

@test "a rotated key that nobody else has is told of until it is exported" {
	flow_pair $size "key-escrow = no" "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $((1 << 20)) 1
	sync_point vol
	wait_for 10 field_is vol reason key-unsaved
	ctl key export vol --to "$RIG/one.key"
	wait_for 10 field_is vol reason null
	run -0 ctl key rotate vol
	[[ $output == *"key export vol"* ]]
	wait_for 10 field_is vol reason key-unsaved
	daemon_stop source KILL
	daemon_start source
	wait_for 10 field_is vol reason key-unsaved
	ctl key export vol >"$RIG/two.key"
	wait_for 10 field_is vol reason null
	daemon_stop source KILL
	daemon_start source
	wait_for 10 field_is vol state protected
	field_is vol reason null
	[ -z "$(ls "$RIG/replica-state/keys")" ]
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 10
	from_store "$RIG/out" "$RIG/two.key" "$(sync_point vol)"
	cmp "$RIG/out" "$DEV"
}

@test "a rotation without a replica waits for it, and seals nothing before" {
	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $((1 << 20)) 1
	sync_point vol
	daemon_stop replica KILL
	ctl key rotate vol
	ctl key rotate vol
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 10
	escrowed 1
	daemon_start replica
	sync_point vol
	escrowed 3
	restored_equals vol "$DEV"
	fails 1 rctl key rotate vol
	[[ $output == *"at its source"* ]]
}

@test "a key taken at the replica restores there without being named" {
	local point

	flow_pair $size "key-escrow = no"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	ctl key export vol --to "$RIG/one.key"
	point=$(sync_point vol)
	fails 1 rctl restore vol --to "$RIG/out"
	[[ $output == *"--key"* ]]
	# Not of this volume; of it, but another; not a key.
	"$TOOLS/otherkey" "$RIG/one.key" "$RIG/wrong.key"
	fails 4 rctl key import vol "$RIG/wrong.key"
	[[ $output == *"not the one that its points were sealed with"* ]]
	sed 's/a/b/g' "$RIG/one.key" >"$RIG/torn.key"
	fails 1 rctl key import vol "$RIG/torn.key"
	fails 1 rctl key import vol "$RIG/no.such.key"
	fails 1 rctl restore vol --to "$RIG/out"
	run -0 rctl --json key import vol "$RIG/one.key"
	[ "$(jq -c '[.volume, .id, .changed, .lacks]' <<<"$output")" = \
		'["web1/vol",1,true,0]' ]
	restored_equals vol "$DEV"
	run -0 rctl key import vol "$RIG/one.key"
	[[ $output == *already* ]]
	# What is kept is never replaced.
	fails 4 rctl key import vol "$RIG/wrong.key"
	restored_equals vol "$DEV" --point "$point"
	# The older of two generations helps with the older points only.
	ctl key rotate vol
	"$TOOLS/blocks" fill "$DEV" 0 $size 2
	sync_point vol
	run -0 rctl --json key import vol "$RIG/one.key"
	[ "$(jq -c '[.changed, .lacks]' <<<"$output")" = '[false,2]' ]
	fails 1 rctl restore vol --to "$RIG/out"
	[[ $output == *"generation 2"* ]]
	ctl key export vol --to "$RIG/two.key"
	rctl key import vol "$RIG/two.key"
	restored_equals vol "$DEV"
}

untrack()
{
	"$BUILD/understudyd" --config "$RIG/source.conf" --untrack \
		2>>"$RIG/untrack.log"
}

lose_state()
{
	daemon_stop source
	untrack
	rm -rf "$RIG/source-state"
	daemon_start source
}

@test "a source that lost its state goes on with the volume of its key" {
	local uuid shipped

	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	sync_point vol
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 10
	sync_point vol
	uuid=$(volume_field vol uuid)
	rctl key export vol --to "$RIG/vol.key"
	lose_state
	wait_for 10 volume_is vol refused
	field_is vol reason name-taken
	"$TOOLS/otherkey" "$RIG/vol.key" "$RIG/wrong.key"
	sed 's/^name vol/name other/' "$RIG/vol.key" >"$RIG/name.key"
	fails 1 ctl key import vol "$RIG/name.key"
	ctl key import vol "$RIG/vol.key"
	[ "$(volume_field vol uuid)" = "$uuid" ]
	# The replica has a history that this host does not remember: somebody
	# has to say that it is to be believed.
	wait_for 10 field_is vol reason head-mismatch
	"$TOOLS/blocks" scatter "$DEV" 0 $size 3 10
	ctl resync vol --yes vol
	wait_for 20 volume_is vol protected
	shipped=$(counter vol bytes_shipped)
	[ "$shipped" -lt $((1 << 20)) ]
	[ "$(rctl --json points vol | jq '.points | length')" -ge 3 ]
	restored_equals vol "$DEV"
	# Now it has a history of its own: no other identity is put over it.
	fails 4 ctl key import vol "$RIG/wrong.key"
	[[ $output == *"nothing is replaced"* ]]
	run -0 ctl key import vol "$RIG/vol.key"
	[[ $output == *already* ]]
	# Nor over a volume of another name.
	rig_loop two $size
	rig_volume two "${LOOP[two]}"
	rig_source_conf
	kill -HUP "${DAEMON[source]}"
	wait_for 10 volume_is two protected
	fails 4 ctl key import two "$RIG/vol.key"
	[[ $output == *"is that of volume vol"* ]]
}

@test "generations that a source lost with an older state come back" {
	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $((1 << 20)) 1
	sync_point vol
	daemon_stop source
	cp -a "$RIG/source-state" "$RIG/older-state"
	daemon_start source
	ctl key rotate vol
	ctl key export vol --to "$RIG/two.key"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 10
	sync_point vol
	daemon_stop source
	untrack
	rm -rf "$RIG/source-state"
	cp -a "$RIG/older-state" "$RIG/source-state"
	daemon_start source
	# A second generation 2 would be another key: the replica says no.
	ctl key import vol "$RIG/two.key"
	ctl resync vol --yes vol
	wait_for 20 volume_is vol protected
	sync_point vol
	restored_equals vol "$DEV"
	ctl key rotate vol
	sync_point vol
	escrowed 3
}
