#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Daemons are killed at random, with dependent writers on the volume and a
# clerk who stamps a block, syncs, and notes the stamp with the number of the
# point and its head. What the clerk has noted must be there ever after.

bats_require_minimum_version 1.5.0

load ../lib/flow

KILLS=${FLOW_KILLS:-50}
LEDGER=$((20 << 20))

setup()
{
	flow_setup
	flow_seed
}

teardown()
{
	flow_teardown
}

# Notes "STAMP SEQ EPOCH SIZE HEAD" of every point that sync promised. A sync
# that fails promised nothing; the next stamp is another one.
clerk()
{
	local n=0 point

	while :; do
		n=$((n + 1))
		"$TOOLS/blocks" number "$DEV" $LEDGER $n || return
		point=$(ctl --json sync vol --timeout 5s 2>/dev/null) || {
			wait_for 20 daemon_answers source
			continue
		}
		"$TOOLS/blocks" points "$RIG/store" vol "$RIG/vol.key" $LEDGER \
			"$(jq .seq <<<"$point")" | head -n 1 >>"$RIG/ledger"
		echo "$n $(jq -r '"\(.epoch) \(.seq)"' <<<"$point")" \
			>>"$RIG/promised"
	done
}

promised()
{
	wc -l <"$RIG/promised"
}

promised_more_than()
{
	[ "$(promised)" -gt "$1" ]
}

# Every promised point is listed, whole.
nothing_is_lost()
{
	local list

	list=$(promised)
	rctl --json points vol | jq -r '.points[] | select(.state == "ok") |
		"\(.epoch) \(.seq)"' | sort >"$RIG/listed"
	head -n "$list" "$RIG/promised" | cut -d' ' -f2- | sort |
		comm -23 - "$RIG/listed" >"$RIG/lost"
	[ ! -s "$RIG/lost" ] || {
		echo "lost: $(cat "$RIG/lost")"
		return 1
	}
}

# Of the last points, the judge reads their slots from the store as it is.
newest_is_legal()
{
	local newest

	newest=$(rctl --json points vol | jq '.points[-1].seq')
	"$TOOLS/chains" points "$RIG/store" vol "$RIG/vol.key" "$newest" \
		>/dev/null
}

@test "50 kills of either daemon lose no promised point" {
	local i who before

	: >"$RIG/promised"
	flow_pair 32MiB "interval = 50ms"
	wait_for 30 volume_is vol protected
	ctl key export vol --to "$RIG/vol.key" >/dev/null
	rig_spawn writers "$TOOLS/chains" write "$DEV" 200
	rig_spawn_function clerk
	for ((i = 0; i < KILLS; i++)); do
		before=$(promised)
		# Mostly in the middle of whatever goes on then.
		if ((i % 5 == 0)); then
			wait_for 30 promised_more_than "$before"
		else
			sleep 0.$((RANDOM % 4))$((RANDOM % 10))
		fi
		who=source
		((RANDOM % 2)) || who=replica
		daemon_stop $who KILL
		daemon_start $who
		if [ $who = replica ]; then
			nothing_is_lost
			newest_is_legal
		fi
	done
	wait_for 30 promised_more_than "$(promised)"
	rig_kill clerk KILL || true
	rig_kill writers
	echo "# $(promised) points promised" >&3
	[ "$(promised)" -ge $((KILLS / 5)) ]
	nothing_is_lost
	"$TOOLS/chains" points "$RIG/store" vol "$RIG/vol.key"
	# Each shows the stamp that was on the device when it was promised, and
	# the head that it had then.
	"$TOOLS/blocks" points "$RIG/store" vol "$RIG/vol.key" $LEDGER |
		sort >"$RIG/now"
	sort "$RIG/ledger" | comm -23 - "$RIG/now" >"$RIG/changed"
	[ ! -s "$RIG/changed" ]
	while read -r stamp epoch seq; do
		grep -q "^$epoch $seq [0-9a-f]* 33554432 $stamp\$" "$RIG/now"
	done <"$RIG/promised"
	sync_point vol
	restored_equals vol "$DEV"
	# It would be noticed.
	echo "1 1 $((seq + 100000))" >>"$RIG/promised"
	run ! nothing_is_lost
}

# How much the source has sent so far.
sent()
{
	cat "$RIG/sent"
}

sent_at_least()
{
	[ "$(sent)" -ge "$1" ]
}

@test "kills during the initial copy make it ship hardly anything twice" {
	local size=$((128 << 20)) once all i

	rig_replica >/dev/null
	RIG_LINK_PORT=$(free_port)
	rig_spawn relay "$TOOLS/relay" "$RIG_LINK_PORT" "$RIG_PORT" "$RIG/sent"
	wait_for 5 grep -q ready "$RIG/relay.out"
	rig_loop once $size
	rig_loop vol $size
	DEV=${LOOP[vol]}
	"$TOOLS/blocks" fill "${LOOP[once]}" 0 $size 1
	"$TOOLS/blocks" fill "$DEV" 0 $size 2
	rig_volume once "${LOOP[once]}"
	rig_source
	ctl sync once >/dev/null
	daemon_stop source
	once=$(sent)
	[ "$once" -ge $size ]

	: >"$RIG/volumes.conf"
	rig_volume vol "$DEV"
	rig_source_conf
	sed -i "/^identity/a rate-limit = 48MiB/s" "$RIG/source.conf"
	daemon_start source
	for i in 1 2 3 4 5 6; do
		wait_for 30 sent_at_least $((once + once * i / 7 +
			RANDOM % 100 * (once / 2000)))
		volume_is vol initializing
		if ((i % 2)); then
			daemon_stop source KILL
			daemon_start source
		else
			daemon_stop replica KILL
			daemon_start replica
		fi
	done
	ctl sync vol >/dev/null
	all=$(($(sent) - once))
	echo "# once $once bytes, with kills $all" >&3
	# A kill costs what is on the way: some MiB when all of it fills the
	# buffers of sockets, on a busy machine. From the start each time it
	# would be four times everything.
	[ "$all" -le $((once + once / 5)) ]
	restored_equals vol "$DEV"
}
