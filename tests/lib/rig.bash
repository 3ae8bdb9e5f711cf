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
#	rig_spawn NAME COMMAND...	a helper in the background, output in
#					$RIG/NAME.out
#	rig_kill NAME [SIGNAL]		ends it; its exit status
#	rig_end

BUILD=${BUILD:-build}
# Also when sourced within a function, as bats does.
declare -gA LOOP DAEMON MOUNTED HELPER
RIG=

rig_begin()
{
	RIG=$1
	BUILD=$(realpath "$BUILD")
	# shellcheck disable=SC2034 # for whoever sources this
	TOOLS=$BUILD/tests/tools
	mkdir -p "$RIG"
	: >"$RIG/volumes.conf"
	LOOP=() DAEMON=() MOUNTED=() HELPER=()
}

# Polls, since a condition of another process has no event to wait for. An
# emulated processor takes its time.
wait_for()
{
	local seconds=$(($1 * ${TEST_SLOWER:-1})) end
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
		# Below those that connections get by themselves.
		port=$((12000 + RANDOM % 20000))
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
	daemon_start_program "$1" "$BUILD/understudyd"
}

# daemon_start_program NAME PROGRAM
daemon_start_program()
{
	local name=$1 pid

	"$2" --config "$RIG/$name.conf" >>"$RIG/$name.log" 2>&1 3>&- \
		</dev/null &
	pid=$!
	DAEMON[$name]=$pid
	if wait_for 20 daemon_answers_or_ended "$name" &&
		daemon_answers "$name" >/dev/null 2>&1; then
		return
	fi
	tail -n 20 "$RIG/$name.log" >&2
	return 1
}

daemon_answers()
{
	"$BUILD/understudyctl" --config "$RIG/$1.conf" status
}

daemon_answers_or_ended()
{
	! kill -0 "${DAEMON[$1]}" 2>/dev/null || daemon_answers "$1"
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
		path = ${RIG_STORE:-$RIG/store}
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

# rig_conf NAME CERTIFICATE-DIR: of a source, without volumes
rig_conf()
{
	cat >"$RIG/$1.conf" <<-CONF
		[daemon]
		state = $RIG/$1-state
		control = $RIG/$1.sock
		[replica dr1]
		address = 127.0.0.1:${RIG_LINK_PORT:-$RIG_PORT}
		identity = $RIG/$2
	CONF
}

# With the volumes of rig_volume.
rig_source_conf()
{
	rig_conf source web1-cert
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

# In a group of its own, so that what it starts ends with it. A helper whose
# name begins with "under-" (what a device lies on) is ended last.
rig_spawn()
{
	local name=$1
	shift

	setsid "$@" >"$RIG/$name.out" 2>&1 3>&- </dev/null &
	HELPER[$name]=$!
}

# The same of a shell function, its name being the helper's. It sees the
# variables as they are now.
rig_spawn_function()
{
	"$1" >"$RIG/$1.out" 2>&1 3>&- </dev/null &
	HELPER[$1]=$!
}

rig_kill()
{
	local pid=${HELPER[$1]:-} rc=0

	[ -n "$pid" ] || return 0
	# Just started, it may not be in its group yet.
	kill -"${2:-TERM}" -- "-$pid" 2>/dev/null ||
		kill -"${2:-TERM}" "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || rc=$?
	unset "HELPER[$1]"
	return $rc
}

# What a disk holds, past the page cache: that may hold what was never written,
# as the bitmaps of ext4 for groups nobody has used.
bytes_of()
{
	if [ -b "$1" ]; then
		dd if="$1" iflag=direct bs=1M status=none
	else
		cat "$1"
	fi
}

# Byte compare of two files or devices, the shorter size of the first.
same_bytes()
{
	cmp -n "$(blockdev --getsize64 "$1" 2>/dev/null || stat -c %s "$1")" \
		<(bytes_of "$1") <(bytes_of "$2")
}

# What a daemon's configuration has become by now does not matter here.
rig_untrack()
{
	local dir

	for dir in "$RIG"/*-state; do
		[ -e "$dir/node" ] || continue
		printf '[daemon]\nstate = %s\ncontrol = %s.sock\n' "$dir" \
			"$RIG/untrack" >"$RIG/untrack.conf"
		"$BUILD/understudyd" --config "$RIG/untrack.conf" --untrack
	done
}

rig_umount_all()
{
	local x

	for x in "${!MOUNTED[@]}"; do
		umount "$@" "$x" 2>/dev/null && unset "MOUNTED[$x]"
	done
}

# Never fails: what it could not end, the runner sees.
rig_end()
{
	local x

	set +e
	# A stopped process hears nothing.
	for x in "${DAEMON[@]}" "${HELPER[@]}"; do
		kill -CONT "$x" 2>/dev/null
	done
	for x in "${!DAEMON[@]}"; do
		[ "$x" = replica ] || daemon_stop "$x"
	done
	daemon_stop replica
	rig_untrack 2>>"$RIG/untrack.log"
	for x in "${!HELPER[@]}"; do
		[[ $x == under-* ]] || rig_kill "$x"
	done
	rig_umount_all
	for x in "${LOOP[@]}"; do
		losetup -d "$x"
	done
	LOOP=()
	rig_umount_all -l
	for x in "${!HELPER[@]}"; do
		rig_kill "$x"
	done
	return 0
}
