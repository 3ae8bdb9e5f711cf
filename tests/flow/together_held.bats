#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# test-timeout: 300
#
# Points of a group for which the writers of all members are held: what they
# are worth, and that nobody is held longer than was said.

bats_require_minimum_version 1.5.0

load ../lib/flow
load ../lib/held

setup()
{
	flow_setup
}

# What a failed test has left frozen would hold up its own clearing away.
teardown()
{
	[ -z "${BELOW:-}" ] || fsfreeze --unfreeze "$BELOW" || true
	"$BUILD/understudy-freeze" --thaw || true
	flow_teardown
}

# member NAME DEVICE [LINE...]
member()
{
	local name=$1 device=$2
	shift 2

	LOOP["$name"]=$device
	printf '[volume %s]\ndevice = %s\n' "$name" "$device" \
		>>"$RIG/volumes.conf"
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$RIG/volumes.conf"
}

# ext4_member NAME [LINE...]: on a loop device, mounted on $RIG/NAME
ext4_member()
{
	local name=$1
	shift

	rig_loop "$name" 64MiB
	mkfs.ext4 -q "${LOOP[$name]}"
	rig_mount "${LOOP[$name]}" "$RIG/$name"
	member "$name" "${LOOP[$name]}" "$@"
}

# A program that says when it is called, and then waits for a word of the test.
waiting_hook()
{
	HOOK=$RIG/hook
	mkfifo "$RIG/go"
	cat >"$HOOK" <<-SH
		#!/bin/sh
		echo "\$1 \$2 \$UNDERSTUDY_VOLUME" >>$RIG/hook.log
		[ \$1 = thaw ] || read word <$RIG/go
	SH
	chmod 755 "$HOOK"
}

# group_of "MEMBER..." [LINE...]: replica and source of group "shop"
group_of()
{
	local members=$1 v
	shift

	rig_replica >/dev/null
	printf '[group shop]\nvolumes = %s\nreplicas = dr1\n' "$members" \
		>>"$RIG/volumes.conf"
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$RIG/volumes.conf"
	rig_source
	for v in $members; do
		wait_for 60 volume_is "$v" protected
		ctl key export "$v" --to "$RIG/$v.key" >/dev/null
	done
	KEYS=()
	for v in $members; do
		KEYS+=(--key "$RIG/$v.key")
	done
}

# Its number.
held_sync()
{
	ctl sync shop --quiesce --timeout 30s "$@"
}

# group_point SEQ FIELD
group_point()
{
	rctl --json points shop | jq -r ".points[] | select(.seq == $1) | .$2"
}

# images SEQ: of all members, in $RIG/out
images()
{
	rm -rf "$RIG/out"
	mkdir "$RIG/out"
	rctl restore shop --point "$1" --to "$RIG/out" "${KEYS[@]}" >/dev/null
}

spawn_sync()
{
	rm -f "$RIG/hook.log"
	rig_spawn sync "$BUILD/understudyctl" --config "$RIG/source.conf" \
		sync shop --quiesce --timeout 60s
	wait_for 20 grep -q '^freeze shop shop$' "$RIG/hook.log"
}

is_frozen()
{
	"$TOOLS/frozen" "$RIG/$1" "${2:-300}"
}

@test "a frozen point of a group needs no journal replay in any member, a crash point does" {
	local v n seq seqs=()

	for v in db1 log1 wal1; do
		ext4_member $v
	done
	group_of "db1 wal1 log1" "quiesce = freeze" "interval = 50ms" \
		"quiesce-limit = 5s"
	for v in db1 wal1; do
		rig_spawn facts-$v "$TOOLS/fsfacts" run "$RIG/$v" \
			"$RIG/facts-$v" 7
	done
	for n in 1 2; do
		for v in db1 log1 wal1; do
			head -c 300000 /dev/urandom >"$RIG/$v/cached$n"
			cp "$RIG/$v/cached$n" "$RIG/cached-$v$n"
		done
		seq=$(held_sync --label held$n)
		[ "$(group_point "$seq" kind)" = frozen ]
		[ "$(group_point "$seq" label)" = held$n ]
		seqs+=("$seq")
	done
	[ "$(ctl --json sync shop --quiesce --timeout 30s | jq -r .kind)" = \
		frozen ]
	# A member's own wish is the group's.
	n=$(ctl sync wal1 --quiesce --timeout 30s)
	[ "$(point_field db1 "$(volume_field db1 last_point.seq)" kind)" != "" ]
	[ "$(rctl --json points wal1 |
		jq -r ".points[] | select(.seq == $n) | .kind")" = frozen ]
	# Negative control: the same filesystems, the same load.
	seq=$(ctl sync shop --timeout 30s)
	[ "$(group_point "$seq" kind)" = crash ]
	for v in db1 wal1; do
		rig_kill facts-$v
	done
	images "$seq"
	needs_recovery "$RIG/out/db1.img"
	needs_recovery "$RIG/out/wal1.img"
	for n in 1 2; do
		images "${seqs[n - 1]}"
		for v in db1 log1 wal1; do
			run ! needs_recovery "$RIG/out/$v.img"
			e2fsck -fn "$RIG/out/$v.img"
			rig_mount "$RIG/out/$v.img" "$RIG/look"
			cmp "$RIG/cached-$v$n" "$RIG/look/cached$n"
			rig_umount "$RIG/look"
		done
	done
	[ "$(counter log1 holds)" = 4 ]
	[ "$(counter log1 holds_failed)" = 0 ]
}

@test "a daemon that is killed or stopped while all are held leaves nobody waiting" {
	local v keeper

	ext4_member db1
	# The smallest limit is that of all.
	ext4_member wal1 "quiesce-limit = 3s"
	waiting_hook
	group_of "db1 wal1" "quiesce = hook:$HOOK" "quiesce-limit = 20s"
	keeper=$(keeper_pid)
	spawn_sync
	kill -STOP "${DAEMON[source]}"
	echo go >"$RIG/go"
	wait_for 2 is_frozen db1 100
	wait_for 2 is_frozen wal1 100
	for v in db1 wal1; do
		thawed_within 4000 "$RIG/$v"
	done
	kill -CONT "${DAEMON[source]}"
	# No claim: the flip came later, or what was written then was in its way.
	wait_for 20 grep -qE 'shop: quiesce: (the limit ran out before the|no cut within 3000 ms)' \
		"$RIG/sync.out"
	rig_kill sync || true
	wait_for 5 grep -q '^thaw shop shop$' "$RIG/hook.log"
	[ "$(rctl --json points shop | jq -r '.points[-1].kind')" = crash ]
	wait_for 5 nothing_is_left "$keeper"
	# Killed, with everything frozen.
	spawn_sync
	kill -STOP "${DAEMON[source]}"
	echo go >"$RIG/go"
	wait_for 2 is_frozen db1 100
	wait_for 2 is_frozen wal1 100
	daemon_stop source KILL
	for v in db1 wal1; do
		thawed_within 1000 "$RIG/$v"
	done
	wait_for 5 grep -q '^thaw shop shop$' "$RIG/hook.log"
	wait_for 5 nothing_is_left "$keeper"
	rig_kill sync || true
	daemon_start source
	wait_for 30 volume_is db1 protected
	spawn_sync
	echo go >"$RIG/go"
	wait_for 20 test -s "$RIG/sync.out"
	[ "$(group_point "$(cat "$RIG/sync.out")" kind)" = app ]
}

# under_the_others FILE SIZE: a loop device in a filesystem of its own, so that
# what is on it hangs while that one is frozen
under_the_others()
{
	BELOW=$RIG/below
	truncate -s 128MiB "$RIG/below.img"
	mkfs.ext4 -q "$RIG/below.img"
	rig_mount "$RIG/below.img" "$BELOW"
	truncate -s 48MiB "$BELOW/disk"
	LOOP["zlast"]=$(losetup --direct-io=on -f --show "$BELOW/disk")
	mkfs.ext4 -q "${LOOP[zlast]}"
	rig_mount "${LOOP[zlast]}" "$RIG/zlast"
	sync -f "$BELOW"
}

# Frozen is db1, and zlast about to be, which hangs.
freeze_and_hang()
{
	spawn_sync
	fsfreeze --freeze "$BELOW"
	echo go >"$RIG/go"
	wait_for 3 is_frozen db1 100
}

@test "a member whose freezing hangs keeps the others waiting neither past the limit nor past the daemon" {
	ext4_member db1
	under_the_others
	member zlast "${LOOP[zlast]}"
	waiting_hook
	group_of "db1 zlast" "quiesce = hook:$HOOK" "quiesce-limit = 3s"
	freeze_and_hang
	thawed_within 4000 "$RIG/db1"
	# It is in the middle of it still.
	[ -z "$(cat "$RIG/sync.out")" ]
	fsfreeze --unfreeze "$BELOW"
	wait_for 10 grep -q "$RIG/zlast of zlast took longer than 3000 ms" \
		"$RIG/sync.out"
	thawed_within 1000 "$RIG/zlast"
	rig_kill sync || true
	# Between the two freezings.
	freeze_and_hang
	daemon_stop source KILL
	thawed_within 1500 "$RIG/db1"
	fsfreeze --unfreeze "$BELOW"
	thawed_within 1000 "$RIG/zlast"
	wait_for 5 "$BUILD/understudy-freeze" --look
	wait_for 5 grep -q '^thaw shop shop$' "$RIG/hook.log"
	rig_kill sync || true
}

@test "when one member cannot be held, none is, and the error says which" {
	local seq

	ext4_member db1
	rig_loop wal1 64MiB
	mkfs.ext4 -q "${LOOP[wal1]}"
	member wal1 "${LOOP[wal1]}"
	group_of "db1 wal1" "quiesce = freeze" "quiesce-limit = 5s"
	fails 4 held_sync
	[[ $output == *"wal1: quiesce: no filesystem on it is mounted"* ]]
	rig_mount "${LOOP[wal1]}" "$RIG/wal1"
	fsfreeze --freeze "$RIG/wal1"
	run held_sync
	thawed_within 1000 "$RIG/db1"
	fsfreeze --unfreeze "$RIG/wal1"
	[ "$status" = 4 ]
	[[ $output == *"somebody else has frozen $RIG/wal1 of wal1"* ]]
	[ "$(counter db1 holds)" = 0 ]
	# Points go on.
	seq=$(ctl sync shop --timeout 30s)
	[ "$(group_point "$seq" kind)" = crash ]
	[ "$(group_point "$(held_sync)" kind)" = frozen ]
	sed -i '/^quiesce = /d' "$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 20 grep -q 'configuration reloaded' "$RIG/source.log"
	fails 4 held_sync
	[[ $output == *"set \`quiesce\` of the group"* ]]
}

@test "members on one filesystem, and one in a file on another's: frozen in an order that cannot hang" {
	local v

	ext4_member db1
	# What lies in a file of db1's filesystem comes before that.
	truncate -s 24MiB "$RIG/db1/disk"
	LOOP["inner"]=$(losetup -f --show "$RIG/db1/disk")
	mkfs.ext4 -q "${LOOP[inner]}"
	rig_mount "${LOOP[inner]}" "$RIG/inner"
	member inner "${LOOP[inner]}"
	for v in one two; do
		rig_loop $v 128MiB
		member $v "${LOOP[$v]}"
	done
	mkfs.btrfs -q "${LOOP[one]}" "${LOOP[two]}"
	rig_mount "${LOOP[one]}" "$RIG/both"
	group_of "db1 inner one two" "quiesce = freeze" "quiesce-limit = 5s" \
		"interval = 1h"
	head -c 300000 /dev/urandom >"$RIG/inner/cached"
	head -c 300000 /dev/urandom >"$RIG/both/cached"
	[ "$(group_point "$(held_sync)" kind)" = frozen ]
	thawed_within 1000 "$RIG/inner"
	thawed_within 1000 "$RIG/db1"
	thawed_within 1000 "$RIG/both"
	jq -en "$(counter db1 last_hold_seconds) < 4"
	images "$(rctl --json points shop | jq '.points[-1].seq')"
	run ! needs_recovery "$RIG/out/inner.img"
	e2fsck -fn "$RIG/out/inner.img"
	rig_mount "$RIG/out/inner.img" "$RIG/look"
	cmp "$RIG/inner/cached" "$RIG/look/cached"
	rig_umount "$RIG/look"
	rig_umount "$RIG/inner"
	rig_umount "$RIG/both"
	losetup -d "${LOOP[inner]}"
	unset 'LOOP[inner]'
}
