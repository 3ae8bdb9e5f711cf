// SPDX-License-Identifier: Apache-2.0
/*
 * The scrub: segment after segment, from the disk.
 *
 * Of a segment first all records in their order (a scan, with O_DIRECT where
 * that is possible), then what the catalog lists in it: the footers always,
 * since a file may be sound and not be what the catalog knows; the units when
 * the scan met something that is no record before what is listed ended, and
 * whenever there is a key. Only what is listed and cannot be read as a view
 * would read it is damage.
 *
 * Holds the volume like a view does: it cannot be removed meanwhile. v->lock
 * is taken for moments. One thread; several scrubs of one volume at a time
 * only cost time.
 */
#include "store/scrub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "store/probe.h"
#include "store/segscan.h"
#include "store/storevol.h"
#include "wire/seal.h"

#define TELL_BYTES (4ULL << 20)		/* between calls of progress */
#define WAIT_NS (100 * NSEC_PER_MSEC)	/* and while it waits */

struct scrub {
	struct volume *v;
	const struct scrub_order *o;
	struct scrub_report *out;
	struct err *err;
	char object[VOLUME_OBJECT_BYTES];
	uint64_t max_ord;
	struct cat_segments segments;
	struct scrub_progress done;
	uint64_t begin_ns;
	uint64_t read_bytes;		/* also twice: what the pace goes by */
	uint64_t told_bytes;
	uint8_t *plain;
	uint32_t lacks;
};

/* ---- pace and progress ---- */

static int tell(struct scrub *sc)
{
	sc->told_bytes = sc->read_bytes;
	return sc->o->progress && sc->o->progress(sc->o->arg, &sc->done) ?
		       -ECANCELED : 0;
}

/* How long until as much may have been read as was. */
static uint64_t ahead_ns(const struct scrub *sc)
{
	uint64_t rate = sc->o->bytes_per_s;
	uint64_t passed, due;

	if (!rate)
		return 0;
	passed = clock_mono_ns(sc->v->store->cfg.clock) - sc->begin_ns;
	due = (uint64_t)((unsigned __int128)sc->read_bytes * NSEC_PER_SEC /
			 rate);
	return due > passed ? due - passed : 0;
}

static int tick(void *arg, uint64_t bytes)
{
	struct scrub *sc = arg;
	uint64_t wait_ns;
	int r = 0;

	sc->read_bytes += bytes;
	if (sc->read_bytes - sc->told_bytes >= TELL_BYTES)
		r = tell(sc);
	while (r == 0 && (wait_ns = ahead_ns(sc)) > NSEC_PER_MSEC) {
		struct timespec ts = { 0 };

		ts.tv_nsec = (long)MIN(wait_ns, WAIT_NS);
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		r = tell(sc);
	}
	return r;
}

/* ---- one segment ---- */

/* Where what the catalog lists in the segment ends, as far as footers tell. */
static uint64_t listed_end(const struct probe *p)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < p->points.n; i++)
		if (p->points.v[i].ord <= p->max_ord)
			end = MAX(end, p->points.v[i].off +
					       p->points.v[i].bytes);
	for (i = 0; i < p->parts.n; i++)
		if (p->parts.v[i].ord <= p->max_ord &&
		    uuid_equal(&p->parts.v[i].ref.segment, &p->segment))
			end = MAX(end, p->parts.v[i].ref.off +
					       p->parts.v[i].ref.bytes);
	return end;
}

/*
 * All records from the disk; *sound is where they end. The segment may be the
 * one that is being written: its end moves.
 */
static int scan(struct scrub *sc, const struct cat_segment *s, uint64_t *sound)
{
	struct io *io = sc->v->store->cfg.io;
	struct scan_rec rec;
	struct segscan scan;
	uint64_t from;
	int r, t = 0;

	*sound = 0;
	r = segscan_open(&scan, io, sc->v->dirfd, &s->id, false, NULL);
	if (r < 0)
		return r;
	from = 0;
	do {
		r = segscan_next(&scan, &rec, NULL);
		t = tick(sc, scan.off - from);
		sc->done.done_bytes += scan.off - from;
		from = scan.off;
	} while (r == 0 && t == 0);
	*sound = scan.off;
	sc->out->read_bytes += scan.off;
	/* What is read again now is to come from the disk, too. */
	if (io->ops->drop_cache)
		(void)io->ops->drop_cache(io, scan.fd);
	segscan_close(&scan);
	if (t < 0)
		return t;
	return r < 0 ? r : 0;
}

static bool is_our_failure(int r)
{
	return r == -ENOMEM || r == -ECANCELED || r == -EMFILE ||
	       r == -ENFILE || r == -EINTR;
}

static int look_into(struct scrub *sc, struct probe *p,
		     const struct cat_segment *s)
{
	uint64_t sound, end = listed_end(p);
	int r = scan(sc, s, &sound);

	if (is_our_failure(r))
		return r;
	r = probe_footers(p, 0);
	if (r == 0 && (p->opener || sound < end || !sound))
		r = probe_units(p, p->opener ? 0 : sound, UINT64_MAX);
	if (r == 0 && !p->n_found && sound < end)
		sc->out->loose_bytes += end - sound;
	return r;
}

static int scrub_segment(struct scrub *sc, const struct cat_segment *s)
{
	struct probe p;
	int r;

	r = probe_open(&p, sc->v, &s->id, sc->max_ord, sc->err);
	if (r < 0)
		return r;
	p.opener = sc->o->opener;
	p.plain = sc->plain;
	p.tick = tick;
	p.arg = sc;
	r = look_into(sc, &p, s);
	sc->out->segments++;
	if (p.opener)
		sc->out->units += p.n_units - p.misfits;
	sc->out->unopened_units += p.misfits;
	if (p.misfits)
		sc->lacks = p.lacks;
	if (r == 0 && p.n_found)
		r = damage_add(sc->v, p.found, p.n_found, sc->err);
	probe_close(&p);
	return r;
}

/* ---- the volume ---- */

struct chain {
	struct scrub *sc;
	struct head head;		/* of the point before */
	int r;
};

/* A head says what it follows: no point was taken out or put in between. */
static int on_point(void *arg, const struct cat_point *p)
{
	struct chain *c = arg;
	struct scrub *sc = c->sc;

	if (p->ord > sc->max_ord)
		return 1;
	if (memcmp(&p->info.prev_head, &c->head, HEAD_BYTES)) {
		c->r = err_set(sc->err, -EBADMSG, "catalog-damaged",
			       sc->object,
			       "point %llu does not follow the point that is "
			       "listed before it",
			       (unsigned long long)p->info.meta.seq);
		err_remedy(sc->err, "stop the daemon and run `understudyctl "
				    "store rebuild-catalog`");
		return 1;
	}
	c->head = p->info.head;
	sc->out->points++;
	return 0;
}

static int check_chain(struct scrub *sc)
{
	struct chain c = { .sc = sc };
	int r = catalog_points(sc->v->store->catalog, sc->v->row.id, false,
			       on_point, &c, sc->err);

	return r < 0 ? r : c.r;
}

static uint64_t file_bytes(struct scrub *sc, const struct cat_segment *s)
{
	struct io *io = sc->v->store->cfg.io;
	char name[SEGMENT_NAME_BYTES];
	uint64_t size = 0;
	int fd;

	segment_file_name(&s->id, name);
	fd = io->ops->open(io, sc->v->dirfd, name, O_RDONLY | O_NOFOLLOW, 0);
	if (fd < 0)
		return 0;
	if (io->ops->size(io, fd, &size) < 0)
		size = 0;
	(void)io->ops->close(io, fd);
	return size;
}

static int scrub_segments(struct scrub *sc)
{
	size_t i;
	int r = 0;

	for (i = 0; i < sc->segments.n; i++)
		sc->done.total_bytes += file_bytes(sc, &sc->segments.v[i]);
	r = tell(sc);
	for (i = 0; r == 0 && i < sc->segments.n; i++)
		r = scrub_segment(sc, &sc->segments.v[i]);
	return r;
}

static int tell_misfit(struct scrub *sc)
{
	unsigned long long n = sc->out->unopened_units;

	if (sc->lacks)
		err_set(sc->err, -ENOKEY, "key-too-old", sc->object,
			"the key lacks generation %u: %llu units were read and "
			"not opened", (unsigned int)sc->lacks, n);
	else
		err_set(sc->err, -ENOKEY, "wrong-key", sc->object,
			"the key is not the one that sealed %llu units: they "
			"were read and not opened", n);
	return err_remedy(sc->err, "export the key at the source, now");
}

static int run(struct scrub *sc)
{
	struct volume *v = sc->v;
	int r;

	r = catalog_segments(v->store->catalog, v->row.id, &sc->segments,
			     sc->err);
	if (r == 0)
		r = check_chain(sc);
	if (r < 0)
		return r;
	damage_walk_begins(v);
	r = scrub_segments(sc);
	/* Without its key a unit was not opened. */
	if (r == 0)
		r = damage_walk_ended(v, sc->o->opener &&
					 !sc->out->unopened_units, sc->err);
	return r == 0 && sc->out->unopened_units ? tell_misfit(sc) : r;
}

/* ---- what is told ---- */


static int count_point(void *arg, const struct cat_point *p)
{
	struct scrub *sc = arg;
	struct damages *ds = &sc->v->damages;
	uint64_t i;

	LOCK_SCOPE(&sc->v->lock);

	if (p->ord > sc->max_ord)
		return 1;
	if (damages_concern(ds, p->ord))
		sc->out->damaged_points++;
	for (i = 0; i < sc->out->n_findings && i < SCRUB_FINDINGS_MAX; i++) {
		struct scrub_finding *f = &sc->out->findings[i];

		if (p->ord < f->d.ord || (f->d.end_ord &&
					  p->ord >= f->d.end_ord))
			continue;
		if (!f->first_seq)
			f->first_seq = p->info.meta.seq;
		f->last_seq = p->info.meta.seq;
	}
	return 0;
}

static int tell_findings(struct scrub *sc)
{
	struct scrub_report *out = sc->out;
	struct volume *v = sc->v;
	size_t i;

	pthread_mutex_lock(&v->lock);
	out->n_findings = v->damages.n;
	for (i = 0; i < v->damages.n && i < SCRUB_FINDINGS_MAX; i++)
		out->findings[i].d = v->damages.v[i].d;
	pthread_mutex_unlock(&v->lock);
	return out->n_findings ?
		       catalog_points(v->store->catalog, v->row.id, false,
				      count_point, sc, sc->err) : 0;
}

static bool enter(struct scrub *sc)
{
	struct volume *v = sc->v;

	LOCK_SCOPE(&v->lock);

	if (v->removed)
		return false;
	volume_object(v, sc->object);
	sc->max_ord = v->has_point ? v->newest.ord - v->unlisted.set : 0;
	v->n_views++;
	return true;
}

static void leave(struct scrub *sc)
{
	LOCK_SCOPE(&sc->v->lock);

	sc->v->n_views--;
}

int store_scrub(struct store *s, const struct uuid *volume,
		const struct scrub_order *o, struct scrub_report *out,
		struct err *err)
{
	struct err why = ERR_INIT;
	struct scrub sc = {
		.v = store_volume(s, volume),
		.o = o,
		.out = out,
		.err = &why,
	};
	int r = 0;

	memset(out, 0, sizeof(*out));
	if (!sc.v || !enter(&sc))
		return err_set(err, -ENOENT, "no-volume", s->path,
			       "scrub: it has no such volume");
	sc.begin_ns = clock_mono_ns(s->cfg.clock);
	sc.plain = o->opener ? malloc(UNIT_MAX_PLAIN_BYTES) : NULL;
	if (o->opener && !sc.plain)
		r = -ENOMEM;
	if (r == 0)
		r = run(&sc);
	if (r == 0 || r == -ENOKEY)
		r = tell_findings(&sc) < 0 ? -EIO : r;
	leave(&sc);
	free(sc.segments.v);
	if (sc.plain)
		explicit_bzero(sc.plain, UNIT_MAX_PLAIN_BYTES);
	free(sc.plain);
	if (r < 0) {
		err_sys(&why, r, r == -ECANCELED ? "canceled" : "failed",
			sc.object, "scrub");
		err_copy(err, &why);
	}
	return r;
}
