# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Samples and rows of the benchmarks. Sourced after tests/lib/rig.bash.
#
#	sample ROW ours|peer VALUE
#	row ROW UNIT AIM WHAT		prints a line, and keeps it for the JSON
#
# The n-th sample of "ours" and the n-th of "peer" were taken one right after
# the other; the ratio of a row is the median of the ratios of such pairs.
# AIM is empty, or a comparison with one of the row's own keys: "ratio >= 50".
# In front of the call: ROW_EXTRA, a JSON object that is laid over the row;
# ROW_INVERSE=true, its ratio is peer to ours (times of which less is better).

SAMPLES=
ROWS=

bench_begin()
{
	SAMPLES=$1/samples
	ROWS=$1/rows.json
	mkdir -p "$SAMPLES"
	: >"$ROWS"
	printf '%-24s %10s %10s %8s %-15s %-8s %-15s %s\n' \
		name ours peer ratio "spread" unit aim met
}

sample()
{
	case ${3:-null} in
	null | nan | *inf)
		echo "bench: $1: no figure for $2" >&2
		return 1 ;;
	esac
	printf '%s\n' "$3" >>"$SAMPLES/$1.$2"
}

# awk's arithmetic: calc '3 / 2' [FORMAT]
calc()
{
	awk "BEGIN { printf \"${2:-%.6g}\", $1 }"
}

# quantile FILE Q, of numbers one a line
quantile()
{
	sort -n "$1" | awk -v q="$2" '{ v[NR] = $1 } END {
		if (!NR) exit 1
		x = q * (NR - 1); i = int(x); j = i + 1 < NR ? i + 1 : i
		printf "%.6g", v[i + 1] + (x - i) * (v[j + 1] - v[i + 1]) }'
}

row_json()
{
	touch "$SAMPLES/$1.ours" "$SAMPLES/$1.peer"
	jq -n --arg name "$1" --arg unit "$2" --arg aim "$3" --arg what "$4" \
		--slurpfile ours "$SAMPLES/$1.ours" \
		--slurpfile peer "$SAMPLES/$1.peer" \
		--argjson extra "${ROW_EXTRA:-{\}}" \
		--argjson inv "${ROW_INVERSE:-false}" '
		def q(p): sort as $s | length as $n | if $n == 0 then null else
			(p * ($n - 1)) as $x | ($x | floor) as $i |
			([$i + 1, $n - 1] | min) as $j |
			$s[$i] + ($x - $i) * ($s[$j] - $s[$i]) end;
		def spread: if length == 0 then null else [q(.25), q(.75)] end;
		[[$ours, $peer] | transpose[] |
			select(.[0] != null and .[1] != null and .[1] != 0) |
			if $inv then .[1] / .[0] else .[0] / .[1] end]
			as $ratios |
		{ name: $name, ours: ($ours | q(.5)), peer: ($peer | q(.5)),
		  ratio: ($ratios | q(.5)), unit: $unit,
		  samples: ($ours | length),
		  spread: { ours: ($ours | spread), peer: ($peer | spread),
			    ratio: ($ratios | spread) },
		  aim: (if $aim == "" then null else $aim end), what: $what }
		+ $extra
		| . as $row | ($aim | split(" ")) as $a
		| .met = (if $aim == "" or $row[$a[0]] == null then null
			elif $a[1] == "<=" then $row[$a[0]] <= ($a[2] | tonumber)
			else $row[$a[0]] >= ($a[2] | tonumber) end)'
}

row()
{
	row_json "$@" >"$SAMPLES/row.json"
	cat "$SAMPLES/row.json" >>"$ROWS"
	jq -r 'def f: if . == null then "-"
			elif . >= 1000 then round | tostring
			elif . >= 10 then . * 10 | round / 10 | tostring
			else . * 1000 | round / 1000 | tostring end;
		[.name, (.ours | f), (.peer | f), (.ratio | f),
		 ((.spread.ratio // .spread.ours // []) | map(f) | join("..")),
		 .unit, .aim // "-",
		 if .met == null then "-" elif .met then "yes" else "NO" end]
		| @tsv' "$SAMPLES/row.json" |
		while IFS=$'\t' read -r a b c d e f g h; do
			printf '%-24s %10s %10s %8s %-15s %-8s %-15s %s\n' \
				"$a" "$b" "$c" "$d" "$e" "$f" "$g" "$h"
		done
}

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

# Of RFC 3339 text, in milliseconds.
time_ms()
{
	date -d "$1" +%s%3N
}

peak_kib()
{
	awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"
}

reset_peak()
{
	echo 5 >"/proc/$1/clear_refs"
}

# Processor time of both daemons so far: "SOURCE REPLICA", in milliseconds.
cpu_ms()
{
	local name hz

	hz=$(getconf CLK_TCK)
	for name in source replica; do
		awk -v hz="$hz" '{ sub(/.*\) /, ""); printf "%d ",
			($12 + $13) * 1000 / hz }' "/proc/${DAEMON[$name]}/stat"
	done
	echo
}

# cpu_share FROM TO UNITS: a JSON object, milliseconds per unit since FROM
cpu_share()
{
	awk -v from="$1" -v to="$2" -v n="$3" 'BEGIN {
		split(from, a); split(to, b)
		printf "{\"source\":%.1f,\"replica\":%.1f}",
			(b[1] - a[1]) / n, (b[2] - a[2]) / n }'
}

# The mean of such objects, one a line in a file.
cpu_mean()
{
	jq -s '{ source: (map(.source) | add / length),
		replica: (map(.replica) | add / length) }' "$1"
}

# Only these volumes from now on: bench_volumes, then rig_volume for each.
bench_volumes()
{
	: >"$RIG/volumes.conf"
}

# The source daemon, with the volumes of now.
bench_source()
{
	daemon_stop source
	rig_source
}

bench_untrack()
{
	daemon_stop source
	[ -e "$RIG/source.conf" ] || return 0
	"$BUILD/understudyd" --config "$RIG/source.conf" --untrack \
		2>>"$RIG/source.log"
}

# bench_counter VOLUME NAME
bench_counter()
{
	volume_field "$1" "counters.$2"
}

# Protected, with nothing left to send.
is_settled()
{
	ctl --json status "$1" | jq -e '.volumes[0] | .state == "protected" and
		.backlog_bytes == 0 and .replicas[0].state == "connected"'
}

# The next part finds neither devices nor daemon of this one.
bench_part_end()
{
	local name

	bench_untrack
	rig_umount_all
	for name in "${!LOOP[@]}"; do
		losetup -d "${LOOP[$name]}"
		rm -f "$RIG/$name.img"
		unset "LOOP[$name]"
	done
}
