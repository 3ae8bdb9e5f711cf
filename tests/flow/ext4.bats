#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# A filesystem in use: threads create, rename, unlink, append, overwrite,
# preallocate, punch and trim, and make every change durable before they note
# it down (tests/tools/fsfacts.c). Each point must be clean after journal
# replay and hold exactly what was noted by its time.

bats_require_minimum_version 1.5.0

load ../lib/flow

POINTS=${FLOW_POINTS:-100}
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

# busy_filesystem POINTS: worked on, shipped every 50 ms, and at rest again
busy_filesystem()
{
	rig_loop vol 128MiB
	DEV=${LOOP[vol]}
	mkfs.ext4 -q "$DEV"
	rig_mount "$DEV" "$RIG/mnt"
	rig_replica >/dev/null
	rig_volume vol "$DEV" "interval = 50ms"
	rig_source
	wait_for 30 volume_is vol protected
	FIRST=$(volume_field vol last_point.seq)
	rig_spawn facts "$TOOLS/fsfacts" run "$RIG/mnt" "$RIG/facts" "$SEED"
	wait_for $((60 + $1 / 4)) points_after vol $((FIRST + $1))
	rig_kill facts
	echo "# $(cat "$RIG/facts.out") changes" >&3
}

# image_of POINT NAME: restored, as a loop device
image_of()
{
	rctl restore "vol@$1" --to "$RIG/$2.img" >/dev/null
	LOOP[$2]=$(losetup -f --show "$RIG/$2.img")
}

drop_image()
{
	losetup -d "${LOOP[$1]}"
	unset "LOOP[$1]"
	rm "$RIG/$1.img"
}

# Mounted, which replays the journal, and judged as of this time.
judge_image()
{
	local rc=0

	rig_mount "${LOOP[$1]}" "$RIG/look" || return
	"$TOOLS/fsfacts" judge "$RIG/look" "$RIG/facts" "$2" || rc=$?
	rig_umount "$RIG/look"
	return $rc
}

@test "20 points of a busy ext4 are clean and hold every durable change" {
	local seqs seq nth

	busy_filesystem "$POINTS"
	mapfile -t seqs < <(rctl --json points vol | jq -r --argjson f "$FIRST" \
		--argjson n "$IMAGES" '
		[.points[].seq | select(. > $f + 5)] | . as $p |
		range($n) | $p[($p | length - 1) * . / ($n - 1) | floor]')
	# Not called i: `run` has one of that name, and it is ours.
	for ((nth = 0; nth < IMAGES; nth++)); do
		seq=${seqs[nth]}
		image_of "$seq" look
		judge_image look "$(point_field vol "$seq" time)" ||
			{
				echo "point $seq"
				return 1
			}
		run -0 e2fsck -fn "${LOOP[look]}"
		drop_image look
	done
	# At rest the newest point is the device.
	rig_umount "$RIG/mnt"
	sync_point vol
	restored_equals vol "$DEV"
}

@test "the oracles object to another time and to a mixture of two points" {
	local a b at i

	busy_filesystem 40
	a=$((FIRST + 10))
	b=$(volume_field vol last_point.seq)
	at=$(point_field vol "$b" time)
	image_of "$b" late
	judge_image late "$at"
	image_of "$a" early
	run -1 judge_image early "$at"
	run -1 judge_image late "$(point_field vol "$a" time)"
	# Every other MiB is of another time.
	for ((i = 1; i < 128; i += 2)); do
		dd if="$RIG/early.img" of="$RIG/late.img" bs=1M count=1 \
			seek="$i" skip="$i" conv=notrunc status=none
	done
	losetup -d "${LOOP[late]}"
	LOOP[late]=$(losetup -f --show "$RIG/late.img")
	if judge_image late "$at" && e2fsck -fn "${LOOP[late]}"; then
		echo "nobody objects to the mixture"
		return 1
	fi
}
