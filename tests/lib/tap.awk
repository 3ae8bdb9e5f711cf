# SPDX-License-Identifier: Apache-2.0
#
# Judges the output of one test file. Input: its TAP, mixed with whatever else
# it printed. Variables: rc (exit status), limit (seconds it was given),
# plain=1 when a program without TAP may be judged by its exit status alone.
# Output: verdict TAB milliseconds TAB name TAB reason, verdict being pass, fail
# or skip.
#
# Failure is the default: whatever is not understood as success is a failure.

function emit(verdict, ms, name, reason)
{
	gsub(/\t/, " ", name)
	gsub(/\t/, " ", reason)
	printf "%s\t%d\t%s\t%s\n", verdict, ms, name, reason
	count[verdict]++
}

function millis(text)
{
	return match(text, /[0-9]+ms/) ? substr(text, RSTART, RLENGTH - 2) : 0
}

/^1\.\.[0-9]+/ {
	planned = substr($1, 4) + 0
	has_plan++
	if (planned == 0 && tolower($0) ~ /# *skip/) {
		reason = $0
		sub(/^.*# *[Ss][Kk][Ii][Pp][A-Za-z]* */, "", reason)
		emit("skip", 0, "whole file", reason)
		whole = 1
	}
	next
}

/^Bail out!/ { emit("fail", 0, $0, "bailed out"); next }

/^(not )?ok([ \t]|$)/ {
	bad = /^not /
	line = $0
	ms = 0
	directive = ""
	sub(/^(not )?ok[ \t]*[0-9]*[ \t]*(- )?/, "", line)
	if (match(line, / # /)) {
		directive = substr(line, RSTART + 3)
		line = substr(line, 1, RSTART - 1)
		if (directive ~ /^time=/)
			ms = millis(directive)
	}
	if (match(line, / in [0-9]+ms$/)) {
		at = RSTART	# millis matches, too
		ms = millis(substr(line, at))
		line = substr(line, 1, at - 1)
	}
	seen++
	if (bad)
		emit("fail", ms, line, directive)
	else if (tolower(directive) ~ /^skip/) {
		sub(/^[A-Za-z]+:? */, "", directive)
		emit("skip", ms, line, directive)
	} else if (tolower(directive) ~ /^todo/)
		emit("fail", ms, line, "marked as to be done")
	else
		emit("pass", ms, line, "")
	next
}

END {
	if (rc == 124 || rc == 137)
		emit("fail", limit * 1000, "whole file",
		     "timed out after " limit " s")
	else if (has_plan > 1)
		emit("fail", 0, "whole file", "two plans")
	else if (!has_plan && plain && !seen)
		emit(rc == 0 ? "pass" : "fail", 0, "whole file",
		     "exit status " rc)
	else if (!has_plan)
		emit("fail", 0, "whole file", "no plan, exit status " rc)
	else if (!whole && !planned)
		emit("fail", 0, "whole file", "no tests")
	else if (planned != seen && !whole)
		emit("fail", 0, "whole file",
		     planned " tests announced, " seen + 0 " ran")
	if (rc != 0 && !count["fail"] &&
	    !(rc == 4 && count["skip"] && !count["pass"]))
		emit("fail", 0, "whole file", "exit status " rc)
}
