# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# How old the newest durable point is, at intervals of 50 and 100 ms, beside
# two fio jobs that write 4 KiB and fsync, on ext4, and beside PostgreSQL under
# pgbench (4 clients). The lag is what `status` says every 13 ms.
#
# What the application does is measured too: shipping paused, then each
# interval, then the same backwards.

LAG_SIZE=1GiB
LAG_SECONDS=9
LAG_SLICES="0 50 100 100 50 0"
PG_SCALE=5
[ "$QUICK" = 0 ] || LAG_SECONDS=4 LAG_SLICES="0 50 100"

PG_BIN=
PG_PORT=

as_postgres()
{
	runuser -u postgres -- "$@"
}

pg_start()
{
	local mnt=$RIG/mnt dir=$RIG/mnt/pg

	PG_BIN=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V |
		tail -n 1)
	PG_PORT=$(free_port)
	install -d -o postgres -g postgres "$dir" "$RIG/pg"
	as_postgres "$PG_BIN/initdb" --no-sync -A trust -D "$dir" \
		>"$RIG/pg/initdb.log" 2>&1
	as_postgres "$PG_BIN/pg_ctl" -w -D "$dir" -l "$RIG/pg/server.log" \
		-o "-c listen_addresses= -p $PG_PORT -k $RIG/pg" \
		start >/dev/null 3>&-
	as_postgres "$PG_BIN/pgbench" -h "$RIG/pg" -p "$PG_PORT" -i -q \
		-s $PG_SCALE postgres >"$RIG/pg/init.log" 2>&1
	sync -f "$mnt"
}

pg_end()
{
	[ -e "$RIG/mnt/pg/postmaster.pid" ] || return 0
	as_postgres "$PG_BIN/pg_ctl" -D "$RIG/mnt/pg" -m fast -w stop \
		>/dev/null 2>&1 || true
}

# Each starts in the background and tells afterwards what it did in a second.
load_fsync()
{
	rig_spawn load fio --name=app --directory="$RIG/mnt/fio" --size=32m \
		--numjobs=2 --rw=randwrite --bs=4k --ioengine=psync --fsync=1 \
		--time_based --runtime=$((LAG_SECONDS + 2)) --group_reporting \
		--output-format=json --output="$RIG/load.json"
}

rate_fsync()
{
	jq '.jobs[0].write.iops' "$RIG/load.json"
}

load_pgbench()
{
	rig_spawn load runuser -u postgres -- "$PG_BIN/pgbench" -h "$RIG/pg" \
		-p "$PG_PORT" -n -c 4 -j 1 -T $((LAG_SECONDS + 2)) postgres
}

rate_pgbench()
{
	sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$RIG/load.out"
}

enter_interval()
{
	bench_volumes
	rig_volume lag "${LOOP[lag]}" \
		"interval = $((${1:-0} ? $1 : 1000))ms" "rpo = 10s"
	bench_source
	if [ "$1" = 0 ]; then
		ctl pause lag >/dev/null
		return
	fi
	ctl resume lag >/dev/null
	wait_for 60 is_settled lag
}

counters_of()
{
	ctl --json status lag | jq -c '.volumes[0].counters'
}

# lag_slice LOAD INTERVAL
lag_slice()
{
	local load=$1 ms=$2 key=$1-$2 before after rate cpu

	enter_interval "$ms"
	"load_$load"
	sleep 1		# until the load has begun
	before=$(counters_of)
	cpu=$(cpu_ms)
	if [ "$ms" = 0 ]; then
		sleep $LAG_SECONDS
	else
		"$BENCH/bench_lag" "$RIG/source.sock" lag $LAG_SECONDS \
			>"$RIG/lag" 2>>"$RIG/lag.cost"
	fi
	cpu=$(cpu_share "$cpu" "$(cpu_ms)" $LAG_SECONDS)
	after=$(counters_of)
	wait "${HELPER[load]}"
	unset "HELPER[load]"
	rate=$("rate_$load")
	if [ "$ms" = 0 ]; then
		echo "$rate" >>"$RIG/rate.$load"
		return
	fi
	echo "$cpu" >>"$RIG/cpu.$key"
	cat "$RIG/lag" >>"$RIG/lags.$key"
	sample "lag-$key" ours "$(quantile "$RIG/lag" 0.99)"
	sample "app-$key" ours "$rate"
	jq -nc --argjson b "$before" --argjson a "$after" \
		'$a | with_entries(select(.value | type == "number")
			| .value -= $b[.key])' >>"$RIG/counters.$key"
	sample "cuts-$key" ours "$(tail -n 1 "$RIG/counters.$key" |
		jq '100 * .cuts_converged / .cuts')"
}

lag_rows()
{
	local load=$1 ms=$2 key=$1-$2 aim=

	[ "$ms" != 100 ] || aim="ours <= 300"
	ROW_EXTRA=$(jq -n --argjson p50 "$(quantile "$RIG/lags.$key" 0.5)" \
		--argjson p99 "$(quantile "$RIG/lags.$key" 0.99)" \
		--argjson max "$(quantile "$RIG/lags.$key" 1)" \
		--argjson n "$(wc -l <"$RIG/lags.$key")" \
		'{ ours: $p99, $p50, $max, samples: $n }') \
		row "lag-$key" "ms p99" "$aim" \
		"age of the newest durable point at interval=${ms}ms; p50 and max are keys of their own"
	ROW_EXTRA=$(jq -s '{ cuts: (map(.cuts) | add),
		converged: (map(.cuts_converged) | add),
		rounds: (map(.rounds) | add), points: (map(.points) | add) } |
		{ ours: (100 * .converged / .cuts),
		  rounds_per_cut: (.rounds / .cuts), cuts, points }' \
		"$RIG/counters.$key") row "cuts-$key" % "ours >= 99" "cuts that converged"
	cp "$RIG/rate.$load" "$SAMPLES/app-$key.peer"
	ROW_EXTRA="{ \"cpu_ms_per_s\": $(cpu_mean "$RIG/cpu.$key") }" \
		row "app-$key" "1/s" "" \
		"writes or transactions a second of the application; peer: shipping paused"
}

lag_load()
{
	local ms

	for ms in $LAG_SLICES; do
		lag_slice "$1" "$ms"
	done
	lag_rows "$1" 50
	lag_rows "$1" 100
}

bench_lag()
{
	rig_loop lag $LAG_SIZE
	mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "${LOOP[lag]}"
	rig_mount "${LOOP[lag]}" "$RIG/mnt"
	mkdir "$RIG/mnt/fio"
	fio --name=app --directory="$RIG/mnt/fio" --size=32m --numjobs=2 \
		--rw=write --bs=1m --end_fsync=1 --output=/dev/null
	enter_interval 50
	lag_load fsync
	pg_start
	lag_load pgbench
	row_polling
	pg_end
	rig_umount "$RIG/mnt"
}

row_polling()
{
	cp "$RIG/lag.cost" "$SAMPLES/status-call.ours"
	row status-call us "" "a status request over the control socket while points are taken"
}
