#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What breaks around the daemons: the disk of the source, the link, the rights,
# the key, the disk of the replica. In each case the state says so, no point is
# made that is none, no committed one is lost, and when the cause is gone
# shipping goes on by itself.

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

# flow_pair, with a link between them that can break.
linked_pair()
{
	rig_replica >/dev/null
	RIG_LINK_PORT=$(free_port)
	rig_spawn relay "$TOOLS/relay" "$RIG_LINK_PORT" "$RIG_PORT" "$RIG/sent"
	wait_for 5 grep -q ready "$RIG/relay.out"
	rig_loop vol $size
	DEV=${LOOP[vol]}
	"$TOOLS/blocks" mixed "$DEV" 0 $((2 << 20)) 1
	rig_volume vol "$DEV" "$@"
	rig_source
	wait_for 30 volume_is vol protected
}

lag_above()
{
	ctl --json status vol | jq -e ".volumes[0].rpo_lag_seconds > $1"
}

newest()
{
	rctl --json points vol | jq '.points[-1].seq'
}

# ---- the disk of the source ----

# A loop device over a file that gives EIO to reads while $RIG/bad exists.
failing_device()
{
	truncate -s $size "$RIG/vol.img"
	: >"$RIG/nbd"
	rig_spawn under-nbdkit nbdkit -f -U "$RIG/nbd.sock" --filter=error \
		file "$RIG/vol.img" error-pread=EIO error-pread-rate=1 \
		error-pread-file="$RIG/bad"
	wait_for 10 test -S "$RIG/nbd.sock"
	rig_spawn under-nbdfuse nbdfuse "$RIG/nbd" \
		"nbd+unix:///?socket=$RIG/nbd.sock"
	wait_for 10 mountpoint -q "$RIG/nbd"
	LOOP[vol]=$(losetup -f --show --direct-io=on "$RIG/nbd")
	DEV=${LOOP[vol]}
}

@test "a source that cannot be read makes no point, and heals" {
	local before

	[ -e /dev/fuse ] || modprobe -q fuse || skip "no /dev/fuse"
	failing_device
	"$TOOLS/blocks" mixed "$DEV" 0 $((2 << 20)) 1
	rig_replica
	rig_volume vol "$DEV" "interval = 100ms"
	rig_source
	wait_for 30 volume_is vol protected
	sync_point vol
	before=$(newest)
	touch "$RIG/bad"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
	wait_for 20 volume_is vol failed
	field_is vol reason read-error
	[ "$(volume_field vol dirty_bytes)" -gt 0 ]
	[[ $(volume_field vol message) == *"$DEV"*read* ]]
	[ "$(volume_field vol remedy)" != null ]
	fails 1 ctl sync vol --timeout 2s
	volume_is vol failed
	[ "$(newest)" = "$before" ]
	rm "$RIG/bad"
	wait_for 20 volume_is vol protected
	field_is vol reason null
	sync_point vol
	restored_equals vol "$DEV"
}

@test "an initial copy that meets an unreadable block is no point" {
	[ -e /dev/fuse ] || modprobe -q fuse || skip "no /dev/fuse"
	failing_device
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	touch "$RIG/bad"
	rig_replica
	rig_volume vol "$DEV" "interval = 100ms"
	rig_source
	wait_for 20 volume_is vol failed
	fails 1 ctl sync vol --timeout 1s
	rctl --json status | jq -e '[.volumes[].last_point] | all(. == null)'
	rm "$RIG/bad"
	wait_for 20 volume_is vol protected
	restored_equals vol "$DEV"
}

# ---- the link ----

@test "a dead link shows as lag that grows, and is caught up with" {
	local before

	linked_pair "interval = 100ms" "rpo = 1s"
	before=$(newest)
	kill -USR1 "${HELPER[relay]}"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 500
	wait_for 20 volume_is vol lagging
	wait_for 20 lag_above 2
	wait_for 20 lag_above 3
	fails 1 ctl sync vol --timeout 500ms
	[ "$(newest)" = "$before" ]
	kill -USR2 "${HELPER[relay]}"
	wait_for 20 volume_is vol protected
	sync_point vol
	restored_equals vol "$DEV"
}

@test "a link that is reset again and again loses nothing" {
	local i

	linked_pair "interval = 50ms"
	rig_spawn writers "$TOOLS/chains" write "$DEV" 200
	for i in {1..12}; do
		kill -HUP "${HELPER[relay]}"
		sleep 0.$((RANDOM % 5))$((i % 10))
	done
	rig_kill writers
	ctl key export vol --to "$RIG/key"
	sync_point vol
	restored_equals vol "$DEV"
	# Points from before the writers began hold noise where they write.
	[ "$("$TOOLS/chains" image "$RIG/restored")" = "" ]
}

# shellcheck disable=SC2030 # run sets output
@test "a replica that is stopped is lag, not an end" {
	linked_pair "interval = 100ms" "rpo = 1s"
	kill -STOP "${DAEMON[replica]}"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 100
	wait_for 20 volume_is vol lagging
	kill -CONT "${DAEMON[replica]}"
	wait_for 20 volume_is vol protected
	sync_point vol
	restored_equals vol "$DEV"
}

# ---- rights ----

# shellcheck disable=SC2154,SC2031 # run sets output
# refused_with REASON EXIT: nothing gets to the replica, the source says why
refused_with()
{
	rig_loop vol $size
	rig_volume vol "${LOOP[vol]}"
	rig_source
	wait_for 20 field_is vol reason "$1"
	fails "$2" ctl sync vol --timeout 500ms
	[[ $output == *dr1* ]]
	rctl --json status | jq -e '[.volumes[].last_point] | all(. == null)'
	[ "$(volume_field vol remedy)" != null ]
}

@test "a certificate of another authority is not let in" {
	rig_replica
	mv "$RIG/web1-cert" "$RIG/right"
	printf '[daemon]\nstate = %s\n' "$RIG/other-ca" >"$RIG/other.conf"
	"$BUILD/understudyctl" --config "$RIG/other.conf" pki init
	"$BUILD/understudyctl" --config "$RIG/other.conf" pki issue web1 \
		--rights push,read --volumes '*' --out "$RIG/web1-cert"
	# The source does not trust that replica: its own check comes first.
	refused_with tls-untrusted 1
	[[ $(volume_field vol message) != *refused\ our* ]]
	# It trusts it now; the replica does not trust its certificate.
	daemon_stop source
	cp "$RIG/right/ca.pem" "$RIG/web1-cert/ca.pem"
	daemon_start source
	wait_for 20 field_is vol reason tls-untrusted
	[[ $(volume_field vol message) == *refused\ our* ]]
	fails 1 ctl points vol
	rctl --json status | jq -e '.volumes == []'
	# With the right identity it goes on by itself.
	rm -r "$RIG/web1-cert"
	mv "$RIG/right" "$RIG/web1-cert"
	wait_for 30 volume_is vol protected
}

@test "a certificate without the right to push is refused" {
	rig_replica
	rm -r "$RIG/web1-cert"
	rctl pki issue web1b --rights read --volumes '*' --out "$RIG/web1-cert"
	refused_with not-permitted 4
	volume_is vol refused
	[[ $(volume_field vol message) == *push* ]]
	[[ $(volume_field vol remedy) == *"pki issue"* ]]
}

@test "a certificate for other volumes is refused" {
	rig_replica
	rm -r "$RIG/web1-cert"
	rctl pki issue web1b --rights push,read --volumes 'db*' \
		--out "$RIG/web1-cert"
	refused_with not-permitted 4
	volume_is vol refused
}

@test "a revoked certificate is out at once, a new one is let in" {
	local before

	linked_pair "interval = 100ms"
	rctl pki revoke web1
	before=$(newest)
	kill -HUP "${DAEMON[replica]}"
	wait_for 10 field_is vol reason tls-revoked
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
	fails 1 ctl sync vol --timeout 1s
	[ "$(newest)" = "$before" ]
	fails 1 ctl restore vol --to "$RIG/p"
	rm -r "$RIG/web1-cert"
	rctl pki issue web1 --rights push,read --volumes vol \
		--out "$RIG/web1-cert"
	ctl sync vol --timeout 30s
	field_is vol reason null
	restored_equals vol "$DEV"
}

# ---- the key ----

@test "a wrong key restores nothing and leaves the target alone" {
	flow_pair $size "key-escrow = no"
	"$TOOLS/blocks" fill "$DEV" 0 $((4 << 20)) 1
	sync_point vol
	ctl key export vol --to "$RIG/key"
	"$TOOLS/otherkey" "$RIG/key" "$RIG/wrong"
	fails 1 rctl restore vol --key "$RIG/wrong" --to "$RIG/p"
	[[ $output == *key* ]]
	[ ! -e "$RIG/p" ]
	head -c $size /dev/zero | tr '\0' x >"$RIG/p"
	cp "$RIG/p" "$RIG/same"
	fails 1 rctl restore vol --key "$RIG/wrong" --to "$RIG/p"
	cmp "$RIG/p" "$RIG/same"
	fails 1 rctl --json restore vol --key "$RIG/wrong" --to "$RIG/p"
	jq -e '.error.code == "wrong-key" and .error.target == "untouched"' \
		<<<"$output"
	head -c 100 "$RIG/key" >"$RIG/cut"
	fails 1 rctl restore vol --key "$RIG/cut" --to "$RIG/p"
	restored_equals vol "$DEV" --key "$RIG/key"
}

# ---- the disk of the replica ----

@test "a full store says so, loses no point, and goes on after room is made" {
	local before

	# 64 MiB of it is the store's reserve.
	rig_loop store 192MiB
	mkfs.ext4 -q "${LOOP[store]}"
	rig_mount "${LOOP[store]}" "$RIG/store-fs"
	# shellcheck disable=SC2034 # for the rig
	RIG_STORE=$RIG/store-fs/store
	fallocate -l 52MiB "$RIG/store-fs/ballast"
	flow_pair 96MiB "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $((16 << 20)) 1
	before=$(sync_point vol --label before)
	cp --sparse=always "$DEV" "$RIG/before.img"
	# Two thirds of what there is, then all of it.
	"$TOOLS/blocks" fill "$DEV" 0 $((80 << 20)) 2
	wait_for 30 replica_is vol full
	[ "$(volume_field vol remedy)" != null ]
	[[ $(volume_field vol message) == *"No space"* ]]
	fails 1 ctl sync vol --timeout 1s
	rctl --json points vol | jq -e "[.points[] | .state] |
		length >= 1 and all(. == \"ok\")"
	restored_equals vol "$RIG/before.img" --point before
	# Nor is one lost by a restart of the full replica.
	daemon_stop replica KILL
	daemon_start replica
	[ "$(point_field vol "$before" state)" = ok ]
	restored_equals vol "$RIG/before.img" --point before
	rm "$RIG/store-fs/ballast"
	blkdiscard "$DEV"
	"$TOOLS/blocks" fill "$DEV" 0 $((4 << 20)) 3
	ctl sync vol --timeout 30s
	wait_for 10 volume_is vol protected
	replica_is vol following
	restored_equals vol "$DEV"
	restored_equals vol "$RIG/before.img" --point before
}

injected_at_least()
{
	[ "$(grep -c INJECTED "$RIG/strace.log")" -ge "$1" ]
}

@test "a failed fsync at the replica is no acknowledgement" {
	local before

	linked_pair "interval = 200ms"
	sync_point vol
	before=$(newest)
	rig_spawn strace strace -f -p "${DAEMON[replica]}" -e trace=fdatasync \
		-e inject=fdatasync:error=EIO -o "$RIG/strace.log"
	wait_for 10 grep -q attached "$RIG/strace.out"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
	fails 1 ctl sync vol --timeout 2s
	wait_for 10 injected_at_least 2
	[ "$(newest)" = "$before" ]
	[ "$(volume_field vol last_point.seq)" = "$before" ]
	rig_kill strace INT || true
	ctl sync vol --timeout 30s
	restored_equals vol "$DEV"
	[ "$(point_field vol "$before" state)" = ok ]
}
