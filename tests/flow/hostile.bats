#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# test-timeout: 400
#
# Peers that mean harm, or are broken: floods of strangers, peers with a good
# certificate that say one byte a second, lie or take nothing, and every wrong
# certificate. A good source goes on making points meanwhile, its lag and the
# replica's memory stay bounded, and each refusal has its reason.

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
# What the replica may grow by under any attack; what a point may be late by.
grow_kib=$((128 << 10))
lag_seconds=5

# A source that is always busy, and numbers to compare with.
busy_pair()
{
	flow_pair $size "interval = 100ms"
	"$TOOLS/blocks" mixed "$DEV" 0 $((2 << 20)) 1
	wait_for 30 volume_is vol protected
	sync_point vol
	rctl pki issue mallory --rights push,read --volumes '*' \
		--out "$RIG/mallory"
	rig_spawn writer "$TOOLS/chains" write "$DEV" 50
	before_kib=$(memory)
}

memory()
{
	awk '/^VmHWM/ { print $2 }' "/proc/${DAEMON[replica]}/status"
}

newest()
{
	volume_field vol last_point.seq
}

# attack WHAT SECONDS: in the background, under way on return
attack()
{
	rig_spawn "attack-$1" python3 tests/tools/attacker.py "$RIG_PORT" \
		"$2" "$1" "$RIG/mallory"
	wait_for 20 grep -q begun "$RIG/attack-$1.out"
}

attack_ended()
{
	grep -q opened= "$RIG/attack-$1.out"
}

# numbers_of WHAT FIELD: what the attacker counted
numbers_of()
{
	sed -n "s/.*\\b$2=\\([0-9]*\\).*/\\1/p" "$RIG/attack-$1.out"
}

shown_out()
{
	echo $(($(numbers_of "$1" refused) + $(numbers_of "$1" ended)))
}

# While the attack goes on: the largest lag is noted in $worst.
watch_lag()
{
	local lag

	worst=0
	until attack_ended "$1"; do
		kill -0 "${HELPER[attack-$1]}" || attack_ended "$1"
		lag=$(volume_field vol rpo_lag_seconds)
		worst=$(jq -n "[$lag, $worst] | max")
	done
	echo "# $1: worst lag $worst s," \
		"memory +$(($(memory) - before_kib)) KiB," \
		"$(tail -n 1 "$RIG/attack-$1.out")" >&3
}

# survives WHAT SECONDS: points go on, in time, and memory is bounded
survives()
{
	local seq worst

	seq=$(newest)
	attack "$1" "$2"
	watch_lag "$1"
	[ "$(newest)" -gt $((seq + $2)) ]
	jq -ne "$worst < $lag_seconds"
	[ $(($(memory) - before_kib)) -lt $grow_kib ]
	volume_is vol protected
	kill -0 "${DAEMON[replica]}"
	rig_kill "attack-$1" || true
}

all_is_well()
{
	rig_kill writer || true
	sync_point vol
	restored_equals vol "$DEV"
	# Nor has anybody come to stand between: it is the session of before.
	[ "$(grep -c 'web1/vol .*session began' "$RIG/replica.log")" = 1 ]
}

@test "strangers who say nothing, half of it, or nonsense hold up nobody" {
	local before_kib

	busy_pair
	survives silent 2
	# More than there are places for, whatever the machine is busy with.
	[ "$(shown_out silent)" -gt 50 ]
	survives midway 2
	survives garbage 2
	[ "$(shown_out garbage)" -gt 50 ]
	# Never more threads than strangers are let in.
	[ "$(find "/proc/${DAEMON[replica]}/task" -mindepth 1 -maxdepth 1 |
		wc -l)" -lt 200 ]
	# What was refused is told, a flood of it is not a flood of lines.
	grep -q 'too many connections' "$RIG/replica.log"
	[ "$(grep -c warning "$RIG/replica.log")" -lt 40 ]
	all_is_well
}

@test "a source gets in while strangers hold every place" {
	local before_kib

	busy_pair
	attack silent 40
	daemon_stop source
	daemon_start source
	wait_for 20 points_after vol "$(newest)"
	run ! attack_ended silent
	rig_kill attack-silent || true
	rig_kill writer || true
	sync_point vol
	restored_equals vol "$DEV"
}

@test "known peers that are slow, deaf or silent hold up nobody" {
	local before_kib

	busy_pair
	survives no-hello 2
	survives slow 3
	survives deaf 2
	all_is_well
}

@test "known peers that lie are shown out" {
	local before_kib

	busy_pair
	survives lies 3
	[ "$(shown_out lies)" -gt 8 ]
	# A volume of theirs is theirs, and names are names.
	rctl --json status | jq -e '[.volumes[] | select(.source != "web1")] |
		all(.source == "mallory" and .name == "lies")'
	[ ! -e "$RIG/b" ]
	all_is_well
}

@test "peers that have vanished do not hold up the end" {
	local before_kib end

	busy_pair
	attack deaf 60
	attack slow 60
	# As when their hosts lost power: no answer, and no end.
	kill -STOP "${HELPER[attack-deaf]}" "${HELPER[attack-slow]}"
	points_after vol "$(($(newest) - 1))"
	rig_kill writer || true
	sync_point vol
	restored_equals vol "$DEV"
	daemon_stop source
	end=$((SECONDS + 20))
	daemon_stop replica
	[ $SECONDS -lt $end ]
	tail -n 1 "$RIG/replica.log" | grep -q 'stopped$'
	kill -CONT "${HELPER[attack-deaf]}" "${HELPER[attack-slow]}"
}

# ---- certificates ----

oid=2.25.175102965338201735674237176921623783138.1

# sign NAME FROM TO USAGE [RIGHTS]: by the replica's own authority
sign()
{
	local pki=$RIG/replica-state/pki dir=$RIG/$1

	mkdir "$dir"
	cp "$pki/ca.pem" "$dir/"
	{
		printf '[ext]\nbasicConstraints = critical,CA:FALSE\n'
		printf 'keyUsage = critical,digitalSignature\n'
		printf 'extendedKeyUsage = %s\n' "$4"
		printf 'subjectKeyIdentifier = hash\n'
		printf 'authorityKeyIdentifier = keyid\n'
		[ -z "${6:-}" ] || printf 'subjectAltName = %s\n' "$6"
		[ -z "${5:-}" ] || printf \
			'%s = critical,ASN1:SEQUENCE:r\n[r]\na=UTF8:%s\nb=UTF8:*\n' \
			"$oid" "$5"
	} >"$dir/ext"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$dir/key.pem" -subj "/CN=$1" -out "$dir/csr" 2>/dev/null
	: >"$dir/index"
	printf '[ca]\ndatabase = %s\nserial = %s\nnew_certs_dir = %s\n' \
		"$dir/index" "$dir/serial" "$dir" >"$dir/ca.conf"
	printf 'policy = p\n' >>"$dir/ca.conf"
	printf '[p]\ncommonName = supplied\n' >>"$dir/ca.conf"
	openssl ca -batch -notext -config "$dir/ca.conf" -name ca -rand_serial \
		-cert "$pki/ca.pem" -keyfile "$pki/ca.key" -md sha256 \
		-in "$dir/csr" -startdate "$2" -enddate "$3" \
		-extfile "$dir/ext" -extensions ext -out "$dir/cert.pem" \
		2>"$dir/log" || {
		cat "$dir/log"
		return 1
	}
}

utc()
{
	date -u -d "$1" +%Y%m%d%H%M%SZ
}

# openssl's client, which goes on until the other end has had its say.
dial()
{
	{ sleep 0.3; } | openssl s_client -connect "127.0.0.1:$RIG_PORT" \
		-CAfile "$RIG/replica-state/pki/ca.pem" -ign_eof "$@" 2>&1
}

# The log has room for one refusal of a kind every two seconds.
said_in_log()
{
	dial "${@:3}" >"$RIG/dial.out" || true
	grep -q "$1" "$RIG/replica.log" && grep -qi "$2" "$RIG/dial.out"
}

# refuses IN-THE-LOG ALERT [ARG...]
refuses()
{
	wait_for 10 said_in_log "$@" || {
		cat "$RIG/dial.out"
		return 1
	}
}

with_identity()
{
	refuses "$1" "$2" -tls1_3 -cert "$RIG/$3/cert.pem" \
		-key "$RIG/$3/key.pem"
}

@test "every wrong certificate is refused with its reason at both ends" {
	local both=serverAuth,clientAuth

	rig_replica
	sign expired "$(utc -2days)" "$(utc -1day)" $both push,read
	sign early "$(utc +1day)" "$(utc +2days)" $both push,read
	sign usage "$(utc -1day)" "$(utc +1day)" serverAuth push,read
	sign rightless "$(utc -1day)" "$(utc +1day)" $both
	sign flyer "$(utc -1day)" "$(utc +1day)" $both push,fly
	rctl pki issue gone --rights push --volumes '*' --out "$RIG/gone"
	rctl pki revoke gone
	kill -HUP "${DAEMON[replica]}"
	printf '[daemon]\nstate = %s\n' "$RIG/other-ca" >"$RIG/other.conf"
	"$BUILD/understudyctl" --config "$RIG/other.conf" pki init
	"$BUILD/understudyctl" --config "$RIG/other.conf" pki issue web1 \
		--rights push,read --volumes '*' --out "$RIG/other"
	# The same way in works with what is right.
	dial -tls1_3 -cert "$RIG/web1-cert/cert.pem" \
		-key "$RIG/web1-cert/key.pem" >"$RIG/dial.out" || true
	grep -q 'New, TLSv1.3' "$RIG/dial.out"
	run ! grep -qi alert "$RIG/dial.out"

	with_identity "of 'expired' has expired" 'certificate expired' expired
	with_identity "of 'early' is not yet valid" 'bad certificate' early
	with_identity "of 'usage' is not made for this end" \
		'unsupported certificate' usage
	with_identity 'rightless' 'alert' rightless
	with_identity 'flyer' 'alert' flyer
	with_identity "of 'gone' is revoked" 'certificate revoked' gone
	with_identity 'of another authority' 'unknown ca' other
	refuses 'no certificate' 'certificate required' -tls1_3
	refuses 'TLS 1.3' 'protocol version' -tls1_2 \
		-cert "$RIG/web1-cert/cert.pem" -key "$RIG/web1-cert/key.pem"
	rctl --json status | jq -e '.volumes == []'
}

@test "a replica with a wrong certificate is refused by the source" {
	local server=$RIG/replica-state/pki/server try

	rig_replica
	rig_loop vol $size
	rig_volume vol "${LOOP[vol]}" "interval = 100ms"
	rig_source
	wait_for 20 volume_is vol protected
	sign old "$(utc -2days)" "$(utc -1day)" serverAuth '' IP:127.0.0.1
	sign elsewhere "$(utc -1day)" "$(utc +1day)" serverAuth '' \
		DNS:dr9.example
	sign client "$(utc -1day)" "$(utc +1day)" clientAuth '' IP:127.0.0.1
	daemon_stop replica
	cp "$server/cert.pem" "$server/key.pem" "$RIG/"
	for try in old:tls-expired elsewhere:tls-name client:tls-usage; do
		cp "$RIG/${try%:*}/cert.pem" "$RIG/${try%:*}/key.pem" "$server/"
		daemon_start replica
		wait_for 20 field_is vol reason "${try#*:}"
		daemon_stop replica
	done
	cp "$RIG/cert.pem" "$RIG/key.pem" "$server/"
	daemon_start replica
	sync_point vol
	restored_equals vol "${LOOP[vol]}"
}

@test "who may only push reads nothing, who may only read pushes nothing" {
	rig_replica
	rm -r "$RIG/web1-cert"
	rctl pki issue web2 --rights push --volumes 'vol' --out "$RIG/web1-cert"
	rig_loop vol $size
	rig_volume vol "${LOOP[vol]}"
	rig_source
	wait_for 20 volume_is vol protected
	sync_point vol
	fails 1 ctl points vol || fails 4 ctl points vol
	[[ $output == *read* ]]
	fails 1 ctl restore vol --to "$RIG/p" || fails 4 ctl restore vol \
		--to "$RIG/p"
	[ ! -e "$RIG/p" ]
	# A reader of others' volumes by a pattern that does not fit.
	rctl pki issue eve --rights read --volumes 'web9/*' --out "$RIG/eve"
	rig_conf eve eve
	printf '[volume own]\ndevice = %s\nreplicas = dr1\n' "${LOOP[vol]}" \
		>>"$RIG/eve.conf"
	daemon_start eve
	run -1 "$BUILD/understudyctl" --config "$RIG/eve.conf" points web2/vol

	[[ $output == *"may not read it"* ]]
}
