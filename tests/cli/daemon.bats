#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# understudyd's command line, and a daemon that protects and keeps nothing yet:
# start, one per state, reload, stop, the control socket. Needs no device.

setup() {
	BUILD=$(realpath "${BUILD:-build}")
	DIR=$(mktemp -d)
	CONF=$DIR/u.conf
	PIDS=()
	write_conf "$CONF" "$DIR/state" "$DIR/control.sock"
}

teardown() {
	local pid

	for pid in "${PIDS[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$DIR"
}

write_conf() {
	printf '[daemon]\nstate = %s\ncontrol = %s\n' "$2" "$3" >"$1"
}

wait_for() {
	local end=$((SECONDS + $1))
	shift

	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			echo "waited in vain for: $*"
			cat "$DIR"/log* 2>/dev/null
			return 1
		fi
		sleep 0.05
	done
}

# start_daemon CONF LOG: its process id in $pid, when it answers
start_daemon() {
	"$BUILD/understudyd" --config "$1" >>"$2" 2>&1 3>&- &
	pid=$!
	PIDS+=("$pid")
	wait_for 10 ctl status
}

# start_helper FILE ARG...: a Python program that teardown ends
start_helper() {
	python3 "$@" 3>&- &
	PIDS+=("$!")
}

ready_twice() {
	[ "$(grep -c '^READY=1' "$DIR/heard")" = 2 ]
}

ctl() {
	"$BUILD/understudyctl" --config "$CONF" "$@"
}

@test "--check says nothing about a good file" {
	run "$BUILD/understudyd" --config "$CONF" --check
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ ! -e "$DIR/state" ]
}

@test "--check names file and line of a mistake and exits 1" {
	printf '[daemon]\nstate = /x\n[store]\npaht = /y\n' >"$CONF"
	run "$BUILD/understudyd" --config "$CONF" --check
	[ "$status" -eq 1 ]
	[ "$output" = "$CONF:4: paht: unknown key in [store]" ]
}

@test "--check refuses what this build does not do, in those words" {
	printf '[store]\n[accept web1/*]\nquota = 1GiB\n' >"$CONF"
	run "$BUILD/understudyd" --config "$CONF" --check
	[ "$status" -eq 1 ]
	[[ $output == "$CONF:3: quota: not supported by this build yet; "* ]]
}

@test "a daemon does not start with a mistake" {
	echo 'stat = /x' >>"$CONF"
	run "$BUILD/understudyd" --config "$CONF"
	[ "$status" -eq 1 ]
	[[ $output == *"$CONF:4: stat: unknown key"* ]]
	[ ! -e "$DIR/state" ]
}

@test "unknown options exit 2" {
	run "$BUILD/understudyd" --chekc
	[ "$status" -eq 2 ]
	run "$BUILD/understudyd" --config
	[ "$status" -eq 2 ]
}

@test "a daemon with nothing to do answers, and stops when told to" {
	start_daemon "$CONF" "$DIR/log"
	run ctl --json status
	[ "$status" -eq 0 ]
	[ "$output" = '{"format":1,"volumes":[]}' ]
	run ctl status
	[ "$output" = "no volumes" ]
	[ "$(stat -c %a "$DIR/state")" = 700 ]
	[ "$(stat -c %a "$DIR/control.sock")" = 600 ]
	kill -TERM "$pid"
	wait "$pid"
	[ ! -e "$DIR/control.sock" ]
	run ctl status
	[ "$status" -eq 3 ]
}

@test "what is not there is told with a remedy, exit 1" {
	start_daemon "$CONF" "$DIR/log"
	for verb in "status db1" "sync db1" "points db1" "pause db1" \
		"resync db1 --yes db1" "key export db1" \
		"restore db1 --to $DIR/target"; do
		# shellcheck disable=SC2086
		run ctl --json $verb
		[ "$status" -eq 1 ]
		[ "$(jq -r .error.code <<<"$output")" = no-volume ]
		[ "$(jq -r .error.remedy <<<"$output")" != null ]
	done
	[ ! -e "$DIR/target" ]
	run ctl --json restore db1 --from dr9 --to "$DIR/target"
	[ "$(jq -r .error.code <<<"$output")" = no-replica ]
	[ "$(jq -r .error.target <<<"$output")" = untouched ]
}

@test "the node's id is made once" {
	start_daemon "$CONF" "$DIR/log"
	node=$(cat "$DIR/state/node")
	[[ $node =~ ^[0-9a-f-]{36}$ ]]
	kill -KILL "$pid"
	wait "$pid" || true
	start_daemon "$CONF" "$DIR/log"
	[ "$(cat "$DIR/state/node")" = "$node" ]
}

@test "one daemon per state; a killed one's lock and socket do not stay" {
	start_daemon "$CONF" "$DIR/log"
	write_conf "$DIR/second.conf" "$DIR/state" "$DIR/second.sock"
	run "$BUILD/understudyd" --config "$DIR/second.conf"
	[ "$status" -eq 4 ]
	[[ $output == *"understudyd (process $pid) works on this state already"* ]]
	kill -KILL "$pid"
	wait "$pid" || true
	[ -e "$DIR/control.sock" ]
	start_daemon "$CONF" "$DIR/log"
	ctl status
}

@test "two daemons never share a control socket" {
	start_daemon "$CONF" "$DIR/log"
	write_conf "$DIR/second.conf" "$DIR/state2" "$DIR/control.sock"
	run timeout 20 "$BUILD/understudyd" --config "$DIR/second.conf"
	[ "$status" -eq 1 ]
	[[ $output == *"another daemon answers on this control socket"* ]]
	ctl status
}

@test "a reload with a mistake keeps everything and says why" {
	start_daemon "$CONF" "$DIR/log"
	echo 'nonsense = 1' >>"$CONF"
	kill -HUP "$pid"
	wait_for 10 grep -q "$CONF:4: nonsense: unknown key in \[daemon\]: the old configuration stays" "$DIR/log"
	ctl status
}

@test "a reload that would need a restart says so" {
	start_daemon "$CONF" "$DIR/log"
	printf '[daemon]\nstate = %s\ncontrol = %s\n[store]\n' "$DIR/state" \
		"$DIR/control.sock" >"$CONF"
	kill -HUP "$pid"
	wait_for 10 grep -q "\[store\] changes only with a restart" "$DIR/log"
	ctl status
}

@test "--untrack is refused while a daemon runs, and fine without one" {
	run "$BUILD/understudyd" --config "$CONF" --untrack
	[ "$status" -eq 0 ]
	[ ! -e "$DIR/state" ]
	start_daemon "$CONF" "$DIR/log"
	run "$BUILD/understudyd" --config "$CONF" --untrack
	[ "$status" -eq 4 ]
	kill -TERM "$pid"
	wait "$pid"
	run "$BUILD/understudyd" --config "$CONF" --untrack
	[ "$status" -eq 0 ]
}

@test "the service manager hears READY, RELOADING and STOPPING" {
	cat >"$DIR/listen.py" <<-'END'
		import socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1])
		with open(sys.argv[2], "w", buffering=1) as f:
		    while True:
		        f.write(s.recv(4096).decode().replace("\n", " ") + "\n")
	END
	start_helper "$DIR/listen.py" "$DIR/notify" "$DIR/heard"
	wait_for 10 test -S "$DIR/notify"
	NOTIFY_SOCKET=$DIR/notify start_daemon "$CONF" "$DIR/log"
	wait_for 10 grep -q '^READY=1' "$DIR/heard"
	kill -HUP "$pid"
	wait_for 10 grep -Eq '^RELOADING=1 MONOTONIC_USEC=[0-9]+' "$DIR/heard"
	wait_for 10 ready_twice
	kill -TERM "$pid"
	wait "$pid"
	grep -q '^STOPPING=1' "$DIR/heard"
}

@test "clients that say nothing, or nonsense, hold up nobody" {
	start_daemon "$CONF" "$DIR/log"
	cat >"$DIR/silent.py" <<-'END'
		import socket, sys, time
		path = sys.argv[1]
		def connect():
		    s = socket.socket(socket.AF_UNIX)
		    s.connect(path)
		    return s
		silent = [connect() for _ in range(200)]
		for line in (b"\n", b"{}\n", b"x" * 70000 + b"\n",
		             b'{"version":2,"verb":"status"}\n',
		             b'{"version":1,"verb":"status","args":{"x":1}}\n'):
		    s = connect()
		    try:
		        s.sendall(line)
		    except BrokenPipeError:
		        pass
		    answer = s.makefile().readline()
		    assert '"error"' in answer, (line[:40], answer)
		print("ready", flush=True)
		time.sleep(60)
	END
	start_helper "$DIR/silent.py" "$DIR/control.sock" >"$DIR/said"
	wait_for 20 grep -q ready "$DIR/said"
	run timeout 5 "$BUILD/understudyctl" --config "$CONF" --json status
	[ "$status" -eq 0 ]
}
