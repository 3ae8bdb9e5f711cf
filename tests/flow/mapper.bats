#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Devices of the device mapper: protected as any other, and what becomes of the
# points when one is given another table, which is other content without a
# write. tests/vm/losses.bats runs this in guests, whose kernels have dm.

bats_require_minimum_version 1.5.0

load ../lib/flow

setup()
{
	flow_setup
	. tests/lib/devices.bash
	grep -q device-mapper /proc/misc || modprobe -q dm_mod ||
		skip "the kernel has no device mapper"
	# shellcheck disable=SC2034 # that of devices.bash
	DEVICES_DIR=$RIG
	rig_replica
}

teardown()
{
	# They hold it open.
	daemon_stop source
	device_end || true
	flow_teardown
}

size=$((4 << 20))
sectors=$((size / 512))

# disk NAME SEED: a loop device full of what the seed gives
disk()
{
	rig_loop "$1" $size
	"$TOOLS/blocks" fill "${LOOP[$1]}" 0 $size "$2"
}

# mapped NAME DISK: a dm device of all of it; its path is DEVICE
mapped()
{
	dm "us-$1-$$" "0 $sectors linear ${LOOP[$2]} 0"
}

# exchange NAME DISK: the device shows another disk
exchange()
{
	dmsetup load "us-$1-$$" --table "0 $sectors linear ${LOOP[$2]} 0"
	dmsetup resume --noudevsync "us-$1-$$"
}

# protected NAME...: all of them, each with a point
protected()
{
	local name

	for name; do
		wait_for 60 volume_is "$name" protected
		sync_point "$name" >/dev/null
	done
}

told()
{
	ctl --json events | jq -es "any($1)" >/dev/null
}

# every_point_since VOLUME SEQ DISK: is that disk, and there is one
every_point_since()
{
	local seqs seq

	seqs=$(rctl --json points "$1" |
		jq -r ".points[] | select(.seq > $2) | .seq")
	[ -n "$seqs" ]
	for seq in $seqs; do
		restored_equals "$1" "${LOOP[$3]}" --point "$seq"
	done
}

@test "a device-mapper device is protected as any other" {
	disk under 1
	mapped vol under
	rig_volume vol "$DEVICE" "interval = 200ms"
	rig_source
	protected vol
	"$TOOLS/blocks" scatter "$DEVICE" 0 $size 2 50
	sync_point vol
	restored_equals vol "$DEVICE"
	volume_is vol protected
}

@test "another table is noticed, and everything is compared before the next point" {
	local before read

	disk one 1
	disk two 2
	disk same 3
	mapped same same
	rig_volume same "$DEVICE" "interval = 200ms"
	mapped vol one
	rig_volume vol "$DEVICE" "interval = 200ms"
	rig_source
	protected vol same
	before=$(sync_point vol)
	restored_equals vol "${LOOP[one]}"
	read=$(counter same bytes_read)
	# A table that does not take effect is none.
	dmsetup load "us-vol-$$" --table "0 $sectors linear ${LOOP[two]} 0"
	dmsetup clear "us-vol-$$"
	before=$(sync_point vol)
	run ! told '.slug == "tracking-lost"'
	exchange vol two
	sync_point vol
	every_point_since vol "$before" two
	wait_for 10 told '.slug == "tracking-lost" and .object == "vol" and
		.reason == "mapping-changed"'
	wait_for 10 told '.slug == "state-comparing" and .object == "vol" and
		.reason == "mapping-changed"'
	wait_for 30 volume_is vol protected
	# Nobody touched the other one.
	run ! told '.slug == "tracking-lost" and .object == "same"'
	[ "$(counter same bytes_read)" -eq "$read" ]
	volume_is same protected
}

@test "another table of a device below it is noticed as well" {
	local before

	disk one 1
	disk two 2
	mapped lower one
	dm "us-upper-$$" "0 $sectors linear $DEVICE 0"
	rig_volume vol "$DEVICE" "interval = 200ms"
	rig_source
	protected vol
	before=$(sync_point vol)
	exchange lower two
	sync_point vol
	every_point_since vol "$before" two
	wait_for 10 told '.slug == "tracking-lost" and .reason == "mapping-changed"'
}

@test "a restart compares a mapped device, and another one not" {
	local before

	disk one 1
	disk two 2
	disk plain 3
	mapped vol one
	rig_volume vol "$DEVICE" "interval = 200ms"
	rig_volume plain "${LOOP[plain]}" "interval = 200ms"
	rig_source
	protected vol plain
	before=$(sync_point vol)
	daemon_stop source
	exchange vol two
	daemon_start source
	sync_point vol
	sync_point plain
	every_point_since vol "$before" two
	restored_equals plain "${LOOP[plain]}"
	wait_for 10 told '.slug == "state-comparing" and .object == "vol" and
		.reason == "mapping-changed"'
	[ "$(counter vol bytes_read)" -ge $size ]
	run ! told '.slug == "state-comparing" and .object == "plain"'
	[ "$(counter plain bytes_read)" -lt $((size / 4)) ]
}

# needs_recovery VOLUME@SEQ: its journal would be replayed
needs_recovery()
{
	rm -f "$RIG/image"
	rctl restore "$1" --to "$RIG/image" >/dev/null
	# In the superblock, among what a filesystem cannot be read without.
	[ $(($(od -An -tu4 -j 1120 -N 4 "$RIG/image") & 4)) -ne 0 ]
}

# By the device that has it, and by the one below.
@test "a filesystem on a mapping is found and frozen, for the mapping and for the disk below" {
	local name seq

	grep -qw ext4 /proc/filesystems || modprobe -q ext4 ||
		skip "the kernel has no ext4"
	rig_loop below 32MiB
	dm "us-held-$$" "0 65536 linear ${LOOP[below]} 0"
	mkfs.ext4 -q "$DEVICE"
	rig_mount "$DEVICE" "$RIG/mnt"
	rig_volume held "$DEVICE" "quiesce = freeze" "quiesce-limit = 20s"
	rig_volume below "${LOOP[below]}" "quiesce = freeze" \
		"quiesce-limit = 20s"
	rig_source
	for name in held below; do
		wait_for 60 volume_is "$name" protected
		head -c 300000 /dev/urandom >"$RIG/mnt/cached"
		seq=$(sync_point "$name" --quiesce)
		[ "$(point_field "$name" "$seq" kind)" = frozen ]
		run ! needs_recovery "$name@$seq"
		e2fsck -fn "$RIG/image"
	done
	# Negative control.
	head -c 300000 /dev/urandom >"$RIG/mnt/cached"
	sync "$RIG/mnt/cached"
	needs_recovery "held@$(sync_point held)"
	# Somebody else's, seen from below.
	fsfreeze --freeze "$RIG/mnt"
	run ctl sync below --quiesce
	fsfreeze --unfreeze "$RIG/mnt"
	[ "$status" = 4 ]
	[[ $output == *"somebody else has frozen $RIG/mnt"* ]]
	daemon_stop source
	rig_umount "$RIG/mnt"
}
