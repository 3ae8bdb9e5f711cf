#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 2400
#
# Source and replica in guests of their own, on one link, with different
# kernels. The hashes of device and restored point are compared here.

bats_require_minimum_version 1.5.0

# shellcheck disable=SC2034 # read by bats
BATS_TEST_TIMEOUT=2000

setup()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	BUILD=${BUILD:-build}
	D=$BATS_TEST_TMPDIR
}

teardown()
{
	[ -z "${REPLICA:-}" ] || {
		kill "$REPLICA" 2>/dev/null && wait "$REPLICA"
	} || true
}

# Configuration and certificates, as both guests find them in /host.
configure()
{
	mkdir -p "$D/host" "$D/link"
	cat >"$D/host/replica.conf" <<-CONF
		[daemon]
		state = /host/state
		control = /tmp/replica.sock
		[store]
		listen = 10.77.0.2:7171
		path = /tmp/store
	CONF
	cat >"$D/host/source.conf" <<-CONF
		[daemon]
		state = /tmp/state
		control = /tmp/source.sock
		[replica dr1]
		address = 10.77.0.2:7171
		identity = /host/web1
		[volume vol]
		device = /dev/vda
		replicas = dr1
		interval = 500ms
		rpo = 10s
	CONF
	sed "s|/host/|$D/host/|" "$D/host/replica.conf" >"$D/here.conf"
	"$BUILD/understudyctl" --config "$D/here.conf" pki init --san 10.77.0.2
	"$BUILD/understudyctl" --config "$D/here.conf" pki issue web1 \
		--rights push,read --volumes '*' --out "$D/host/web1"
}

@test "a volume crosses a slow link, and a cut, between two kernels" {
	local device restored

	configure
	vmtest/run -k 6.12 -t 900 -l "$D/link:2" -i "$D/host" -- \
		tests/vm/link-replica >"$D/replica.out" 2>&1 3>&- &
	REPLICA=$!
	if ! vmtest/run -k 6.1 -t 900 -d 64M -l "$D/link:1" -i "$D/host" -- \
		tests/vm/link-source >"$D/source.out" 2>&1 3>&-; then
		cat "$D/source.out" "$D/replica.out"
		false
	fi
	wait "$REPLICA" || {
		cat "$D/replica.out"
		false
	}
	REPLICA=
	cat "$D/source.out" "$D/replica.out"
	grep -q '^state lagging' "$D/source.out"
	device=$(sed -n 's/^device //p' "$D/source.out")
	restored=$(sed -n 's/^restored //p' "$D/replica.out")
	[ ${#device} -eq 64 ]
	[ "$device" = "$restored" ]
}
