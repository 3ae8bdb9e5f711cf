# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What an application pays: the programs' run time, and the rate of 4 KiB
# random O_DIRECT writes with the tracker off, on, and replicating.
#
# off: no program attached. on: attached, the volume paused, so that nothing is
# read or shipped. replicating: points every second.

MARKS_SIZE=256MiB
SLICE_MS=1500
HALF_CYCLES=6
CALM_RATE=4000
MARK_SAMPLES=5
if [ "$QUICK" = 1 ]; then
	SLICE_MS=1000 HALF_CYCLES=2 MARK_SAMPLES=2
fi

# fio_writes DEVICE MS [OPTION...]: its JSON
fio_writes()
{
	local device=$1 ms=$2
	shift 2

	fio --name=app --filename="$device" --direct=1 --rw=randwrite --bs=4k \
		--ioengine=libaio --iodepth=8 --norandommap --randrepeat=0 \
		--time_based --runtime="${ms}ms" --output-format=json "$@"
}

fio_iops()
{
	fio_writes "$@" | jq '.jobs[0].write.iops'
}

# Mean completion time in microseconds of an application that leaves the
# machine room for others.
fio_calm()
{
	fio_writes "$@" --iodepth=4 --rate_iops=$CALM_RATE |
		jq '.jobs[0].write.clat_ns.mean / 1000'
}

is_tracked()
{
	[ "$(volume_field marks block_bytes)" != null ]
}

enter_off()
{
	bench_untrack
}

enter_on()
{
	[ -n "${DAEMON[source]:-}" ] || rig_source
	ctl pause marks >/dev/null
	wait_for 20 is_tracked
}

enter_replicating()
{
	ctl resume marks >/dev/null
	wait_for 60 is_settled marks
}

# count_marks TRACKED OTHER: the account of both programs while the tracked
# device, or another, is written; see bench_progs.c for why the two are told
# apart. Into $RIG/tracked.json and untracked.json.
count_marks()
{
	local pins tracked=$1 other=$2

	pins=/sys/fs/bpf/understudy-$(cat "$RIG/source-state/node")
	"$BENCH/bench_progs" "$pins" "${other#/dev/}" \
		fio --output=/dev/null --name=app --filename="$other" \
		--direct=1 --rw=randrw --bs=4k --ioengine=libaio \
		--iodepth=8 --time_based --runtime="${SLICE_MS}ms" \
		>"$RIG/untracked.json"
	"$BENCH/bench_progs" "$pins" "${tracked#/dev/}" \
		fio --output=/dev/null --name=app --filename="$tracked" \
		--direct=1 --rw=randwrite --bs=4k --ioengine=libaio \
		--iodepth=8 --norandommap --randrepeat=0 \
		--time_based --runtime="${SLICE_MS}ms" >"$RIG/tracked.json"
}

bench_mark_costs()
{
	local i

	for ((i = 0; i < MARK_SAMPLES; i++)); do
		count_marks "${LOOP[marks]}" "${LOOP[other]}"
		mark_sample issue
		mark_sample complete
	done
	row mark-issue ns "ours <= 150" \
		"mean run of the issue program for a write of the tracked device; peer: an empty program, which is what the account itself costs"
	row mark-complete ns "" \
		"the same of the completion program"
	row mark-untracked ns "" \
		"mean run of the issue program for requests of disks that are not tracked; peer: an empty program"
}

# mark_figures PROGRAM: of $RIG/tracked.json and untracked.json, nanoseconds. Of
# all runs, those for other disks are taken out at their own mean.
mark_figures()
{
	jq -n --slurpfile t "$RIG/tracked.json" \
		--slurpfile u "$RIG/untracked.json" --arg p "$1" '
		$t[0] as $t | $u[0] as $u |
		($u[$p + "_ns"] / $u[$p + "_runs"]) as $other |
		{ mark: (($t[$p + "_ns"] - $other *
			($t[$p + "_runs"] - $t.disk_requests)) /
			$t.disk_requests), $other,
		  empty: ($t.empty_ns / $t.empty_runs) }'
}

mark_sample()
{
	local sums

	sums=$(mark_figures "$1")
	sample "mark-$1" ours "$(jq .mark <<<"$sums")"
	sample "mark-$1" peer "$(jq .empty <<<"$sums")"
	[ "$1" = issue ] || return 0
	sample mark-untracked ours "$(jq .other <<<"$sums")"
	sample mark-untracked peer "$(jq .empty <<<"$sums")"
}

# What has piled up before is sent before, not during the measurement.
calm_sample()
{
	local cpu

	if [ "$1" = replicating ]; then
		wait_for 60 is_settled marks
		cpu=$(cpu_ms)
	fi
	fio_calm "${LOOP[marks]}" $SLICE_MS
	[ "$1" = off ] || {
		cpu_share "$cpu" "$(cpu_ms)" "$(calc "$SLICE_MS / 1000")"
		echo
	} >>"$RIG/cpu.calm"
}

# Forth and back, so that each state has each neighbour as often.
bench_iops()
{
	local states="off on replicating" i state iops calm

	for ((i = 0; i < HALF_CYCLES; i++)); do
		for state in $states; do
			"enter_$state"
			iops=$(fio_iops "${LOOP[marks]}" $SLICE_MS)
			[ "$state" = on ] || calm=$(calm_sample "$state")
			case $state in
			off) sample iops-on peer "$iops"
				sample iops-replicating peer "$iops"
				sample calm-replicating peer "$calm" ;;
			on) sample iops-on ours "$iops" ;;
			*) sample iops-replicating ours "$iops"
				sample calm-replicating ours "$calm" ;;
			esac
		done
		if [ "$states" = "off on replicating" ]; then
			states="replicating on off"
		else
			states="off on replicating"
		fi
	done
	row iops-on IO/s "ratio >= 0.97" \
		"4 KiB random O_DIRECT writes, depth 8, unthrottled, tracker attached and shipping paused; peer: tracker off"
	row iops-replicating IO/s "ratio >= 0.97" \
		"the same while points are taken every second; peer: tracker off"
	ROW_EXTRA="{ \"cpu_ms_per_s\": $(cpu_mean "$RIG/cpu.calm") }" \
		row calm-replicating us "" \
		"mean time of a write at $CALM_RATE a second while points are taken every second; peer: tracker off"
}

bench_marks()
{
	rig_loop marks $MARKS_SIZE
	rig_loop other $MARKS_SIZE
	"$TOOLS/blocks" fill "${LOOP[marks]}" 0 $((256 << 20)) 1
	"$TOOLS/blocks" fill "${LOOP[other]}" 0 $((256 << 20)) 2
	bench_volumes
	rig_volume marks "${LOOP[marks]}" "interval = 1s"
	bench_source
	wait_for 60 is_settled marks
	enter_on
	bench_mark_costs
	bench_iops
	enter_off
}
