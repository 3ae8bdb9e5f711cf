# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A change of 1 % in random 4 KiB blocks: from `sync` to durable at the
# replica, beside rsync of the very same change.
#
# rsync reads the file under the device, which is the device's content, and
# writes a second file of the same file system: no network, no encryption, no
# flush at the end (sync makes its point durable), and after its first run the
# parts of both files that did not change are in the page cache (our reads go
# past it). Which of the two comes first alternates.

DELTA_MIB=2048
DELTA_LARGE=16GiB
DELTA_SAMPLES=4		# at most, at least 2: no more begin after
DELTA_SECONDS=60	# ... this long
if [ "$QUICK" = 1 ]; then
	DELTA_MIB=512 DELTA_LARGE=4GiB DELTA_SAMPLES=2
fi
DELTA_BLOCKS=$((DELTA_MIB * 256 / 100))

# ms from the order to durable
sync_ms()
{
	local start

	start=$(now_ms)
	ctl sync "$1" --timeout 5m >/dev/null
	echo $(($(now_ms) - start))
}

rsync_ms()
{
	local start

	start=$(now_ms)
	rsync --inplace --no-whole-file -B 4096 --ignore-times \
		"$RIG/delta.img" "$RIG/delta.copy"
	echo $(($(now_ms) - start))
}

# scatter NAME MIB SEED
scatter()
{
	"$TOOLS/blocks" scatter "${LOOP[$1]}" 0 $(($2 << 20)) "$3" \
		$DELTA_BLOCKS
}

delta_sample()
{
	local i=$1 large_mib=$2 ours

	scatter delta $DELTA_MIB $((100 + i))
	scatter large "$large_mib" $((200 + i))
	if [ $((i % 2)) = 0 ]; then
		sample sync-rsync peer "$(rsync_ms)"
		sample sync-flat ours "$(sync_ms large)"
	fi
	ours=$(sync_ms delta)
	sample sync-rsync ours "$ours"
	sample sync-flat peer "$ours"
	if [ $((i % 2)) = 1 ]; then
		sample sync-flat ours "$(sync_ms large)"
		sample sync-rsync peer "$(rsync_ms)"
	fi
}

bench_delta()
{
	local i large_mib shipped before end

	rig_loop delta ${DELTA_MIB}MiB
	rig_loop large $DELTA_LARGE
	large_mib=$(($(blockdev --getsize64 "${LOOP[large]}") >> 20))
	"$TOOLS/blocks" fill "${LOOP[delta]}" 0 $((DELTA_MIB << 20)) 3
	cp "$RIG/delta.img" "$RIG/delta.copy"
	bench_volumes
	rig_volume delta "${LOOP[delta]}" "interval = 1h"
	rig_volume large "${LOOP[large]}" "interval = 1h"
	bench_source
	wait_for 300 is_settled delta
	wait_for 300 is_settled large
	# Whatever is done once only, is done: caches, first allocations.
	scatter delta $DELTA_MIB 99
	scatter large "$large_mib" 98
	sync_ms delta >/dev/null
	sync_ms large >/dev/null
	rsync_ms >/dev/null
	before=$(bench_counter delta bytes_shipped)
	end=$((SECONDS + DELTA_SECONDS))
	for ((i = 0; i < DELTA_SAMPLES && (i < 2 || SECONDS < end); i++)); do
		delta_sample $i "$large_mib"
	done
	shipped=$(($(bench_counter delta bytes_shipped) - before))
	ROW_INVERSE=true ROW_EXTRA=$(jq -n --argjson s $shipped \
		--argjson n $i --argjson b $DELTA_BLOCKS \
		'{ changed_bytes: ($b * 4096), shipped_bytes: ($s / $n) }') \
		row sync-rsync ms "ratio >= 50" \
		"1 % of $DELTA_MIB MiB in random 4 KiB blocks, from sync to durable; peer: rsync --inplace --no-whole-file -B 4096 of the same change; ratio: times faster"
	row sync-flat ms "ratio <= 1.5" \
		"the same number of blocks on a sparse volume of $DELTA_LARGE; peer: on $DELTA_MIB MiB"
	cmp "$RIG/delta.img" "$RIG/delta.copy"
	rm -f "$RIG/delta.copy"
}
