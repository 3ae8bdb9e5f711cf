#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Volumes that go: at a source when they left the configuration, at a replica
# with their points; and when they may not.

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

states()
{
	find "$RIG/source-state/volumes" -mindepth 1 -maxdepth 1 | wc -l
}

# Takes the volume out of the configuration of the source that runs.
leave()
{
	: >"$RIG/volumes.conf"
	rig_source_conf
	kill -HUP "${DAEMON[source]}"
	wait_for 10 no_volumes
}

no_volumes()
{
	[ "$(ctl --json status | jq '.volumes | length')" = 0 ]
}

stored()
{
	[ "$(rctl --json status | jq '.volumes | length')" = "$1" ]
}

is_idle()
{
	replica_is "$1" disconnected
}

@test "a volume of a source goes when it has left the configuration" {
	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	sync_point vol
	fails 4 ctl remove vol --yes vol
	[[ $output == *"in the configuration"* ]]
	volume_is vol protected
	leave
	fails 4 ctl remove vol
	[[ $output == *"--yes vol"* ]]
	fails 4 ctl remove vol --yes other
	# Until it is removed, its key is there.
	ctl key export vol --to "$RIG/vol.key"
	run -0 ctl --json remove vol --yes vol
	[ "$(jq -c '[.volume, .role, .key_saved]' <<<"$output")" = \
		'["vol","source",true]' ]
	[ "$(states)" = 0 ]
	fails 1 ctl remove vol --yes vol
	[[ $output == *"no such volume"* ]]
	# The replica's points are nobody's business here.
	restored_equals vol "$DEV"
	# The name begins anew here, and is taken there.
	rig_volume vol "$DEV" "interval = 100ms"
	rig_source_conf
	kill -HUP "${DAEMON[source]}"
	wait_for 10 field_is vol reason name-taken
	rctl remove web1/vol --yes web1/vol
	wait_for 20 volume_is vol protected
	restored_equals vol "$DEV"
}

@test "a key that nobody else has is not removed with its volume by mistake" {
	flow_pair $size "key-escrow = no" "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $((1 << 20)) 1
	sync_point vol
	ctl key export vol --to "$RIG/one.key"
	# The export is older than the key that seals.
	ctl key rotate vol
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 10
	sync_point vol
	leave
	fails 4 ctl --json remove vol --yes vol
	[ "$(jq -r .error.code <<<"$output")" = key-unsaved ]
	[[ $(jq -r .error.remedy <<<"$output") == *"key export vol"* ]]
	[ "$(states)" = 1 ]
	ctl key export vol --to "$RIG/two.key"
	ctl remove vol --yes vol
	[ "$(states)" = 0 ]
	rctl restore vol --key "$RIG/two.key" --to "$RIG/out"
	cmp "$RIG/out" "$DEV"
}

@test "a key is discarded when that is asked for" {
	flow_pair $size "key-escrow = no" "interval = 100ms"
	sync_point vol
	leave
	fails 4 ctl remove vol --yes vol
	run -0 ctl remove vol --yes vol --discard-key
	[[ $output == *"key is gone"* ]]
	[ "$(states)" = 0 ]
}

@test "a volume of a replica goes with its points, not while it is in use" {
	local uuid

	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	sync_point vol
	uuid=$(volume_field vol uuid)
	fails 4 rctl --json remove vol --yes vol
	[ "$(jq -r .error.code <<<"$output")" = volume-busy ]
	restored_equals vol "$DEV"
	daemon_stop source
	wait_for 10 is_idle vol
	# A restore reads it.
	rig_spawn strace strace -f -p "${DAEMON[replica]}" \
		-e trace=pwrite64,pwritev,pwritev2 -o /dev/null \
		-e inject=pwrite64,pwritev,pwritev2:delay_enter=200ms
	wait_for 10 grep -q attached "$RIG/strace.out"
	rig_spawn restore "$BUILD/understudyctl" --config "$RIG/replica.conf" \
		restore vol --to "$RIG/out"
	wait_for 10 test -s "$RIG/out"
	fails 4 rctl --json remove vol --yes vol
	[ "$(jq -r .error.code <<<"$output")" = volume-busy ]
	rig_kill strace INT || true
	wait_for 20 grep -q "restored to" "$RIG/restore.out"
	cmp "$RIG/out" "$DEV"
	fails 4 rctl remove vol
	fails 4 rctl remove vol --yes web1/other
	run -0 rctl --json remove vol --yes vol
	[ "$(jq -c '[.volume, .role]' <<<"$output")" = '["web1/vol","replica"]' ]
	[ "$(jq .points <<<"$output")" -ge 1 ]
	stored 0
	[ -z "$(ls "$RIG/store/volumes")" ]
	[ -z "$(ls "$RIG/replica-state/keys")" ]
	fails 1 rctl points vol
	daemon_stop replica KILL
	daemon_start replica
	stored 0
	# The source remembers points that are gone, and says so.
	daemon_start source
	wait_for 10 field_is vol reason replica-behind
	ctl resync vol --yes vol
	wait_for 20 volume_is vol protected
	[ "$(volume_field vol uuid)" = "$uuid" ]
	restored_equals vol "$DEV"
}

@test "what a replica removed is gone also for a new catalog, and half done is done" {
	local uuid dir

	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	sync_point vol
	uuid=$(volume_field vol uuid)
	daemon_stop source
	daemon_stop replica
	# As a replica leaves it that dies after the first step.
	dir=$RIG/store/volumes/$uuid
	mv "$dir" "$dir.removed"
	cp -a "$RIG/store" "$RIG/store2"
	fails 1 "$BUILD/understudyctl" restore vol --store "$RIG/store" \
		--key "$RIG/source-state/volumes/$uuid/key" --to "$RIG/out"
	[ -d "$dir.removed" ]
	daemon_start replica
	stored 0
	[ -z "$(ls "$RIG/store/volumes")" ]
	[ -z "$(ls "$RIG/replica-state/keys")" ]
	daemon_stop replica
	rm -rf "$RIG/store"
	mv "$RIG/store2" "$RIG/store"
	rm "$RIG"/store/catalog.db*
	daemon_start replica
	stored 0
	[ -z "$(ls "$RIG/store/volumes")" ]
}
