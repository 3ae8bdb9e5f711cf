// SPDX-License-Identifier: Apache-2.0
/*
 * The pace and the laps of the background comparison.
 *
 * A lap goes over the device from its beginning to its end, in windows; each is
 * a verification that ends when all of the window has been compared. So memory
 * does not grow with the device, and what is repeated after a restart is one
 * window.
 *
 * Invariants:
 * - next_block is passed by nothing that was not compared in this lap, unless
 *   is_partial says so.
 * - proven_wall_ns is the beginning of a lap that left nothing out, as the
 *   clock then was, or an earlier time.
 * - At most half of the time is spent here, whatever the pace.
 *
 * Nothing survives the process but what its owner keeps of the mark.
 */
#include "source/audit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/checked.h"
#include "wire/unit.h"

#define SLICE_BLOCKS_SLOW 64U		/* one read */
#define SLICE_BLOCKS_FAST 256U
#define FAST_RATE (16ULL << 20)
/* A pass over what did not rest costs nothing to read, and is not for nothing
 * either. */
#define PASS_NS (100 * NSEC_PER_MSEC)
#define LIMIT_SHARE 4U			/* one part in so many of read-limit */

struct audit {
	struct audit_config cfg;
	struct audit_mark mark;
	int64_t lap_wall_ns;		/* of the lap under way */
	struct verify *window;
	uint64_t n_blocks;		/* of the device */
	uint64_t window_end;		/* block */
	uint64_t rate;			/* bytes per second */
	uint64_t next_ns;
	uint64_t bytes_read, laps;
	bool asked;			/* the replica, in this lap */
};

static uint64_t choose_rate(const struct audit_config *c)
{
	uint64_t lap_s = MAX(c->lap_ns / NSEC_PER_SEC, 1ULL);
	uint64_t rate = MAX(div_up_u64(c->verify.reader->size_bytes, lap_s),
			    AUDIT_LEAST_RATE);

	if (c->read_limit_bytes)
		rate = MIN(rate, MAX(c->read_limit_bytes / LIMIT_SHARE, 1ULL));
	return rate;
}

int audit_new(const struct audit_config *cfg, const struct audit_mark *mark,
	      struct audit **out, struct err *err)
{
	struct audit *a = calloc(1, sizeof(*a));

	if (!a)
		return err_sys(err, -ENOMEM, "no-memory", "audit", "start");
	a->cfg = *cfg;
	if (!a->cfg.window_bytes)
		a->cfg.window_bytes = AUDIT_WINDOW_BYTES;
	a->mark = *mark;
	a->mark.size_bytes = cfg->verify.reader->size_bytes;
	a->lap_wall_ns = mark->lap_wall_ns;
	a->n_blocks = div_up_u64(cfg->verify.reader->size_bytes,
				 US_BLOCK_BYTES);
	/* A window begins with a block of the tracker's. */
	a->mark.next_block &= ~((1ULL << (cfg->verify.tracker->block_shift -
					  US_BLOCK_SHIFT)) - 1);
	if (a->mark.next_block >= a->n_blocks)
		a->mark.next_block = 0;
	a->rate = choose_rate(cfg);
	*out = a;
	return 0;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	verify_free(a->window);
	free(a);
}

/* ---- laps ---- */

/* Is a lap under way, or is it time for one? */
static bool has_lap(struct audit *a)
{
	int64_t now = clock_wall_ns(a->cfg.clock), ago;

	if (a->window || a->mark.next_block)
		return true;
	ago = now - a->mark.lap_wall_ns;
	/* A clock that was set back says nothing of how long ago it was. */
	if (a->mark.lap_wall_ns && ago >= 0 &&
	    (uint64_t)ago < a->cfg.lap_ns) {
		a->next_ns = clock_mono_ns(a->cfg.clock) + a->cfg.lap_ns -
			     (uint64_t)ago;
		return false;
	}
	a->lap_wall_ns = now;
	a->mark.is_partial = false;
	a->asked = false;
	return true;
}

static int open_window(struct audit *a, struct err *err)
{
	struct verify_config c = a->cfg.verify;

	c.first_block = a->mark.next_block;
	c.count_blocks = MIN(a->cfg.window_bytes >> US_BLOCK_SHIFT,
			     a->n_blocks - a->mark.next_block);
	/* Once in a lap it looks at its disk anew for where things are; to do
	 * so for each window would hold up points. */
	c.not_fresh = a->asked;
	a->asked = true;
	a->window_end = c.first_block + c.count_blocks;
	return verify_new(&c, &a->window, err);
}

static void end_lap(struct audit *a)
{
	int64_t now = clock_wall_ns(a->cfg.clock);

	a->mark.next_block = 0;
	if (a->mark.is_partial)
		return;
	a->laps++;
	/* Set back meanwhile: what the clock says now is not too late. */
	a->mark.proven_wall_ns = MAX(a->mark.proven_wall_ns,
				     MIN(a->mark.lap_wall_ns, now));
}

static void close_window(struct audit *a)
{
	struct verify_report rep;

	verify_get_report(a->window, &rep);
	verify_free(a->window);
	a->window = NULL;
	a->mark.is_partial |= rep.skipped_bytes > 0;
	a->mark.lap_wall_ns = a->lap_wall_ns;
	a->mark.next_block = a->window_end;
	if (a->window_end >= a->n_blocks)
		end_lap(a);
}

/* ---- the pace ---- */

static void pay(struct audit *a, uint64_t began_ns, uint64_t bytes)
{
	uint64_t now = clock_mono_ns(a->cfg.clock);
	uint64_t took = now - began_ns;
	uint64_t due = bytes * NSEC_PER_SEC / a->rate;

	if (!bytes)
		due = PASS_NS;
	a->next_ns = MAX(began_ns + due, now + took);
	a->bytes_read += bytes;
}

static uint32_t slice_blocks(const struct audit *a)
{
	return a->rate > FAST_RATE ? SLICE_BLOCKS_FAST : SLICE_BLOCKS_SLOW;
}

static int slice(struct audit *a, struct err *err)
{
	struct reader *r = a->cfg.verify.reader;
	uint64_t began = clock_mono_ns(a->cfg.clock), before = r->bytes_read;
	int said = verify_slice(a->window, slice_blocks(a), err);

	if (said != VERIFY_WAITS && said != VERIFY_DONE)
		pay(a, began, r->bytes_read - before);
	return said;
}

int audit_step(struct audit *a, struct err *err)
{
	int r;

	/* What else is on its way belongs to the report. */
	if (a->window && verify_differing_bytes(a->window))
		return verify_unanswered(a->window) ? AUDIT_RESTS :
						      AUDIT_DIFFERS;
	if (clock_mono_ns(a->cfg.clock) < a->next_ns || !has_lap(a))
		return AUDIT_RESTS;
	r = a->window ? 0 : open_window(a, err);
	if (!r)
		r = slice(a, err);
	if (r < 0)
		return r;
	if (r == VERIFY_WAITS)
		return AUDIT_RESTS;
	if (r == VERIFY_WORKED)
		return AUDIT_WORKED;
	close_window(a);
	return AUDIT_FURTHER;
}

uint64_t audit_when(const struct audit *a)
{
	return a->next_ns;
}

void audit_get_mark(const struct audit *a, struct audit_mark *out)
{
	*out = a->mark;
}

void audit_get_report(const struct audit *a, struct verify_report *out)
{
	verify_get_report(a->window, out);
}

uint64_t audit_bytes_read(const struct audit *a)
{
	return a->bytes_read;
}

uint64_t audit_laps(const struct audit *a)
{
	return a->laps;
}

struct verify *audit_window(const struct audit *a)
{
	return a ? a->window : NULL;
}
