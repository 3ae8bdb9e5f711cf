# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# 64 volumes of one daemon beside one, in turns: what a write to one of them
# pays, what both daemons take while nobody writes, and their memory.

MANY_VOLUMES=64
MANY_SAMPLES=4
IDLE_SECONDS=10
if [ "$QUICK" = 1 ]; then
	MANY_SAMPLES=2 IDLE_SECONDS=5
fi

# all_settled N: as many are protected, with nothing left to send
all_settled()
{
	ctl --json status | jq -e --argjson n "$1" '[.volumes[] |
		select(.state == "protected" and .backlog_bytes == 0)] |
		length == $n'
}

# The audit's first lap is over: a comparison of everything is not idleness.
all_proven()
{
	ctl --json status | jq -e 'all(.volumes[]; .proven_since != null)'
}

# many_begin N: protected from now on are the first N
many_begin()
{
	local i

	bench_volumes
	for ((i = 1; i <= $1; i++)); do
		rig_volume "many$i" "${LOOP[many$i]}" "interval = 1s"
	done
	bench_source
	wait_for 180 all_settled "$1"
}

# One volume's samples are the peers of 64 volumes'.
many_sample()
{
	local n=$1 who=peer name from to

	[ "$n" = 1 ] || who=ours
	many_begin "$n"
	wait_for 120 all_proven
	from=$(cpu_ms)
	sleep "$IDLE_SECONDS"		# what is measured is this time
	to=$(cpu_ms)
	# shellcheck disable=SC2086 # words of figures
	set -- $from $to
	sample many-idle-source $who "$(calc "($3 - $1) / $IDLE_SECONDS")"
	sample many-idle-replica $who "$(calc "($4 - $2) / $IDLE_SECONDS")"
	for name in source replica; do
		sample "many-rss-$name" $who \
			"$(calc "$(rss_kib $name) / 1024")"
	done
	ctl pause many1 >/dev/null
	count_marks "${LOOP[many1]}" "${LOOP[other]}"
	for name in issue complete; do
		sample "many-mark-$name" $who \
			"$(mark_figures $name | jq .mark)"
	done
	ctl resume many1 >/dev/null
}

bench_many()
{
	local i n name

	rig_loop other 64MiB
	for ((i = 1; i <= MANY_VOLUMES; i++)); do
		rig_loop "many$i" 4MiB
		"$TOOLS/blocks" fill "${LOOP[many$i]}" 0 $((4 << 20)) $i
	done
	for ((i = 0; i < MANY_SAMPLES; i++)); do
		for n in 1 $MANY_VOLUMES; do
			many_sample "$n"
		done
	done
	for name in issue complete; do
		row many-mark-$name ns "ratio <= 1.1" \
			"mean run of the $name program for a write of one of $MANY_VOLUMES tracked devices; peer: of the only one"
	done
	for name in source replica; do
		row many-idle-$name ms/s "" \
			"processor time of the $name with $MANY_VOLUMES volumes that nobody writes, a cut a second each; peer: with one"
		row many-rss-$name MiB "" \
			"resident memory of the $name with $MANY_VOLUMES volumes; peer: with one"
	done
}
