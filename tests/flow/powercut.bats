#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Power cuts under a replica's store on real file systems. The disk under it
# (tests/powercut/writelog.c, over FUSE and a loop device) writes down every
# write and flush; the test notes how long that log is when a point is ordered
# and when it is acknowledged. Then tests/tools/cutimage.c makes disks as a cut
# at any place of the log may leave them, mounts them and opens their stores.

bats_require_minimum_version 1.5.0

load ../lib/flow

CUTS=${FLOW_CUTS:-200}
POINTS=${FLOW_POINTS:-16}
VOLUME=$((256 << 10))

setup()
{
	flow_setup
	[ -e /dev/fuse ] || modprobe -q fuse || skip "no /dev/fuse"
	flow_seed
}

teardown()
{
	flow_teardown
}

# logged_disk SIZE: a device whose every write is in $RIG/log
logged_disk()
{
	: >"$RIG/nbd"
	rig_spawn under-nbdkit nbdkit -f -U "$RIG/nbd.sock" \
		"$BUILD/tests/powercut/writelog.so" size="$1" log="$RIG/log"
	wait_for 10 test -S "$RIG/nbd.sock"
	rig_spawn under-nbdfuse nbdfuse "$RIG/nbd" \
		"nbd+unix:///?socket=$RIG/nbd.sock"
	wait_for 10 mountpoint -q "$RIG/nbd"
	# shellcheck disable=SC2154 # a key
	LOOP[disk]=$(losetup -f --show --direct-io=on "$RIG/nbd")
}

log_length()
{
	stat -c %s "$RIG/log"
}

# One point of a volume at rest, with what the log said before and after.
noted_point()
{
	local begin seq

	begin=$(log_length)
	"$TOOLS/blocks" scatter "$DEV" 0 $VOLUME $RANDOM $((1 + RANDOM % 12))
	seq=$(ctl --json sync vol --timeout 30s | jq .seq) || return
	echo "$seq $begin $(log_length) $(sha256sum <"$DEV" | cut -c1-64)" \
		>>"$RIG/acks"
}

# pushed_points N: the replica is killed in the middle, too
pushed_points()
{
	local nth

	for ((nth = 1; nth <= $1; nth++)); do
		if ((nth % 8 == 0)); then
			daemon_stop replica KILL
			replica_again
		fi
		noted_point
	done
}

replica_again()
{
	daemon_start replica
}

# recorded FS SIZE: a store on a logged disk with that file system, and points
recorded()
{
	local fs=$1 size=$2

	logged_disk "$size"
	case $fs in
	ext4) mkfs.ext4 -q -E nodiscard "${LOOP[disk]}" ;;
	xfs) mkfs.xfs -q -K "${LOOP[disk]}" ;;
	btrfs) mkfs.btrfs -q -K "${LOOP[disk]}" ;;
	esac
	rig_mount "${LOOP[disk]}" "$RIG/disk"
	# shellcheck disable=SC2034 # read by the rig
	RIG_STORE=$RIG/disk/store
	rig_loop vol $VOLUME
	DEV=${LOOP[vol]}
	rig_replica >/dev/null
	# No points but those that are ordered.
	rig_volume vol "$DEV" "interval = 1h" "rpo = 2h"
	rig_source
	wait_for 30 volume_is vol protected
	ctl key export vol --to "$RIG/vol.key" >/dev/null
	pushed_points "$POINTS"
}

# judged FS SIZE CUTS FSCK-EVERY
judged()
{
	"$TOOLS/cutimage" "$RIG/log" "$(numfmt --from=iec "$2")" "$1" \
		"$RIG/vol.key" "$RIG/acks" "$3" "$SEED" "$4" |
		tee "$RIG/judged.log"
	return "${PIPESTATUS[0]}"
}

# stands FS SIZE FSCK-EVERY
stands()
{
	recorded "$1" "$2"
	judged "$1" "$2" "$CUTS" "$3"
	echo "# $(tail -n 1 "$RIG/judged.log")" >&3
}

@test "power cuts under ext4 lose no acknowledged point" {
	stands ext4 192M 20
}

@test "power cuts under XFS lose no acknowledged point" {
	stands xfs 300M 100
}

@test "power cuts under btrfs lose no acknowledged point" {
	stands btrfs 300M 20
}

@test "a replica that syncs nothing is noticed" {
	# shellcheck disable=SC2317 # in place of the other
	replica_again()
	{
		printf '#!/bin/sh\nexec env LD_PRELOAD=%s %s "$@"\n' \
			"$BUILD/tests/powercut/nosync.so" \
			"$BUILD/understudyd" >"$RIG/careless"
		chmod +x "$RIG/careless"
		daemon_start_program replica "$RIG/careless"
	}

	POINTS=12
	recorded ext4 192M
	run -1 judged ext4 192M 40 0
	grep -qE 'broken: .*(is lost|does not open|no store|reads wrong)' \
		"$RIG/judged.log"
}
