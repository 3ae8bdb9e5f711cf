#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Stores that earlier builds have written (tests/golden/v1) are read, point by
# point, and daemons go on from copies of them.

# shellcheck disable=SC2030,SC2031 # run sets output
bats_require_minimum_version 1.5.0

load ../lib/flow

GOLDEN=tests/golden/v1

setup()
{
	flow_setup
}

teardown()
{
	flow_teardown
}

# golden NAME: a copy, with the modes that a checkout does not keep
golden()
{
	rm -rf "${RIG:?}/$1"
	cp -r "$GOLDEN/$1" "$RIG/$1"
	chmod -R go= "$RIG/$1"
	STORE=$RIG/$1/store
	KEY=$RIG/$1/key
}

# has FILE SIZE SHA-256
has()
{
	[ "$(stat -c %s "$1")" -eq "$2" ] &&
		[ "$(sha256sum <"$1")" = "$3  -" ]
}

# points_are_kept NAME COMMAND...: it is given POINT and FILE
points_are_kept()
{
	local name=$1 epoch seq size sum n=0
	shift

	while read -r epoch seq size sum; do
		rm -f "$RIG/p"
		"$@" "$epoch:$seq" "$RIG/p" >/dev/null || return
		has "$RIG/p" "$size" "$sum" || {
			echo "$name $epoch:$seq is another image" >&2
			return 1
		}
		n=$((n + 1))
	done <"$GOLDEN/$name/points"
	[ $n -gt 0 ]
}

by_program()
{
	"$BUILD/understudyctl" restore web1/db1 --store "$STORE" --key "$KEY" \
		--point "$1" --to "$2"
}

by_reader()
{
	tests/reader/restore_point.py "$STORE" "$KEY" "$1" "$2"
}

by_replica()
{
	rctl restore web1/db1 --key "$KEY" --point "$1" --to "$2"
}

@test "every point of the golden stores is read" {
	local name

	for name in whole torn rotated grouped; do
		golden $name
		points_are_kept $name by_program
		points_are_kept $name by_reader
	done
	[ "$(find "$GOLDEN" -name points | wc -l)" -eq 4 ]
}

@test "a golden store without its catalog is read, and one that is damaged refused" {
	local seg

	golden whole
	rm "$STORE/catalog.db"
	points_are_kept whole by_program
	# Somewhere in the units of the first point.
	seg=$(find "$STORE" -name '*.seg' -printf '%s %p\n' | sort -n |
		awk 'END { print $2 }')
	printf '\377' | dd of="$seg" bs=1 seek=2000 conv=notrunc status=none
	run -1 points_are_kept whole by_program
	run -1 points_are_kept whole by_reader
	# The judge sees another image, too.
	by_program_another()
	{
		head -c 1050112 /dev/zero >"$2"
	}
	run -1 points_are_kept whole by_program_another
	[[ $output == *"another image"* ]]
}

@test "points of a group in a golden store are read as such" {
	golden grouped
	"$BUILD/understudyctl" --json restore web1/shop --store "$STORE" \
		--key "$KEY" --to "$RIG/out" >"$RIG/told"
	jq -e '.seq == 2 and .members[0].seq == 3' "$RIG/told"
	read -r _ _ size sum < <(grep '^1 3 ' "$GOLDEN/grouped/points")
	has "$RIG/out/db1.img" "$size" "$sum"
	by_reader_lists=$(tests/reader/restore_point.py "$STORE" "$KEY")
	[ "$(grep -c ' group ' <<<"$by_reader_lists")" -eq 3 ]
}

# goes_on NAME: a replica takes up a copy, its source what it remembers
goes_on()
{
	local size last

	golden "$1"
	last=$(tail -n 1 "$GOLDEN/$1/points")
	read -r EPOCH SEQ size _ <<<"$last"
	RIG_STORE=$STORE rig_replica
	rig_loop db1 "$size"
	DEV=${LOOP[db1]}
	by_reader "$EPOCH:$SEQ" "$RIG/image"
	dd if="$RIG/image" of="$DEV" bs=512 oflag=direct status=none
	cp -r "$RIG/$1/state" "$RIG/source-state"
	rig_volume db1 "$DEV" "interval = 1h" "rpo = 2h"
	rig_source
}

@test "daemons go on from copies of the golden stores" {
	local name epoch seq n

	for name in whole torn rotated grouped; do
		goes_on $name
		"$TOOLS/blocks" number "$DEV" 8192 4711
		sync_point db1 --label new
		n=$(wc -l <"$GOLDEN/$name/points")
		rctl --json points db1 | jq -e --argjson n "$n" \
			--argjson epoch "$EPOCH" --argjson seq "$SEQ" '
			(.points | length) > $n and .points[-1].label == "new"
			and .points[-1].epoch == $epoch and
			.points[-1].seq > $seq and all(.points[]; .state == "ok")'
		rctl restore db1 --key "$KEY" --to "$RIG/p"
		same_bytes "$RIG/p" "$DEV"
		# What was the same was not sent again.
		[ "$(counter db1 bytes_shipped)" -lt 40000 ]
		points_are_kept $name by_replica
		daemon_stop source
		daemon_stop replica
		points_are_kept $name by_reader
		by_reader new "$RIG/p"
		same_bytes "$RIG/p" "$DEV"
		rig_end
		rm -r "$RIG"/source-state "$RIG"/replica-state "$RIG"/web1-cert
		rig_begin "$RIG"
	done
}

@test "the golden stores are what their script says" {
	local name

	"$GOLDEN/../make" "$RIG/again"
	for name in whole torn rotated grouped; do
		cmp "$RIG/again/$name/points" "$GOLDEN/$name/points"
		cmp "$RIG/again/$name/key" "$GOLDEN/$name/key"
	done
}
