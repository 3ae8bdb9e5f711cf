#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# test-timeout: 600
#
# Points for which the writers are held: what they are worth, judged by the
# filesystems' own tools, and that nobody is held longer than was said, whoever
# dies, stops or hangs. The moment in which a filesystem is frozen is kept open
# by the user's hook, which stops the daemon just before it.

# shellcheck disable=SC2030,SC2031 # each test has its own
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
	"$BUILD/understudy-freeze" --thaw || true
	flow_teardown
}

# held_pair FILESYSTEM SIZE LINE...: a volume with it, mounted on $MNT; and a
# hook that does what $RIG/on-freeze and $RIG/on-thaw say
held_pair()
{
	local fs=$1 size=$2
	shift 2

	MNT=$RIG/mnt
	HOOK=$RIG/hook
	rig_loop vol "$size"
	DEV=${LOOP[vol]}
	"mkfs.$fs" -q "$DEV" >/dev/null
	rig_mount "$DEV" "$MNT"
	cat >"$HOOK" <<-SH
		#!/bin/sh
		echo "\$1 \$2 \$UNDERSTUDY_VOLUME" >>$RIG/hook.log
		[ ! -e $RIG/on-\$1 ] || . $RIG/on-\$1
	SH
	chmod 755 "$HOOK"
	rig_replica >/dev/null
	rig_volume vol "$DEV" "$@"
	rig_source
	wait_for 60 volume_is vol protected
}

# keep_open: from now on the daemon is stopped when it is about to be frozen
keep_open()
{
	printf 'kill -STOP %s\n' "${DAEMON[source]}" >"$RIG/on-freeze"
}

is_frozen()
{
	"$TOOLS/frozen" "$MNT" "${1:-300}"
}

# freeze_and_stay: a hold that nobody releases; the command that waits for the
# point is "sync", its output in sync.out
freeze_and_stay()
{
	keep_open
	rm -f "$RIG/hook.log"
	: >"$RIG/sync.out"
	rig_spawn sync "$BUILD/understudyctl" --config "$RIG/source.conf" \
		sync vol --quiesce --timeout 60s
	wait_for 20 grep -q '^freeze vol vol$' "$RIG/hook.log"
	wait_for 10 is_frozen
}

image_of()
{
	rm -f "$RIG/image"
	rctl restore "vol@$1" --to "$RIG/image" >/dev/null
}

@test "ext4 under load: a frozen point needs no journal replay, a crash point does" {
	local seq seqs=() n

	held_pair ext4 128MiB "quiesce = freeze" "interval = 50ms" \
		"quiesce-limit = 5s"
	rig_spawn facts "$TOOLS/fsfacts" run "$MNT" "$RIG/facts" 7
	for n in 1 2 3; do
		# Only in the page cache until then.
		head -c 1000000 /dev/urandom >"$MNT/cached$n"
		cp "$MNT/cached$n" "$RIG/cached$n"
		seq=$(sync_point vol --quiesce)
		[ "$(point_field vol "$seq" kind)" = frozen ]
		seqs+=("$seq")
	done
	# Negative control: the same filesystem, the same load.
	seq=$(sync_point vol)
	[ "$(point_field vol "$seq" kind)" = crash ]
	rig_kill facts
	[ "$(cat "$RIG/facts.out")" -gt 20 ]
	image_of "$seq"
	needs_recovery
	for n in 1 2 3; do
		image_of "${seqs[n - 1]}"
		run ! needs_recovery
		e2fsck -fn "$RIG/image"
		rig_mount "$RIG/image" "$RIG/look"
		cmp "$RIG/cached$n" "$RIG/look/cached$n"
		rig_umount "$RIG/look"
	done
	[ "$(counter vol holds)" = 3 ]
	[ "$(counter vol holds_failed)" = 0 ]
	wait_for 5 bash -c "'$BUILD/understudyctl' --config \
		'$RIG/source.conf' events | grep -q 'for a point of kind frozen'"
	jq -en "$(counter vol last_hold_seconds) < 5.2"
}

@test "the kind of the last point is what it was, also after a restart" {
	local seq

	held_pair ext4 64MiB "quiesce = freeze" "interval = 1h" \
		"quiesce-limit = 5s"
	seq=$(sync_point vol --quiesce)
	field_is vol last_point.kind frozen
	# What a thaw writes would be in another point.
	daemon_stop replica
	daemon_stop source KILL
	daemon_start source
	field_is vol last_point.seq "$seq"
	field_is vol last_point.kind frozen
	daemon_start replica
	seq=$(sync_point vol)
	daemon_stop replica
	daemon_stop source
	daemon_start source
	field_is vol last_point.seq "$seq"
	field_is vol last_point.kind crash
}

@test "XFS, btrfs: a frozen point has what was only in the page cache" {
	local fs seq

	for fs in xfs ${TEST_LONG:+btrfs}; do
		grep -qw "$fs" /proc/filesystems || modprobe "$fs" ||
			skip "the kernel has no $fs"
		held_pair "$fs" 400MiB "quiesce = freeze" "interval = 100ms"
		head -c 3000000 /dev/urandom >"$MNT/cached"
		cp "$MNT/cached" "$RIG/cached"
		seq=$(sync_point vol --quiesce)
		[ "$(point_field vol "$seq" kind)" = frozen ]
		image_of "$seq"
		if [ "$fs" = xfs ]; then
			mkdir -p "$RIG/look"
			# As it is: a frozen XFS leaves a record in its log,
			# for inodes that were unlinked and are open.
			mount -o ro,norecovery,nouuid "$RIG/image" "$RIG/look"
			cmp "$RIG/cached" "$RIG/look/cached"
			umount "$RIG/look"
			mount -o nouuid "$RIG/image" "$RIG/look"
			umount "$RIG/look"
			xfs_repair -n "$RIG/image"
		else
			btrfs check "$RIG/image"
			mkdir "$RIG/out"
			btrfs restore "$RIG/image" "$RIG/out" >/dev/null
			cmp "$RIG/cached" "$RIG/out/cached"
		fi
		daemon_stop source
		daemon_stop replica
		rig_umount "$MNT"
		rig_untrack
		losetup -d "$DEV"
		rm -rf "$RIG"/*-state "$RIG/store" "$RIG/web1-cert" \
			"$RIG/volumes.conf" "$RIG/vol.img"
	done
}

@test "a daemon that is stopped or killed holds nobody longer than was said" {
	local keeper

	held_pair ext4 64MiB "quiesce = hook:$RIG/hook" "quiesce-limit = 3s"
	keeper=$(keeper_pid)
	# Stopped: time is counted elsewhere.
	freeze_and_stay
	thawed_within 4000
	wait_for 5 grep -q '^thaw vol vol$' "$RIG/hook.log"
	kill -CONT "${DAEMON[source]}"
	# The limit ran out before the flip: no claim.
	wait_for 20 grep -q 'limit ran out before the flip' "$RIG/sync.out"
	nothing_is_left "$keeper"
	run ! is_frozen 5000
	rm "$RIG/on-freeze"
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = app ]
	# Killed: at once, the hook's other half too.
	freeze_and_stay
	daemon_stop source KILL
	thawed_within 1000
	wait_for 5 grep -q '^thaw vol vol$' "$RIG/hook.log"
	wait_for 5 nothing_is_left "$keeper"
	wait_for 5 bash -c "! kill -0 $keeper"
	daemon_start source
	wait_for 30 volume_is vol protected
	rm "$RIG/on-freeze"
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = app ]
}

@test "a helper that is killed or stopped leaves nothing frozen" {
	local keeper what

	held_pair ext4 64MiB "quiesce = hook:$RIG/hook" "quiesce-limit = 30s"
	keeper=$(keeper_pid)
	for what in KILL STOP; do
		freeze_and_stay
		kill -$what "$(holder_pid)"
		thawed_within 2000
		wait_for 5 grep -q '^thaw vol vol$' "$RIG/hook.log"
		wait_for 5 nothing_is_left "$keeper"
		kill -CONT "${DAEMON[source]}"
		wait_for 20 grep -q 'the point is of kind crash' "$RIG/sync.out"
		rig_kill sync || true
	done
	# Somebody else thaws it: no claim.
	freeze_and_stay
	fsfreeze --unfreeze "$MNT"
	kill -CONT "${DAEMON[source]}"
	wait_for 20 grep -q 'somebody else thawed it' "$RIG/sync.out"
	rig_kill sync || true
	# The one that guards.
	freeze_and_stay
	kill -KILL "$keeper"
	thawed_within 2000
	wait_for 5 grep -q '^thaw vol vol$' "$RIG/hook.log"
	kill -CONT "${DAEMON[source]}"
	wait_for 20 grep -q 'the point is of kind crash' "$RIG/sync.out"
	rig_kill sync || true
	# Points go on; held ones want a restart, and say so.
	rm "$RIG/on-freeze"
	sync_point vol
	fails 1 ctl sync vol --quiesce
	[[ $output == *restart* ]]
	daemon_stop source
	daemon_start source
	wait_for 30 volume_is vol protected
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = app ]
}

# The next hold has its slot.
@test "a hook that takes its time to let go is waited for, also when its holder was killed" {
	held_pair ext4 64MiB "quiesce = hook:$RIG/hook" "quiesce-limit = 30s" \
		"interval = 1h"
	freeze_and_stay
	cat >"$RIG/on-thaw" <<-SH
		for i in \$(seq 30); do
			[ -e $RIG/second ] || sleep 0.05
		done
		echo "let go" >>$RIG/hook.log
	SH
	echo ": >$RIG/second" >"$RIG/on-freeze"
	kill -KILL "$(holder_pid)"
	thawed_within 2000
	kill -CONT "${DAEMON[source]}"
	rig_kill sync || true
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = app ]
	[ "$(paste -sd, "$RIG/hook.log")" = \
		"freeze vol vol,thaw vol vol,let go,freeze vol vol,thaw vol vol,let go" ]
	"$BUILD/understudy-freeze" --look
}

# Nobody is left who could thaw.
kill_all()
{
	local keeper holder

	keeper=$(keeper_pid)
	holder=$(holder_pid)
	kill -STOP "$keeper"
	kill -STOP "$holder"
	kill -KILL "$holder" "$keeper"
	daemon_stop source KILL
	rig_kill sync || true
}

# With mounts of its own, which end with it; as a service manager may do it.
in_own_namespace()
{
	printf '#!/bin/sh\n%s\nexec "%s" "$@"\n' "${1:-}" \
		"$BUILD/understudyd" >"$RIG/inside"
	printf '#!/bin/sh\nexec unshare --mount "%s" "$@"\n' "$RIG/inside" \
		>"$RIG/outside"
	chmod 755 "$RIG/inside" "$RIG/outside"
	daemon_start_program source "$RIG/outside"
}

@test "what was left frozen when all were killed is thawed by the next daemon, and by doctor" {
	held_pair ext4 64MiB "quiesce = hook:$RIG/hook" "quiesce-limit = 30s"
	daemon_stop source
	in_own_namespace
	wait_for 30 volume_is vol protected
	freeze_and_stay
	kill_all
	is_frozen 500
	# Who may not thaw does not forget it.
	run -1 setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \
		"$BUILD/understudy-freeze" --thaw
	[[ $output == *"$MNT was left frozen: Operation not permitted"* ]]
	is_frozen 100
	run -1 "$BUILD/understudy-freeze" --look
	[[ $output == *"volume vol: $MNT was left frozen"* ]]
	is_frozen 100
	daemon_start source
	thawed_within 5000
	grep -q '^thaw vol vol$' "$RIG/hook.log"
	grep -q "volume vol: $MNT was left frozen: thawed" "$RIG/source.log"
	"$BUILD/understudy-freeze" --look
	wait_for 30 volume_is vol protected
	freeze_and_stay
	kill_all
	is_frozen 500
	run ctl doctor
	[[ $output == *"$MNT"*"was left frozen"*"thawed"* ]]
	thawed_within 1000
	"$BUILD/understudy-freeze" --look
}

@test "a hook that fails or hangs is told, its other half is called, and nothing is claimed" {
	local seq took

	held_pair ext4 64MiB "quiesce = hook:$RIG/hook" "quiesce-limit = 700ms" \
		"interval = 1h"
	# Works: the application is held, and so is the filesystem.
	head -c 1000000 /dev/urandom >"$MNT/cached"
	seq=$(sync_point vol --quiesce --label quiet)
	[ "$(point_field vol "$seq" kind)" = app ]
	[ "$(point_field vol "$seq" label)" = quiet ]
	[ "$(cat "$RIG/hook.log")" = $'freeze vol vol\nthaw vol vol' ]
	image_of "$seq"
	run ! needs_recovery
	e2fsck -fn "$RIG/image"
	field_is vol last_point.kind app
	# Without rights: it is the daemon's, as root without any.
	echo "grep ^CapEff: /proc/self/status >$RIG/caps" >"$RIG/on-freeze"
	sync_point vol --quiesce
	[ "$(awk '{ print $2 }' "$RIG/caps")" = 0000000000000000 ]
	# Fails.
	echo 'exit 3' >"$RIG/on-freeze"
	: >"$RIG/hook.log"
	fails 1 ctl sync vol --quiesce
	[[ $output == *"hook freeze exited with 3"* ]]
	[ "$(tail -n 1 "$RIG/hook.log")" = 'thaw vol vol' ]
	# Hangs, in a child of its own.
	echo 'tail -f /dev/null & wait' >"$RIG/on-freeze"
	: >"$RIG/hook.log"
	took=${EPOCHREALTIME/./}
	fails 1 ctl sync vol --quiesce
	took=$(((${EPOCHREALTIME/./} - took) / 1000))
	[[ $output == *"did not end within 700 ms"*"raise quiesce-limit"* ]]
	[ $took -lt 8000 ]
	wait_for 5 grep -q '^thaw vol vol$' "$RIG/hook.log"
	# Thawing fails: told, and the point is what it is.
	rm "$RIG/on-freeze"
	echo 'exit 1' >"$RIG/on-thaw"
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = app ]
	wait_for 5 bash -c "'$BUILD/understudyctl' --config \
		'$RIG/source.conf' events | grep -q 'hook thaw failed'"
	# Absent.
	rm "$HOOK" "$RIG/on-thaw"
	fails 1 ctl sync vol --quiesce
	[[ $output == *"hook freeze exited with 127"* ]]
	# All along points were made.
	sync_point vol
	restored_equals vol "$DEV"
}

@test "what cannot be held is refused with a remedy, exit 4" {
	held_pair ext4 64MiB "quiesce = freeze"
	# Somebody else's.
	fsfreeze --freeze "$MNT"
	run ctl sync vol --quiesce
	fsfreeze --unfreeze "$MNT"
	[ "$status" = 4 ]
	[[ $output == *"somebody else has frozen"* ]]
	# Nothing there to be frozen.
	rig_umount "$MNT"
	fails 4 ctl sync vol --quiesce
	[[ $output == *"no filesystem on it is mounted"*hook:/path* ]]
	# Mounted where the daemon does not see it.
	rig_spawn elsewhere unshare --mount sh -c \
		"mount $DEV $MNT && echo mounted && exec tail -f /dev/null"
	wait_for 5 grep -q mounted "$RIG/elsewhere.out"
	fails 4 ctl sync vol --quiesce
	[[ $output == *"is in use, by a mount elsewhere"* ]]
	rig_kill elsewhere || true
	# Our own state on it.
	daemon_stop source
	wait_for 5 rig_mount "$DEV" "$MNT"
	mv "$RIG/source-state" "$MNT/state"
	sed -i "s,^state = .*,state = $MNT/state," "$RIG/source.conf"
	daemon_start source
	wait_for 20 volume_is vol protected
	fails 4 ctl sync vol --quiesce
	[[ $output == *"the daemon's state lies on it"*another\ filesystem* ]]
	sync_point vol
	daemon_stop source
	mv "$MNT/state" "$RIG/source-state"
	# Not asked for in the configuration.
	sed -i "s,^state = .*,state = $RIG/source-state,;/^quiesce/d" \
		"$RIG/source.conf"
	daemon_start source
	wait_for 20 volume_is vol protected
	fails 4 ctl sync vol --quiesce
	[[ $output == *"set \`quiesce\` of the volume"* ]]
	# And no helper for it: a reload that wants one is refused.
	echo "quiesce = freeze" >>"$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 grep -q 'the first .quiesce. .* only with a restart' \
		"$RIG/source.log"
}

# lies_on_it WHAT: refused for that, and not frozen
lies_on_it()
{
	fails 4 ctl sync vol --quiesce
	[[ $output == *"$1 lies on it"*"another filesystem"* ]] ||
		{ echo "$output"; false; }
	run ! is_frozen 5000
}

@test "binary, helper or log on the filesystem that would be frozen: refused, by name" {
	held_pair ext4 64MiB "quiesce = freeze" "quiesce-limit = 5s"
	daemon_stop source
	# The helper is looked for beside the program, and is a link here.
	mkdir "$MNT/bin" "$RIG/bin"
	cp "$BUILD/understudyd" "$MNT/bin/"
	ln -s "$BUILD/understudy-freeze" "$MNT/bin/"
	daemon_start_program source "$MNT/bin/understudyd"
	wait_for 20 volume_is vol protected
	lies_on_it "the daemon"
	daemon_stop source
	cp "$BUILD/understudyd" "$RIG/bin/"
	cp "$BUILD/understudy-freeze" "$MNT/bin/freeze"
	ln -s "$MNT/bin/freeze" "$RIG/bin/understudy-freeze"
	daemon_start_program source "$RIG/bin/understudyd"
	wait_for 20 volume_is vol protected
	lies_on_it "the helper"
	daemon_stop source
	mv "$RIG/source.log" "$MNT/"
	ln -s "$MNT/source.log" "$RIG/source.log"
	daemon_start source
	wait_for 20 volume_is vol protected
	lies_on_it "the daemon's log"
	daemon_stop source
	rm "$RIG/source.log"
	# Negative control: nothing lies there any more.
	daemon_start source
	wait_for 20 volume_is vol protected
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = frozen ]
}

@test "no room for the note of what will be frozen: told, and nothing is held" {
	local seq

	held_pair ext4 64MiB "quiesce = hook:$RIG/hook" "quiesce-limit = 5s"
	daemon_stop source
	in_own_namespace "mkdir -p /run/understudy &&
		mount -t tmpfs -o size=4k none /run/understudy &&
		head -c 4096 /dev/zero >/run/understudy/full"
	wait_for 20 volume_is vol protected
	seq=$(volume_field vol last_point.seq)
	fails 1 ctl sync vol --quiesce
	[[ $output == *"/run/understudy/holds: note what is going to be frozen: No space left"* ]]
	[[ $output == *"make room in /run"* ]]
	run ! is_frozen 5000
	[ ! -e "$RIG/hook.log" ]
	nsenter --mount -t "${DAEMON[source]}" rm /run/understudy/full
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = app ]
	nsenter --mount -t "${DAEMON[source]}" \
		mount -o remount,ro /run/understudy
	fails 1 ctl sync vol --quiesce
	[[ $output == *"holds: note what is going to be frozen: Read-only"* ]]
	run ! is_frozen 5000
	# Points go on.
	[ "$(point_field vol "$(sync_point vol)" kind)" = crash ]
}

@test "mounted twice, also in another namespace: it is one filesystem, and frozen" {
	held_pair ext4 64MiB "quiesce = freeze" "quiesce-limit = 5s"
	rig_mount "$DEV" "$RIG/again"
	rig_spawn elsewhere unshare --mount sh -c \
		"umount $RIG/again && echo ready && exec tail -f /dev/null"
	wait_for 5 grep -q ready "$RIG/elsewhere.out"
	head -c 1000000 /dev/urandom >"$RIG/again/cached"
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = frozen ]
	rig_umount "$MNT"
	head -c 1000000 /dev/urandom >"$RIG/again/cached2"
	[ "$(point_field vol "$(sync_point vol --quiesce)" kind)" = frozen ]
	thawed_within 1000 "$RIG/again"
	# It is elsewhere only, from here on.
	rig_umount "$RIG/again"
	fails 4 ctl sync vol --quiesce
	[[ $output == *"is in use, by a mount elsewhere"* ]]
	rig_kill elsewhere || true
}

# Its mount names one of them, whichever.
@test "btrfs over two devices: either volume finds it, and one hold freezes it" {
	local name seq

	grep -qw btrfs /proc/filesystems || modprobe btrfs ||
		skip "the kernel has no btrfs"
	rig_loop a 128MiB
	rig_loop b 128MiB
	mkfs.btrfs -q -m raid1 -d single "${LOOP[a]}" "${LOOP[b]}"
	rig_mount "${LOOP[a]}" "$RIG/mnt"
	btrfs subvolume create "$RIG/mnt/sub"
	# A place that is another device for stat.
	mkdir "$RIG/sub"
	mount -o subvol=sub "${LOOP[b]}" "$RIG/sub"
	# shellcheck disable=SC2034 # for rig_end
	MOUNTED["$RIG/sub"]=1
	rig_replica >/dev/null
	rig_volume a "${LOOP[a]}" "quiesce = freeze" "quiesce-limit = 5s"
	rig_volume b "${LOOP[b]}" "quiesce = freeze" "quiesce-limit = 5s"
	rig_source
	for name in a b; do
		wait_for 30 volume_is $name protected
		head -c 1000000 /dev/urandom >"$RIG/mnt/cached"
		seq=$(sync_point $name --quiesce)
		[ "$(point_field $name "$seq" kind)" = frozen ]
	done
	rig_umount "$RIG/mnt"
	[ "$(point_field b "$(sync_point b --quiesce)" kind)" = frozen ]
	# Frozen already, by whichever of its places.
	fsfreeze --freeze "$RIG/sub"
	run ctl sync a --quiesce
	fsfreeze --unfreeze "$RIG/sub"
	[ "$status" = 4 ]
	[[ $output == *"somebody else has frozen"* ]]
	thawed_within 1000 "$RIG/sub"
}

# Two filesystems in one volume, on $RIG/p1 and $RIG/p2. With -P its partitions
# go when it does.
partitioned()
{
	local part dev

	truncate -s 96MiB "$RIG/vol.img"
	dev=$(losetup -P -f --show "$RIG/vol.img")
	LOOP["vol"]=$dev
	for part in 1 2; do
		addpart "$dev" $part $((2048 + (part - 1) * 90112)) 90112
		wait_for 10 test -b "${dev}p$part"
		mkfs.ext4 -q "${dev}p$part"
		rig_mount "${dev}p$part" "$RIG/p$part"
	done
}

@test "partitions: each filesystem is frozen; one that cannot be spoils the claim" {
	local part dev seq

	partitioned
	dev=${LOOP[vol]}
	rig_replica >/dev/null
	rig_volume vol "$dev" "quiesce = freeze" "quiesce-limit = 5s"
	rig_source
	wait_for 30 volume_is vol protected
	seq=$(sync_point vol --quiesce)
	[ "$(point_field vol "$seq" kind)" = frozen ]
	# The next one has what the thaw has written.
	image_of "$seq"
	for part in 1 2; do
		dd if="$RIG/image" of="$RIG/part" bs=512 status=none \
			skip="$(cat /sys/class/block/"${dev##*/}p$part"/start)" \
			count="$(cat /sys/class/block/"${dev##*/}p$part"/size)"
		run ! bash -c "dumpe2fs -h '$RIG/part' | grep needs_recovery"
		e2fsck -fn "$RIG/part"
	done
	fsfreeze --freeze "$RIG/p2"
	run ctl sync vol --quiesce
	fsfreeze --unfreeze "$RIG/p2"
	[ "$status" = 4 ]
	[[ $output == *"$RIG/p2"* ]]
	# The first one was let go again.
	thawed_within 1000 "$RIG/p1"
}

# Who waits for a pipe in the middle of a write: a freezing waits for him, and
# cannot be ended.
writes_from_a_pipe()
{
	exec python3 -c "import os
r, w = os.pipe()
f = os.open('$RIG/p2/slow', os.O_WRONLY | os.O_CREAT)
open('$RIG/writes', 'w')
os.splice(r, f, 4096)"
}

@test "a filesystem that takes long to freeze does not keep another one frozen past the limit" {
	partitioned
	rig_replica >/dev/null
	rig_volume vol "${LOOP[vol]}" "quiesce = freeze" "quiesce-limit = 1s"
	rig_source
	wait_for 30 volume_is vol protected
	rig_spawn_function writes_from_a_pipe
	wait_for 10 test -e "$RIG/writes"
	rig_spawn sync "$BUILD/understudyctl" --config "$RIG/source.conf" \
		sync vol --quiesce --timeout 30s
	wait_for 10 "$TOOLS/frozen" "$RIG/p1" 200
	thawed_within 1500 "$RIG/p1"
	# Meanwhile.
	"$TOOLS/frozen" "$RIG/p2" 100
	rig_kill writes_from_a_pipe || true
	thawed_within 1000 "$RIG/p2"
	wait_for 20 grep -q 'took longer than 1000 ms' "$RIG/sync.out"
	rig_kill sync || true
}

@test "on-contention = quiesce: blocks that are never at rest are cut all the same" {
	local n seq

	# Reading what is rewritten takes a sixteenth of a second.
	held_pair ext4 16MiB "quiesce = freeze" "interval = 100ms" \
		"quiesce-limit = 3s" "on-contention = quiesce" \
		"read-limit = 8MiB/s"
	fallocate -l 512KiB "$MNT/hot"
	sync_point vol
	seq=$(volume_field vol last_point.seq)
	rig_spawn hot "$TOOLS/rewrite" "$MNT/hot" 0 524288
	wait_for 60 bash -c "[ \$('$BUILD/understudyctl' --config \
		'$RIG/source.conf' --json status vol |
		jq .volumes[0].counters.holds) -ge 1 ]"
	wait_for 20 points_after vol $((seq + 1))
	rig_kill hot
	n=$(rctl --json points vol |
		jq "[.points[] | select(.kind == \"frozen\" and .seq > $seq)] |
			length")
	echo "# $(counter vol holds) holds, $n frozen points," \
		"$(counter vol held_seconds) s held" >&3
	[ "$n" -ge 1 ]
	sync_point vol
	restored_equals vol "$DEV"
}
