#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# A reader that shares nothing with the programs but docs/store-format.md
# (tests/reader/restore_point.py) restores what understudyctl restores, byte
# for byte, and refuses what is not sound.

# shellcheck disable=SC2030,SC2031 # run sets output
bats_require_minimum_version 1.5.0

load ../lib/flow

LOTS=${FLOW_LOTS:-2}
READER=tests/reader/restore_point.py

setup()
{
	flow_setup
	flow_seed
}

teardown()
{
	flow_teardown
}

# made NAME: of the scenario on standard input
made()
{
	"$TOOLS/makestore" "$RIG/$1" "$SEED"
}

offline()
{
	"$BUILD/understudyctl" restore "$@" --to "$RIG/ctl" >/dev/null
}

# agree STORE KEY VOLUME [IMAGES]: on every point, and with what a scenario
# planned; their number is in POINTS, what sorts of units were needed in UNITS
agree()
{
	local epoch seq size images=${4:-}

	POINTS=0
	: >"$RIG/units"
	while read -r _ epoch seq size _; do
		rm -f "$RIG/read" "$RIG/ctl"
		"$READER" "$1" "$2" "$epoch:$seq" "$RIG/read" >>"$RIG/units" ||
			return
		offline "$3" --store "$1" --key "$2" --point "$epoch:$seq" ||
			return
		[ "$(stat -c %s "$RIG/read")" -eq "$size" ] || return
		cmp "$RIG/read" "$RIG/ctl" || return
		[ -z "$images" ] ||
			cmp "$RIG/read" "$images/$epoch-$seq.img" || return
		POINTS=$((POINTS + 1))
	done < <("$READER" "$1" "$2")
	UNITS=$(cat "$RIG/units")
}

# made_and_agree NAME: on all points of the scenario on standard input
made_and_agree()
{
	local images

	made "$1" || return
	agree "$RIG/$1/store" "$RIG/$1/key" web1/db1 "$RIG/$1" || return
	images=("$RIG/$1"/*.img)
	[ "$POINTS" -eq ${#images[@]} ]
}

everything()
{
	cat <<-SCENARIO
		size 4196864		# ends within a block
		segment 300000
		open
		begin none
		noise 0 40
		begin lz4
		text 40 60
		mixed 100 100
		begin zstd
		mixed 200 90
		noise 3 4		# within a unit of before
		zero 500 400
		text 600 3		# within zeros
		mixed 95 10		# across two units
		text 1023 2
		commit first
		begin auto
		noise 0 10
		discard
		begin auto
		mixed 1020 5
		mixed 30 40
		close			# staged, and goes on in the next segment
		open
		begin auto
		text 35 2
		commit
		commit nothing
		close
		size 2097152		# smaller: blocks are past its end
		epoch 2
		open
		begin auto
		mixed 0 100
		zero 1 2
		commit second-epoch
		rotate
		close
		size 8388608
		open
		begin lz4
		text 2000 40
		commit larger
	SCENARIO
}

@test "the reader agrees about codecs, zeros, superseding, segments, epochs, key generations" {
	local word

	made_and_agree all < <(everything)
	[ "$POINTS" -eq 5 ]
	for word in raw lz4 zstd zero; do
		[[ $UNITS == *$word=* ]]
	done
	[ "$(find "$RIG/all/store/volumes" -name '*.seg' | wc -l)" -ge 4 ]
	# A label is a name, too.
	"$READER" "$RIG/all/store" "$RIG/all/key" first "$RIG/read"
	cmp "$RIG/read" "$RIG/all/1-1.img"
	"$READER" "$RIG/all/store" "$RIG/all/key" latest "$RIG/read"
	cmp "$RIG/read" "$RIG/all/2-5.img"
	# It never looks at the catalog; nor need the program have one.
	rm "$RIG/all/store/catalog.db"
	agree "$RIG/all/store" "$RIG/all/key" web1/db1
	[ "$POINTS" -eq 5 ]
}

# A scenario of lots: some commands, now and then a point or a restart.
lots()
{
	local i codecs=(none lz4 zstd auto) fills=(noise text mixed zero)

	echo "size $((1 << 20))"
	echo "segment $((100000 + RANDOM * 10))"
	echo open
	for ((i = 0; i < 40; i++)); do
		case $((RANDOM % 8)) in
		0) echo commit "label-$i" ;;
		1) printf 'close\nopen\n' ;;
		2) echo discard ;;
		esac
		echo "begin ${codecs[RANDOM % 4]}"
		echo "${fills[RANDOM % 4]} $((RANDOM % 200)) $((RANDOM % 50 + 1))"
	done
	echo commit last
}

@test "the reader agrees about stores that are made by lot" {
	local i

	for ((i = 0; i < LOTS; i++)); do
		lots >"$RIG/scenario-$i"
		made_and_agree "lot-$i" <"$RIG/scenario-$i"
	done
}

@test "the reader agrees about what the daemons have stored" {
	local codec size=$(((16 << 20) + 512 * 5)) i

	rig_replica
	for codec in none lz4 zstd; do
		rig_loop "v-$codec" "$size"
		"$TOOLS/blocks" mixed "${LOOP[v-$codec]}" 0 4194304 "$SEED"
		rig_volume "v-$codec" "${LOOP[v-$codec]}" \
			"compression = $codec" "interval = 1h" "rpo = 2h"
	done
	rig_source
	for codec in none lz4 zstd; do
		for i in 1 2 3; do
			"$TOOLS/blocks" scatter "${LOOP[v-$codec]}" 0 8388608 \
				$((SEED + i)) 30
			sync_point "v-$codec" --label "label-$i"
			[ $i -ne 2 ] || {
				daemon_stop replica
				daemon_start replica
			}
		done
		blkdiscard -o 1048576 -l 1048576 "${LOOP[v-$codec]}"
		sync_point "v-$codec" --label discarded
		ctl key export "v-$codec" --to "$RIG/v-$codec.key"
	done
	daemon_stop source
	daemon_stop replica
	for codec in none lz4 zstd; do
		agree "$RIG/store" "$RIG/v-$codec.key" "web1/v-$codec"
		[ "$POINTS" -ge 4 ]
		"$READER" "$RIG/store" "$RIG/v-$codec.key" latest "$RIG/read"
		same_bytes "$RIG/read" "${LOOP[v-$codec]}"
		case $codec in
		none) [[ $UNITS == *raw=* ]] ;;
		*) [[ $UNITS == *$codec=* ]] ;;
		esac
	done
}

small()
{
	cat <<-SCENARIO
		size 200704
		open
		begin auto
		noise 0 2
		text 2 16
		zero 30 10
		commit one
		begin lz4
		mixed 4 6
		close
		open
		begin zstd
		text 5 2
		noise 40 1
		commit two
	SCENARIO
}

@test "a flipped bit is refused, wherever it is, or changes nothing" {
	local newest

	small | made small
	tests/reader/flips.py "$RIG/small" 64 "$SEED" | tee "$RIG/flips"
	newest=$(awk '/newest refused/ { print $3 }' "$RIG/flips")
	[ "$newest" -gt 1000 ]
	[ "$(awk '/newest kept/ { n = $3 } END { print n + 0 }' \
		"$RIG/flips")" -lt $((newest / 100)) ]
	grep -q "named refused" "$RIG/flips"
	grep -q "named kept" "$RIG/flips"
}

# refused WHY ARG...: by the reader, and no image is left behind
refused()
{
	local why=$1
	shift

	fails 1 "$READER" "$@" "$RIG/none"
	[[ $output == restore_point:*$why* ]]
	[ ! -e "$RIG/none" ]
}

@test "another key, another volume, a mixture of stores are refused" {
	local seg other

	small | made one
	"$TOOLS/otherkey" "$RIG/one/key" "$RIG/wrong.key"
	refused "another key" "$RIG/one/store" "$RIG/wrong.key" latest
	sed 's/^key \(.\)/key 0\1/' "$RIG/one/key" >"$RIG/typo.key"
	refused "" "$RIG/one/store" "$RIG/typo.key" latest
	SEED=$((SEED + 2))
	small | made two
	refused "" "$RIG/one/store" "$RIG/two/key" latest
	refused "no such point" "$RIG/one/store" "$RIG/one/key" 77
	# A segment of a volume of the same name in another store.
	seg=$(find "$RIG/one/store" -name '*.seg' -printf '%s %p\n' |
		sort -n | awk 'NR == 1 { print $2 }')
	other=$(find "$RIG/two/store" -name '*.seg' | head -n 1)
	cp -r "$RIG/one" "$RIG/mixed"
	cp "$other" "$RIG/mixed/${seg#"$RIG/one/"}"
	refused "not a segment of the volume" "$RIG/mixed/store" \
		"$RIG/one/key" latest
	# Without its newest segment the store is an older one; the point is
	# missed by who knows its name.
	rm "$RIG/mixed/${seg#"$RIG/one/"}"
	refused "no such point" "$RIG/mixed/store" "$RIG/one/key" two
	"$READER" "$RIG/mixed/store" "$RIG/one/key" latest "$RIG/read"
	cmp "$RIG/read" "$RIG/one/1-1.img"
}

@test "the newest point is not guessed when the log does not end clean" {
	local seg

	small | made torn
	seg=$(find "$RIG/torn/store" -name '*.seg' -printf '%s %p\n' |
		sort -n | awk 'NR == 1 { print $2 }')
	printf 'URec, begun' >>"$seg"
	refused "no record" "$RIG/torn/store" "$RIG/torn/key" latest
	"$READER" "$RIG/torn/store" "$RIG/torn/key" two "$RIG/read"
	cmp "$RIG/read" "$RIG/torn/1-2.img"
}
