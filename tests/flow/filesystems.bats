#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# XFS and btrfs in use, as ext4.bats has it for ext4: threads create, append,
# overwrite, truncate, preallocate, punch, rename, unlink and trim, each change
# durable before it is noted (tests/tools/fsfacts.c). Each point is mounted,
# which replays its log, holds exactly what was noted by its time, and is clean
# to the filesystem's own checker.

# shellcheck disable=SC2034 # MOUNTED is read by rig_end
bats_require_minimum_version 1.5.0

load ../lib/flow

POINTS=${FLOW_POINTS:-60}
IMAGES=${FLOW_IMAGES:-20}

setup()
{
	flow_setup
	flow_seed
}

teardown()
{
	flow_teardown
}

MIB=320		# XFS wants 300

fs_make()
{
	"mkfs.$FS" -q -f "$1"
}

# The images have the UUID of the volume.
fs_mount()
{
	mkdir -p "$2"
	case $FS in
	xfs) mount -o nouuid "$1" "$2" ;;
	btrfs)
		# Who was seen before must not be taken for this one.
		btrfs device scan --forget
		mount "$1" "$2"
		;;
	esac || return
	MOUNTED[$2]=1
}

fs_check()
{
	case $FS in
	xfs) xfs_repair -n "$1" ;;
	btrfs) btrfs check --readonly "$1" ;;
	esac
}

# busy_filesystem POINTS: worked on, shipped every 50 ms, then unmounted
busy_filesystem()
{
	rig_loop vol ${MIB}MiB
	DEV=${LOOP[vol]}
	fs_make "$DEV"
	fs_mount "$DEV" "$RIG/mnt"
	rig_replica >/dev/null
	rig_volume vol "$DEV" "interval = 50ms"
	rig_source
	wait_for 30 volume_is vol protected
	FIRST=$(volume_field vol last_point.seq)
	rig_spawn facts "$TOOLS/fsfacts" run "$RIG/mnt" "$RIG/facts" "$SEED"
	wait_for $((60 + $1 / 4)) points_after vol $((FIRST + $1))
	rig_kill facts
	echo "# $FS: $(cat "$RIG/facts.out") changes" >&3
	LAST=$(volume_field vol last_point.seq)
	# Two of one UUID are not mounted side by side.
	rig_umount "$RIG/mnt"
	# Images in memory: what they hold is asked, not what disks bear.
	mkdir "$RIG/ram"
	mount -t tmpfs -o size=4g,mode=700 understudy-test "$RIG/ram"
	MOUNTED["$RIG/ram"]=1
}

# chosen COUNT: numbers of points while it was busy, evenly spread
chosen()
{
	rctl --json points vol | jq -r --argjson f "$FIRST" \
		--argjson l "$LAST" --argjson n "$1" '
		[.points[].seq | select(. > $f + 5 and . <= $l)] | . as $p |
		range($n) | $p[($p | length - 1) * . / ($n - 1) | floor]'
}

# image_of POINT NAME: restored, as a loop device
image_of()
{
	rctl restore "vol@$1" --to "$RIG/ram/$2.img" --no-verify >/dev/null
	LOOP[$2]=$(losetup -f --show "$RIG/ram/$2.img")
}

drop_image()
{
	losetup -d "${LOOP[$1]}"
	unset "LOOP[$1]"
	rm "$RIG/ram/$1.img"
}

# sound NAME TIME: mounted, what it holds as of this time, and clean
sound()
{
	local rc=0

	fs_mount "${LOOP[$1]}" "$RIG/look" || return
	"$TOOLS/fsfacts" judge "$RIG/look" "$RIG/facts" "$2" || rc=$?
	rig_umount "$RIG/look"
	[ $rc -eq 0 ] && fs_check "${LOOP[$1]}" >"$RIG/check" 2>&1
}

points_are_sound()
{
	local seqs seq

	busy_filesystem "$POINTS"
	mapfile -t seqs < <(chosen "$IMAGES")
	[ "${#seqs[@]}" -eq "$IMAGES" ]
	for seq in "${seqs[@]}"; do
		image_of "$seq" look
		if ! sound look "$(point_field vol "$seq" time)"; then
			echo "point $seq"
			tail -n 30 "$RIG/check"
			return 1
		fi
		drop_image look
	done
	# At rest the newest point is the device.
	sync_point vol
	rctl restore vol --to "$RIG/ram/newest" >/dev/null
	same_bytes "$RIG/ram/newest" "$DEV"
}

mixtures_are_found()
{
	local early late at i

	busy_filesystem 20
	early=$((FIRST + 8))
	late=$LAST
	at=$(point_field vol "$late" time)
	image_of "$late" late
	image_of "$early" early
	cp --sparse=always "$RIG/ram/late.img" "$RIG/ram/mixed.img"
	for ((i = 1; i < MIB; i += 2)); do
		dd if="$RIG/ram/early.img" of="$RIG/ram/mixed.img" bs=1M count=1 \
			seek="$i" skip="$i" conv=notrunc status=none
	done
	# shellcheck disable=SC2154 # it is a name
	LOOP[mixed]=$(losetup -f --show "$RIG/ram/mixed.img")
	sound late "$at"
	# Files that were durable by then are not there.
	run ! sound early "$at"
	run ! sound late "$(point_field vol "$early" time)"
	run ! sound mixed "$at"
}

@test "20 points of a busy XFS are clean and hold every durable change" {
	FS=xfs points_are_sound
}

@test "20 points of a busy btrfs are clean and hold every durable change" {
	FS=btrfs points_are_sound
}

@test "the oracles object to another time and to a mixture of two points of XFS" {
	FS=xfs mixtures_are_found
}

@test "the oracles object to another time and to a mixture of two points of btrfs" {
	FS=btrfs mixtures_are_found
}
