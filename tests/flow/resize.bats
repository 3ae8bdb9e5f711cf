#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# A device that becomes larger or smaller: growth goes on by itself and reads
# no more than has come, a smaller one waits for a decision.

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

size=$((64 << 20))

# Full of noise, so that zeros hide nothing.
protected_volume()
{
	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	wait_for 30 volume_is vol protected
	sync_point vol --label small >/dev/null
}

# grow BYTES: the file below, then the device; the new part is noise
grow()
{
	local was

	was=$(($(stat -c %s "$RIG/vol.img") / 4096 * 4096))
	truncate -s "$1" "$RIG/vol.img"
	losetup -c "$DEV"
	"$TOOLS/blocks" fill "$DEV" "$was" $((($1 - was) / 4096 * 4096)) 3
}

told()
{
	ctl --json events | jq -es "any($1)" >/dev/null
}

size_is()
{
	[ "$(volume_field vol size_bytes)" = "$1" ]
}

# What was read since BEFORE is what has come and little more.
read_at_most()
{
	local now

	now=$(counter vol bytes_read)
	echo "read $now"
	[ "$now" -le "$1" ]
}

@test "a device that grows under a writer goes on, and is not read again" {
	local dir="$RIG" more=$((8 << 20)) i

	protected_volume
	write_on()
	{
		while [ ! -e "$dir/enough" ]; do
			"$TOOLS/blocks" scatter "$DEV" 0 $size $RANDOM 20
		done
	}
	rig_spawn_function write_on
	for i in 1 2 3; do
		grow $((size + i * more))
		wait_for 20 size_is $((size + i * more))
		sync_point vol --label "grown-$i" >/dev/null
	done
	touch "$RIG/enough"
	wait "${HELPER[write_on]}"
	sync_point vol
	restored_equals vol "$DEV"
	[ "$(stat -c %s "$RIG/restored")" -eq $((size + 3 * more)) ]
	# Points have the size that they were made with.
	[ "$(rctl --json points vol | jq -c '[.points[] |
		select(.label != null and .label != "") | .size_bytes]')" = \
		"[$size,$((size + more)),$((size + 2 * more)),$((size + 3 * more))]" ]
	rctl restore vol@small --to "$RIG/small"
	[ "$(stat -c %s "$RIG/small")" -eq $size ]
	rctl restore vol@grown-1 --to "$RIG/grown-1"
	[ "$(stat -c %s "$RIG/grown-1")" -eq $((size + more)) ]
	told '.slug == "device-grown"'
	run ! told '.slug == "tracking-lost" or .slug == "state-refused" or
		.slug == "state-comparing"'
	field_is vol reason null
}

@test "what is read after growth is the new part" {
	local more=$((8 << 20))

	protected_volume
	"$TOOLS/blocks" scatter "$DEV" 0 $size 5 40
	sync_point vol >/dev/null
	grow $((size + more))
	wait_for 20 size_is $((size + more))
	sync_point vol >/dev/null
	restored_equals vol "$DEV"
	# The reader's count begins with the new size.
	read_at_most $((more + (2 << 20)))
}

@test "growth while the daemon is away, with writes on both sides of the end" {
	local more=$((4 << 20))

	protected_volume
	daemon_stop source KILL
	"$TOOLS/blocks" scatter "$DEV" 0 $size 5 40
	grow $((size + more + 5 * 512))
	"$TOOLS/blocks" fill "$DEV" $((size - 8192)) 16384 6
	daemon_start source
	wait_for 20 size_is $((size + more + 5 * 512))
	sync_point vol
	restored_equals vol "$DEV"
	run ! told '.slug == "tracking-lost"'
	read_at_most $((more + (4 << 20)))
	# From a size that is no multiple of a block.
	grow $((size + more + (1 << 20)))
	wait_for 20 size_is $((size + more + (1 << 20)))
	sync_point vol
	restored_equals vol "$DEV"
}

@test "a partition grows" {
	local disk part more=$((8 << 20))

	truncate -s 128MiB "$RIG/disk.img"
	disk=$(losetup --direct-io=on -P -f --show "$RIG/disk.img")
	# shellcheck disable=SC2034 # rig_end reads it
	LOOP["disk"]=$disk
	"$TOOLS/blocks" fill "$disk" 0 $((128 << 20)) 1
	addpart "$disk" 1 2048 $((size / 512))
	wait_for 10 test -b "${disk}p1"
	part=${disk}p1
	rig_replica
	rig_volume vol "$part" "interval = 100ms"
	rig_source
	wait_for 30 volume_is vol protected
	resizepart "$disk" 1 $(((size + more) / 512))
	"$TOOLS/blocks" scatter "$part" 0 $((size + more)) 2 60
	wait_for 20 size_is $((size + more))
	sync_point vol
	restored_equals vol "$part"
	run ! told '.slug == "tracking-lost" or .slug == "state-refused"'
}

@test "points made while it grows are legal under dependent writers" {
	local i

	flow_pair 16MiB "interval = 50ms"
	wait_for 30 volume_is vol protected
	ctl key export vol --to "$RIG/vol.key" >/dev/null
	rig_spawn writers "$TOOLS/chains" write "$DEV" 0
	for i in 1 2 3; do
		truncate -s $((16 + i))MiB "$RIG/vol.img"
		losetup -c "$DEV"
		wait_for 20 size_is $(((16 + i) << 20))
		wait_for 20 points_after vol "$(volume_field vol last_point.seq)"
	done
	rig_kill writers
	sync_point vol
	restored_equals vol "$DEV"
	"$TOOLS/chains" points "$RIG/store" vol "$RIG/vol.key"
	run ! told '.slug == "tracking-lost"'
}

@test "a smaller device makes no point until resync, and may grow again" {
	local before

	protected_volume
	before=$(sync_point vol)
	truncate -s $((size / 2)) "$RIG/vol.img"
	losetup -c "$DEV"
	wait_for 10 volume_is vol refused
	field_is vol reason size-changed
	[[ $(volume_field vol remedy) == *"resync vol --yes vol"* ]]
	wait_for 10 told '.slug == "state-refused" and
		.reason == "size-changed"'
	fails 4 ctl sync vol --timeout 2s
	fails 4 ctl resync vol
	[ "$(volume_field vol last_point.seq)" -ge "$before" ]
	ctl resync vol --yes vol
	wait_for 30 volume_is vol protected
	sync_point vol
	restored_equals vol "$DEV"
	[ "$(stat -c %s "$RIG/restored")" -eq $((size / 2)) ]
	# What older points hold past its end does not come back.
	truncate -s $size "$RIG/vol.img"
	losetup -c "$DEV"
	wait_for 20 size_is $size
	sync_point vol
	restored_equals vol "$DEV"
	[ "$(point_field vol "$before" size_bytes)" -eq $size ]
}

@test "cut and made whole again before anybody decided: compared" {
	protected_volume
	truncate -s $((size / 2)) "$RIG/vol.img"
	losetup -c "$DEV"
	wait_for 10 volume_is vol refused
	truncate -s $size "$RIG/vol.img"
	losetup -c "$DEV"
	wait_for 30 volume_is vol protected
	sync_point vol
	restored_equals vol "$DEV"
}
