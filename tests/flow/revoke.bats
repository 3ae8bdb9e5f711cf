#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# A certificate that is revoked while its holder pushes and restores: both end
# at once, nobody signals the replica, and others do not notice.

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

ended_as_revoked()
{
	grep "session ended.*revoked" "$RIG/replica.log" | grep -q "$1"
}

restoring()
{
	[ "$(stat -c %b "$RIG/out" 2>/dev/null || echo 0)" -gt 0 ]
}

newest()
{
	rctl --json points "$1" | jq '.points[-1].seq'
}

# A second source, with a certificate and a volume of its own.
second_source()
{
	rig_loop two $size
	rctl pki issue web2 --rights push,read --volumes '*' \
		--out "$RIG/web2-cert"
	rig_conf second web2-cert
	printf '[volume two]\ndevice = %s\nreplicas = dr1\ninterval = 100ms\n' \
		"${LOOP[two]}" >>"$RIG/second.conf"
	daemon_start second
}

ctl2()
{
	"$BUILD/understudyctl" --config "$RIG/second.conf" "$@"
}

@test "revoking ends a push and a restore that run, and nobody else's" {
	local before

	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" fill "$DEV" 0 $size 1
	sync_point vol
	second_source
	ctl2 sync two --timeout 30s
	# The restore takes a while: each write of it waits.
	rig_spawn strace strace -f -p "${DAEMON[source]}" \
		-e trace=pwrite64,pwritev,pwritev2 -o /dev/null \
		-e inject=pwrite64,pwritev,pwritev2:delay_enter=300ms
	wait_for 10 grep -q attached "$RIG/strace.out"
	rig_spawn restore "$BUILD/understudyctl" --config "$RIG/source.conf" \
		--json restore vol --to "$RIG/out"
	wait_for 10 restoring
	before=$(newest vol)
	rctl pki revoke web1
	wait_for 5 ended_as_revoked "web1/vol from"
	wait_for 5 ended_as_revoked "web1 from"
	rig_kill strace INT || true
	wait_for 10 field_is vol reason tls-revoked
	wait_for 20 grep -q tls-revoked "$RIG/restore.out"
	[ "$(jq -r .error.target "$RIG/restore.out")" = incomplete ]
	# New sessions are refused, for the same reason.
	"$TOOLS/blocks" scatter "$DEV" 0 $size 2 20
	fails 1 ctl sync vol --timeout 1s
	[[ $output == *revoked* ]]
	fails 1 ctl restore vol --to "$RIG/p"
	[[ $output == *revoked* ]]
	[ "$(newest vol)" = "$before" ]
	[ "$(rctl --json status web1/vol | jq -r '.volumes[0].state')" = \
		disconnected ]
	# The other one's session is still the first.
	"$TOOLS/blocks" fill "${LOOP[two]}" 0 1048576 1
	ctl2 sync two --timeout 30s
	[ "$(grep -c 'web2/two.*session began' "$RIG/replica.log")" = 1 ]
	run -1 grep "web2/two.*session ended" "$RIG/replica.log"
	# With a new certificate of that name it goes on.
	rm -r "$RIG/web1-cert"
	rctl pki issue web1 --rights push,read --volumes '*' \
		--out "$RIG/web1-cert"
	ctl sync vol --timeout 30s
	restored_equals vol "$DEV"
}
