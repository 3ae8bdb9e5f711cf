#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The device against the replica's newest point while writes go on: no false
# alarm, no difference missed. What differs is put there by this file, past the
# daemons.

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

size=$((48 << 20))

# A protected volume with content, ARGS being lines of its configuration. The
# audit would find by itself what is planted here.
protected_volume()
{
	flow_pair $size "audit = off" "$@"
	"$TOOLS/blocks" fill "$DEV" $((16 << 20)) $((24 << 20)) 1
	wait_for 30 volume_is vol protected
}

# verify_says EXIT JQ-CONDITION
verify_says()
{
	local rc=0

	ctl --json verify vol >"$RIG/verify.json" || rc=$?
	cat "$RIG/verify.json"
	[ $rc -eq "$1" ] && jq -e "$2" "$RIG/verify.json" >/dev/null
}

everything_equal=".compared_bytes == $size and .skipped_bytes == 0 and
	.differing_bytes == 0 and .differences == []"

@test "a volume at rest is compared once, and said to be equal" {
	protected_volume "interval = 1h" "rpo = 2h"
	sync_point vol
	verify_says 0 "$everything_equal and .volume == \"vol\" and
		.method == \"checksums\" and .passes == 1 and
		.in_points_bytes == 0 and .first_seq == .last_seq and
		(keys == ([\"volume\", \"epoch\", \"first_seq\", \"last_seq\",
		\"method\", \"size_bytes\", \"compared_bytes\",
		\"in_points_bytes\", \"skipped_bytes\", \"passes\",
		\"differing_bytes\", \"truncated\", \"differences\",
		\"seconds\"] | sort))"
	[[ $(ctl verify vol) == *"no difference"* ]]
}

# Verifications until the file "enough" is there.
verifier()
{
	local n=0

	until [ -e "$RIG/enough" ]; do
		ctl --json verify vol >"$RIG/verify.json" || return
		jq -e "$everything_equal" "$RIG/verify.json" || return
		n=$((n + 1))
	done
	echo "verified $n"
}

max_lag_ms()
{
	local max=0 ms i

	for ((i = 0; i < 25; i++)); do
		ms=$(ctl --json status vol |
			jq '.volumes[0].rpo_lag_seconds * 1000 | floor')
		[ "$ms" -le "$max" ] || max=$ms
		sleep 0.05
	done
	echo "$max"
}

@test "beside busy writers everything is compared, nothing is alarmed, and cuts go on" {
	local before during n

	protected_volume "interval = 50ms"
	rig_spawn writers "$TOOLS/chains" write "$DEV" 500
	wait_for 10 points_after vol "$(volume_field vol last_point.seq)"
	before=$(max_lag_ms)
	rig_spawn_function verifier
	during=$(max_lag_ms)
	touch "$RIG/enough"
	wait "${HELPER[verifier]}" || { cat "$RIG/verifier.out"; false; }
	unset "HELPER[verifier]"
	n=$(sed -n 's/^verified //p' "$RIG/verifier.out")
	echo "# worst lag ${before} ms without, ${during} ms beside $n" \
		"verifications" >&3
	[ "$n" -ge 1 ] && [ "$during" -lt $((before + 1000)) ]
	rig_kill writers || true
	verify_says 0 "$everything_equal"
	# The writers' blocks never rest.
	volume_is vol protected
}

@test "blocks that never rest are compared as part of a point, and told" {
	protected_volume "interval = 100ms"
	rig_spawn writers "$TOOLS/chains" write "$DEV"
	wait_for 10 points_after vol "$(volume_field vol last_point.seq)"
	verify_says 0 "$everything_equal and .in_points_bytes > 0 and
		.last_seq > .first_seq and .passes > 1"
	[[ $(ctl verify vol) == *"as part of a point"* ]]
}

@test "bytes that changed behind the tracker are found, shown until a resync, and healed by it" {
	protected_volume "interval = 100ms"
	rig_spawn writers "$TOOLS/chains" write "$DEV" 1000
	flip_byte "$RIG/vol.img" $((20 << 20))
	flip_byte "$RIG/vol.img" $(((20 << 20) + 4096))
	flip_byte "$RIG/vol.img" $((size - 1))
	verify_says 1 '.error | .code == "differs" and
		(.remedy | startswith("understudyctl resync vol")) and
		.differing_bytes == 12288 and ([.differences[] |
		[.offset_bytes, .length_bytes, .what]] ==
		[[20971520, 8192, "content"], [50327552, 4096, "content"]])'
	fails 1 ctl verify vol
	[[ $output == *"offset=20971520"* && $output == *resync* ]]
	field_is vol state failed
	field_is vol reason differs
	# Not forgotten by another point, or by another process.
	sync_point vol
	daemon_stop source
	daemon_start source
	wait_for 10 field_is vol reason differs
	field_is vol state failed
	rig_kill writers || true
	ctl resync vol --yes vol
	wait_for 30 volume_is vol protected
	field_is vol reason null
	verify_says 0 "$everything_equal"
	sync_point vol
	restored_equals vol "$DEV"
}

@test "bytes damaged in the replica's segments are found, and healed by a resync" {
	local seg

	protected_volume "interval = 100ms"
	sync_point vol
	seg=$(find "$RIG/store/volumes" -name '*.seg' -size +8M | head -n 1)
	flip_byte "$seg" "$(tests/reader/unit_byte.py "$seg")"
	verify_says 1 '.error | .code == "differs" and
		.differing_bytes > 0 and .differing_bytes <= 65536 and
		([.differences[].what] | unique) == ["damaged"]'
	field_is vol reason differs
	ctl resync vol --yes vol
	wait_for 30 volume_is vol protected
	verify_says 0 "$everything_equal"
	restored_equals vol "$DEV"
}

@test "a replica that lost a segment file has nothing there, and that is found" {
	local seg

	protected_volume "interval = 100ms"
	daemon_stop source
	daemon_stop replica
	seg=$(find "$RIG/store/volumes" -name '*.seg' -size +8M | head -n 1)
	mv "$seg" "$RIG/lost.seg"
	daemon_start replica
	daemon_start source
	wait_for 10 field_is vol 'replicas[0].state' connected
	verify_says 1 '.error | .code == "differs" and
		([.differences[].what] | unique) == ["damaged"] and
		.differing_bytes >= 16777216'
}

verify_moves()
{
	[ "$(jq -s 'last | .done_bytes' "$RIG/verify.err")" -gt 0 ]
}

slow_verify()
{
	exec "$BUILD/understudyctl" --config "$RIG/source.conf" \
		--progress=json verify vol 2>"$RIG/verify.err"
}

called_off_twice()
{
	[ "$(grep -c "called off" "$RIG/source.log")" -eq 2 ]
}

@test "a verification is slow with a read-limit, cuts are not, and Ctrl-C ends it" {
	local rc=0

	protected_volume "interval = 100ms" "read-limit = 16MiB/s"
	rig_spawn_function slow_verify
	wait_for 10 verify_moves
	# One at a time.
	fails 1 ctl verify vol
	[[ $output == *"under way"* ]]
	"$TOOLS/blocks" scatter "$DEV" 0 $size 7 20
	sync_point vol --timeout 2s
	rig_kill slow_verify INT || rc=$?
	[ $rc -eq 1 ]
	wait_for 5 grep -q "called off" "$RIG/source.log"
	volume_is vol protected
	# The next one begins anew.
	rig_spawn_function slow_verify
	wait_for 10 verify_moves
	rig_kill slow_verify KILL || true
	wait_for 5 called_off_twice
}

@test "a paused volume is not verified, and pause ends a verification" {
	protected_volume "interval = 100ms" "read-limit = 16MiB/s"
	rig_spawn_function slow_verify
	wait_for 10 verify_moves
	ctl pause vol
	wait "${HELPER[slow_verify]}" && false
	unset "HELPER[slow_verify]"
	grep -q paused "$RIG/verify.err"
	fails 1 ctl verify vol
	[[ $output == *resume* ]]
	ctl resume vol
	wait_for 10 volume_is vol protected
}

@test "a verification goes on when the replica comes back" {
	protected_volume "interval = 100ms" "read-limit = 24MiB/s"
	rig_spawn_function slow_verify
	wait_for 10 verify_moves
	daemon_stop replica KILL
	daemon_start replica
	wait "${HELPER[slow_verify]}"
	unset "HELPER[slow_verify]"
	grep -q "no difference" "$RIG/slow_verify.out"
}

@test "with statistics off nobody knows that all is through: said at once; on again, it is compared" {
	protected_volume "interval = 1h" "rpo = 2h"
	# Another daemon does not know what this one has seen.
	daemon_stop source
	echo 0 >"/sys/block/${DEV##*/}/queue/iostats"
	daemon_start source
	wait_for 30 volume_is vol protected
	fails 1 ctl verify vol
	[[ $output == *"does not count them"*queue/iostats* ]]
	echo 1 >"/sys/block/${DEV##*/}/queue/iostats"
	# No point comes for an hour.
	verify_says 0 "$everything_equal"
}

# A member of the group shop with content: it is protected with the others.
group_member()
{
	local name=$1
	shift

	rig_loop "$name" 24MiB
	"$TOOLS/blocks" fill "${LOOP[$name]}" 0 $((20 << 20)) 1
	printf '[volume %s]\ndevice = %s\naudit = off\n' "$name" \
		"${LOOP[$name]}" >>"$RIG/volumes.conf"
	printf '%s\n' "$@" >>"$RIG/volumes.conf"
}

@test "a member of a group is compared while another one has much to read" {
	local seq

	rig_replica >/dev/null
	group_member a ""
	group_member b "read-limit = 4MiB/s"
	printf '[group shop]\nvolumes = a b\nreplicas = dr1\n' \
		>>"$RIG/volumes.conf"
	rig_source
	wait_for 60 volume_is a protected
	ctl verify a
	# Five seconds for the one, nothing for the other.
	"$TOOLS/blocks" fill "${LOOP[b]}" 0 $((20 << 20)) 2
	seq=$(volume_field a last_point.seq)
	wait_for 20 reads_b $(($(counter b bytes_read) + (1 << 20)))
	ctl verify a
	reads_less_than_all
	# No point of the group has come in between.
	field_is a last_point.seq "$seq"
	ctl sync shop --timeout 60s
	points_after a "$seq"
}

reads_b()
{
	[ "$(counter b bytes_read)" -ge "$1" ]
}

# b is not through with what was written to it.
reads_less_than_all()
{
	[ "$(ctl --json status b | jq .volumes[0].backlog_bytes)" -gt 0 ]
}

@test "at the replica it says where to give the command" {
	protected_volume
	fails 1 rctl verify vol
	[[ $output == *web1* && $output == *scrub* ]]
	fails 1 ctl verify nosuch
}
