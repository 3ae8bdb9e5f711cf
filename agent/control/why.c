// SPDX-License-Identifier: Apache-2.0
/*
 * Sentences about a volume. Pure functions; texts of peers and devices are
 * quoted as they were told.
 */
#include "control/why.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/units.h"

__attribute__((format(printf, 3, 4))) static void
say(struct why *out, const char *slug, const char *fmt, ...)
{
	struct why_sentence *s = &out->s[out->n];
	va_list ap;

	if (out->n == WHY_MAX)
		return;
	out->n++;
	(void)snprintf(s->slug, sizeof(s->slug), "%s", slug);
	va_start(ap, fmt);
	(void)vsnprintf(s->text, sizeof(s->text), fmt, ap);
	va_end(ap);
}

static void say_remedy(struct why *out, const char *remedy)
{
	if (*remedy)
		say(out, "remedy", "What helps: %s.", remedy);
}

struct texts {
	char lag[24], rpo[24], interval[24];
};

static void fill_texts(const struct volume_status *s, struct texts *t)
{
	duration_format(s->lag_ns, t->lag);
	duration_format(s->rpo_ns, t->rpo);
	duration_format(s->interval_ns, t->interval);
}

/* ---- a volume protected here ---- */

static void say_lag(const struct volume_status *s, const struct texts *t,
		    struct why *out)
{
	if (s->has_lag)
		say(out, "lag", "What replica %s holds durably is %s as of %s "
		    "ago.", s->replica, s->name, t->lag);
	else
		say(out, "no-point", "Replica %s holds no point of it yet: "
		    "nothing of it can be restored.", s->replica);
}

static void say_protected(const struct volume_status *s,
			  const struct texts *t, struct why *out)
{
	if (s->rpo_ns)
		say(out, "protected", "%s is protected: what replica %s holds "
		    "durably is the volume as of %s ago, the objective is %s.",
		    s->name, s->replica, t->lag, t->rpo);
	else
		say(out, "protected", "%s is protected: what replica %s holds "
		    "durably is the volume as of %s ago.", s->name,
		    s->replica, t->lag);
}

static void say_lagging(const struct volume_status *s, const struct texts *t,
			struct why *out)
{
	if (s->rpo_ns)
		say(out, "lagging", "%s lags: what replica %s holds durably "
		    "is the volume as of %s ago, more than the objective of "
		    "%s.", s->name, s->replica, t->lag, t->rpo);
	else
		say(out, "lagging", "%s lags: what replica %s holds durably "
		    "is the volume as of %s ago, many intervals of %s.",
		    s->name, s->replica, t->lag, t->interval);
}

static const char *quoted(const struct volume_status *s)
{
	return *s->message ? s->message : "no cause was told";
}

static void say_state(const struct volume_status *s, struct why *out)
{
	struct texts t;

	fill_texts(s, &t);
	switch (s->state) {
	case VOLUME_PROTECTED:
		say_protected(s, &t, out);
		return;
	case VOLUME_LAGGING:
		say_lagging(s, &t, out);
		return;
	case VOLUME_INITIALIZING:
		say(out, "initializing", "%s is being made ready: its first "
		    "point is not complete.", s->name);
		break;
	case VOLUME_COMPARING:
		say(out, "comparing", "All of %s is compared with what replica "
		    "%s holds, and differences are shipped: %s.", s->name,
		    s->replica, quoted(s));
		break;
	case VOLUME_PAUSED:
		say(out, "paused", "Shipping of %s is paused by an order; "
		    "tracking goes on, and `understudyctl resume %s` ends the "
		    "pause.", s->name, s->name);
		break;
	case VOLUME_REFUSED:
		say(out, "refused", "%s is refused, and nothing of it is "
		    "shipped until somebody acts (%s): %s.", s->name,
		    *s->reason ? s->reason : "no reason", quoted(s));
		say_remedy(out, s->remedy);
		break;
	case VOLUME_FAILED:
		say(out, "failed", "%s cannot be worked on, and is tried again "
		    "by itself (%s): %s.", s->name,
		    *s->reason ? s->reason : "no reason", quoted(s));
		say_remedy(out, s->remedy);
		break;
	}
	say_lag(s, &t, out);
}

static bool is_shipping(const struct volume_status *s)
{
	return s->state != VOLUME_PAUSED && s->state != VOLUME_REFUSED &&
	       s->state != VOLUME_FAILED;
}

static bool is_connected(const struct volume_status *s)
{
	return !strcmp(s->replica_state, "connected");
}

/* The volume's message is about the link when it has the link's reason. */
static void say_link(const struct volume_status *s, struct why *out)
{
	bool told = *s->replica_reason &&
		    !strcmp(s->reason, s->replica_reason);

	if (!is_shipping(s) || is_connected(s))
		return;
	if (!strcmp(s->replica_state, "connecting"))
		say(out, "connecting",
		    "The connection to replica %s is being made%s%s.",
		    s->replica, *s->message ? "; the last one: " : "",
		    s->message);
	else if (!strcmp(s->replica_reason, "store-full"))
		say(out, "replica-full", "Replica %s takes nothing in, its "
		    "store is full: %s.", s->replica, quoted(s));
	else if (*s->replica_state)
		say(out, "link-down", "There is no session with replica %s "
		    "(%s): %s. It is tried again by itself.", s->replica,
		    *s->replica_reason ? s->replica_reason : s->replica_state,
		    told ? s->message : "no cause was told");
	else
		say(out, "no-session", "No session with replica %s has been "
		    "tried yet.", s->replica);
	if (told)
		say_remedy(out, s->remedy);
}

/* What was done between two looks, in bytes per second. */
static uint64_t speed(uint64_t before, uint64_t now, uint64_t ns)
{
	uint64_t ms = ns / NSEC_PER_MSEC, done = now - before;

	return now > before && ms ?
		       done / ms * 1000 + done % ms * 1000 / ms :
		       0;
}

static void say_backlog(const struct why_source *w, struct why *out)
{
	const struct volume_status *s = w->now;
	char left[24], fast[24], time[24], over[24];
	uint64_t per_s, read_per_s;

	size_format(s->backlog_bytes, left);
	if (!w->before || !is_shipping(s) || !is_connected(s)) {
		say(out, "backlog", "%s wait to be read and staged; how fast "
		    "that will go is not known.", left);
		return;
	}
	duration_format(w->between_ns, over);
	per_s = speed(s->backlog_bytes, w->before->backlog_bytes,
		      w->between_ns);
	/* Reads that have only been asked for are out of the backlog already;
	 * what was not read is not done. */
	read_per_s = speed(w->before->bytes_read, s->bytes_read,
			   w->between_ns);
	per_s = MIN(per_s, read_per_s);
	size_format(per_s, fast);
	if (!per_s) {
		size_format(read_per_s, fast);
		say(out, "backlog-stands", "%s wait to be read and staged, "
		    "and that has not become less in %s; %s/s were read "
		    "meanwhile.", left, over, fast);
		return;
	}
	duration_format(s->backlog_bytes / per_s * NSEC_PER_SEC +
			s->backlog_bytes % per_s * NSEC_PER_SEC / per_s, time);
	say(out, "backlog-shrinks", "%s wait to be read and staged; measured "
	    "over %s that becomes less by %s/s, so about %s are left if it "
	    "goes on so.", left, over, fast, time);
}

/* Near a limit that somebody set, both are told. */
static void say_limits(const struct why_source *w, struct why *out)
{
	uint64_t read, sent;
	char is[24], may[24];

	if (!w->before)
		return;
	read = speed(w->before->bytes_read, w->now->bytes_read, w->between_ns);
	sent = speed(w->before->bytes_shipped, w->now->bytes_shipped,
		     w->between_ns);
	size_format(read, is);
	size_format(w->read_limit_bytes, may);
	if (w->read_limit_bytes && read >= w->read_limit_bytes / 4 * 3)
		say(out, "read-limit", "It is read at %s/s, of the %s/s that "
		    "read-limit allows.", is, may);
	size_format(sent, is);
	size_format(w->rate_limit_bytes, may);
	if (w->rate_limit_bytes && sent >= w->rate_limit_bytes / 4 * 3)
		say(out, "rate-limit", "It is shipped at %s/s, of the %s/s "
		    "that rate-limit allows.", is, may);
}

static void say_contention(const struct volume_status *s, struct why *out)
{
	if (!is_shipping(s) || strcmp(s->limited_by, "contention") != 0)
		return;
	say(out, "contention", "The last cut did not come about, since blocks "
	    "were written again while they were read; of %llu cuts since the "
	    "daemon started %llu came about, with %.1f rounds a cut. It is "
	    "tried again at every interval.", (unsigned long long)s->cuts,
	    (unsigned long long)s->cuts_converged,
	    s->cuts ? (double)s->rounds / (double)s->cuts : 0.0);
}

/* What is told of a volume that is well otherwise. */
static void say_remark(const struct volume_status *s, struct why *out)
{
	if (strcmp(s->reason, "key-unsaved") != 0 &&
	    strcmp(s->reason, "state-on-volume") != 0)
		return;
	say(out, s->reason, "%s.", s->message);
	say_remedy(out, s->remedy);
}

void why_source(const struct why_source *w, struct why *out)
{
	const struct volume_status *s = w->now;
	char text[24];

	out->n = 0;
	say_state(s, out);
	say_link(s, out);
	say_contention(s, out);
	size_format(s->dirty_bytes, text);
	if (s->backlog_bytes)
		say_backlog(w, out);
	else if (s->dirty_bytes)
		say(out, "unacknowledged", "%s are not in an acknowledged "
		    "point yet.", text);
	say_limits(w, out);
	say_remark(s, out);
	duration_format(s->interval_ns, text);
	if (s->state == VOLUME_PROTECTED && is_connected(s) &&
	    !s->backlog_bytes)
		say(out, "next-cut", "It waits for nothing but the next cut; "
		    "there is one every %s.", text);
}

/* ---- a volume at a replica ---- */

static void say_absent(const struct replica_volume_status *s, struct why *out)
{
	char since[32];

	time_format_utc(s->since_wall_ns, since);
	if (!s->was_heard)
		say(out, "disconnected", "Source %s has had no session for it "
		    "since this daemon started, at %s.", s->info.source,
		    since);
	else
		say(out, "disconnected", "Source %s has had no session for it "
		    "since %s.", s->info.source, since);
	if (*s->reason && strcmp(s->reason, "no-session") != 0)
		say(out, s->reason, "The last one ended, or was refused: %s.",
		    s->message);
}

static void say_stored_state(const struct replica_volume_status *s,
			     struct why *out)
{
	if (!strcmp(s->state, "disconnected"))
		say_absent(s, out);
	else if (!strcmp(s->state, "following"))
		say(out, "following", "%s/%s follows its source.",
		    s->info.source, s->info.name);
	else if (!strcmp(s->state, "initializing"))
		say(out, "initializing", "%s/%s has no point yet; its source "
		    "is connected.", s->info.source, s->info.name);
	else if (!strcmp(s->state, "full"))
		say(out, "store-full", "The store has no room: %s. Points "
		    "that are committed are not touched, and when there is "
		    "room it goes on by itself.", s->message);
	else
		say(out, s->state, "%s/%s is %s: %s.", s->info.source,
		    s->info.name, s->state,
		    *s->message ? s->message : "no cause was told");
}

void why_replica(const struct replica_volume_status *s, struct why *out)
{
	char text[24];

	out->n = 0;
	say_stored_state(s, out);
	duration_format(s->lag_ns, text);
	if (s->has_lag)
		say(out, "lag", "Its newest point, %llu:%llu, is known to be "
		    "the volume as of %s ago.",
		    (unsigned long long)s->info.newest.meta.epoch,
		    (unsigned long long)s->info.newest.meta.seq, text);
	size_format(s->info.open_bytes, text);
	if (s->info.open_bytes)
		say(out, "staged", "%s are staged for its next point.", text);
	if (!s->has_key)
		say(out, "no-key", "Its key is not kept here: a restore here "
		    "needs the exported key (--key FILE).");
}
