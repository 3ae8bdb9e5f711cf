# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The initial copy, from the order to the first point, and its stages alone:
# the reader; what one core does to the blocks (fingerprint, compress, seal);
# the replica's disk, written and synced. A copy cannot be faster than the
# slowest of them: that one is the peer.
#
# Megabytes are 10^6 bytes of the volume.

COPY_MIB=512
COPY_SAMPLES=2
COPY_MODES="none lz4 zstd auto"
[ "$QUICK" = 0 ] || COPY_MIB=256 COPY_SAMPLES=1

copy_seen()
{
	[ "$(volume_field "$1" last_point.seq)" = 1 ]
}

# A volume of its own on the same device: nobody knows its blocks yet.
copy_once()
{
	local name=$1 start end

	bench_volumes
	rig_volume "$name" "${LOOP[copy]}" "interval = 1h" \
		"compression = ${name%%-*}"
	rig_source_conf
	start=$(now_ms)
	kill -HUP "${DAEMON[source]}"
	wait_for 120 copy_seen "$name"
	end=$(time_ms "$(rctl --json points "$name" |
		jq -r '.points[0].received')")
	calc "$COPY_MIB * 1048.576 / ($end - $start)"
}

# in bytes of the volume, given how many bytes it ships for each
disk_rate()
{
	local out_ratio=$1 start

	start=$(now_ms)
	dd if="$RIG/copy.img" of="$RIG/disk.tmp" bs=1M conv=fdatasync \
		status=none
	start=$(($(now_ms) - start))
	rm "$RIG/disk.tmp"
	calc "$COPY_MIB * 1048.576 / $start / $out_ratio"
}

copy_stages()
{
	"$BENCH/bench_pipeline" 200 all mixed | jq -sc --arg m "$1" '
		map(select(.mode == $m and .unit_bytes == 65536))[0] |
		[.mb_per_s, .out_bytes_per_byte]'
}

copy_sample()
{
	local mode=$1 pipeline reader disk rate cpu

	cpu=$(cpu_ms)
	rate=$(copy_once "$mode-$2")
	cpu_share "$cpu" "$(cpu_ms)" "$(calc "$COPY_MIB / 1024")" \
		>>"$RIG/cpu.$mode"
	echo >>"$RIG/cpu.$mode"
	pipeline=$(copy_stages "$mode")
	reader=$("$BENCH/bench_reader" "${LOOP[copy]}")
	disk=$(disk_rate "$(jq '.[1]' <<<"$pipeline")")
	sample "copy-$mode" ours "$rate"
	jq -nc --argjson p "$pipeline" --argjson reader "$reader" \
		--argjson disk "$disk" \
		'{ $reader, pipeline: $p[0], $disk }' >>"$RIG/stages.$mode"
	sample "copy-$mode" peer "$(tail -n 1 "$RIG/stages.$mode" |
		jq '[.[]] | min')"
}

copy_fill()
{
	local i

	"$BENCH/bench_pipeline" content mixed >"$RIG/content"
	for ((i = 0; i < COPY_MIB / 8; i++)); do
		cat "$RIG/content"
	done | dd of="${LOOP[copy]}" bs=1M iflag=fullblock oflag=direct \
		status=none
}

bench_copy()
{
	local i mode

	rig_loop copy ${COPY_MIB}MiB
	copy_fill
	bench_volumes
	bench_source
	reset_peak "${DAEMON[source]}"
	reset_peak "${DAEMON[replica]}"
	for ((i = 0; i < COPY_SAMPLES; i++)); do
		for mode in $COPY_MODES; do
			copy_sample "$mode" $i
			sample_memory
		done
	done
	for mode in $COPY_MODES; do
		ROW_EXTRA=$(jq -s '{ stages: { reader: (map(.reader) | max),
			pipeline: (map(.pipeline) | max),
			disk: (map(.disk) | max) },
			cpu_ms_per_gib: $cpu }' \
			--argjson cpu "$(cpu_mean "$RIG/cpu.$mode")" \
			"$RIG/stages.$mode") \
			row "copy-$mode" MB/s "" \
			"initial copy, half noise and half text; peer: the slowest of its stages alone"
	done
	row rss-source MiB "" "peak resident memory of the source's daemon during the copies"
	row rss-replica MiB "" "the same of the replica's"
}

sample_memory()
{
	local name

	for name in source replica; do
		sample "rss-$name" ours \
			"$(calc "$(peak_kib "${DAEMON[$name]}") / 1024")"
		reset_peak "${DAEMON[$name]}"
	done
}
