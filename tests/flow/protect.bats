#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# A volume is protected, its points are listed and restored: what a person
# types and reads when nothing goes wrong.

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

# A protected volume with content of every sort.
protected_volume()
{
	flow_pair $size "$@"
	"$TOOLS/blocks" mixed "$DEV" 0 $((1 << 20)) 1
	"$TOOLS/blocks" fill "$DEV" $((4 << 20)) $((12 << 20)) 1
	wait_for 30 volume_is vol protected
}

@test "a restored volume is the device, byte by byte" {
	protected_volume "interval = 1h" "rpo = 2h"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 200
	sync_point vol
	restored_equals vol "$DEV"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 3 200
	run restored_equals vol "$DEV"
	[ "$status" -ne 0 ]
	sync_point vol
	restored_equals vol "$DEV"
	# The source restores too, over its session.
	ctl restore vol --to "$RIG/at-source"
	same_bytes "$RIG/at-source" "$DEV"
	[ "$(stat -c %s "$RIG/at-source")" -eq $size ]
}

@test "a volume whose size is no multiple of a block keeps its last bytes" {
	local dev

	rig_loop vol $((size + 512 * 5))
	dev=${LOOP[vol]}
	dd if=/dev/urandom of="$dev" bs=512 seek=$((size / 512 - 3)) count=8 \
		oflag=direct status=none
	rig_replica
	rig_volume vol "$dev"
	rig_source
	sync_point vol
	restored_equals vol "$dev"
	[ "$(stat -c %s "$RIG/restored")" -eq $((size + 512 * 5)) ]
}

@test "points and status speak the documented keys, all of them and no other" {
	protected_volume
	sync_point vol --label one >/dev/null
	ctl --json status vol | jq -e '
		(keys == ["format", "volumes"]) and .format == 1 and
		(.volumes[0] | keys - ["counters"]) == (["name", "source",
		"group", "uuid", "role", "state", "reason", "message", "since",
		"remedy", "device", "size_bytes", "block_bytes",
		"interval_seconds", "rpo_seconds", "rpo_lag_seconds",
		"dirty_bytes", "backlog_bytes", "limited_by", "proven_since",
		"last_point", "replicas"] | sort) and
		(.volumes[0].last_point | keys) ==
		["epoch", "kind", "seq", "time"] and
		(.volumes[0].replicas[0] | keys) == ["acked_seq",
		"backlog_bytes", "name", "reason", "rpo_lag_seconds", "state"]'
	ctl --json status vol | jq -e --arg dev "$DEV" '.volumes[0] |
		.name == "vol" and .role == "source" and .state == "protected"
		and .reason == null and .device == $dev and
		.size_bytes == 33554432 and .interval_seconds == 1 and
		.rpo_seconds == 10 and .rpo_lag_seconds >= 0 and
		.last_point.kind == "crash" and .replicas[0].name == "dr1"'
	rctl --json status vol | jq -e '.volumes[0] | .source == "web1" and
		.role == "replica" and .state == "following" and
		.rpo_lag_seconds >= 0'
	rctl --json points vol | jq -e '
		keys == ["points", "volume"] and .volume == "web1/vol" and
		([.points[] | keys] | unique) == [["changed_bytes", "epoch",
		"group", "kind", "label", "pins", "received", "seq",
		"size_bytes", "state", "stored_bytes", "time"]] and
		(.points[-1] | .label == "one" and .kind == "crash" and
		.state == "ok" and .size_bytes == 33554432 and .pins == [] and
		.group == null and (.time | test("^[0-9-]{10}T[0-9:]{8}\\.[0-9]{3}Z$")))'
	# The source lists the same, over its session.
	[ "$(ctl --json points vol | jq -c .points)" = \
		"$(rctl --json points vol | jq -c .points)" ]
}

@test "sync prints the number of a point that is there when it returns" {
	local before seq json

	protected_volume
	before=$(volume_field vol last_point.seq)
	seq=$(sync_point vol)
	[[ $seq =~ ^[0-9]+$ ]] && [ "$seq" -gt "$before" ]
	# Killed the moment sync returns: what it promised is on disk.
	json=$(ctl --json sync vol)
	daemon_stop replica KILL
	daemon_stop source KILL
	jq -e 'keys == ["epoch", "kind", "seq", "time", "volume"] and
		.volume == "vol" and .kind == "crash"' <<<"$json"
	# Nothing had been written, it was a point all the same.
	[ "$(jq .seq <<<"$json")" -eq $((seq + 1)) ]
	daemon_start replica
	[ "$(point_field vol $((seq + 1)) state)" = ok ]
	restored_equals vol "$DEV"
}

# The initial copy is under way and shows it.
copy_moves()
{
	ctl --json status vol | jq -e '.volumes[0] | .state == "initializing"
		and .backlog_bytes > 0 and .backlog_bytes < .size_bytes and
		.rpo_lag_seconds == null and .last_point == null and
		.counters.bytes_shipped > 0'
}

@test "status tells how far the initial copy is" {
	rig_loop vol $size
	"$TOOLS/blocks" fill "${LOOP[vol]}" 0 $size 1
	rig_replica
	rig_volume vol "${LOOP[vol]}"
	rig_source_conf
	sed -i "/^identity/a rate-limit = 16MiB/s" "$RIG/source.conf"
	daemon_start source
	wait_for 10 copy_moves
	wait_for 30 volume_is vol protected
	restored_equals vol "${LOOP[vol]}"
}

@test "sync names the replica that lacks the point when time is up" {
	protected_volume
	daemon_stop replica KILL
	fails 1 ctl sync vol --timeout 500ms
	[[ $output == *dr1*lacks* ]]
	daemon_start replica
	sync_point vol
}

@test "a point is found by number, epoch, label, time and VOLUME@POINT" {
	local i seq=() time=() epoch

	protected_volume
	for i in 1 2 3; do
		"$TOOLS/blocks" number "$DEV" 0 $i
		seq[i]=$(sync_point vol --label "stamp-$i")
		time[i]=$(point_field vol "${seq[i]}" time)
		sleep 0.01	# so that no two have the same millisecond
	done
	epoch=$(point_field vol "${seq[2]}" epoch)
	stamp_is()
	{
		local want=$1
		shift
		rctl restore "$@" --to "$RIG/p" --range 0:4096 >/dev/null &&
			[ "$("$TOOLS/blocks" read "$RIG/p" 0)" = "$want" ]
	}
	stamp_is 2 vol --point "${seq[2]}"
	stamp_is 2 vol --point "$epoch:${seq[2]}"
	stamp_is 1 vol --point stamp-1
	stamp_is 2 "vol@stamp-2"
	stamp_is 1 "web1/vol@${seq[1]}"
	stamp_is 3 vol
	stamp_is 3 vol@latest
	stamp_is 1 vol --at "${time[1]}"
	stamp_is 2 vol --at "${time[2]}"
	# The newest no later than that, and not one later.
	stamp_is 1 vol --at "$(jq -rn --arg t "${time[2]}" '$t |
		capture("(?<s>.*)\\.(?<ms>.*)Z") | (.s + "Z" | fromdate) * 1000 +
		(.ms | tonumber) - 1 | (. / 1000 | floor | todate | .[:-1]) +
		"." + ("00\(. % 1000)" | .[-3:]) + "Z"')"
	fails 1 rctl restore vol --point 99999 --to "$RIG/p"
	[[ $output == *"no such point"* ]]
	fails 1 rctl restore vol --at 2001-01-01T00:00:00Z --to "$RIG/p"
	fails 2 rctl restore vol --point "$epoch:" --to "$RIG/p"
}

@test "several who sync at once all get a point, with their label on it" {
	local i pids=()

	protected_volume
	for i in 1 2 3 4 5 6; do
		ctl sync vol --label "label-$i" >"$RIG/sync-$i" 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i"
	done
	for i in 1 2 3 4 5 6; do
		[ "$(point_field vol "$(cat "$RIG/sync-$i")" label)" = \
			"label-$i" ]
		rctl restore "vol@label-$i" --range 0:4096 --to "$RIG/p"
	done
}

@test "a range keeps its place and leaves the rest alone" {
	protected_volume
	sync_point vol
	head -c $size /dev/urandom >"$RIG/target"
	cp "$RIG/target" "$RIG/expected"
	dd if="$DEV" of="$RIG/expected" bs=512 skip=2049 seek=2049 count=777 \
		conv=notrunc status=none
	rctl restore vol --to "$RIG/target" --range $((2049 * 512)):$((777 * 512))
	cmp "$RIG/target" "$RIG/expected"
	fails 1 rctl restore vol --to "$RIG/target" --range 32MiB:4096
	cmp "$RIG/target" "$RIG/expected"
	fails 2 rctl restore vol --to "$RIG/target" --range 100:4096
}

@test "a device can be the target, and in place only differences are written" {
	protected_volume
	sync_point vol
	rig_loop target $((size + 4096))
	"$TOOLS/blocks" fill "${LOOP[target]}" 0 $size 9
	rctl restore vol --to "${LOOP[target]}"
	same_bytes "$DEV" "${LOOP[target]}"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 4 10
	sync_point vol
	rctl --json restore vol --in-place --to "${LOOP[target]}" |
		jq -e '.written_bytes <= 10 * 65536'
	same_bytes "$DEV" "${LOOP[target]}"
	rig_loop small $((size - 4096))
	fails 1 rctl restore vol --to "${LOOP[small]}"
	[[ $output == *"${LOOP[small]}: the device ends before the range"* ]]
}

@test "a target in use is refused with exit 4 and not touched" {
	protected_volume
	sync_point vol
	rig_loop used 64MiB
	mkfs.ext4 -q "${LOOP[used]}"
	rig_mount "${LOOP[used]}" "$RIG/mnt"
	echo kept >"$RIG/mnt/file"
	sync -f "$RIG/mnt"
	fails 4 rctl restore vol --to "${LOOP[used]}"
	[[ $output == *mounted* ]]
	# Nor through the file below it.
	fails 4 rctl restore vol --to "$RIG/used.img"
	umount "$RIG/mnt"
	rig_mount "${LOOP[used]}" "$RIG/mnt"
	[ "$(cat "$RIG/mnt/file")" = kept ]
}

@test "an exported key restores without the source, and without a daemon" {
	protected_volume "key-escrow = no"
	field_is vol reason key-unsaved
	sync_point vol
	fails 1 rctl restore vol --to "$RIG/p"
	[[ $output == *--key* ]]
	[ ! -e "$RIG/p" ]
	ctl key export vol --to "$RIG/vol.key"
	[ "$(stat -c %a "$RIG/vol.key")" = 600 ]
	field_is vol reason null
	daemon_stop source
	restored_equals vol "$DEV" --key "$RIG/vol.key"
	daemon_stop replica
	fails 3 rctl restore vol --to "$RIG/p"
	"$BUILD/understudyctl" restore vol --store "$RIG/store" \
		--key "$RIG/vol.key" --to "$RIG/offline"
	same_bytes "$RIG/offline" "$DEV"
}

@test "several volumes and two sources share a replica, names stay apart" {
	local seq

	rig_loop vol 16MiB
	rig_loop log 8MiB
	rig_loop other 16MiB
	"$TOOLS/blocks" fill "${LOOP[vol]}" 0 1048576 1
	"$TOOLS/blocks" fill "${LOOP[log]}" 0 1048576 2
	"$TOOLS/blocks" fill "${LOOP[other]}" 0 1048576 3
	rig_replica
	rctl pki issue web2 --rights push,read --volumes '*' \
		--out "$RIG/web2-cert"
	rig_volume vol "${LOOP[vol]}"
	rig_volume log "${LOOP[log]}"
	rig_source
	rig_conf source2 web2-cert
	cat >>"$RIG/source2.conf" <<-CONF
		[volume vol]
		device = ${LOOP[other]}
		replicas = dr1
	CONF
	daemon_start source2
	sync_point vol
	sync_point log
	"$BUILD/understudyctl" --config "$RIG/source2.conf" sync vol
	rctl --json status | jq -e '[.volumes[] | .source + "/" + .name] |
		sort == ["web1/log", "web1/vol", "web2/vol"]'
	restored_equals web1/vol "${LOOP[vol]}"
	restored_equals web2/vol "${LOOP[other]}"
	restored_equals log "${LOOP[log]}"
	fails 2 rctl restore vol --to "$RIG/p"
	[[ $output == *web1/vol* && $output == *web2/vol* ]]
	# Each source sees its own under the short name.
	ctl restore vol --to "$RIG/own"
	same_bytes "$RIG/own" "${LOOP[vol]}"
	# Another source's volume is not to be had with this certificate.
	fails 1 ctl restore web2/vol --key "$RIG/nothing" --to "$RIG/p"
	fails 1 ctl points web2/vol
}
