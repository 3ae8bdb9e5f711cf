#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What sort of change, and where: partitions, discards, zeroes, requests of
# gigabytes.

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

# A disk of two partitions of $size each, told to the kernel one by one: it
# need not know how to read a table.
partitioned_disk()
{
	local i

	truncate -s 96MiB "$RIG/disk.img"
	DISK=$(losetup --direct-io=on -P -f --show "$RIG/disk.img")
	LOOP["disk"]=$DISK
	for i in 1 2; do
		addpart "$DISK" $i $((2048 + (i - 1) * 65536)) 65536
		wait_for 10 test -b "${DISK}p$i"
		"$TOOLS/blocks" fill "${DISK}p$i" 0 $((size / 2)) $i
	done
}

@test "a partition is protected as a range of its disk, and restored to one" {
	partitioned_disk
	rig_replica
	rig_volume part "${DISK}p2" "interval = 100ms"
	rig_source
	wait_for 30 volume_is part protected
	field_is part size_bytes $size
	# Through the partition, and through the disk.
	"$TOOLS/blocks" scatter "${DISK}p2" 0 $size 3 100
	"$TOOLS/blocks" number "$DISK" $((50 << 20)) 7
	sync_point part
	restored_equals part "${DISK}p2"
	# Its neighbour is none of its business.
	"$TOOLS/blocks" scatter "${DISK}p1" 0 $size 4 100
	field_is part dirty_bytes 0
	rctl restore part --to "${DISK}p1"
	same_bytes "${DISK}p1" "${DISK}p2"
	# A filesystem in it, by its own node.
	mkfs.ext4 -q "${DISK}p2"
	rig_mount "${DISK}p2" "$RIG/mnt"
	cp -r tests "$RIG/mnt/"
	rig_umount "$RIG/mnt"
	sync_point part
	restored_equals part "${DISK}p2"
	e2fsck -fn "$RIG/restored"
}

@test "two partitions of one disk are two volumes" {
	partitioned_disk
	rig_replica
	rig_volume one "${DISK}p1"
	rig_volume two "${DISK}p2"
	rig_source
	wait_for 30 volume_is one protected
	wait_for 30 volume_is two protected
	"$TOOLS/blocks" scatter "${DISK}p1" 0 $size 1 100
	"$TOOLS/blocks" scatter "${DISK}p2" 0 $size 2 100
	sync_point one
	sync_point two
	restored_equals one "${DISK}p1"
	restored_equals two "${DISK}p2"
}

@test "discards and zeroes reach the replica" {
	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	sync_point vol
	blkdiscard -o $((1 << 20)) -l $((4 << 20)) "$DEV"
	blkdiscard -z -o $((8 << 20)) -l $((4 << 20)) "$DEV"
	# Not on a block's boundary: the blocks at the ends are half and half.
	blkdiscard -z -o $(((16 << 20) + 512)) -l $(((1 << 20) + 1024)) "$DEV"
	fallocate -p -o $((20 << 20)) -l $((2 << 20)) "$DEV"
	fallocate -z -o $((24 << 20)) -l $((2 << 20)) "$DEV"
	sync_point vol
	restored_equals vol "$DEV"
	# That it was zeroed is all that was shipped of it.
	[ "$(dd if="$RIG/restored" bs=1M skip=1 count=4 status=none |
		tr -d '\0' | wc -c)" -eq 0 ]
}

@test "fstrim of a filesystem keeps its points whole" {
	rig_loop vol 128MiB
	mkfs.ext4 -q "${LOOP[vol]}"
	rig_mount "${LOOP[vol]}" "$RIG/mnt"
	rig_replica
	rig_volume vol "${LOOP[vol]}" "interval = 100ms"
	rig_source
	dd if=/dev/urandom of="$RIG/mnt/big" bs=1M count=60 status=none
	cp -r tests "$RIG/mnt/kept"
	sync_point vol
	rm "$RIG/mnt/big"
	fstrim "$RIG/mnt"
	rig_umount "$RIG/mnt"
	sync_point vol
	restored_equals vol "${LOOP[vol]}"
	e2fsck -fn "$RIG/restored"
}

@test "one discard of a sparse device of gigabytes" {
	local dev

	rig_loop vol 8GiB
	dev=${LOOP[vol]}
	rig_replica
	rig_volume vol "$dev"
	rig_source
	"$TOOLS/blocks" fill "$dev" $((5 << 30)) 1048576 1
	wait_for 60 volume_is vol protected
	sync_point vol
	rctl restore vol --range 5GiB:1MiB --to "$RIG/p"
	cmp -n 1048576 -i $((5 << 30)) "$RIG/p" "$dev"
	blkdiscard "$dev"
	"$TOOLS/blocks" number "$dev" $((7 << 30)) 99
	ctl sync vol --timeout 60s
	rctl restore vol --range 5GiB:1MiB --to "$RIG/q"
	[ "$(dd if="$RIG/q" bs=1M skip=5120 status=none | tr -d '\0' |
		wc -c)" -eq 0 ]
	rctl restore vol --range 7GiB:4096 --to "$RIG/q"
	[ "$("$TOOLS/blocks" read "$RIG/q" $((7 << 30)))" = 99 ]
	# Sparse at the replica and in what is restored.
	[ "$(du -sB1 "$RIG/store" | cut -f1)" -le $((100 << 20)) ]
	rctl restore vol --to "$RIG/whole"
	[ "$(stat -c %s "$RIG/whole")" -eq $((8 << 30)) ]
	[ "$(du -B1 "$RIG/whole" | cut -f1)" -le $((4 << 20)) ]
}
