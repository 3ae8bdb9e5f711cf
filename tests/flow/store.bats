#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# `store check` and `store rebuild-catalog` on a small real store: what is
# damaged is named, with the points that it concerns; a catalog that is gone or
# garbage is made again, and every point is what it was.

bats_require_minimum_version 1.5.0

load ../lib/flow

setup()
{
	flow_setup
}

teardown()
{
	[ -z "${OWNED:-}" ] || rm -rf "$OWNED"
	flow_teardown
}

size=$((4 << 20))
points=4

# A store of one volume with as many points, of which the images are in
# $RIG/image.SEQ and the last blocks of each are its own; the key is in
# $RIG/vol.key. The source has ended, the replica runs.
small_store()
{
	local seq n

	flow_pair $size "interval = 1h" "rpo = 2h" "key-escrow = no" \
		"audit = off"
	"$TOOLS/blocks" fill "$DEV" 0 $size 77
	for ((n = 1; n <= points; n++)); do
		"$TOOLS/blocks" fill "$DEV" $((n * 256 << 10)) $((64 << 10)) $n
		seq=$(sync_point vol)
		cp "$DEV" "$RIG/image.$seq"
	done
	ctl key export vol --to "$RIG/vol.key"
	UUID=$(volume_field vol uuid)
	daemon_stop source
}

check()
{
	"$BUILD/understudyctl" --json store check --store "$RIG/store" "$@"
}

rebuild()
{
	"$BUILD/understudyctl" --json store rebuild-catalog \
		--store "$RIG/store"
}

# every_point_is_right: those of $RIG/image.*, without a daemon
every_point_is_right()
{
	local image n=0

	for image in "$RIG"/image.*; do
		"$BUILD/understudyctl" restore "web1/vol@${image##*.}" \
			--store "$RIG/store" --key "$RIG/vol.key" \
			--to "$RIG/out" >/dev/null || return
		cmp "$RIG/out" "$image" || return
		n=$((n + 1))
	done
	[ $n -ge $points ]
}

# says JQ-CONDITION: of $output
says()
{
	jq -e "$1" <<<"$output" >/dev/null || {
		echo "not so: $1"
		echo "$output"
		return 1
	}
}

# names and contents, but for what SQLite keeps for readers of a log
store_digest()
{
	(cd "$RIG/store" && find . -type f ! -name '*-shm' ! -name '*-wal' \
		-exec sha256sum {} + | sort)
}

# flip FILE OFFSET
flip()
{
	local byte

	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf '%b' "\\x$(printf %02x $((byte ^ 1)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "a store is checked while its daemon runs and when it does not; the sound is sound, the flipped byte is named" {
	local before seg at n stranger

	small_store
	n=$(rctl --json points vol | jq '.points | length')
	# While the daemon runs; without the key seals are not looked at.
	run -0 check
	says ".volumes[0] | .volume == \"web1/vol\" and .state == \"ok\" and
		.points == $n and .damaged_points == 0 and
		(.with_key | not) and .read_bytes > 1000000"
	says '.catalog == "ok" and .strangers == []'
	run -0 rctl --json store check --key "$RIG/vol.key"
	says '.volumes[0] | .with_key and .opened_units > 0 and
		.unopened_units == 0 and .findings == []'
	run -0 rctl store check
	[[ $output == *web1/vol*"not checked"*ok* ]]
	# The daemon is none the worse.
	rctl points vol >/dev/null
	daemon_stop replica
	echo hello >"$RIG/store/notes"
	before=$(store_digest)
	run -0 check --key "$RIG/vol.key" --progress=json
	says '.strangers == [{"path": "notes", "what": "other"}]'
	[ "$(store_digest)" = "$before" ]
	# Keys that are not the volume's.
	sed 's/^uuid .*/uuid 00000000-0000-4000-8000-000000000001/' \
		"$RIG/vol.key" >"$RIG/other.key"
	fails 1 check --key "$RIG/other.key"
	says '.error.code == "wrong-key" or .error.code == "bad-key"'
	"$TOOLS/otherkey" "$RIG/vol.key" "$RIG/lie.key"
	fails 1 check --key "$RIG/lie.key"
	says '.error.code == "wrong-key"'
	fails 1 check --key "$RIG/no.key"
	says '.error.code == "bad-key-file"'

	# An empty file may be a segment that is just being made; another that
	# is none may have been one.
	stranger=volumes/$UUID/00000000-0000-4000-8000-000000000002.seg
	: >"$RIG/store/$stranger"
	run -0 check
	says '.strangers | length == 2'
	head -c 5000 /dev/urandom >"$RIG/store/$stranger"
	fails 1 check
	says ".error | .code == \"damaged-spare\" and (.strangers |
		contains([{path: \"$stranger\", what: \"no-segment\"}]))"
	rm "$RIG/store/$stranger"

	# In the units of the first point, of which later ones have most.
	seg=$(find "$RIG/store/volumes/$UUID" -name '*.seg')
	at=$((2 << 20))
	flip "$seg" $at
	fails 1 check
	says ".error | .code == \"damaged\" and .remedy != null"
	says ".error.volumes[0] | .state == \"damaged\" and
		.damaged_points > 0 and .findings[0].what == \"data\" and
		.findings[0].segment_offset <= $at and
		.findings[0].segment_offset + .findings[0].segment_bytes > $at
		and .findings[0].first_seq >= 1"
	says ".error.volumes[0].findings[0].segment ==
		\"$(basename "$seg" .seg)\""
	# Those that it names, and no others, cannot be restored.
	damaged_are "$(jq '.error.volumes[0].findings[0].first_seq' \
		<<<"$output")" \
		"$(jq '.error.volumes[0].findings[0].last_seq' <<<"$output")"
	fails 1 "$BUILD/understudyctl" store check --store "$RIG/store"
	[[ $output == *"volumes/$UUID/$(basename "$seg") offset="* ]]
	[[ $output == *"points "* ]]
	[[ $output == *resync* ]]
	# And when nobody can be asked where the store is.
	fails 2 "$BUILD/understudyctl" --config "$RIG/source.conf" store check
	fails 1 "$BUILD/understudyctl" store check --store "$RIG/nowhere"
}

# damaged_are FIRST LAST
damaged_are()
{
	local image seq want rc

	for image in "$RIG"/image.*; do
		seq=${image##*.}
		want=0
		if [ "$seq" -ge "$1" ] && [ "$seq" -le "$2" ]; then
			want=1
		fi
		rc=0
		"$BUILD/understudyctl" restore "web1/vol@$seq" \
			--store "$RIG/store" --key "$RIG/vol.key" \
			--to "$RIG/out" >/dev/null 2>&1 || rc=1
		[ $rc = $want ] || {
			echo "point $seq: $rc, not $want ($1 to $2)"
			return 1
		}
	done
}

# rebuilt BEFORE JQ-CONDITION: points before as JSON has them
rebuilt()
{
	rebuild >"$RIG/said"
	output=$(cat "$RIG/said")
	old=$(jq -r .old_catalog "$RIG/said")
	says ".volumes[0] | .volume == \"web1/vol\" and .state == \"ok\" and
		.points == $total and .points_before == $1"
	says "$2"
	every_point_is_right
}

@test "a catalog that is sound, gone, empty or garbage is made again; every point is what it was" {
	local total old garbage

	small_store
	total=$(rctl --json points vol | jq '.points | length')
	fails 4 rctl --json store rebuild-catalog
	says '.error.code == "store-busy" and
		(.error.remedy | contains("stop the daemon"))'
	[ ! -e "$RIG/store/catalog.db.old-1" ]
	# A daemon that was killed leaves a log beside it.
	daemon_stop replica KILL
	[ -s "$RIG/store/catalog.db-wal" ]
	sha256sum <"$RIG/store/catalog.db" >"$RIG/sum"
	every_point_is_right
	rebuilt "$total" '.old_catalog == "catalog.db.old-1" and
		.old_catalog_was_read'
	sha256sum <"$RIG/store/catalog.db.old-1" | cmp - "$RIG/sum"
	[ -e "$RIG/store/catalog.db.old-1-wal" ]
	rm "$RIG/store/catalog.db"
	run -0 check
	says '.catalog == "missing"'
	rebuilt null '.old_catalog == null'
	head -c 20000 /dev/urandom >"$RIG/store/catalog.db"
	fails 1 check
	says ".error | .code == \"catalog-damaged\" and .catalog ==
		\"damaged\" and (.remedy | contains(\"rebuild-catalog\")) and
		.volumes[0].points == $total"
	rebuilt null '.old_catalog_was_read | not'
	garbage=$RIG/store/$old
	[ "$(stat -c %s "$garbage")" = 20000 ]
	: >"$RIG/store/catalog.db"
	rebuilt null '.old_catalog | startswith("catalog.db.old-")'
	rm "$RIG/store/catalog.db"
	mkdir "$RIG/store/catalog.db"
	rebuilt null '.old_catalog | startswith("catalog.db.old-")'
	# Nothing of all that was replaced or deleted.
	[ "$(stat -c %s "$garbage")" = 20000 ]
	sha256sum <"$RIG/store/catalog.db.old-1" | cmp - "$RIG/sum"
	run -0 check --key "$RIG/vol.key"
	says '.strangers == []'
	# What root makes belongs to whom the store belongs, who has to be able
	# to get there.
	OWNED=$(mktemp -d /var/tmp/owned-XXXXXX)
	cp -a "$RIG/store" "$OWNED/"
	chown -R nobody "$OWNED"
	# (A process that changed its user cannot look for its own leaks.)
	run -0 env ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" \
		"$BUILD/understudyctl" --json store rebuild-catalog \
		--store "$OWNED/store"
	[ "$(stat -c %U "$OWNED/store/catalog.db")" = nobody ]
	# Daemons go on from it.
	daemon_start replica
	daemon_start source
	"$TOOLS/blocks" fill "$DEV" 0 $((64 << 10)) 9
	sync_point vol
	restored_equals vol "$DEV" --key "$RIG/vol.key"
}

# point_records SEGMENT: where its POINT records begin
point_records()
{
	LC_ALL=C grep -abPo 'URec\x05\x00' "$1" | cut -d: -f1
}

@test "a catalog made again that knows fewer points says so, and the old one can be put back" {
	local total seg

	small_store
	total=$(rctl --json points vol | jq '.points | length')
	daemon_stop replica
	seg=$(find "$RIG/store/volumes/$UUID" -name '*.seg')
	# The header of the record that makes the newest point but one.
	flip "$seg" "$(point_records "$seg" | tail -n 2 | head -n 1)"
	fails 1 rebuild
	says ".error.code == \"points-missing\" and
		(.error.message | contains(\"$total points before\")) and
		(.error.message | contains(\"catalog.db.old-1\")) and
		(.error.remedy | contains(\"rename\"))"
	says ".error.volumes[0] | .state == \"fewer\" and .points < $total"
	fails 0 "$BUILD/understudyctl" store rebuild-catalog \
		--store "$RIG/store"
	rm -f "$RIG"/store/catalog.db
	mv "$RIG/store/catalog.db.old-1" "$RIG/store/catalog.db"
	fails 1 check
	says ".error.volumes[0].points == $total"
	# Not a store, and nothing becomes one.
	mkdir "$RIG/none"
	fails 1 "$BUILD/understudyctl" --json store rebuild-catalog \
		--store "$RIG/none"
	says '.error.code == "not-a-store"'
	[ -z "$(ls "$RIG/none")" ]
}
