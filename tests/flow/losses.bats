#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The ledger of losses (docs/consistency.md): each cause that can be brought
# about here, and its named consequence before the next point is committed.
# What takes other devices or kernels is in tests/vm/losses.bats.

# shellcheck disable=SC2030,SC2031 # each test sets its own DEV
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

# A volume at rest, its count of writes compared with the disk's: the tracker
# needs a second in which nothing is under way for that.
protected_volume()
{
	flow_pair $size "interval = ${INTERVAL:-100ms}"
	"$TOOLS/blocks" fill "$DEV" $((4 << 20)) $((8 << 20)) 1
	wait_for 30 volume_is vol protected
	PINS=/sys/fs/bpf/understudy-$(cat "$RIG/source-state/node")
}

told()
{
	ctl --json events | jq -es "any($1)" >/dev/null
}

# lost SLUG: told of, and everything was read before the point that holds it
lost()
{
	wait_for 10 told ".slug == \"tracking-lost\" and
		(.reason // .slug) == \"$1\""
	wait_for 10 told ".slug == \"state-comparing\" and .reason == \"$1\"
		and (.message | test(\"everything is compared\"))"
	wait_for 30 volume_is vol protected
	sync_point vol
	restored_equals vol "$DEV"
	field_is vol reason null
}

nothing_was_lost()
{
	run ! told '.slug == "tracking-lost"'
}

@test "a link's pin that is removed or exchanged is put back, nothing is lost" {
	local before

	protected_volume
	before=$(counter vol bytes_read)
	rm "$PINS/link_issue"
	wait_for 10 test -e "$PINS/link_issue"
	wait_for 10 told '.slug == "pins-restored"'
	mv "$PINS/link_complete" "$PINS/link_issue"
	wait_for 10 test -e "$PINS/link_complete"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
	sync_point vol
	# Its pins are what it had: the next daemon adopts them.
	daemon_stop source KILL
	"$TOOLS/blocks" scatter "$DEV" 0 $size 3 20
	daemon_start source
	sync_point vol
	restored_equals vol "$DEV"
	nothing_was_lost
	[ $(($(counter vol bytes_read) - before)) -lt $((size / 2)) ]
}

@test "another link in the pin's place while nobody looks is a hole" {
	protected_volume
	daemon_stop source KILL
	mv "$PINS/link_complete" "$PINS/link_issue"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
	daemon_start source
	lost tracking-lost
}

@test "a link that is detached: the kernel refuses, or it is noticed" {
	local id

	protected_volume
	id=$(bpftool -j link show pinned "$PINS/link_issue" | jq .id) ||
		skip "bpftool does not run here"
	if bpftool link detach id "$id"; then
		lost tracker-detached
	else
		"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
		sync_point vol
		restored_equals vol "$DEV"
		nothing_was_lost
	fi
}

@test "a volume taken off the tracker's tables is noticed" {
	protected_volume
	"$TOOLS/tamper" unlist "$PINS"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
	lost tracker-detached
}

@test "sectors that the disk has written and nobody saw are noticed" {
	# Between two cuts, so that nothing else is to be seen of it.
	INTERVAL=1500ms protected_volume
	sync_point vol
	wait_for 20 cuts_after $(($(counter vol cuts) + 3))
	"$TOOLS/tamper" blind "$PINS"
	"$TOOLS/blocks" number "$DEV" $((20 << 20)) 77
	"$TOOLS/tamper" sighted "$PINS"
	lost writes-unseen
	told '.message | test("counted 8 sectors more")'
}

cuts_after()
{
	[ "$(counter vol cuts)" -ge "$1" ]
}

@test "marks without a place, requests without a slot, skipped runs" {
	protected_volume
	"$TOOLS/tamper" unmap "$PINS"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
	lost tracker-map
	"$TOOLS/tamper" full "$PINS"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 3 20
	lost slots-exhausted
	"$TOOLS/tamper" skip "$PINS" 3
	lost events-missed
}

@test "a discard of more ranges than are followed: what lies behind them counts too" {
	local disk

	truncate -s 64MiB "$RIG/vol.img"
	disk=$(losetup -P --direct-io=on -f --show "$RIG/vol.img")
	LOOP["vol"]=$disk
	DEV=${disk}p1
	addpart "$disk" 1 65536 65536
	wait_for 10 test -b "$DEV"
	"$TOOLS/blocks" fill "$DEV" 0 $((16 << 20)) 1
	rig_replica >/dev/null
	rig_volume vol "$DEV" "interval = 100ms"
	rig_source
	wait_for 30 volume_is vol protected
	# One request of 2048 ranges, the last 512 of them in the volume.
	run "$TOOLS/discards" "$disk" $((26 << 20)) 2048
	[ "$status" -ne 77 ] ||
		skip "the kernel takes one discard at a time of each process"
	[ "$status" -eq 0 ]
	lost discard-unknown
	told '.message | test("discards had too many ranges")'
}

@test "another medium, the same number set up again" {
	rig_loop vol $size
	"$TOOLS/blocks" fill "${LOOP[vol]}" 0 $((4 << 20)) 1
	cp --sparse=always "$RIG/vol.img" "$RIG/other.img"
	"$TOOLS/blocks" number "$RIG/other.img" $((1 << 20)) 5
	losetup -d "${LOOP[vol]}"
	LOOP[vol]=$(losetup -r --direct-io=on -f --show "$RIG/vol.img")
	DEV=${LOOP[vol]}
	rig_replica
	rig_volume vol "$DEV" "interval = 100ms"
	rig_source
	wait_for 30 volume_is vol protected
	"$TOOLS/tamper" medium "$DEV" "$RIG/other.img"
	wait_for 10 volume_is vol refused
	field_is vol reason device-changed
	wait_for 10 told '.slug == "state-refused" and
		.reason == "device-changed"'
	# The file it was made on, but the number is another device's since.
	daemon_stop source
	losetup -d "$DEV"
	losetup --direct-io=on "$DEV" "$RIG/vol.img"
	"$TOOLS/blocks" number "$DEV" $((2 << 20)) 6
	daemon_start source
	lost tracking-lost
}

@test "no false alarm under load" {
	local i

	flow_pair $size "interval = 100ms"
	wait_for 30 volume_is vol protected
	load_device()
	{
		while [ ! -e "$RIG/enough" ]; do
			"$TOOLS/blocks" scatter "$DEV" 0 $size $RANDOM 300
			blkdiscard -o $((RANDOM % 4 << 20)) -l 1MiB "$DEV"
			blkdiscard -z -o $((RANDOM % 16 << 20)) -l 1MiB "$DEV"
			dd if=/dev/zero of="$DEV" bs=64k count=100 conv=fsync \
				seek=$((RANDOM % 400)) status=none
		done
	}
	rig_spawn_function load_device
	i=$(counter vol cuts)
	wait_for 60 cuts_after $((i + ${LOSSES_CUTS:-20}))
	touch "$RIG/enough"
	wait "${HELPER[load_device]}"
	sync_point vol
	restored_equals vol "$DEV"
	nothing_was_lost
}
