#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# understudyctl where no daemon is: usage, exit codes, failures as text and as
# JSON. What it prints is a contract; the golden texts stand here in full.

setup() {
	BUILD=$(realpath "${BUILD:-build}")
	CTL=$BUILD/understudyctl
	DIR=$(mktemp -d)
	cat >"$DIR/u.conf" <<-END
		[daemon]
		state = $DIR/state
		control = $DIR/control.sock
	END
}

teardown() {
	rm -rf "$DIR"
}

# run_ctl EXIT ARG...: the exit code is that; stdout in $out, stderr in $err
run_ctl() {
	local want=$1 got=0
	shift

	"$CTL" --config "$DIR/u.conf" "$@" >"$DIR/out" 2>"$DIR/err" || got=$?
	out=$(cat "$DIR/out")
	err=$(cat "$DIR/err")
	if [ "$got" != "$want" ]; then
		echo "exit $got, not $want: $*"
		echo "$out"
		echo "$err"
		return 1
	fi
}

error_of() {
	jq -r "$1" <<<"$out"
}

@test "without a command: usage, exit 2, nothing on standard output" {
	run_ctl 2
	[ -z "$out" ]
	[ "$err" = "understudyctl: understudyctl: needs a command
  \`understudyctl --help\` lists the commands" ]
}

@test "help goes to standard output and exits 0" {
	run_ctl 0 --help
	[[ $out == usage:* ]]
	[[ $out == *"Exit: 0 done, 1 failed, 2 usage, 3 no daemon, 4 refused for safety."* ]]
	[ -z "$err" ]
	run_ctl 0 restore --help
	[[ $out == *--in-place* ]]
	run_ctl 0 prune --help
	[[ $out == *"not supported by this build yet"* ]]
}

@test "every documented verb is known: it works, or says not yet and exits 1" {
	local verb

	for verb in prune pin unpin export import attach \
		detach files switchover failover commit rollback reprotect drill \
		forecast; do
		# shellcheck disable=SC2086
		run_ctl 1 $verb db1 --whatever
		[[ $err == "understudyctl: $verb: not supported by this build yet"* ]]
		# shellcheck disable=SC2086
		run_ctl 1 --json $verb db1
		[ "$(error_of .error.code)" = unsupported ]
		[ -z "$err" ]
	done
}

@test "unknown verbs, options and missing arguments exit 2" {
	run_ctl 2 frobnicate
	run_ctl 2 pki
	run_ctl 2 pki frobnicate
	run_ctl 2 key
	run_ctl 2 sync
	run_ctl 2 sync a b
	run_ctl 2 sync db1 --labl x
	run_ctl 2 sync db1 --label
	run_ctl 2 status --watch=yes
	run_ctl 2 status --progress=loud
	run_ctl 2 sync db1 --timeout 10
	run_ctl 2 sync db1 --timeout 2d
	run_ctl 2 resync
	run_ctl 2 points
	[[ $err == *"usage: understudyctl points VOLUME|GROUP [--from REPLICA]" ]]
}

@test "an option is never abbreviated" {
	run_ctl 2 sync db1 --lab x
	[[ $err == *"there is no such option"* ]]
}

@test "labels must have a letter and not be latest" {
	run_ctl 2 sync db1 --label latest
	run_ctl 2 sync db1 --label 42
	run_ctl 2 sync db1 --label 3:42
	run_ctl 3 sync db1 --label before-upgrade
}

@test "sync --quiesce takes no value" {
	run_ctl 2 sync db1 --quiesce=freeze
	run_ctl 3 sync db1 --quiesce
}

@test "no daemon: exit 3 and what to do" {
	local verb

	for verb in status "status db1" "sync db1" "points db1" pause "resume db1" \
		"resync db1 --yes db1" "key export db1"; do
		# shellcheck disable=SC2086
		run_ctl 3 $verb
		[[ $err == "understudyctl: $DIR/control.sock: cannot reach understudyd: No such file or directory
  start understudyd, or name its control socket with --socket" ]]
	done
}

@test "a failure as JSON is one object with four keys on standard output" {
	run_ctl 3 status --json
	[ -z "$err" ]
	[ "$(wc -l <"$DIR/out")" = 1 ]
	[ "$(error_of '.error | keys_unsorted | join(",")')" = code,message,object,remedy ]
	[ "$(error_of .error.code)" = no-daemon ]
	[ "$(error_of .error.object)" = "$DIR/control.sock" ]
}

@test "usage errors are JSON, too" {
	run_ctl 2 --json sync
	[ "$(error_of .error.code)" = usage ]
	run_ctl 2 sync --json
	[ "$(error_of .error.code)" = usage ]
	run_ctl 2 frobnicate --json
	[ "$(error_of .error.code)" = usage ]
}

@test "--socket wins over the configuration" {
	run_ctl 3 --socket "$DIR/other.sock" status
	[[ $err == *"$DIR/other.sock"* ]]
}

@test "a socket that nobody listens on is no daemon" {
	python3 -c "import socket; s = socket.socket(socket.AF_UNIX); \
s.bind('$DIR/control.sock')"
	run_ctl 3 status
	[[ $err == *"Connection refused"* ]]
}

@test "a configuration that was named must be readable" {
	run "$CTL" --config "$DIR/absent.conf" status
	[ "$status" -eq 1 ]
	[[ $output == *"$DIR/absent.conf"* ]]
	printf '[daemon]\ncontrol = relative\n' >"$DIR/bad.conf"
	run "$CTL" --config "$DIR/bad.conf" status
	[ "$status" -eq 1 ]
	[[ $output == *"$DIR/bad.conf:2: control:"* ]]
}

@test "standard output that cannot be written is a failure" {
	[ -w /dev/full ] || skip "no /dev/full"
	run bash -c '"$0" --help >/dev/full' "$CTL"
	[ "$status" -eq 1 ]
}

# ---- restore, as far as it goes without a daemon ----

@test "restore: points and times that are none exit 2" {
	run_ctl 2 restore db1
	[[ $err == *"--to: is missing"* ]]
	run_ctl 2 restore db1@3 --point 4 --to "$DIR/x"
	run_ctl 2 restore db1@3 --at -10m --to "$DIR/x"
	run_ctl 2 restore db1 --point 3 --at -10m --to "$DIR/x"
	run_ctl 2 restore db1 --point 3: --to "$DIR/x"
	run_ctl 2 restore db1 --point 0:3 --to "$DIR/x"
	run_ctl 2 restore db1@ --to "$DIR/x"
	run_ctl 2 restore db1 --at yesterday --to "$DIR/x"
	run_ctl 2 restore a/b/c --to "$DIR/x"
	run_ctl 2 restore .db1 --to "$DIR/x"
	run_ctl 2 restore db1 --range 1:512 --to "$DIR/x"
	run_ctl 2 restore db1 --range 512 --to "$DIR/x"
	run_ctl 2 restore db1 --range 0:0 --to "$DIR/x"
	run_ctl 2 restore db1 --store "$DIR" --to "$DIR/x"
	run_ctl 2 restore db1 --store "$DIR" --key k --from dr1 --to "$DIR/x"
	[ ! -e "$DIR/x" ]
}

@test "restore: points and times that are some get as far as the daemon" {
	local how

	for how in "" "--point 3" "--point 2:3" "--point latest" "--point before-it" \
		"--at -10m" "--at 2026-11-21T13:00:05Z" \
		"--range 4096:8192" "--range 1GiB:64MiB" "--in-place"; do
		# shellcheck disable=SC2086
		run_ctl 3 restore db1 $how --to "$DIR/x"
		[ ! -e "$DIR/x" ]
	done
	run_ctl 3 restore web1/db1@before-it --to "$DIR/x"
	run_ctl 3 restore db1 --at "2026-11-21 13:00" --to "$DIR/x"
}

@test "restore: an absent daemon leaves an existing target as it is" {
	echo precious >"$DIR/x"
	run_ctl 3 restore db1 --to "$DIR/x"
	[ "$(cat "$DIR/x")" = precious ]
	run_ctl 3 --json restore db1 --to "$DIR/x"
	[ "$(error_of .error.target)" = untouched ]
}

@test "restore: a directory is no target" {
	run_ctl 1 restore db1 --to "$DIR"
	[[ $err == *"is neither a block device nor a regular file"* ]]
}

@test "restore: a mounted device is refused with exit 4" {
	local dev

	dev=$(findmnt -n -o SOURCE /)
	[ -b "$dev" ] || skip "the root file system is on no block device here"
	run_ctl 4 restore db1 --to "$dev"
	run_ctl 4 --json restore db1 --to "$dev"
	[ "$(error_of .error.code)" = target-in-use ]
}

@test "restore --store: a directory that is no store, a key that is none" {
	echo nonsense >"$DIR/key"
	run_ctl 1 restore db1 --store "$DIR/absent" --key "$DIR/key" --to "$DIR/x"
	[ ! -e "$DIR/x" ]
	run_ctl 1 restore db1 --store "$DIR" --key "$DIR/absent" --to "$DIR/x"
	[ ! -e "$DIR/x" ]
}

# ---- doctor ----

@test "doctor: a device that is none is an obstacle, exit 1" {
	run_ctl 1 --json doctor "$DIR/none"
	[ "$(error_of .ok)" = false ]
	[ "$(error_of '.checks | length > 0')" = true ]
	[ "$(error_of '[.checks[] | select(.result == "fail")] | length > 0')" = true ]
}

@test "version is printed by both programs" {
	run "$CTL" --version
	[ "$status" -eq 0 ]
	[[ $output =~ ^understudyctl\ [0-9]+\.[0-9]+ ]]
	run "$BUILD/understudyd" --version
	[ "$status" -eq 0 ]
	[[ $output =~ ^understudyd\ [0-9]+\.[0-9]+ ]]
}
