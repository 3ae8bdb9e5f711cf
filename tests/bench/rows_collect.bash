# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# How the time of a collect depends on the size of the volume: 1 GiB, 1 TiB and
# 64 TiB, sparse and in memory, with the same number of dirty blocks, in turns.
# Nothing is read or shipped. See bench_collect.c.

COLLECT_GIB="1 1024 65536"
COLLECT_SAMPLES=9
if [ "$QUICK" = 1 ]; then
	COLLECT_SAMPLES=3
fi

# collect_rows LAYOUT SHIFT DIRTY WHAT: "collect-LAYOUT-DIRTY-GIB", microseconds;
# the peer is the smallest size
collect_rows()
{
	local layout=$1 shift=$2 dirty=$3 what=$4 out=$DIR/collect.json
	local name=collect-$layout-$dirty gib at key

	[ "$shift" = 0 ] || name=collect-$layout-$((1 << (shift - 10)))k-$dirty
	# shellcheck disable=SC2086 # words
	"$BENCH/bench_collect" $COLLECT_SAMPLES "$shift" "$layout" "$dirty" \
		$COLLECT_GIB >"$out"
	for gib in $COLLECT_GIB; do
		for key in collect ack; do
			collect_samples "$gib" ${key}_us \
				"${name/collect/$key}" <"$out"
		done
		at=$(jq -s "map(select(.gib == $gib))[0].block_bytes" "$out")
		for key in collect ack; do
			ROW_EXTRA="{ \"series\": \"${name/collect/$key}\",
				\"x\": $gib, \"block_bytes\": $at }" \
				row "${name/collect/$key}-$gib" us "" \
				"$key of $dirty dirty blocks $what, by GiB; peer: 1 GiB"
		done
	done
}

# The n-th sample of a size and the n-th of the smallest.
collect_samples()
{
	local gib=$1 key=$2 name=$3 ours peer

	while read -r ours peer; do
		sample "$name-$gib" ours "$ours"
		sample "$name-$gib" peer "$peer"
	done < <(jq -sr --argjson gib "$gib" --arg key "$key" '
		[map(select(.gib == $gib))[][$key]] as $ours |
		[map(select(.gib == 1))[][$key]] as $peer |
		[$ours, $peer] | transpose[] | @tsv')
}

bench_collect()
{
	collect_rows far 0 0 "(none)"
	collect_rows near 0 1000 "in the same words of the bitmaps"
	collect_rows near 0 16000 "in the same words of the bitmaps"
	collect_rows far 0 1000 "over all of the volume"
	collect_rows far 0 100000 "over all of the volume"
	collect_rows near 16 1000 "of 64 KiB in the same words of the bitmaps"
	collect_rows far 16 1000 "of 64 KiB over all of the volume"
}
