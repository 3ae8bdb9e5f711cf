# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# How cost grows: with the size of a sparse volume, with the change, with the
# number of points. Each figure is a row of its own with keys "series" and "x",
# from which tests/bench/plot draws docs/bench-*.svg.

SIZES_GIB="2 4 8 16 32 64"
SIZE_SAMPLES=3
FIXED_BLOCKS=5243			# 1 % of 2 GiB
POINT_COUNTS="100 1000 3000 10000"
BASE_BLOCKS=100000
PACE_SECONDS=15
if [ "$QUICK" = 1 ]; then
	SIZES_GIB="2 4 8" SIZE_SAMPLES=1 POINT_COUNTS="100 1000" PACE_SECONDS=5
fi

# point_row SERIES X UNIT WHAT: a row of samples "SERIES-X"
point_row()
{
	ROW_EXTRA=$(jq -n --arg s "$1" --argjson x "$2" \
		'{ series: $s, x: $x }') row "$1-$2" "$3" "" "$4"
}

rss_kib()
{
	awk '/^VmRSS:/ { print $2 }' "/proc/${DAEMON[$1]}/status"
}

# ---- size of the volume ----

# size_delta NAME BLOCKS SEED: ms of a sync after so many scattered blocks
size_delta()
{
	"$TOOLS/blocks" scatter "${LOOP[$1]}" 0 \
		"$(blockdev --getsize64 "${LOOP[$1]}")" "$3" "$2"
	sync_ms "$1"
}

size_samples()
{
	local gib=$1 name=size$1 i kib

	for ((i = 1; i <= SIZE_SAMPLES; i++)); do
		sample "delta-fixed-$gib" ours \
			"$(size_delta "$name" $FIXED_BLOCKS $i)"
	done
	sample "delta-1pct-$gib" ours \
		"$(size_delta "$name" $((gib * 262144 / 100)) 77)"
	for i in source replica; do
		kib=$(rss_kib $i)
		sample "rss-$i-$gib" ours "$(calc "$kib / 1024")"
	done
}

one_size()
{
	local gib=$1 start

	rig_loop "size$gib" "${gib}GiB"
	bench_volumes
	rig_volume "size$gib" "${LOOP[size$gib]}" "interval = 1h"
	start=$(now_ms)
	bench_source
	wait_for 300 is_settled "size$gib"
	sample "first-sparse-$gib" ours $(($(now_ms) - start))
	size_delta "size$gib" $FIXED_BLOCKS 99 >/dev/null
	size_samples "$gib"
	point_row first-sparse "$gib" ms \
		"from the daemon's start to the first point of an empty volume, by GiB"
	point_row delta-fixed "$gib" ms \
		"sync of $FIXED_BLOCKS scattered blocks, by GiB of a sparse volume"
	point_row delta-1pct "$gib" ms \
		"sync of 1 % of the volume in scattered blocks, by GiB"
	point_row rss-source "$gib" MiB "resident memory of the source, by GiB"
	point_row rss-replica "$gib" MiB "resident memory of the replica, by GiB"
	bench_untrack
	losetup -d "${LOOP[size$gib]}"
	rm -f "$RIG/size$gib.img"
	unset "LOOP[size$gib]"
}

# ---- cost of a point at twenty a second ----

point_cost()
{
	local before after from to bytes

	rig_loop pace 1GiB
	bench_volumes
	rig_volume pace "${LOOP[pace]}" "interval = 50ms"
	bench_source
	wait_for 60 is_settled pace
	rig_spawn pace fio --name=pace --filename="${LOOP[pace]}" --direct=1 \
		--rw=randwrite --bs=4k --rate_iops=200 --time_based \
		--runtime=$((PACE_SECONDS + 20))
	wait_for 10 points_beyond pace 5
	before=$(bench_counter pace points)
	from=$(cpu_ms)
	bytes=$(du -sb "$RIG/store" | cut -f1)
	wait_for $((PACE_SECONDS * 3)) points_beyond pace \
		$((before + PACE_SECONDS * 20))
	to=$(cpu_ms)
	after=$(bench_counter pace points)
	bytes=$(($(du -sb "$RIG/store" | cut -f1) - bytes))
	rig_kill pace || true
	# shellcheck disable=SC2086 # three words of figures
	set -- $from $to $((after - before))
	sample point-cpu-source ours "$(calc "($3 - $1) / $5")"
	sample point-cpu-replica ours "$(calc "($4 - $2) / $5")"
	sample point-stored ours "$(calc "$bytes / $5 / 1024")"
	row point-cpu-source ms "" \
		"processor time of the source for a point, 20 a second, 10 blocks each"
	row point-cpu-replica ms "" "the same of the replica"
	row point-stored KiB "" \
		"grown in the store for a point, its 10 blocks of noise included"
}

points_beyond()
{
	[ "$(bench_counter "$1" points)" -ge "$2" ]
}

# ---- number of points ----

store_figure()
{
	jq -s --arg n "$1" 'map(select(.name == $n))[-1].value' "$2"
}

many_points()
{
	local n=$1 dir=$DIR/many out=$DIR/many.json start i

	rm -rf "$dir"
	"$BENCH/bench_store" "$dir" "$n" $BASE_BLOCKS >"$out"
	sample "commit-by-points-$n" ours \
		"$(store_figure commit.last_tenth.p50 "$out")"
	sample "view-by-points-$n" ours "$(store_figure view.open "$out")"
	for i in 1 2 3; do
		daemon_stop replica
		sed -i "s#^path = .*#path = $dir#" "$RIG/replica.conf"
		start=$(now_ms)
		daemon_start replica
		sample "start-by-points-$n" ours $(($(now_ms) - start))
		sample "rss-by-points-$n" ours \
			"$(calc "$(rss_kib replica) / 1024")"
	done
	point_row commit-by-points "$n" ms \
		"a point of 20 blocks into the store, by points in it"
	point_row view-by-points "$n" ms "opening a view, by points"
	point_row start-by-points "$n" ms \
		"start of the replica until it answers (looked at every 50 ms), by points"
	point_row rss-by-points "$n" MiB "its resident memory then"
}

bench_scale()
{
	local x path

	for x in $SIZES_GIB; do
		one_size "$x"
	done
	point_cost
	path=$(sed -n 's/^path = //p' "$RIG/replica.conf")
	for x in $POINT_COUNTS; do
		many_points "$x"
	done
	daemon_stop replica
	sed -i "s#^path = .*#path = $path#" "$RIG/replica.conf"
	daemon_start replica
	rm -rf "$DIR/many"
}
