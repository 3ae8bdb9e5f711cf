# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Words for tests of writers that are held.

# The daemon's helper: the keeper, and the holder of a hold.
keeper_pid()
{
	ps -o pid=,comm= --ppid "${DAEMON[source]}" |
		awk '$2 ~ /^understudy-free/ { print $1 }'
}

holder_pid()
{
	ps -o pid=,comm= --ppid "${1:-$(keeper_pid)}" |
		awk '$2 == "understudy-hold" { print $1 }'
}

has_ended()
{
	! kill -0 "$1" 2>/dev/null
}

# thawed_within MILLISECONDS [DIR]: somebody can write again by then
thawed_within()
{
	local before=${EPOCHREALTIME/./} took

	# Who waits for a thaw cannot be killed: it is not waited for.
	sh -c "echo x >'${2:-$MNT}/after'" 3>&- &
	wait_for 30 has_ended $! || return
	took=$(((${EPOCHREALTIME/./} - before) / 1000))
	echo "thawed after $took ms"
	[ $took -le "$1" ]
}

nothing_is_left()
{
	[ -z "$(holder_pid "$1")" ] &&
		"$BUILD/understudy-freeze" --look
}

# needs_recovery [IMAGE]: has this ext4 a journal to be replayed?
needs_recovery()
{
	dumpe2fs -h "${1:-$RIG/image}" 2>/dev/null |
		grep -q '^Filesystem features:.*needs_recovery'
}
