#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Restores without a daemon from a store of several volumes, and restores in
# place: what is named wrongly or damaged is told and never gives wrong bytes;
# a target gets what differs and no more, also after a kill.

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

size=$((16 << 20))

# One device of web1, two of web2, of which one has the same name. The keys are
# in $RIG/NAME.key; no daemon runs in the end.
three_volumes()
{
	flow_pair $size "key-escrow = no"
	rig_loop same $size
	rig_loop other $size
	rctl pki issue web2 --rights push,read --volumes '*' \
		--out "$RIG/web2-cert"
	rig_conf second web2-cert
	printf '[volume %s]\ndevice = %s\nreplicas = dr1\nkey-escrow = no\n' \
		vol "${LOOP[same]}" other "${LOOP[other]}" >>"$RIG/second.conf"
	daemon_start second
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	"$TOOLS/blocks" mixed "${LOOP[same]}" 0 $size 2
	"$TOOLS/blocks" mixed "${LOOP[other]}" 0 $size 3
	sync_point vol
	ctl2 sync vol
	ctl2 sync other
	ctl key export vol --to "$RIG/web1.vol.key"
	ctl2 key export vol --to "$RIG/web2.vol.key"
	ctl2 key export other --to "$RIG/web2.other.key"
	UUID=$(volume_field vol uuid)
	daemon_stop source
	daemon_stop second
	daemon_stop replica
}

ctl2()
{
	"$BUILD/understudyctl" --config "$RIG/second.conf" "$@"
}

# offline VOLUME KEY [ARG...]: to $RIG/out
offline()
{
	local volume=$1 key=$2
	shift 2

	"$BUILD/understudyctl" --json restore "$volume" --store "$RIG/store" \
		--key "$key" --to "$RIG/out" "$@"
}

# refused_offline EXIT CODE VOLUME KEY: and the target is what it was
refused_offline()
{
	head -c 8192 /dev/zero | tr '\0' x >"$RIG/out"
	cp "$RIG/out" "$RIG/before"
	fails "$1" offline "$3" "$4"
	[ "$(jq -r .error.code <<<"$output")" = "$2" ] || {
		echo "$output"
		return 1
	}
	cmp "$RIG/out" "$RIG/before"
}

@test "a store of several volumes: by name, full name and UUID, with its own key" {
	three_volumes
	refused_offline 2 ambiguous vol "$RIG/web1.vol.key"
	[[ $output == *web1/vol*web2/vol* || $output == *web2/vol*web1/vol* ]]
	offline web1/vol "$RIG/web1.vol.key"
	cmp "$RIG/out" "$DEV"
	offline web2/vol "$RIG/web2.vol.key"
	cmp "$RIG/out" "${LOOP[same]}"
	offline other "$RIG/web2.other.key"
	cmp "$RIG/out" "${LOOP[other]}"
	offline "$UUID" "$RIG/web1.vol.key"
	cmp "$RIG/out" "$DEV"
	refused_offline 1 no-volume nobody "$RIG/web1.vol.key"
	refused_offline 1 no-volume web3/vol "$RIG/web1.vol.key"
	refused_offline 1 no-volume 00000000-0000-4000-8000-000000000000 \
		"$RIG/web1.vol.key"
	refused_offline 1 no-point web1/vol@77 "$RIG/web1.vol.key"
	# Another volume's key, and one that says that it is of this volume.
	refused_offline 1 wrong-key web1/vol "$RIG/web2.vol.key"
	"$TOOLS/otherkey" "$RIG/web1.vol.key" "$RIG/lie.key"
	refused_offline 1 wrong-key web1/vol "$RIG/lie.key"
	refused_offline 1 bad-key-file web1/vol "$RIG/no.key"
	head -c 100 "$RIG/web1.vol.key" >"$RIG/short.key"
	refused_offline 1 bad-key web1/vol "$RIG/short.key"
	run -2 "$BUILD/understudyctl" restore web1/vol --store "$RIG/store" \
		--to "$RIG/out"
}

# flip FILE OFFSET
flip()
{
	local byte

	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf '%b' "\\x$(printf %02x $((byte ^ 1)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "a damaged segment is named, and what is restored is never wrong" {
	local seg at

	three_volumes
	cp -a "$RIG/store" "$RIG/sound"
	seg=$(find "$RIG/store/volumes/$UUID" -name '*.seg')
	flow_seed
	for _ in 1 2 3; do
		rm -rf "$RIG/store"
		cp -a "$RIG/sound" "$RIG/store"
		# Of the units, which are nearly all of it.
		at=$((4096 + (RANDOM * 32768 + RANDOM) % \
			($(stat -c %s "$seg") - 65536)))
		flip "$seg" $at
		rm -f "$RIG/out"
		run offline web1/vol "$RIG/web1.vol.key"
		if [ "$status" -eq 0 ]; then
			# In what nothing is read of, as a record's padding.
			cmp "$RIG/out" "$DEV"
			continue
		fi
		[ "$status" -eq 1 ]
		[[ $(jq -r .error.message <<<"$output") == *segment* ]] || {
			echo "byte $at: $output"
			return 1
		}
		# The others are none the worse.
		offline web2/vol "$RIG/web2.vol.key"
		cmp "$RIG/out" "${LOOP[same]}"
	done
	# Cut in the middle; gone.
	truncate -s $((size / 2)) "$seg"
	fails 1 offline web1/vol "$RIG/web1.vol.key"
	rm "$seg"
	fails 1 offline web1/vol "$RIG/web1.vol.key"
	# Another volume's segment in its place.
	cp "$(find "$RIG/store/volumes" -name '*.seg' | head -n 1)" "$seg"
	fails 1 offline web1/vol "$RIG/web1.vol.key"
}

written_sectors()
{
	awk '{ print $7 }' "/sys/block/${1#/dev/}/stat"
}

@test "in place, what differs is written and nothing else" {
	local before target

	flow_pair $size
	"$TOOLS/blocks" mixed "$DEV" 0 $size 1
	sync_point vol
	rig_loop target $size
	target=${LOOP[target]}
	rctl restore vol --to "$target"
	run -0 rctl --json restore vol --in-place --to "$target"
	[ "$(jq .written_bytes <<<"$output")" = 0 ]
	# The 20 blocks that the target lacks, in what surrounds them; the
	# kernel counts the same.
	"$TOOLS/blocks" scatter "$target" 0 $size 7 20
	before=$(written_sectors "$target")
	run -0 rctl --json restore vol --in-place --to "$target"
	[ "$(jq .written_bytes <<<"$output")" -gt 0 ]
	[ "$(jq .written_bytes <<<"$output")" -le $((20 * 4096)) ]
	[ $((($(written_sectors "$target") - before) * 512)) -le \
		$((20 * 4096 + (1 << 16))) ]
	cmp "$target" "$DEV"
	# A file that is too short and one that is too long.
	head -c $((size / 2)) "$DEV" >"$RIG/file"
	rctl restore vol --in-place --to "$RIG/file"
	cmp "$RIG/file" "$DEV"
	head -c 4096 "$DEV" >>"$RIG/file"
	rctl restore vol --in-place --to "$RIG/file"
	cmp "$RIG/file" "$DEV"
	# What is in use is not touched.
	mkfs.ext4 -q "$target"
	rig_mount "$target" "$RIG/mnt"
	before=$(sha256sum <"$RIG/target.img")
	fails 4 rctl restore vol --in-place --to "$target"
	[ "$(sha256sum <"$RIG/target.img")" = "$before" ]
	rig_umount "$RIG/mnt"
	rctl restore vol --in-place --to "$target"
	cmp "$target" "$DEV"
}

begun()
{
	[ "$(stat -c %b "$RIG/file")" -gt $((2 << 11)) ]
}

@test "a restore in place that is killed is finished by the next one" {
	local first n

	flow_pair $size "key-escrow = no"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	sync_point vol
	ctl key export vol --to "$RIG/vol.key"
	daemon_stop source
	daemon_stop replica
	truncate -s $size "$RIG/file"
	# Each write waits, so that the kill finds it at work.
	rig_spawn restore strace -f -o /dev/null \
		-e trace=pwrite64,pwritev,pwritev2 \
		-e inject=pwrite64,pwritev,pwritev2:delay_enter=100ms \
		"$BUILD/understudyctl" restore vol --store "$RIG/store" \
		--key "$RIG/vol.key" --in-place --to "$RIG/file"
	wait_for 20 begun
	rig_kill restore KILL || true
	fails 1 cmp "$RIG/file" "$DEV"
	first=$(($(stat -c %b "$RIG/file") * 512))
	run -0 "$BUILD/understudyctl" --json restore vol --store "$RIG/store" \
		--key "$RIG/vol.key" --in-place --to "$RIG/file"
	cmp "$RIG/file" "$DEV"
	# What the first one wrote was not written again.
	n=$(jq .written_bytes <<<"$output")
	[ "$n" -gt 0 ]
	[ $((n + first)) -le $((size + (2 << 20))) ]
}
