#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The background comparison: what changed behind the tracker's back is found
# without anybody asking, told, and healed; beside writers it raises no alarm;
# what it calls proven is so, and is taken back when it is not any more. What
# differs is put there by this file, past the daemons.

bats_require_minimum_version 1.5.0

load ../lib/flow

LAPS=${FLOW_LAPS:-3}

setup()
{
	flow_setup
}

teardown()
{
	flow_teardown
}

size=$((24 << 20))

# A protected volume with content, ARGS being lines of its configuration.
protected_volume()
{
	flow_pair $size "$@"
	"$TOOLS/blocks" fill "$DEV" $((12 << 20)) $((11 << 20)) 1
	wait_for 30 volume_is vol protected
}

laps_at_least()
{
	[ "$(counter vol audit_laps)" -ge "$1" ]
}

laps_from_now()
{
	wait_for $((60 + 10 * $1)) laps_at_least \
		$(($(counter vol audit_laps) + $1))
}

# Milliseconds since 1970; 0: nothing is proven.
proven()
{
	local text

	text=$(volume_field vol proven_since)
	if [ "$text" = null ]; then
		echo 0
	else
		date -d "$text" +%s%3N
	fi
}

proven_after()
{
	[ "$(proven)" -gt "$1" ]
}

now_ms()
{
	date +%s%3N
}

events_of()
{
	ctl --json events | jq -r "select(.slug == \"$1\") | .reason // \"-\""
}

has_event()
{
	[ -n "$(events_of "$1")" ]
}

# A found difference has been told, and everything was compared since.
healed()
{
	has_event audit-healed && volume_is vol protected
}

no_alarm()
{
	[ "$(counter vol audit_differing_bytes)" -eq 0 ] &&
		! has_event audit-differs &&
		! grep -q comparing "$RIG/source.log"
}

@test "each lap moves what is proven to its begin, not further; status tells" {
	local before after

	before=$(now_ms)
	protected_volume "interval = 100ms" "audit = 1s"
	field_is vol proven_since null
	wait_for 20 laps_at_least 1
	proven_after "$before"
	after=$(proven)
	# A lap takes its time: the end of it is later by most of that.
	[ "$after" -lt $(($(now_ms) - 500)) ]
	laps_from_now 1
	proven_after "$after"
	[[ $(ctl status vol) == *"proven since "*"T"*"Z"* ]]
	[ "$(counter vol audit_bytes)" -ge $size ]
	no_alarm
}

@test "bytes that changed behind the tracker are found by themselves, told and healed" {
	local seq http

	protected_volume "interval = 100ms" "audit = 1s"
	rig_spawn writers "$TOOLS/chains" write "$DEV" 1000
	wait_for 20 laps_at_least 1
	seq=$(volume_field vol last_point.seq)
	# All at once, for the daemon.
	kill -STOP "${DAEMON[source]}"
	flip_byte "$RIG/vol.img" $((20 << 20))
	flip_byte "$RIG/vol.img" $(((20 << 20) + 4096))
	flip_byte "$RIG/vol.img" $((size - 1))
	kill -CONT "${DAEMON[source]}"
	wait_for 30 healed
	rig_kill writers || true
	[ "$(events_of audit-differs)" = content ]
	has_event state-comparing
	grep -q "audit: device and point .* differ, first at offset=20971520" \
		"$RIG/source.log"
	[ "$(counter vol audit_differing_bytes)" -ge 8192 ]
	http=127.0.0.1:$(free_port)
	sed -i "/^\[daemon\]/a metrics = $http" "$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 curl -sS "http://$http/metrics"
	curl -sS "http://$http/metrics" |
		grep -q '^understudy_audit_differing_bytes_total{.*} [1-9]'
	sync_point vol
	restored_equals vol "$DEV"
	# The point of before does not have it: nothing is rewritten.
	run ! restored_equals vol "$DEV" --point "$seq"
	# And it is proven anew.
	laps_from_now 1
	[ "$(proven)" -gt 0 ]
	[ "$(events_of audit-differs | wc -l)" -eq 1 ]
}

@test "without the audit they are in no point" {
	protected_volume "interval = 100ms" "audit = off"
	flip_byte "$RIG/vol.img" $((20 << 20))
	sync_point vol
	"$TOOLS/blocks" scatter "$DEV" 0 $((8 << 20)) 7 20
	sync_point vol
	volume_is vol protected
	field_is vol proven_since null
	[ "$(counter vol audit_bytes)" -eq 0 ]
	run ! restored_equals vol "$DEV"
}

@test "what the replica cannot read back is found and shipped again" {
	local seg

	protected_volume "interval = 100ms" "audit = 1s"
	sync_point vol
	seg=$(find "$RIG/store/volumes" -name '*.seg' -size +4M | head -n 1)
	flip_byte "$seg" "$(tests/reader/unit_byte.py "$seg")"
	wait_for 30 healed
	[ "$(events_of audit-differs)" = damaged ]
	sync_point vol
	restored_equals vol "$DEV"
}

busy_filesystem()
{
	rig_loop vol 64MiB
	mkfs.ext4 -q "${LOOP[vol]}"
	rig_mount "${LOOP[vol]}" "$RIG/mnt"
	rig_replica >/dev/null
	rig_volume vol "${LOOP[vol]}" "interval = 50ms" "audit = 1s"
	rig_source
	wait_for 30 volume_is vol protected
}

@test "beside writers that sync each write, on disk and file system, there is no false alarm" {
	flow_seed
	busy_filesystem
	rig_spawn facts "$TOOLS/fsfacts" run "$RIG/mnt" "$RIG/facts" "$SEED"
	laps_from_now "$LAPS"
	rig_kill facts
	laps_from_now 1
	no_alarm
	echo "# $(cat "$RIG/facts.out") changes," \
		"$(counter vol audit_laps) laps" >&3
}

@test "blocks that never rest, also with the same content for ever, are in the lap" {
	protected_volume "interval = 100ms" "audit = 1s"
	rig_spawn writers "$TOOLS/chains" write "$DEV"
	rig_spawn same sh -c "while :; do
		dd if='$DEV' of='$RIG/b' bs=4k count=1 skip=2000 status=none
		dd if='$RIG/b' of='$DEV' bs=4k count=1 seek=2000 oflag=direct \
			conv=notrunc status=none; done"
	laps_from_now 2
	rig_kill writers || true
	laps_from_now 1
	no_alarm
}

@test "what is proven outlives the daemon, not the tracking" {
	local was

	protected_volume "interval = 100ms" "audit = 1h"
	field_is vol proven_since null
	# Ordered, it is as good as a lap.
	ctl verify vol
	was=$(volume_field vol proven_since)
	[ "$was" != null ]
	daemon_stop source KILL
	daemon_start source
	wait_for 10 field_is vol 'replicas[0].state' connected
	field_is vol proven_since "$was"
	daemon_stop source
	rm -r "/sys/fs/bpf/understudy-$(cat "$RIG/source-state/node")"
	daemon_start source
	wait_for 30 volume_is vol protected
	field_is vol proven_since null
	# Resync and verify that finds something take it back too.
	ctl verify vol
	run ! field_is vol proven_since null
	flip_byte "$RIG/vol.img" $((20 << 20))
	fails 1 ctl verify vol
	field_is vol proven_since null
}

@test "the audit rests while paused or alone, and goes on" {
	local bytes

	protected_volume "interval = 100ms" "audit = 6s" "rpo = 1s"
	wait_for 20 audit_read_at_least $((4 << 20))
	ctl pause vol
	bytes=$(counter vol audit_bytes)
	wait_for 5 volume_is vol paused
	bytes=$(counter vol audit_bytes)
	ctl resume vol
	wait_for 10 audit_read_at_least $((bytes + (1 << 20)))
	daemon_stop replica
	wait_for 10 field_is vol 'replicas[0].state' disconnected
	bytes=$(counter vol audit_bytes)
	"$TOOLS/blocks" scatter "$DEV" 0 $((8 << 20)) 7 20
	wait_for 20 volume_is vol lagging
	[ "$(counter vol audit_bytes)" -eq "$bytes" ]
	daemon_start replica
	wait_for 30 laps_at_least 1
	no_alarm
}

audit_read_at_least()
{
	[ "$(counter vol audit_bytes)" -ge "$1" ]
}

@test "within a read-limit the audit leaves the most to cuts" {
	local bytes from to

	protected_volume "interval = 100ms" "audit = 1s" "read-limit = 16MiB/s"
	wait_for 30 audit_read_at_least $((1 << 20))
	from=$(now_ms)
	bytes=$(counter vol audit_bytes)
	wait_for 30 audit_read_at_least $((bytes + (8 << 20)))
	to=$(now_ms)
	# A quarter of it is 4 MiB/s: 8 MiB take 2 s.
	[ $((to - from)) -ge 1700 ]
	sync_point vol --timeout 5s
}
