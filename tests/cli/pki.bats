#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# understudyctl pki: a replica's authority, on files alone.

setup() {
	BUILD=$(realpath "${BUILD:-build}")
	DIR=$(mktemp -d)
	printf '[daemon]\nstate = %s/deep/state\n' "$DIR" >"$DIR/u.conf"
}

teardown() {
	rm -rf "$DIR"
}

ctl() {
	"$BUILD/understudyctl" --config "$DIR/u.conf" "$@"
}

@test "init makes a state, 0700, and an authority that openssl believes" {
	ctl pki init --san dr1.example --san 192.0.2.7
	[ "$(stat -c %a "$DIR/deep/state")" = 700 ]
	[ -z "$(find "$DIR/deep/state/pki" -name '*.key' -perm /077)" ]
	# The rights are in a critical extension that only Understudy knows.
	run openssl verify -ignore_critical -CAfile "$DIR/deep/state/pki/ca.pem" \
		"$DIR/deep/state/pki/server/cert.pem"
	[ "$status" -eq 0 ]
	run openssl x509 -in "$DIR/deep/state/pki/server/cert.pem" -noout -text
	[[ $output == *dr1.example* ]]
	[[ $output == *192.0.2.7* ]]
}

@test "a second init is refused and changes nothing" {
	ctl pki init
	sum=$(sha256sum "$DIR/deep/state/pki/ca.pem")
	run ctl pki init
	[ "$status" -eq 1 ]
	[ "$(sha256sum "$DIR/deep/state/pki/ca.pem")" = "$sum" ]
	run ctl --json pki init
	[ "$(jq -r .error.code <<<"$output")" = pki-exists ]
}

@test "renew keeps key and names, and adds those given" {
	ctl pki init --san dr1.example
	sum=$(sha256sum "$DIR/deep/state/pki/server/key.pem")
	ctl pki renew --san dr2.example
	[ "$(sha256sum "$DIR/deep/state/pki/server/key.pem")" = "$sum" ]
	run openssl x509 -in "$DIR/deep/state/pki/server/cert.pem" -noout -text
	[[ $output == *dr1.example* ]]
	[[ $output == *dr2.example* ]]
}

@test "issue writes an identity; list and revoke know it" {
	ctl pki init
	ctl pki issue web1 --rights push,read --volumes 'db*' --out "$DIR/web1"
	for f in ca.pem cert.pem key.pem; do
		[ -s "$DIR/web1/$f" ]
	done
	[ "$(stat -c %a "$DIR/web1/key.pem")" = 600 ]
	run ctl --json pki list
	[ "$status" -eq 0 ]
	[ "$(jq -c '.certificates[] | select(.server | not) |
		[.name, .rights, .volumes, .revoked]' <<<"$output")" = \
		'["web1",["push","read"],"db*",false]' ]
	[ "$(jq '.certificates | length' <<<"$output")" = 2 ]
	ctl pki revoke web1
	run ctl --json pki list
	[ "$(jq -c '.certificates[] | select(.server | not) | .revoked' \
		<<<"$output")" = true ]
	run ctl pki list
	[[ $output == *web1*revoked* ]]
}

@test "issue: what is missing or no pattern, right or name exits 2" {
	ctl pki init
	run ctl pki issue web1 --rights push --volumes '*'
	[ "$status" -eq 2 ]
	run ctl pki issue web1 --rights push --out "$DIR/o"
	[ "$status" -eq 2 ]
	run ctl pki issue web1 --volumes '*' --out "$DIR/o"
	[ "$status" -eq 2 ]
	run ctl pki issue web1 --rights push,fly --volumes '*' --out "$DIR/o"
	[ "$status" -eq 2 ]
	run ctl pki issue web/1 --rights push --volumes '*' --out "$DIR/o"
	[ "$status" -eq 2 ]
	run ctl pki issue web1 --rights push --volumes 'a/b/c' --out "$DIR/o"
	[ "$status" -eq 2 ]
	[ ! -e "$DIR/o" ]
}

@test "without an authority issue, list and revoke fail with a remedy" {
	for verb in "issue web1 --rights push --volumes * --out $DIR/o" list \
		"revoke web1"; do
		set -f
		# shellcheck disable=SC2086
		run ctl --json pki $verb
		set +f
		[ "$status" -eq 1 ]
		[ "$(jq -r '.error.remedy // empty' <<<"$output")" != "" ]
	done
}
