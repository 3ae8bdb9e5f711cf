#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What the daemons may do. The kernel is asked, of every thread: no capability
# is left in a daemon, and what needs one still works, since a source has a
# helper for it. A replica needs none from the beginning.

bats_require_minimum_version 1.5.0

load ../lib/flow

setup()
{
	flow_setup
	NOBODY=
}

teardown()
{
	local rc=0

	flow_teardown || rc=1
	[ -z "$NOBODY" ] || rm -r "$NOBODY"
	return $rc
}

size=$((16 << 20))

# has_none PID: every thread without capabilities, and none to be had. Where
# the limit on locked memory cannot be raised, CAP_IPC_LOCK (14) is left to a
# source: its second argument.
has_none()
{
	local status n=0 none=0000000000000000 left

	left=$none
	[ -z "${2:-}" ] || left=0000000000004000
	for status in /proc/"$1"/task/*/status; do
		awk -v none=$none -v left=$left '
			/^Cap(Inh|Bnd|Amb):/ && $2 != none { bad = 1 }
			/^Cap(Prm|Eff):/ && $2 != left { bad = 1 }
			/^NoNewPrivs:/ && $2 != 1 { bad = 1 }
			/^(Cap|NoNewPrivs)/ { n++ }
			END { exit bad || n != 6 }' "$status" || {
			grep -E '^(Name|Cap|NoNew)' "$status"
			return 1
		}
		n=$((n + 1))
	done
	[ $n -ge 2 ]
}

source_has_none()
{
	local pid=${DAEMON[source]} locked

	locked=$(awk '/^Max locked memory/ { print $5 }' "/proc/$pid/limits")
	[ "$locked" != unlimited ] || locked=''
	has_none "$pid" "$locked"
}

# PID of the helper of daemon PID
helper_of()
{
	local child

	cat /proc/"$1"/task/*/children | tr ' ' '\n' | while read -r child; do
		[ "$(cat "/proc/$child/comm")" != understudyd-bpf ] ||
			echo "$child"
	done
}

# capabilities PID SET: as the kernel has them, a number
capabilities()
{
	awk -v set="Cap$2:" '$1 == set { print $2 }' "/proc/$1/status"
}

some_writes()
{
	"$TOOLS/blocks" scatter "$DEV" 0 $size "$1" 20
}

@test "the oracle sees a process that has capabilities" {
	local shell=$BASHPID

	run ! has_none "$shell"
}

@test "neither daemon has a capability, in any thread" {
	flow_pair $size "interval = 100ms"
	wait_for 30 volume_is vol protected
	sync_point vol
	source_has_none
	has_none "${DAEMON[replica]}"
	# Three in the helper: CAP_MKNOD 27, CAP_PERFMON 38, CAP_BPF 39.
	local helper
	helper=$(helper_of "${DAEMON[source]}")
	[ -n "$helper" ]
	[ "$(capabilities "$helper" Prm)" = 000000c008000000 ]
	[ "$(capabilities "$helper" Eff)" = 000000c008000000 ]
	[ "$(capabilities "$helper" Bnd)" = 0000000000000000 ]
	[ "$(capabilities "$helper" Amb)" = 0000000000000000 ]
	[ "$(awk '/^NoNewPrivs/ { print $2 }' "/proc/$helper/status")" = 1 ]
	# Of what the daemon has open it has nothing: no key, no device.
	[ "$(find "/proc/$helper/fd" -lname 'socket:*' | wc -l)" = 1 ]
	[ "$(find "/proc/$helper/fd" -type l | wc -l)" = 4 ]
	# A replica alone has no helper.
	[ -z "$(helper_of "${DAEMON[replica]}")" ]
	restored_equals vol "$DEV"
}

@test "a volume added, changed and removed by a reload is tracked as before" {
	flow_pair $size "interval = 100ms"
	wait_for 30 volume_is vol protected
	rig_loop two $size
	rig_volume two "${LOOP[two]}" "interval = 100ms"
	rig_source_conf
	kill -HUP "${DAEMON[source]}"
	wait_for 20 volume_is two protected
	"$TOOLS/blocks" scatter "${LOOP[two]}" 0 $size 3 20
	sync_point two
	restored_equals two "${LOOP[two]}"
	# All away, and one back: the host of the programs is opened anew.
	cp "$RIG/volumes.conf" "$RIG/both.conf"
	: >"$RIG/volumes.conf"
	rig_source_conf
	kill -HUP "${DAEMON[source]}"
	wait_for 20 bash -c "! '$BUILD/understudyctl' --config \
		'$RIG/source.conf' --json status | grep -q '\"vol\"'"
	cp "$RIG/both.conf" "$RIG/volumes.conf"
	rig_source_conf
	kill -HUP "${DAEMON[source]}"
	wait_for 30 volume_is vol protected
	wait_for 30 volume_is two protected
	some_writes 4
	sync_point vol
	restored_equals vol "$DEV"
	source_has_none
}

@test "a killed source's pins are taken over by one without capabilities" {
	local helper before

	flow_pair $size "interval = 100ms"
	wait_for 30 volume_is vol protected
	sync_point vol
	helper=$(helper_of "${DAEMON[source]}")
	before=$(stat -c %i /sys/fs/bpf/understudy-"$(cat \
		"$RIG/source-state/node")"/link_issue)
	daemon_stop source KILL
	wait_for 5 bash -c "! kill -0 $helper"
	some_writes 5
	daemon_start source
	wait_for 20 volume_is vol protected
	# Taken over, not made anew; so nothing had to be compared.
	[ "$(stat -c %i /sys/fs/bpf/understudy-"$(cat \
		"$RIG/source-state/node")"/link_issue)" = "$before" ]
	run ! grep -q tracking-lost "$RIG/source.log"
	sync_point vol
	restored_equals vol "$DEV"
	source_has_none
}

@test "without its helper a source goes on, and says what it cannot do" {
	flow_pair $size "interval = 100ms"
	wait_for 30 volume_is vol protected
	kill -KILL "$(helper_of "${DAEMON[source]}")"
	some_writes 6
	sync_point vol
	restored_equals vol "$DEV"
	rig_loop two $size
	rig_volume two "${LOOP[two]}"
	rig_source_conf
	kill -HUP "${DAEMON[source]}"
	wait_for 20 volume_is two failed
	[[ $(volume_field two remedy) == *restart* ]]
	volume_is vol protected
	daemon_stop source
	daemon_start source
	wait_for 30 volume_is two protected
}

as_nobody()
{
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

# What the rig does for a replica, in a directory that nobody can get to.
nobodys_replica()
{
	NOBODY=$(mktemp -d /var/tmp/rig-XXXXXX)
	cp "$BUILD/understudyd" "$BUILD/understudyctl" "$NOBODY/"
	RIG_PORT=$(free_port)
	cat >"$NOBODY/replica.conf" <<-CONF
		[daemon]
		state = $NOBODY/state
		control = $NOBODY/sock
		[store]
		listen = 127.0.0.1:$RIG_PORT
		path = $NOBODY/store
	CONF
	printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 %s' \
		"--clear-groups $NOBODY/understudyd --config $NOBODY/replica.conf" \
		>"$NOBODY/start"
	chmod 755 "$NOBODY/start"
	cp "$NOBODY/replica.conf" "$RIG/replica.conf"
	chown -R 65534:65534 "$NOBODY"
	as_nobody "$NOBODY/understudyctl" --config "$NOBODY/replica.conf" \
		pki init
	as_nobody "$NOBODY/understudyctl" --config "$NOBODY/replica.conf" \
		pki issue web1 --rights push,read --volumes '*' \
		--out "$NOBODY/cert"
	cp -r "$NOBODY/cert" "$RIG/web1-cert"
	daemon_start_program replica "$NOBODY/start"
}

@test "an ordinary user's replica keeps points and gives them out" {
	nobodys_replica
	[ "$(awk '/^Uid/ { print $2 }' \
		"/proc/${DAEMON[replica]}/status")" = 65534 ]
	[ "$(capabilities "${DAEMON[replica]}" Prm)" = 0000000000000000 ]
	[ "$(stat -c %u "$NOBODY/store")" = 65534 ]
	rig_loop vol $size
	DEV=${LOOP[vol]}
	"$TOOLS/blocks" mixed "$DEV" 0 $((2 << 20)) 1
	rig_volume vol "$DEV"
	rig_source
	wait_for 30 volume_is vol protected
	sync_point vol
	restored_equals vol "$DEV"
	as_nobody "$NOBODY/understudyctl" --config "$NOBODY/replica.conf" \
		restore vol --to "$NOBODY/restored"
	same_bytes "$NOBODY/restored" "$DEV"
}

@test "a replica that shall be a source too wants a restart" {
	rig_replica
	rig_loop vol $size
	printf '[replica dr1]\naddress = 127.0.0.1:%s\nidentity = %s\n%s\n' \
		"$RIG_PORT" "$RIG/web1-cert" \
		"[volume vol]
		device = ${LOOP[vol]}
		replicas = dr1" >>"$RIG/replica.conf"
	kill -HUP "${DAEMON[replica]}"
	wait_for 10 grep -q 'shall be a source too changes only with a restart' \
		"$RIG/replica.log"
	has_none "${DAEMON[replica]}"
}
