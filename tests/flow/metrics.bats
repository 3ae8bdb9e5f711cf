#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Metrics, health and page over HTTP: in the form that Prometheus reads, true,
# and harmless to the work whoever asks, and however.

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

# metrics_on NAME ADDRESS: in the configuration of that daemon, from its start
metrics_on()
{
	sed -i "/^\[daemon\]/a metrics = $2" "$RIG/$1.conf"
}

get()
{
	curl -sS --max-time 10 "http://$HTTP$1" "${@:2}"
}

code()
{
	get "$1" -o /dev/null -w '%{http_code}' "${@:2}"
}

# value NAME [LABEL-PATTERN]: of the one sample that matches
value()
{
	get /metrics | awk -v name="understudy_$1" -v label="${2:-}" '
		{
			at = match($0, /[{ ]/)
			if (substr($0, 1, at - 1) == name &&
			    index($0, label)) {
				print $NF
				n++
			}
		}
		END { exit n != 1 }'
}

value_is()
{
	[ "$(value "$1" "$2")" = "$3" ]
}

# shellcheck disable=SC2016 # awk's dollars
# well_formed FILE: judged line by line as the exposition format is written:
# help and type once and before the samples of a family, which stand together;
# names, labels and values of their form; no series twice; counters end so.
well_formed()
{
	awk '
	function bad(why) { print FILENAME ":" FNR ": " why ": " $0; rc = 1 }
	function labels_ok(s) {
		while (match(s, /^[a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*"/)) {
			s = substr(s, RLENGTH + 1)
			if (s == "") return 1
			if (substr(s, 1, 1) != ",") return 0
			s = substr(s, 2)
		}
		return 0
	}
	/^# HELP / { if (helped[$3]++) bad("help twice"); next }
	/^# TYPE / {
		if (typed[$3]++) bad("type twice")
		if ($4 !~ /^(counter|gauge)$/) bad("type")
		if (($4 == "counter") != ($3 ~ /_total$/)) bad("name of a " $4)
		if (!helped[$3]) bad("no help")
		now = $3
		next
	}
	/^#/ || /^$/ { bad("neither sample, help nor type"); next }
	{
		line = $0
		if (!match(line, /^understudy_[a-z0-9_]+/)) { bad("name"); next }
		name = substr(line, 1, RLENGTH)
		line = substr(line, RLENGTH + 1)
		if (name != now) bad("not with its family")
		labels = ""
		if (substr(line, 1, 1) == "{") {
			end = match(line, /} [^ ]*$/)
			if (!end) { bad("labels"); next }
			labels = substr(line, 2, end - 2)
			line = substr(line, end + 1)
			if (!labels_ok(labels)) bad("labels")
		}
		if (line !~ /^ (NaN|[+-]?Inf|-?[0-9]+(\.[0-9]+)?)$/) bad("value")
		if (series[name "{" labels]++) bad("series twice")
		n++
	}
	END { if (!n) { print FILENAME ": no samples"; rc = 1 } exit rc }
	' "$1"
}

# What the judge must object to.
@test "the judge of the format can say no" {
	local good='# HELP understudy_a A\n# TYPE understudy_a gauge\n'

	judge() { printf '%b' "$1" >"$RIG/text"; well_formed "$RIG/text" >/dev/null; }
	judge "${good}understudy_a{x=\"y\\\\\"z\"} 1\nunderstudy_a 2.5\n"
	run ! judge "$good"
	run ! judge "${good}understudy_a{x=\"y\"z\"} 1\n"
	run ! judge "${good}understudy_a{x=y} 1\n"
	run ! judge "${good}understudy_a 1\nunderstudy_a 2\n"
	run ! judge "${good}understudy_a one\n"
	run ! judge "${good}understudy_b 1\n"
	run ! judge "${good}${good}understudy_a 1\n"
	run ! judge '# TYPE understudy_a gauge\nunderstudy_a 1\n'
	run ! judge '# HELP understudy_a A\n# TYPE understudy_a counter\nunderstudy_a 1\n'
}

@test "both daemons tell of themselves in Prometheus' format, truly" {
	local http points

	rig_loop vol $size
	rig_replica >/dev/null
	daemon_stop replica
	HTTP=127.0.0.1:$(free_port)
	metrics_on replica "$HTTP"
	daemon_start replica
	rig_volume vol "${LOOP[vol]}" "interval = 100ms"
	rig_source_conf
	http=127.0.0.1:$(free_port)
	metrics_on source "$http"
	daemon_start source
	sync_point vol

	get /metrics -D "$RIG/headers" >"$RIG/replica.txt"
	grep -qi '^content-type: text/plain; version=0.0.4' "$RIG/headers"
	well_formed "$RIG/replica.txt"
	value_is volume_state 'role="replica",replica="",state="following"' 1
	value_is store_points web1 "$(rctl --json points vol | jq '.points | length')"
	[ "$(value store_bytes vol)" -ge $((1 << 12)) ]
	value_is sessions "" 1
	value_is events_total state-following 1

	HTTP=$http
	wait_for 10 volume_is vol protected
	get /metrics >"$RIG/source.txt"
	well_formed "$RIG/source.txt"
	value_is volume_state state=\"protected\" 1
	value_is volume_state state=\"lagging\" 0
	value_is volume_size_bytes vol $size
	value_is connected replica=\"dr1\" 1
	value_is build_info version=\"0.1.0\" 1
	value_is bytes_read_total vol "$(counter vol bytes_read)"
	[ "$(value rpo_lag_seconds vol | cut -d. -f1)" -lt 10 ]
	points=$(value points_total vol)
	sync_point vol
	[ "$(value points_total vol)" -gt "$points" ]
	# As old as the last point that status shows.
	[ "$(date -u -d "@$(value last_point_time_seconds vol)" \
		+%Y-%m-%dT%H:%M:%S)" = "$(volume_field vol last_point.time |
		cut -d. -f1)" ]
	ctl pause vol
	wait_for 5 value_is volume_state state=\"paused\" 1
	value_is volume_state state=\"protected\" 0

	# The page and health; a paused volume is not a daemon that is ill.
	get / -D "$RIG/headers" | grep -q '<td>web1/vol</td>'
	grep -qi "^content-security-policy: default-src 'none'" "$RIG/headers"
	get / >"$RIG/page"
	run ! grep -qE 'src=|https?://' "$RIG/page"
	[ "$(code /healthz)" = 200 ]
	get /healthz | jq -e '. == {status: "ok", reasons: []}'
}

state_failed()
{
	[ "$(code /healthz)" = 503 ]
}

@test "health fails when the daemon itself cannot work, with the reason" {
	rig_loop vol $size
	rig_replica >/dev/null
	rig_volume vol "${LOOP[vol]}" "interval = 100ms"
	rig_source_conf
	HTTP=127.0.0.1:$(free_port)
	metrics_on source "$HTTP"
	daemon_start source
	sync_point vol
	# A replica that is gone is not its fault.
	daemon_stop replica
	wait_for 10 value_is connected vol 0
	[ "$(code /healthz)" = 200 ]
	daemon_start replica
	sync_point vol
	rig_spawn strace strace -f -p "${DAEMON[source]}" -e trace=fdatasync \
		-e inject=fdatasync:error=EROFS -o "$RIG/strace.log"
	wait_for 10 grep -q attached "$RIG/strace.out"
	"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size 2 50
	wait_for 10 state_failed
	get /healthz | jq -e '.status == "failing" and
		.reasons[0].slug == "state-unwritable" and
		.reasons[0].object == "vol"'
	well_formed <(get /metrics)
	# Events of the time are in memory, and metrics say so.
	[ "$(value events_unsaved)" -gt 0 ]
	rig_kill strace INT || true
	wait_for 20 volume_is vol protected
	[ "$(code /healthz)" = 200 ]
	wait_for 10 value_is events_unsaved "" 0
}

serves()
{
	HTTP=$1 get /healthz >/dev/null
}

@test "only GET and HEAD, bounded connections, slow ones harm nobody" {
	local i before

	rig_loop vol $size
	rig_replica >/dev/null
	rig_volume vol "${LOOP[vol]}" "interval = 100ms"
	rig_source_conf
	HTTP="[::1]:$(free_port)"
	metrics_on source "$HTTP"
	daemon_start source
	sync_point vol
	[ "$(code /metrics)" = 200 ]
	[ "$(code /metrics --head)" = 200 ]
	[ -z "$(get /metrics --head -o /dev/null -w '' | head -c 1)" ]
	[ "$(code /metrics -X POST -d x=y)" = 405 ]
	[ "$(code /metrics -X PUT -d "@$BUILD/understudyctl")" = 405 ]
	[ "$(code /metrics -X DELETE)" = 405 ]
	[ "$(code /nowhere)" = 404 ]
	[ "$(code /../../etc/passwd --path-as-is)" = 404 ]
	[ "$(code /metrics -X GET -d body)" = 200 ]
	get /metrics -H "X: $(head -c 60000 /dev/zero | tr '\0' x)" \
		>/dev/null || true
	# As many as may be, of which none says or takes anything.
	for i in {1..60}; do
		rig_spawn "slow$i" bash -c "exec 9<>'/dev/tcp/::1/${HTTP##*:}'
			printf 'GET /metrics HTTP/1.1\r\n' >&9; exec sleep 60"
	done
	before=$(volume_field vol last_point.seq)
	for i in {1..5}; do
		"$TOOLS/blocks" scatter "${LOOP[vol]}" 0 $size "$i" 10
		sync_point vol
	done
	[ "$(volume_field vol last_point.seq)" -ge $((before + 5)) ]
	[ "$(find "/proc/${DAEMON[source]}/fd" | wc -l)" -lt 120 ]
	# Their time is bounded.
	wait_for 25 get /healthz
	for i in {1..60}; do
		rig_kill "slow$i" || true
	done
	get / >/dev/null
}

@test "an address that cannot be had is named; a reload moves it" {
	local port other

	port=$(free_port)
	rig_replica >/dev/null
	rig_conf source web1-cert
	metrics_on source "127.0.0.1:$RIG_PORT"
	fails 1 timeout 10 "$BUILD/understudyd" --config "$RIG/source.conf"
	[[ $output == *"metrics: 127.0.0.1:$RIG_PORT: "*"in use"* ]]
	sed -i "s/^metrics = .*/metrics = 127.0.0.1/" "$RIG/source.conf"
	fails 1 "$BUILD/understudyd" --config "$RIG/source.conf" --check
	[[ $output == "$RIG/source.conf:2: metrics: "* ]]
	sed -i "s/^metrics = .*/metrics = 127.0.0.1:$port/" "$RIG/source.conf"
	daemon_start source
	serves "127.0.0.1:$port"
	# The same port, all addresses.
	sed -i "s/^metrics = .*/metrics = 0.0.0.0:$port/" "$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 serves "127.0.0.2:$port"
	# One that is taken: the old one stays.
	sed -i "s/^metrics = .*/metrics = 127.0.0.1:$RIG_PORT/" \
		"$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 grep -q "in use: the old configuration stays" \
		"$RIG/source.log"
	serves "127.0.0.1:$port"
	other=$(free_port)
	sed -i "s/^metrics = .*/metrics = 127.0.0.1:$other/" "$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 serves "127.0.0.1:$other"
	run ! serves "127.0.0.1:$port"
	sed -i "/^metrics = /d" "$RIG/source.conf"
	kill -HUP "${DAEMON[source]}"
	wait_for 10 eval "! serves 127.0.0.1:$other"
}
