#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Points of groups behind the commit: what a replica that was handed them
# lists and restores, there, from the source's side, and without a daemon.

bats_require_minimum_version 1.5.0

load ../lib/flow

setup()
{
	flow_setup
	rig_replica >/dev/null
	mkdir "$RIG/keys"
}

teardown()
{
	flow_teardown
}

push()
{
	"$TOOLS/grouppush" "$RIG_PORT" "$RIG/web1-cert" "$RIG/keys"
}

# Two points of the group shop, of db1 and wal1; between and after them single
# points, and at last one of db1 alone that calls itself the third.
two_points()
{
	push <<-SCRIPT
		name s shop
		open db1
		open wal1
		fill db1 a
		fill wal1 b
		commit db1 1700000001 s 1 2 first
		commit wal1 1700000001 s 1 2 first
		fill db1 c
		commit db1 1700000002
		fill db1 e
		fill wal1 f
		commit db1 1700000003 s 2 2
		commit wal1 1700000003 s 2 2
		fill db1 g
		commit db1 1700000004 s 3 2
	SCRIPT
}

# holds FILE CHARACTER: as grouppush has filled the volume
holds()
{
	[ "$(stat -c %s "$1")" = 1048576 ]
	[ "$(tr -d "$2" <"$1" | wc -c)" = 0 ]
}

# A source that protects nothing itself: it has the connection.
reader()
{
	rig_conf source "${1:-web1-cert}"
	daemon_start source
}

offline()
{
	"$BUILD/understudyctl" --json restore "$@" --store "$RIG/store"
}

code_is()
{
	[ "$(jq -r .error.code <<<"$output")" = "$1" ] || {
		echo "$output"
		return 1
	}
}

@test "points of a group: those that are whole, with their members" {
	two_points
	for name in shop web1/shop; do
		run -0 rctl --json points "$name"
		[ "$(jq -c '[.group, (.points | length)]' <<<"$output")" = \
			'["web1/shop",2]' ]
		[ "$(jq -c '[.points[] | [.seq, .label, .state, .kind,
			.size_bytes, .time]]' <<<"$output")" = \
			'[[1,"first","ok","crash",2097152,"2023-11-14T22:13:21.000Z"],[2,null,"ok","crash",2097152,"2023-11-14T22:13:23.000Z"]]' ]
		[ "$(jq -c '.points[1].members' <<<"$output")" = \
			'[{"volume":"db1","epoch":1,"seq":3},{"volume":"wal1","epoch":1,"seq":2}]' ]
	done
	run -0 rctl points shop
	[[ "$output" == *"db1@3 wal1@2"* ]]
	run -0 rctl --json points db1
	[ "$(jq -c '[.points[].group]' <<<"$output")" = \
		'[{"name":"shop","seq":1,"members":2,"complete":true},null,{"name":"shop","seq":2,"members":2,"complete":true},{"name":"shop","seq":3,"members":2,"complete":false}]' ]
	[ "$(rctl --json status db1 | jq -r '.volumes[0].group')" = shop ]
	fails 1 rctl --json points shop2
	code_is no-volume
}

@test "the same from the source's side, as far as its certificate goes" {
	two_points
	reader
	rctl --json points shop | jq -S . >"$RIG/there"
	ctl --json points shop | jq -S . >"$RIG/here"
	diff "$RIG/there" "$RIG/here"
	rctl --json points db1 | jq -S .points >"$RIG/there"
	ctl --json points web1/db1 | jq -S .points >"$RIG/here"
	diff "$RIG/there" "$RIG/here"
	daemon_stop source
	# Who may not read every member is told of none.
	rctl pki issue other --rights read --volumes 'web1/db1' \
		--out "$RIG/other-cert" >/dev/null
	reader other-cert
	ctl points web1/db1 >/dev/null
	fails 1 ctl --json points web1/shop
	code_is not-permitted
}

@test "restore of a group: one and the same point of every member" {
	two_points
	run -0 rctl --json restore shop --to "$RIG/newest"
	[ "$(jq -c '[.group, .seq, [.members[] | [.volume, .seq]]]' \
		<<<"$output")" = '["web1/shop",2,[["web1/db1",3],["web1/wal1",2]]]' ]
	holds "$RIG/newest/db1.img" e
	holds "$RIG/newest/wal1.img" f
	rctl restore shop@1 --to "$RIG/one"
	holds "$RIG/one/db1.img" a
	holds "$RIG/one/wal1.img" b
	rctl restore shop --point first --to "$RIG/first"
	holds "$RIG/first/wal1.img" b
	rctl restore web1/shop --at 2023-11-14T22:13:22Z --to "$RIG/at"
	holds "$RIG/at/db1.img" a
	# into what is there already, and each where it belongs
	rctl restore shop --to wal1="$RIG/w" --to db1="$RIG/d" --in-place
	holds "$RIG/d" e
	holds "$RIG/w" f
}

@test "what is refused of a group leaves nothing behind" {
	two_points
	fails 1 rctl --json restore shop@3 --to "$RIG/out"
	code_is no-point
	fails 2 rctl --json restore shop@1:1 --to "$RIG/out"
	code_is usage
	fails 2 rctl --json restore shop --to db1="$RIG/out"
	code_is usage
	fails 2 rctl --json restore shop --to db1="$RIG/o" --to wal1="$RIG/o"
	code_is usage
	fails 2 rctl --json restore shop --range 0:4096 --to "$RIG/out"
	code_is usage
	fails 2 rctl --json restore db1 --to "$RIG/out" --to "$RIG/o"
	code_is usage
	[ ! -e "$RIG/out" ] && [ ! -e "$RIG/o" ]
	# too small, and in use: before anything is written
	rig_loop small 524288
	fails 1 rctl --json restore shop --to db1="$RIG/o" \
		--to wal1="${LOOP[small]}"
	code_is target-too-small
	[ ! -e "$RIG/o" ]
	rig_loop used $((16 << 20))
	mkfs.ext4 -q "${LOOP[used]}"
	rig_mount "${LOOP[used]}" "$RIG/mnt"
	fails 4 rctl --json restore shop --to db1="$RIG/o" \
		--to wal1="${LOOP[used]}"
	code_is target-in-use
	[ ! -e "$RIG/o" ]
}

@test "a member that cannot be restored is named, and the exit says so" {
	local uuid
	two_points
	uuid=$(rctl --json status wal1 | jq -r '.volumes[0].uuid')
	rm "$RIG/replica-state/keys/$uuid.key"
	fails 1 rctl --json restore shop --to "$RIG/out"
	[ "$(jq -r .error.object <<<"$output")" = web1/wal1 ]
	[ "$(jq -c '[.error.members[] | [.volume, .target]]' <<<"$output")" = \
		'[["db1","restored"],["wal1","untouched"]]' ]
	holds "$RIG/out/db1.img" e
	[ ! -e "$RIG/out/wal1.img" ]
	rctl restore shop --to "$RIG/out" --key "$RIG/keys/wal1.key" --in-place
	holds "$RIG/out/wal1.img" f
}

@test "from the source's side with keys, and without a daemon" {
	two_points
	reader
	ctl restore web1/shop --to "$RIG/far" --key "$RIG/keys/db1.key" \
		--key "$RIG/keys/wal1.key"
	holds "$RIG/far/db1.img" e
	holds "$RIG/far/wal1.img" f
	daemon_stop source
	daemon_stop replica
	offline shop --to "$RIG/off" --key "$RIG/keys/db1.key" \
		--key "$RIG/keys/wal1.key"
	holds "$RIG/off/db1.img" e
	holds "$RIG/off/wal1.img" f
	fails 2 offline shop --to "$RIG/no" --key "$RIG/keys/db1.key"
	code_is usage
	fails 1 offline shop@3 --to "$RIG/no" --key "$RIG/keys/db1.key"
	code_is no-point
	[ ! -e "$RIG/no" ]
	# by who has read nothing but the format's description
	"$BATS_TEST_DIRNAME/../reader/restore_point.py" "$RIG/store" \
		"$RIG/keys/db1.key" 3 "$RIG/read.img"
	holds "$RIG/read.img" e
	run -0 "$BATS_TEST_DIRNAME/../reader/restore_point.py" "$RIG/store" \
		"$RIG/keys/db1.key"
	[[ "${lines[0]}" == *" first group 77000000-0000-0000-0000-000000000073 1 2 shop" ]]
	[[ "${lines[1]}" != *group* ]]
	# a volume as before
	offline db1 --to "$RIG/one.img" --key "$RIG/keys/db1.key"
	holds "$RIG/one.img" g
	# the footers alone tell the same
	rm "$RIG"/store/catalog.db*
	offline web1/shop --point 1 --to "$RIG/off1" \
		--key "$RIG/keys/db1.key" --key "$RIG/keys/wal1.key"
	holds "$RIG/off1/db1.img" a
	holds "$RIG/off1/wal1.img" b
}

@test "names: a new one, one that a volume has, a member that is removed" {
	local uuid
	two_points
	push <<-SCRIPT
		name t wal1
		open idx1
		fill idx1 x
		commit idx1 1700000009 t 1 1
	SCRIPT
	fails 2 rctl --json points web1/wal1
	code_is ambiguous
	uuid=$(grep -oE '7700[0-9a-f-]{32}' <<<"$output" | head -n 1)
	[ "$(rctl --json points "$uuid" | jq -r .group)" = web1/wal1 ]
	push <<-SCRIPT
		name t till
		open key1
		fill key1 y
		commit key1 1700000010 t 2 1
	SCRIPT
	[ "$(rctl --json points till | jq -c '[.points[].seq]')" = '[1,2]' ]
	rctl points web1/wal1 >/dev/null
	rctl remove web1/wal1 --yes web1/wal1
	[ "$(rctl --json points shop | jq -c .points)" = '[]' ]
	fails 1 rctl --json restore shop --to "$RIG/out"
	code_is no-point
}
