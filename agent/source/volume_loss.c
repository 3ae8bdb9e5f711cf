// SPDX-License-Identifier: Apache-2.0
/*
 * The ledger of losses: what may have let a write pass the tracker, what it is
 * called, and what follows. The worker's thread, before each point.
 *
 * Comparing with the disk's own statistics (/sys/block/X/stat): a request is
 * counted by the programs at its issue and by the disk at its end. With I what
 * was issued, or failed without an issue, and W what the disk has counted, I - W
 * is what is under way, plus what was issued twice (put back by its driver) or
 * both issued and failed: it never falls below a value that it had when nothing
 * was under way. If it does, something was written that was not issued before
 * our eyes.
 *
 * - Looked at, W is read before I: what has ended meanwhile makes I - W larger.
 * - Such a value is found by reading I, seeing nothing under way, seeing that
 *   again SETTLE_NS later or more (one look may overlook a request that its
 *   driver was about to get), and reading W then: everything in that I is in
 *   that W. What was written meanwhile makes the value smaller than it might
 *   be, and so the comparison blind to as much; the largest one found counts.
 * - A disk whose statistics are off counts less, never more.
 * - Where the kernel has skipped a program, it begins anew.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "source/volume_internal.h"

#define COUNT(f) offsetof(struct tracker_losses, f)

/* The first that applies is told. */
static const struct loss losses[] = {
	{ "events-missed", COUNT(issue_misses), false,
	  "the kernel did not run the tracker at %" PRIu64 " requests" },
	{ "events-missed", COUNT(unknown_ends), false,
	  "%" PRIu64 " writes ended that nobody had seen begin" },
	{ "tracker-map", COUNT(map_errors), true,
	  "%" PRIu64 " marks found no place in the tracker's maps" },
	{ "slots-exhausted", COUNT(slot_overflows), true,
	  "%" PRIu64 " requests had no slot among those in flight" },
	{ "discard-unknown", COUNT(walk_overflows), false,
	  "%" PRIu64 " discards had too many ranges to be followed" },
	{ "passthrough", COUNT(passthrough), false,
	  "%" PRIu64 " commands not known to be harmless were sent to the "
	  "disk past the block layer" },
	{ "device-changed", COUNT(other_disk), false,
	  "%" PRIu64 " requests went to another disk of the same number" },
	{ "writes-unseen", COUNT(unseen_sectors), true,
	  "the disk has counted %" PRIu64 " sectors more than were seen" },
};

const struct loss volume_mapping_changed = {
	"mapping-changed", 0, false,
	"the device, or one below it, has another table"
};

static const struct loss detached = {
	"tracker-detached", 0, true,
	"somebody has detached the tracker or taken the volume off its tables"
};

/*
 * virtio-blk's only commands beside reads and writes ask for the serial number
 * or report zones (its SCSI passthrough went with Linux 5.13), and merely
 * reading a sysfs attribute sends one. Elsewhere a command may write.
 */
static bool passthrough_is_harmless(const struct volume *v)
{
	return !strcmp(v->dev.id.kind, "virtio");
}

static uint64_t count_of(const struct tracker_losses *l, const struct loss *k)
{
	uint64_t n;

	memcpy(&n, (const char *)l + k->count, sizeof(n));
	return n;
}

const struct loss *volume_fatal_loss(const struct volume *v,
				     const struct tracker_losses *l)
{
	size_t i;

	if (l->detached)
		return &detached;
	for (i = 0; i < ARRAY_SIZE(losses); i++) {
		if (!count_of(l, &losses[i]) ||
		    (losses[i].count == COUNT(unknown_ends) &&
		     l->unknown_ends <= v->known_ends) ||
		    (losses[i].count == COUNT(passthrough) &&
		     passthrough_is_harmless(v)))
			continue;
		return &losses[i];
	}
	return NULL;
}

const struct loss *volume_completions_missed(void)
{
	static const struct loss missed = {
		"events-missed", COUNT(complete_misses), false,
		"the kernel did not run the tracker at the end of %" PRIu64
		" requests, while some from before it were under way"
	};

	return &missed;
}

void volume_describe_loss(const struct volume *v, const struct loss *loss,
			  const struct tracker_losses *l, struct err *why)
{
	char what[192];

	if (loss == &detached || loss == &volume_mapping_changed)
		(void)snprintf(what, sizeof(what), "%s", loss->what);
	else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)snprintf(what, sizeof(what), loss->what,
			       count_of(l, loss));
#pragma GCC diagnostic pop
	err_set(why, -ESTALE, loss->code, v->cfg.name, "%s: %s", what,
		loss->is_anew ? "it is tracked anew, and everything is compared"
			      : "everything is compared");
}

/* ---- the disk's own count ---- */

/* I and, read before it, W. */
static int read_both(struct volume *v, int64_t *issued, int64_t *written)
{
	struct tracker_losses s = { 0 };
	uint64_t w;
	int r = blkdev_written_sectors(&v->dev, &w);

	if (!r)
		r = v->tracker->ops->stats(v->tracker, &s);
	*written = (int64_t)w;
	*issued = (int64_t)(s.sectors + s.failed_sectors);
	return r;
}

/*
 * What the kernel has skipped is not counted here, and has its own
 * consequence, if it needs one. It is skipped before the disk counts it, so
 * that this is known when the count is.
 */
static bool were_skipped(struct volume *v, uint64_t skipped)
{
	struct tracker_losses now;
	struct err err = ERR_INIT;

	return v->tracker->ops->losses(v->tracker, &now, &err) ||
	       now.skipped != skipped;
}

void volume_compare_written(struct volume *v, struct tracker_losses *l)
{
	struct written *c = &v->written;
	uint64_t now = clock_mono_ns(v->env.clock);
	int64_t issued, written;
	bool due, quiet;

	/* A device that takes bios has no such count of its own. */
	if (!v->dev.request_based || !v->tracker->ops->stats)
		return;
	if (c->skipped != l->skipped)
		*c = (struct written){ .skipped = l->skipped };
	due = c->has_mark && now - c->mark_ns >= SETTLE_NS;
	/* Before W: what is through by now is in it. */
	quiet = due && !blkdev_writes_under_way(&v->dev);
	if (read_both(v, &issued, &written))
		return;
	if (c->has_base && issued - written < c->base &&
	    !were_skipped(v, c->skipped))
		l->unseen_sectors = (uint64_t)(c->base - (issued - written));
	if (c->has_mark && !quiet)
		return;
	if (quiet && (!c->has_base || c->marked - written > c->base))
		c->base = c->marked - written;
	c->has_base |= quiet;
	c->has_mark = !blkdev_writes_under_way(&v->dev);
	c->marked = issued;
	c->mark_ns = now;
}
