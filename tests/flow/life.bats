#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The life of a volume: its device comes late, is another one, has another
# size; its state cannot be written; it is paused, added, changed and removed.

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

# flow_pair with the device behind a link, so that the path can lead elsewhere.
# Its content is on it before.
linked_device()
{
	rig_loop vol $size
	"$TOOLS/blocks" mixed "${LOOP[vol]}" 0 $((2 << 20)) 1
	DEV=$RIG/dev
	ln -s "${LOOP[vol]}" "$DEV"
	rig_replica >/dev/null
	rig_volume vol "$DEV" "$@"
	rig_source
}

newest()
{
	rctl --json points vol | jq '.points[-1].seq'
}

# Sectors ever read from a loop device.
reads_of()
{
	awk '{ print $3 }' "/sys/block/${1#/dev/}/stat"
}

@test "a device that is absent at the start is protected when it comes" {
	rig_loop vol $size
	"$TOOLS/blocks" fill "${LOOP[vol]}" 0 1048576 1
	rig_loop other $size
	rig_replica
	rig_volume vol "$RIG/dev"
	rig_volume other "${LOOP[other]}"
	rig_source
	wait_for 10 volume_is vol failed
	# Its trouble is nobody else's.
	wait_for 10 volume_is other protected
	sync_point other
	[ "$(volume_field vol reason)" != null ]
	[[ $(volume_field vol message) == *"$RIG/dev"* ]]
	fails 1 ctl sync vol --timeout 300ms
	ln -s "${LOOP[vol]}" "$RIG/dev"
	wait_for 20 volume_is vol protected
	sync_point vol
	restored_equals vol "${LOOP[vol]}"
}

@test "another device at the path is refused unread, resync is the way out" {
	local before reads

	linked_device
	before=$(sync_point vol --label old)
	cp --sparse=always "$RIG/vol.img" "$RIG/old.img"
	daemon_stop source
	rig_loop other $size
	"$TOOLS/blocks" mixed "${LOOP[other]}" 0 $((2 << 20)) 2
	ln -sfn "${LOOP[other]}" "$DEV"
	reads=$(reads_of "${LOOP[other]}")
	daemon_start source
	wait_for 10 volume_is vol refused
	field_is vol reason device-changed
	[[ $(volume_field vol message) == *other.img* ]]
	[[ $(volume_field vol remedy) == *"resync vol --yes vol"* ]]
	# Also not when it is looked at again and again.
	fails 4 ctl sync vol --timeout 2s
	sleep 1.5
	[ "$(reads_of "${LOOP[other]}")" = "$reads" ]
	fails 4 ctl resync vol
	fails 4 ctl resync vol --yes other
	[ "$(newest)" = "$before" ]
	ctl resync vol --yes vol
	wait_for 30 volume_is vol protected
	sync_point vol
	restored_equals vol "${LOOP[other]}"
	restored_equals vol "$RIG/old.img" --point old
	# It stays accepted.
	daemon_stop source
	daemon_start source
	sync_point vol
	volume_is vol protected
}

injected_at_least()
{
	[ "$(grep -c INJECTED "$RIG/strace.log")" -ge "$1" ]
}

@test "state that cannot be written stops shipping, and nothing is forgotten" {
	local before

	linked_device "interval = 100ms"
	sync_point vol
	before=$(volume_field vol last_point.seq)
	rig_spawn strace strace -f -p "${DAEMON[source]}" -e trace=fdatasync \
		-e inject=fdatasync:error=EROFS -o "$RIG/strace.log"
	wait_for 10 grep -q attached "$RIG/strace.out"
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 2 50
	wait_for 10 volume_is vol failed
	field_is vol reason state-unwritable
	[[ $(volume_field vol message) == *"$RIG/source-state"* ]]
	fails 1 ctl sync vol --timeout 1s
	wait_for 10 injected_at_least 2
	# What the replica may have is not acknowledged here: still pending.
	[ "$(volume_field vol last_point.seq)" = "$before" ]
	[ "$(volume_field vol dirty_bytes)" -gt 0 ]
	# Nor does a death of the daemon make it forget.
	daemon_stop source KILL
	rig_kill strace INT || true
	daemon_start source
	wait_for 20 volume_is vol protected
	sync_point vol
	restored_equals vol "${LOOP[vol]}"
}

@test "a full state directory does not stop acknowledgements" {
	local name

	rig_loop state 16MiB
	mkfs.ext4 -q "${LOOP[state]}"
	rig_mount "${LOOP[state]}" "$RIG/source-state"
	linked_device "interval = 100ms"
	sync_point vol
	# What is freed by one commit of the journal is taken after it.
	for name in a b c; do
		dd if=/dev/zero of="$RIG/source-state/ballast-$name" bs=1k \
			status=none || true
		sync -f "$RIG/source-state"
	done
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 2 50
	sync_point vol
	restored_equals vol "${LOOP[vol]}"
	# What must be written anew is refused, and stays as it was.
	fails 1 ctl pause vol
	sync_point vol
	rm "$RIG/source-state"/ballast-*
	ctl pause vol
	volume_is vol paused
}

@test "a store on the volume that it protects is refused" {
	rig_loop vol 64MiB
	mkfs.ext4 -q "${LOOP[vol]}"
	rig_mount "${LOOP[vol]}" "$RIG/mnt"
	# shellcheck disable=SC2034 # for the rig
	RIG_STORE=$RIG/mnt/store
	rig_replica
	rig_volume vol "${LOOP[vol]}"
	rig_source
	wait_for 10 volume_is vol refused
	field_is vol reason store-on-volume
	[[ $(volume_field vol message) == *"$RIG/mnt/store"* ]]
	fails 4 ctl sync vol --timeout 1s
	rctl --json status | jq -e '[.volumes[].last_point] | all(. == null)'
}

@test "state on the volume that it belongs to works, and is told" {
	rig_loop vol 64MiB
	mkfs.ext4 -q "${LOOP[vol]}"
	rig_mount "${LOOP[vol]}" "$RIG/source-state"
	rig_replica
	rig_volume vol "${LOOP[vol]}" "interval = 100ms"
	rig_source
	wait_for 30 volume_is vol protected
	field_is vol reason state-on-volume
	[[ $(volume_field vol remedy) == *state* ]]
	sync_point vol
	daemon_stop source
	daemon_stop replica
	rig_untrack
	rig_umount "$RIG/source-state"
}

at_least_dirty()
{
	[ "$(volume_field vol dirty_bytes)" -ge "$1" ] &&
		[ "$(volume_field vol backlog_bytes)" -ge "$1" ]
}

@test "pause stops shipping and not tracking, and survives a restart" {
	local before

	linked_device "interval = 100ms"
	before=$(sync_point vol)
	ctl pause vol
	volume_is vol paused
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 2 50
	fails 1 ctl sync vol --timeout 700ms --progress=json
	[[ $output == *'"phase":"ship"'*resume* ]]
	# What waits is counted meanwhile.
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 4 200
	wait_for 10 at_least_dirty $((200 * 4096))
	daemon_stop source
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 3 50
	daemon_start source
	volume_is vol paused
	fails 1 ctl sync vol --timeout 500ms
	[ "$(newest)" = "$before" ]
	ctl resume vol
	sync_point vol
	volume_is vol protected
	restored_equals vol "${LOOP[vol]}"
	# And all of them at once.
	ctl pause
	volume_is vol paused
	ctl resume
	wait_for 10 volume_is vol protected
}

reloads()
{
	grep -c 'configuration reloaded' "$RIG/source.log"
}

# reload: SIGHUP, until the daemon says that it is done
reload()
{
	local n

	n=$(reloads || true)
	kill -HUP "${DAEMON[source]}"
	wait_for 10 eval "[ \$(reloads) -gt $n ]"
}

@test "SIGHUP adds, changes and removes volumes" {
	linked_device
	sync_point vol
	rig_loop log $size
	"$TOOLS/blocks" fill "${LOOP[log]}" 0 1048576 2
	rig_volume log "${LOOP[log]}"
	rig_source_conf
	reload
	# A volume of its own, not another's heir.
	wait_for 20 volume_is log protected
	sync_point log
	restored_equals log "${LOOP[log]}"
	[ "$(volume_field log uuid)" != "$(volume_field vol uuid)" ]

	sed -i "/^\[volume vol\]/a interval = 100ms" "$RIG/source.conf"
	reload
	wait_for 10 field_is vol interval_seconds 0.1
	wait_for 10 volume_is vol protected
	# It goes on where it was: hardly anything is read again.
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 5 20
	sync_point vol
	[ "$(counter vol bytes_read)" -lt 1048576 ]
	restored_equals vol "${LOOP[vol]}"

	sed -i '/^\[volume log\]/,$d' "$RIG/source.conf"
	reload
	ctl --json status | jq -e '[.volumes[].name] == ["vol"]'
	fails 1 ctl sync log --timeout 1s
	# Its points stay where they are.
	restored_equals log "${LOOP[log]}"
	sync_point vol
}

# shellcheck disable=SC2030 # run sets output
@test "a mistake in the configuration keeps the old one in force" {
	local before

	linked_device "interval = 100ms"
	before=$(sync_point vol)
	cp "$RIG/source.conf" "$RIG/good.conf"
	echo "interval = 1 fortnight" >>"$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 grep -q "source.conf:[0-9]*: .*old configuration stays" \
		"$RIG/source.log"
	ctl --json status vol | jq -e '.volumes[0].interval_seconds == 0.1'
	[ "$(sync_point vol)" -gt "$before" ]
	cp "$RIG/good.conf" "$RIG/source.conf"
	sed -i "s|^state = .*|state = $RIG/elsewhere|" "$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 grep -q "state changes only with a restart" \
		"$RIG/source.log"
	cp "$RIG/good.conf" "$RIG/source.conf"
	reload
	sync_point vol
}

# shellcheck disable=SC2031 # run sets output
# bad LINE-NUMBER WHAT LINE...: the daemon names the place, and does not start
bad()
{
	local line=$1 what=$2
	shift 2

	printf '%s\n' "[daemon]" "state = $RIG/source-state" \
		"control = $RIG/source.sock" "[replica dr1]" \
		"address = 127.0.0.1" "identity = $RIG/web1-cert" "$@" \
		>"$RIG/source.conf"
	fails 1 timeout 10 "$BUILD/understudyd" --config "$RIG/source.conf"
	[[ $output == *"$RIG/source.conf:$line: "*$what* ]]
	fails 1 "$BUILD/understudyd" --config "$RIG/source.conf" --check
	[[ $output == "$RIG/source.conf:$line: "*$what* ]]
	[ ! -e "$RIG/source.sock" ]
}

@test "configuration mistakes are told with file and line" {
	bad 10 colour "[volume v]" "device = /dev/null" "replicas = dr1" \
		"colour = red"
	bad 10 interval "[volume v]" "device = /dev/null" "replicas = dr1" \
		"interval = 10ms"
	bad 10 interval "[volume v]" "device = /dev/null" "replicas = dr1" \
		"interval = 5"
	bad 9 dr2 "[volume v]" "device = /dev/null" "replicas = dr2"
	bad 7 device "[volume v]" "replicas = dr1"
	bad 7 volumne "[volumne v]" "device = /dev/null"
	bad 7 .v "[volume .v]" "device = /dev/null" "replicas = dr1"
	bad 10 granularity "[volume v]" "device = /dev/null" "replicas = dr1" \
		"granularity = 6KiB"
	# Documented, and not done yet: said, not ignored.
	bad 10 quiesce "[volume v]" "device = /dev/null" \
		"replicas = dr1" "on-contention = quiesce"
	bad 12 "not supported" "[volume v]" "device = /dev/null" "[group g]" \
		"volumes = v" "replicas = dr1" "on-contention = quiesce"
	bad 11 "not supported" "[store]" "listen = 127.0.0.1:7420" \
		"path = $RIG/store" "[accept web1/*]" "retain = 1h:all"
	run -1 "$BUILD/understudyd" --config "$RIG/absent.conf" --check
}
