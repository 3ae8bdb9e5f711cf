# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# How often a load needs its writers held, at an interval of 100 ms: of all cuts
# that were attempted, those that 20 rounds did not bring about (holds-*), and
# how long such a hold lasts (held-*); and how long the one of `sync --quiesce`
# does beside the same load (order-*). Each load is on ext4:
#
#	idle		nothing
#	back		one writer, 128 KiB past the page cache, one write after
#			the other, never at rest
#	backsync	the same, each made durable
#	fsync		two fio jobs, 4 KiB anywhere in 32 MiB each, fsync
#	seq		two fio jobs, buffered, 1 MiB each after the other
#	pgbench		PostgreSQL, 4 clients

HOLD_SECONDS=12
[ "$QUICK" = 0 ] || HOLD_SECONDS=4

hold_load()
{
	case $1 in
	idle) rig_spawn load tail -f /dev/null ;;
	back) rig_spawn load "$TOOLS/rewrite" "$RIG/mnt/hot" 0 131072 ;;
	backsync) rig_spawn load "$TOOLS/rewrite" "$RIG/mnt/hot" 0 131072 sync ;;
	fsync) rig_spawn load fio --name=app --directory="$RIG/mnt/fio" \
		--size=32m --numjobs=2 --rw=randwrite --bs=4k --ioengine=psync \
		--fsync=1 --time_based --runtime=600 --output=/dev/null ;;
	seq) rig_spawn load fio --name=app --directory="$RIG/mnt/fio" \
		--size=32m --numjobs=2 --rw=write --bs=1m --rate=20m,20m \
		--time_based --runtime=600 --output=/dev/null ;;
	pgbench) rig_spawn load runuser -u postgres -- "$PG_BIN/pgbench" \
		-h "$RIG/pg" -p "$PG_PORT" -n -c 4 -j 1 -T 600 postgres ;;
	esac
}

hold_counters()
{
	ctl --json status hold | jq -c '.volumes[0].counters'
}

hold_rows()
{
	local load=$1 before after n share held missed=0

	hold_load "$load"
	sleep 1		# until the load has begun
	before=$(hold_counters)
	sleep $HOLD_SECONDS
	after=$(hold_counters)
	share=$(jq -n --argjson a "$after" --argjson b "$before" \
		'100 * ($a.holds - $b.holds) / ($a.cuts - $b.cuts)')
	sample "holds-$load" ours "$share"
	ROW_EXTRA=$(jq -nc --argjson a "$after" --argjson b "$before" '
		{ cuts: ($a.cuts - $b.cuts), holds: ($a.holds - $b.holds),
		  failed: ($a.holds_failed - $b.holds_failed),
		  rounds: ($a.rounds - $b.rounds) }') \
		row "holds-$load" % "" "cuts that needed their writers held"
	held=$(jq -n --argjson a "$after" --argjson b "$before" '
		if $a.holds == $b.holds then null else 1000 *
		($a.held_seconds - $b.held_seconds) / ($a.holds - $b.holds) end')
	if [ "$held" != null ]; then
		sample "held-$load" ours "$held"
		row "held-$load" ms "" "mean time that they were held for it"
	fi
	for ((n = 0; n < 10; n++)); do
		if ! ctl sync hold --quiesce --timeout 60s >/dev/null; then
			missed=$((missed + 1))
			continue
		fi
		sample "order-$load" ours "$(hold_counters |
			jq '1000 * .last_hold_seconds')"
	done
	ROW_EXTRA="{ \"missed\": $missed }" row "order-$load" ms "" \
		"time held for sync --quiesce, median of 10"
	[ $missed = 0 ] || echo "   $missed of 10 were refused: not in time"
	rig_kill load || true
}

bench_quiesce()
{
	local load

	rig_loop hold 1GiB
	mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "${LOOP[hold]}"
	rig_mount "${LOOP[hold]}" "$RIG/mnt"
	mkdir -p "$RIG/mnt/fio"
	fallocate -l 1MiB "$RIG/mnt/hot"
	fio --name=app --directory="$RIG/mnt/fio" --size=32m --numjobs=2 \
		--rw=write --bs=1m --end_fsync=1 --output=/dev/null
	bench_volumes
	rig_volume hold "${LOOP[hold]}" "interval = 100ms" "rpo = 10s" \
		"quiesce = freeze" "quiesce-limit = 3s" \
		"on-contention = quiesce"
	# The helper comes with the daemon.
	daemon_stop source
	bench_source
	wait_for 60 is_settled hold
	for load in idle back backsync fsync seq; do
		hold_rows $load
	done
	pg_start
	hold_rows pgbench
	pg_end
	daemon_stop source
	rig_umount "$RIG/mnt"
}
