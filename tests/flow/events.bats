#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What happened: told by both daemons, kept over restarts, followed as it
# happens, and never in the way of the work.

bats_require_minimum_version 1.5.0

load ../lib/flow

setup()
{
	flow_setup
}

teardown()
{
	flow_teardown
}

size=$((32 << 20))

# slugs CTL OBJECT: of the events of an object, in their order
slugs()
{
	"$1" --json events | jq -r "select(.object == \"$2\") | .slug"
}

# told CTL JQ-CONDITION: there is such an event
told()
{
	"$1" --json events | jq -es "any($2)"
}

# At the source, whatever its configuration has become.
socket_ctl()
{
	"$BUILD/understudyctl" --socket "$RIG/source.sock" "$@"
}

# in_order CTL OBJECT SLUG...: they were told of one after the other
in_order()
{
	local of=$1 object=$2 slug
	shift 2

	slugs "$of" "$object" >"$RIG/slugs"
	exec 7<"$RIG/slugs"
	for slug in "$@"; do
		until [ "$slug" = "${line:=}" ]; do
			read -r line <&7 || {
				echo "no $slug in its place:"
				cat "$RIG/slugs"
				return 1
			}
		done
		line=
	done
	exec 7<&-
}

@test "the life of a volume is told at both ends, and outlives the daemons" {
	local before

	flow_pair $size "interval = 100ms"
	sync_point vol
	wait_for 10 volume_is vol protected
	ctl pause vol
	wait_for 10 told ctl '.slug == "state-paused"'
	ctl resume vol
	sync_point vol
	wait_for 10 told ctl '.slug == "state-protected" and .since != null'
	ctl resync vol --yes vol
	wait_for 20 told ctl '.slug == "state-comparing" and .reason == "resync"'
	sync_point vol
	ctl key export vol --to "$RIG/key"
	rctl restore vol --to "$RIG/out"
	in_order ctl vol session-began state-protected pause-ordered \
		session-ended resume-ordered session-began resync-ordered \
		key-exported
	wait_for 10 told rctl '.slug == "state-following"'
	in_order rctl web1/vol session-began key-escrowed session-ended \
		session-began restored
	told ctl '.slug == "daemon-started" and .reason == null'

	# Every line has what the manual says, and ids rise by one.
	ctl --json events >"$RIG/events"
	jq -e '[keys_unsorted[]] == ["id", "time", "slug", "role", "object",
		"reason", "message", "since", "duration_seconds", "count"]' \
		"$RIG/events" >/dev/null
	jq -es '[.[].id] == [range(1; length + 1)]' "$RIG/events"
	before=$(jq -s length "$RIG/events")
	# Nothing of the key, whatever was told of it.
	sed -n 's/^key //p' "$RIG/key" | tr ' ' '\n' >"$RIG/secrets"
	[ "$(wc -l <"$RIG/secrets")" -ge 8 ]
	run ! grep -iFf "$RIG/secrets" "$RIG"/*-state/events/*

	daemon_stop source
	daemon_start source
	ctl --json events | jq -es ".[$before].slug == \"daemon-stopping\""
	told ctl '.slug == "daemon-stopped"'
	daemon_stop source KILL
	daemon_start source
	told ctl '.slug == "daemon-started" and .reason == "unclean-end"'
	[ "$(stat -c %a "$RIG"/source-state/events)" = 700 ]
	[ "$(stat -c %a "$RIG"/source-state/events/*)" = 600 ]
}

followed()
{
	grep -q "$1" "$RIG/follow.out"
}


@test "events are followed, and shown from a time on" {
	local now

	flow_pair $size
	sync_point vol
	now=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
	rig_spawn follow "$BUILD/understudyctl" --config "$RIG/source.conf" \
		events --follow
	wait_for 10 followed session-began
	run ! followed pause-ordered
	ctl pause vol
	wait_for 5 followed "vol .*pause-ordered"
	wait_for 5 followed "state-paused"
	# The client ends when the daemon does, having heard of it.
	daemon_stop source
	wait_for 5 followed daemon-stopping
	run ! rig_kill follow CONT
	daemon_start source
	ctl --json events --since "$now" >"$RIG/since"
	run ! grep -q session-began "$RIG/since"
	grep -q pause-ordered "$RIG/since"
	[ -z "$(ctl --json events --since "$(date -d +1hour -Isec)")" ]
	ctl events --since -1h | grep "daemon-started"
	fails 2 ctl events --since yesterday-ish
	# A pipe that is closed ends it.
	timeout 20 "$BUILD/understudyctl" --config "$RIG/source.conf" events \
		--follow | head -n 1 >/dev/null &
	ctl resume vol
	ctl pause vol
	wait $!
}

@test "refusals, broken links, revoked certificates and mistakes are told" {
	flow_pair $size "interval = 100ms"
	sync_point vol
	# Missed writes, and what they mean.
	daemon_stop source
	"$BUILD/understudyd" --config "$RIG/source.conf" --untrack
	daemon_start source
	wait_for 10 told ctl '.object == "vol" and .slug == "tracking-lost"'
	sync_point vol
	# A link that is gone is told of at both ends, and not at each try.
	daemon_stop replica
	wait_for 10 told ctl '.slug == "session-ended" and .reason != null'
	wait_for 10 told ctl '.slug == "connect-failed"'
	daemon_start replica
	sync_point vol
	wait_for 10 told rctl '.slug == "state-following"'
	# A mistake in the configuration.
	echo nonsense >>"$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 told socket_ctl '.slug == "configuration-refused"'
	sed -i '$d' "$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 told ctl '.slug == "configuration-reloaded"'
	rctl pki revoke web1
	kill -HUP "${DAEMON[replica]}"
	wait_for 10 told rctl \
		'.slug == "certificate-revoked" and .object == "web1"'
	wait_for 10 told rctl '.slug == "state-disconnected"'
	wait_for 10 told ctl '.message | test("web1. is revoked")'
	kill -HUP "${DAEMON[replica]}"
	wait_for 10 told rctl '.slug == "peer-refused"'
	# Once, however often it is read.
	[ "$(rctl --json events | grep -c certificate-revoked)" -eq 1 ]
}

@test "a state directory that takes nothing holds up neither points nor events" {
	rig_loop state 16MiB
	mkfs.ext4 -q "${LOOP[state]}"
	rig_mount "${LOOP[state]}" "$RIG/source-state"
	flow_pair $size "interval = 100ms"
	sync_point vol
	wait_for 10 told ctl '.slug == "session-began"'
	# The log's own file system is full, and no block of its file is left.
	dd if=/dev/zero of="$RIG/source-state/ballast" bs=1k status=none || true
	truncate -s 4096 "$(ls "$RIG"/source-state/events/*)" || true
	dd if=/dev/zero of="$RIG/source-state/ballast2" bs=1k status=none || true
	daemon_stop replica
	wait_for 10 told ctl '.slug == "connect-failed"'
	daemon_start replica
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 2 50
	sync_point vol
	restored_equals vol "${LOOP[vol]}"
	rm "$RIG/source-state"/ballast*
	wait_for 20 eval '! ctl events 2>&1 >/dev/null | grep "memory only"'
	wait_for 10 grep -q connect-failed "$RIG"/source-state/events/*
}
