#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Every committed point is a state that a power cut could have left. Ordered,
# dependent writers (tests/lib/causal.h) work on the volume while points are
# made as fast as they can be; the oracle judges each of them through the
# store's views, and some after a restore.

bats_require_minimum_version 1.5.0

load ../lib/flow

POINTS=${FLOW_POINTS:-500}

setup()
{
	flow_setup
}

teardown()
{
	flow_teardown
}

# busy_volume POINTS [LINE...]: until there are so many. Leaves the key in
# $RIG/vol.key and the writers ended. PAUSE: microseconds between writes.
# Points without writes between them would show nothing.
busy_volume()
{
	local points=$1
	shift

	flow_pair 16MiB "interval = 50ms" "$@"
	wait_for 30 volume_is vol protected
	ctl key export vol --to "$RIG/vol.key" >/dev/null
	rig_spawn writers "$TOOLS/chains" write "$DEV" "${PAUSE:-0}"
	# Beside the interval: as soon as one point is there, the next.
	rig_spawn syncs bash -c "while $BUILD/understudyctl \
		--config $RIG/source.conf sync vol >/dev/null; do :; done"
	wait_for $((60 + points / 5)) points_after vol "$points"
	rig_kill syncs || true
	rig_kill writers
	[ "$(cat "$RIG/writers.out")" -gt $((points * 2)) ]
}

judged()
{
	"$TOOLS/chains" points "$RIG/store" vol "$RIG/vol.key"
}

# 20 of the points, spread evenly
some_points()
{
	rctl --json points vol | jq -r '[.points[].seq] | . as $p |
		range(20) | $p[($p | length - 1) * . / 19 | floor]'
}

@test "500 points under dependent writers are legal, 20 of them restored" {
	local seq verdict

	busy_volume $((POINTS + 20))
	verdict=$(judged)
	echo "# $verdict; $(ctl --json status vol |
		jq -c '.volumes[0].counters')" >&3
	[[ $verdict =~ ^judged\ ([0-9]+),\ bad\ 0,\ distinct\ ([0-9]+)$ ]]
	[ "${BASH_REMATCH[1]}" -ge "$POINTS" ]
	# The writers went on between them.
	[ "${BASH_REMATCH[2]}" -ge $((POINTS * 4 / 5)) ]
	for seq in $(some_points); do
		rctl restore "vol@$seq" --to "$RIG/p" >/dev/null
		"$TOOLS/chains" image "$RIG/p"
	done
	sync_point vol
	restored_equals vol "$DEV"
}

@test "points of large tracking blocks are legal too" {
	busy_volume 100 "granularity = 64KiB"
	judged
	sync_point vol
	restored_equals vol "$DEV"
}

@test "points read without io_uring are legal too" {
	# One read after the other: slower writers, or few cuts come out.
	UNDERSTUDY_NO_URING=1 PAUSE=1000 busy_volume 50
	[ "$(counter vol reader)" = pread ]
	judged
	sync_point vol
	restored_equals vol "$DEV"
}

@test "the oracle objects to a mixture of two points" {
	local seq

	busy_volume 60
	run "$TOOLS/chains" stitched "$RIG/store" vol "$RIG/vol.key"
	[ "$status" -eq 1 ]
	[[ ${lines[-1]} =~ ^judged\ [0-9]+,\ bad\ ([0-9]+), ]]
	[ "${BASH_REMATCH[1]}" -gt 10 ]
	# And to an image made of two.
	seq=$(volume_field vol last_point.seq)
	rctl restore "vol@$((seq - 30))" --to "$RIG/a" >/dev/null
	rctl restore "vol@$seq" --to "$RIG/b" >/dev/null
	"$TOOLS/chains" image "$RIG/a"
	"$TOOLS/chains" image "$RIG/b"
	run -1 "$TOOLS/chains" image "$RIG/a" "$RIG/b"
	run -1 "$TOOLS/chains" image "$RIG/b" "$RIG/a"
}
