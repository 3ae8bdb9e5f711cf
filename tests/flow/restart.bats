#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Tracking goes on without the daemon. What the pinned programs saw meanwhile
# is in the next point and nothing else is read again; where they may have
# missed something everything is compared, and only differences are shipped.

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

# Incompressible, so that bytes shipped are bytes that differed.
protected_volume()
{
	flow_pair $size "$@"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	sync_point vol
}

# Where a daemon's pins are.
pins_of()
{
	echo "/sys/fs/bpf/understudy-$(cat "$RIG/$1-state/node")"
}

written_while_away()
{
	local stop=$1

	protected_volume
	daemon_stop source "$stop"
	[ -e "$(pins_of source)/link_issue" ]
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 50
	"$TOOLS/blocks" number "$DEV" $((20 << 20)) 4711
	daemon_start source
	sync_point vol
	restored_equals vol "$DEV"
	# Those blocks were read, and hardly any other; nothing was compared.
	[ "$(counter vol bytes_read)" -le $((60 * 4096 * 4)) ]
	[ "$(counter vol bytes_shipped)" -le $((60 * 4096 * 2)) ]
	volume_is vol protected
	run ! grep -q comparing "$RIG/source.log"
}

@test "what is written while no daemon runs is in the next point" {
	written_while_away TERM
}

@test "what is written after the daemon was killed is in the next point" {
	written_while_away KILL
}

@test "a daemon of another build takes over the pins" {
	local other=$RIG/understudyd.new

	protected_volume
	daemon_stop source
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 50
	cp "$BUILD/understudyd" "$other"
	daemon_start_program source "$other"
	sync_point vol
	restored_equals vol "$DEV"
	[ "$(counter vol bytes_read)" -le $((60 * 4096 * 4)) ]
}

@test "a restart under writes loses none of them" {
	local i

	flow_pair $size "interval = 50ms"
	sync_point vol
	rig_spawn writers "$TOOLS/chains" write "$DEV" 100
	for i in {1..6}; do
		daemon_stop source
		: "$i"
		daemon_start source
	done
	rig_kill writers
	sync_point vol
	restored_equals vol "$DEV"
	ctl key export vol --to "$RIG/key"
	"$TOOLS/chains" points "$RIG/store" vol "$RIG/key"
	run ! grep -q comparing "$RIG/source.log"
}

# What was on the wire is small, and the volume is right all the same.
only_differences_were_shipped()
{
	wait_for 30 volume_is vol protected
	sync_point vol
	restored_equals vol "$DEV"
	[ "$(counter vol bytes_read)" -ge $size ]
	[ "$(counter vol bytes_shipped)" -le $((60 * 4096 * 2)) ]
	[ "$(counter vol bytes_unchanged)" -ge $((size - 60 * 4096)) ]
}

@test "pins lost while the daemon was down: compared, only differences shipped" {
	protected_volume "read-limit = 24MiB/s"
	daemon_stop source
	rm -r "$(pins_of source)"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 50
	daemon_start source
	wait_for 10 volume_is vol comparing
	field_is vol reason tracking-lost
	only_differences_were_shipped
	field_is vol reason null
}

@test "resync compares everything and ships only differences" {
	protected_volume "read-limit = 24MiB/s"
	daemon_stop source
	daemon_start source
	sync_point vol
	ctl resync vol --yes vol
	wait_for 10 volume_is vol comparing
	only_differences_were_shipped
}

@test "a comparison that is cut off is begun again, not forgotten" {
	protected_volume "read-limit = 24MiB/s"
	daemon_stop source
	rm -r "$(pins_of source)"
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 50
	daemon_start source
	wait_for 10 volume_is vol comparing
	# Killed in the middle; its pins are whole, what they saw is not.
	daemon_stop source KILL
	sed -i '/^read-limit/d' "$RIG/source.conf"
	daemon_start source
	sync_point vol
	restored_equals vol "$DEV"
}

@test "--untrack ends tracking and removes the pins" {
	protected_volume
	fails 4 "$BUILD/understudyd" --config "$RIG/source.conf" --untrack
	[ -e "$(pins_of source)" ]
	daemon_stop source
	"$BUILD/understudyd" --config "$RIG/source.conf" --untrack
	[ ! -e "$(pins_of source)" ]
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 50
	daemon_start source
	only_differences_were_shipped
}

@test "two daemons on one host never share pins" {
	local a b

	protected_volume
	rig_loop two 16MiB
	"$TOOLS/blocks" fill "${LOOP[two]}" 0 1048576 2
	rctl pki issue web2 --rights push,read --volumes '*' \
		--out "$RIG/web2-cert"
	rig_conf source2 web2-cert
	# The same device in both, too.
	cat >>"$RIG/source2.conf" <<-CONF
		[volume two]
		device = ${LOOP[two]}
		replicas = dr1
		[volume vol]
		device = $DEV
		replicas = dr1
	CONF
	daemon_start source2
	"$BUILD/understudyctl" --config "$RIG/source2.conf" sync two
	"$BUILD/understudyctl" --config "$RIG/source2.conf" sync vol
	a=$(pins_of source) b=$(pins_of source2)
	[ "$a" != "$b" ] && [ -e "$a/link_issue" ] && [ -e "$b/link_issue" ]
	daemon_stop source2
	"$BUILD/understudyd" --config "$RIG/source2.conf" --untrack
	[ ! -e "$b" ] && [ -e "$a/link_issue" ]
	"$TOOLS/blocks" scatter "$DEV" 0 $size 3 50
	sync_point vol
	restored_equals web1/vol "$DEV"
	run ! grep -q comparing "$RIG/source.log"
	# Nor can a second one work on the same state.
	sed "s|^control = .*|control = $RIG/third.sock|" \
		"$RIG/source.conf" >"$RIG/third.conf"
	fails 4 timeout 10 "$BUILD/understudyd" --config "$RIG/third.conf"
}

@test "doctor names pins that track for nobody, and what removes them" {
	local pins

	protected_volume
	pins=$(pins_of source)
	"$BUILD/understudyctl" doctor >"$RIG/before"
	run ! grep -F "$pins" "$RIG/before"
	daemon_stop source KILL
	mv "$RIG/source-state" "$RIG/gone"
	"$BUILD/understudyctl" doctor >"$RIG/after" || true
	grep -F "rm -r $pins" "$RIG/after"
	rm -r "$pins"
	"$BUILD/understudyctl" doctor >"$RIG/cleared" || true
	run ! grep -F "$pins" "$RIG/cleared"
}

@test "a replica that is older than the last acknowledgement is refused" {
	local last

	protected_volume
	daemon_stop replica
	cp -a "$RIG/store" "$RIG/older"
	daemon_start replica
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 50
	last=$(ctl sync vol --timeout 30s)
	daemon_stop replica
	rm -r "$RIG/store"
	mv "$RIG/older" "$RIG/store"
	daemon_start replica
	wait_for 20 volume_is vol refused
	field_is vol reason replica-behind
	[[ $(volume_field vol remedy) == *"resync vol --yes vol"* ]]
	ctl resync vol --yes vol
	wait_for 30 volume_is vol protected
	[ "$(sync_point vol)" -gt "$last" ]
	restored_equals vol "$DEV"
}
