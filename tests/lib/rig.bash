# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A replica and a source on this machine, each with its own state, and a
# volume: for flow tests, the demo and the benchmarks. Everything lives under
# one directory and is ended by rig_end, also after a failure.
#
#	rig_begin DIR
#	rig_replica			daemon with a store, certificate "web1"
#	rig_loop NAME SIZE		loop device; its path in ${LOOP[NAME]}
#	rig_source			daemon; its volumes from rig_volume before
#	rig_volume NAME DEVICE [LINE...]
#	ctl / rctl ARG...		understudyctl at the source / the replica
#	wait_for SECONDS COMMAND...	until it succeeds
#	rig_end

BUILD=${BUILD:-build}
declare -A LOOP DAEMON MOUNTED
RIG=

rig_begin()
{
	RIG=$1
	BUILD=$(realpath "$BUILD")
	mkdir -p "$RIG"
	: >"$RIG/volumes.conf"
	LOOP=() DAEMON=() MOUNTED=()
}

# Polls, since a condition of another process has no event to wait for.
wait_for()
{
	local seconds=$1 end
	shift

	end=$((SECONDS + seconds))
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			echo "waited ${seconds}s in vain for: $*" >&2
			return 1
		fi
		sleep 0.05
	done
}

free_port()
{
	local port

	for _ in {1..100}; do
		port=$((20000 + RANDOM % 20000))
		if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo $port
			return
		fi
	done
	return 1
}

ctl()
{
	"$BUILD/understudyctl" --config "$RIG/source.conf" "$@"
}

rctl()
{
	"$BUILD/understudyctl" --config "$RIG/replica.conf" "$@"
}

# daemon_start NAME: with $RIG/NAME.conf, log appended to $RIG/NAME.log
daemon_start()
{
	local name=$1 pid
	shift

	"$@" "$BUILD/understudyd" --config "$RIG/$name.conf" \
		>>"$RIG/$name.log" 2>&1 3>&- </dev/null &
	pid=$!
	DAEMON[$name]=$pid
	wait_for 20 daemon_answers "$name" && return
	cat "$RIG/$name.log" >&2
	return 1
}

daemon_answers()
{
	"$BUILD/understudyctl" --config "$RIG/$1.conf" status
}

# daemon_stop NAME [SIGNAL]
daemon_stop()
{
	local pid=${DAEMON[$1]:-}

	[ -n "$pid" ] || return 0
	kill -"${2:-TERM}" "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	unset "DAEMON[$1]"
}

# Sets RIG_PORT; issues a certificate for the source.
rig_replica()
{
	RIG_PORT=$(free_port) || return
	cat >"$RIG/replica.conf" <<-CONF
		[daemon]
		state = $RIG/replica-state
		control = $RIG/replica.sock
		[store]
		listen = 127.0.0.1:$RIG_PORT
		path = $RIG/store
	CONF
	rctl pki init || return
	rctl pki issue web1 --rights push,read --volumes '*' \
		--out "$RIG/web1-cert" || return
	daemon_start replica
}

rig_volume()
{
	local name=$1 device=$2
	shift 2

	{
		printf '[volume %s]\ndevice = %s\nreplicas = dr1\n' \
			"$name" "$device"
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >>"$RIG/volumes.conf"
}

rig_source_conf()
{
	cat >"$RIG/source.conf" <<-CONF
		[daemon]
		state = $RIG/source-state
		control = $RIG/source.sock
		[replica dr1]
		address = 127.0.0.1:$RIG_PORT
		identity = $RIG/web1-cert
	CONF
	cat "$RIG/volumes.conf" >>"$RIG/source.conf"
}

rig_source()
{
	rig_source_conf
	daemon_start source
}

# rig_loop NAME SIZE: sparse file under the rig, direct I/O
rig_loop()
{
	truncate -s "$2" "$RIG/$1.img" || return
	LOOP[$1]=$(losetup --direct-io=on -f --show "$RIG/$1.img")
}

rig_mount()
{
	mkdir -p "$2" && mount "$1" "$2" && MOUNTED[$2]=1
}

rig_umount()
{
	umount "$1" && unset "MOUNTED[$1]"
}

volume_field()
{
	ctl --json status "$1" | jq -r ".volumes[0].$2"
}

volume_is()
{
	[ "$(volume_field "$1" state)" = "$2" ]
}

points_at_least()
{
	[ "$(rctl --json points "$1" | jq '.points | length')" -ge "$2" ]
}

# Byte compare of two files or devices, the shorter size of the first.
same_bytes()
{
	cmp -n "$(blockdev --getsize64 "$1" 2>/dev/null || stat -c %s "$1")" \
		"$1" "$2"
}

rig_end()
{
	local x

	for x in "${!MOUNTED[@]}"; do
		umount "$x" 2>/dev/null || umount -l "$x"
	done
	if [ -n "${DAEMON[source]:-}" ]; then
		daemon_stop source
	fi
	[ ! -e "$RIG/source.conf" ] ||
		"$BUILD/understudyd" --config "$RIG/source.conf" --untrack \
			2>>"$RIG/source.log"
	daemon_stop replica
	for x in "${LOOP[@]}"; do
		losetup -d "$x"
	done
	MOUNTED=() LOOP=() DAEMON=()
}
