// SPDX-License-Identifier: Apache-2.0
/*
 * The right to write a volume, and the staging of units. Any thread; a
 * volume's calls are serialised by its lock, which is held over the writing:
 * there is one writer, and it is the one that waits.
 *
 * Fencing: v->writer numbers the newest writer; an older one finds another
 * number there and can do nothing any more. Its staged units stay: they are
 * the open point, whoever brought them.
 */
#include "store/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/units.h"

int writer_check(const struct store_writer *w, struct err *err)
{
	char object[VOLUME_OBJECT_BYTES];

	if (w->v->writer != w->id) {
		volume_object(w->v, object);
		return err_set(err, -ESTALE, "fenced", object,
			       "write: a newer session has taken over");
	}
	if (w->v->failed) {
		err_copy(err, &w->v->why);
		return -EIO;
	}
	return 0;
}

/* ---- opening ---- */

static int check_spec(const struct store *s,
		      const struct store_volume_spec *spec, struct err *err)
{
	if (s->cfg.read_only)
		return err_set(err, -EROFS, "read-only", s->path,
			       "write: the store is open for reading only");
	if (!name_is_valid(spec->source) || !name_is_valid(spec->name))
		return err_set(err, -EINVAL, "bad-name", s->path,
			       "open a volume for writing: not a valid name");
	if (!spec->epoch || spec->epoch > INT64_MAX ||
	    spec->size_bytes > INT64_MAX || uuid_is_zero(&spec->uuid))
		return err_set(err, -EINVAL, "bad-volume", s->path,
			       "open a volume for writing: UUID, size or epoch "
			       "out of range");
	return 0;
}

/* s->lock is held. A volume's source is fixed by its first push. */
static int check_name(struct store *s, const struct store_volume_spec *spec,
		      const struct volume *self, struct err *err)
{
	const char *source = self ? self->row.source : spec->source;
	char object[VOLUME_OBJECT_BYTES];
	size_t i;

	for (i = 0; i < s->n_volumes; i++) {
		const struct volume *v = s->volumes[i];

		if (v == self || v->removed || strcmp(v->row.source, source) ||
		    strcmp(v->row.name, spec->name))
			continue;
		volume_object(v, object);
		err_set(err, -EEXIST, "name-taken", object,
			"open for writing: the name belongs to a volume with "
			"another UUID");
		err_remedy(err, "give the volume another name, or remove the "
				"old one at the replica");
		return -EEXIST;
	}
	return 0;
}

static int add_volume(struct store *s, const struct store_volume_spec *spec,
		      struct volume **out, struct err *err)
{
	struct volume *v = volume_new(s, &spec->uuid);
	int r;

	if (!v)
		return -ENOMEM;
	(void)strncpy(v->row.source, spec->source, STORE_NAME_MAX);
	(void)strncpy(v->row.name, spec->name, STORE_NAME_MAX);
	v->row.size_bytes = spec->size_bytes;
	v->row.epoch = spec->epoch;
	r = volume_open_dir(v);
	if (r == 0 || r == -ENOENT)
		r = store_add_volume(s, v);
	/* Last: a row of a volume that is nowhere else would be in the way of
	 * every later attempt. */
	if (r == 0) {
		r = catalog_volume_add(s->catalog, &v->row, err);
		s->n_volumes -= r < 0;
	}
	if (r < 0) {
		volume_free(v);
		return err_sys(err, r, "cannot-create", s->path,
			       "add a volume");
	}
	*out = v;
	return 0;
}

/* s->lock is held, v->lock too now: a volume may be busy for long. */
static int rename_volume(struct volume *v, const char *name, struct err *err)
{
	LOCK_SCOPE(&v->lock);
	struct cat_volume row = v->row;
	int r;

	memset(row.name, 0, sizeof(row.name));
	(void)strncpy(row.name, name, STORE_NAME_MAX);
	r = catalog_volume_update(v->store->catalog, &row, err);
	if (r < 0)
		return r;
	memcpy(v->row.name, row.name, sizeof(v->row.name));
	/* The next segment tells the new name; let it come soon. */
	if (!v->failed && !v->broken && !v->unlisted.set) {
		r = log_roll(v, err);
		if (r < 0)
			return volume_write_failed(v, r, err);
	}
	return 0;
}

static int get_volume(struct store *s, const struct store_volume_spec *spec,
		      struct volume **out, struct err *err)
{
	LOCK_SCOPE(&s->lock);
	struct volume *v = store_find_volume(s, &spec->uuid);
	int r = check_name(s, spec, v, err);

	if (r < 0)
		return r;
	if (!v)
		return add_volume(s, spec, out, err);
	*out = v;
	return v->row.id && strcmp(v->row.name, spec->name) ?
		       rename_volume(v, spec->name, err) : 0;
}

static void put_epoch(struct volume *v, const struct cat_epoch *e)
{
	struct rec_epoch b = {
		.volume = v->row.uuid,
		.epoch = e->epoch,
		.parent_epoch = e->parent_epoch,
		.parent_seq = e->parent_seq,
		.wall_ns = e->since_wall_ns,
	};
	struct rec_place at;
	size_t start;

	memcpy(b.parent_head, e->parent_head.b, HEAD_BYTES);
	buf_reset(&v->out);
	at = segfile_place(&v->seg, 0);
	start = rec_begin(&v->out);
	rec_epoch_put(&v->out, &b);
	rec_end(&v->out, start, &at, REC_EPOCH, 0);
}

/*
 * A higher epoch goes on from the newest point. It is durable before anything
 * is written under it: an old source must be refused also after a crash.
 */
static int raise_epoch(struct volume *v, uint64_t epoch, struct err *err)
{
	struct cat_epoch e = {
		.epoch = epoch,
		.since_wall_ns = clock_wall_ns(v->store->cfg.clock),
	};
	int r;

	if (v->has_point) {
		e.parent_epoch = v->newest.info.meta.epoch;
		e.parent_seq = v->newest.info.meta.seq;
		e.parent_head = v->newest.info.head;
	}
	r = log_open_segment(v, err);
	if (r == 0) {
		put_epoch(v, &e);
		r = log_write(v, true, err);
	}
	if (r == 0)
		r = log_sync(v, err);
	if (r < 0)
		return volume_write_failed(v, r, err);
	v->row.epoch = epoch;
	r = catalog_epoch_put(v->store->catalog, v->row.id, &e, err);
	if (r == 0)
		r = log_void_open_point(v, err);
	/* The record is durable: only a new look at it can go on. */
	return r < 0 ? volume_write_failed(v, -EIO, err) : 0;
}

static int prepare(struct volume *v, const struct store_volume_spec *spec,
		   struct err *err)
{
	char object[VOLUME_OBJECT_BYTES];
	int r = 0;

	if (v->failed || v->broken)
		r = volume_recover(v, err);
	if (r == 0)
		r = volume_list_again(v, err);
	if (r < 0)
		return r;
	volume_object(v, object);
	if (!v->row.id)
		return err_set(err, -EIO, "volume-damaged", object,
			       "open for writing: its directory is there, and "
			       "no segment in it can be read");
	if (spec->epoch < v->row.epoch)
		return err_set(err, -ESTALE, "old-epoch", object,
			       "open for writing: epoch=%llu: epoch %llu has "
			       "begun",
			       (unsigned long long)spec->epoch,
			       (unsigned long long)v->row.epoch);
	if (spec->epoch > v->row.epoch)
		return raise_epoch(v, spec->epoch, err);
	return 0;
}

int store_writer_open(struct store *s, const struct store_volume_spec *spec,
		      struct store_writer **out, struct err *err)
{
	struct store_writer *w;
	struct volume *v = NULL;
	int r = check_spec(s, spec, err);

	if (r == 0)
		r = get_volume(s, spec, &v, err);
	if (r < 0)
		return r;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	pthread_mutex_lock(&v->lock);
	if (v->removed)
		r = err_set(err, -ESTALE, "removed", spec->name,
			    "open for writing: the volume was just removed");
	if (r == 0)
		r = prepare(v, spec, err);
	if (r == 0) {
		w->v = v;
		w->id = ++v->writer;
		v->n_writers++;
		/* Nobody can use the older one's deltas any more. */
		v->n_deltas = 0;
	}
	pthread_mutex_unlock(&v->lock);
	if (r < 0) {
		free(w);
		return r;
	}
	*out = w;
	return 0;
}

void store_writer_close(struct store_writer *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->v->lock);
	w->v->n_writers--;
	pthread_mutex_unlock(&w->v->lock);
	free(w);
}

int store_writer_info(struct store_writer *w, struct volume_info *out)
{
	LOCK_SCOPE(&w->v->lock);

	volume_info_get(w->v, out);
	return w->v->writer == w->id ? 0 : -ESTALE;
}

/* ---- staging ---- */

static int add_delta(struct volume *v, const struct delta *d)
{
	if (v->n_deltas == PART_MAX_DELTAS)
		return -E2BIG;
	if (v->n_deltas == v->cap_deltas) {
		size_t cap = v->cap_deltas ? 2 * v->cap_deltas : 4;
		void *p = realloc(v->deltas, cap * sizeof(*v->deltas));

		if (!p)
			return -ENOMEM;
		v->deltas = p;
		v->cap_deltas = cap;
	}
	v->deltas[v->n_deltas++] = (struct seg_delta){ v->next_delta++, *d };
	return 0;
}

int store_writer_begin(struct store_writer *w, const struct delta *d,
		       uint32_t *delta_index, struct err *err)
{
	LOCK_SCOPE(&w->v->lock);
	struct volume *v = w->v;
	char object[VOLUME_OBJECT_BYTES];
	int r = writer_check(w, err);

	if (r < 0)
		return r;
	volume_object(v, object);
	if (!uuid_equal(&d->volume, &v->row.uuid) || d->seq > INT64_MAX ||
	    !d->seq)
		return err_set(err, -EINVAL, "bad-delta", object,
			       "begin a point: the delta is not of this volume");
	if (d->epoch != v->row.epoch)
		return err_set(err, -ESTALE, "old-epoch", object,
			       "begin a point: epoch=%llu: the volume is in "
			       "epoch %llu", (unsigned long long)d->epoch,
			       (unsigned long long)v->row.epoch);
	r = add_delta(v, d);
	if (r < 0)
		return err_sys(err, r, "no-memory", object, "begin a point");
	*delta_index = v->deltas[v->n_deltas - 1].index;
	v->op.seq = d->seq;
	return 0;
}

static int check_units(struct volume *v, const uint8_t *p, size_t n,
		       struct err *err)
{
	char object[VOLUME_OBJECT_BYTES];
	struct unit_view u;
	size_t at = 0;

	while (at < n) {
		if (unit_parse(p + at, n - at, &u) < 0 ||
		    unit_verify_checksum(p + at, u.total_bytes) < 0) {
			volume_object(v, object);
			return err_set(err, -EBADMSG, "unit-damaged", object,
				       "stage units: byte %zu of %zu: no "
				       "sound unit", at, n);
		}
		at += u.total_bytes;
	}
	return 0;
}

/* How many bytes of whole units go into the next record: at least one unit. */
static size_t chunk_bytes(const struct volume *v, const uint8_t *p, size_t n)
{
	struct unit_view u;
	size_t len = 0;

	while (len < n && unit_parse(p + len, n - len, &u) == 0) {
		if (len && (len + u.total_bytes > REC_MAX_UNITS_BYTES ||
			    !log_has_room(v, len + u.total_bytes)))
			break;
		len += u.total_bytes;
	}
	return len;
}

static void put_delta(struct volume *v, const struct seg_delta *d)
{
	const struct rec_delta b = { .index = d->index, .delta = d->delta };
	struct rec_place at = segfile_place(&v->seg, v->out.len);
	size_t start = rec_begin(&v->out);

	rec_delta_put(&v->out, &b);
	rec_end(&v->out, start, &at, REC_DELTA, 0);
}

/* Offset in v->out of the first unit. */
static size_t put_units(struct volume *v, uint32_t delta_index,
			const uint8_t *p, size_t n)
{
	struct rec_place at = segfile_place(&v->seg, v->out.len);
	size_t start = rec_begin(&v->out), first = v->out.len, i;

	buf_put(&v->out, p, n);
	for (i = first; !v->out.failed && i < v->out.len;
	     i += get_le32(v->out.data + i))
		unit_set_delta_index(v->out.data + i, delta_index);
	rec_end(&v->out, start, &at, REC_UNITS, 0);
	return first;
}

static int stage_written(struct volume *v, size_t first, size_t n,
			 uint64_t base)
{
	struct unit_view u;
	size_t i;
	int r = 0;

	for (i = first; r == 0 && i < first + n; i += u.total_bytes) {
		if (unit_parse(v->out.data + i, v->out.len - i, &u) < 0)
			return -EIO;
		r = stage_add_unit(&v->op.cur, v->out.data + i, &u, base + i);
	}
	return r;
}

static int write_chunk(struct volume *v, const struct seg_delta *d,
		       const uint8_t *p, size_t n, struct err *err)
{
	struct stage *stage = &v->op.cur;
	uint64_t base = v->seg.off;
	bool known = stage_knows(stage, d->index);
	size_t first;
	int r;

	buf_reset(&v->out);
	if (!known)
		put_delta(v, d);
	first = put_units(v, d->index, p, n);
	r = log_write(v, false, err);
	if (r < 0)
		return r;
	if (!known)
		r = stage_add_delta(stage, d);
	if (r == 0)
		r = stage_written(v, first, n, base);
	if (r < 0)
		return r;
	stage->bytes += v->out.len;
	if (stage->log.e.n >= STORE_PART_ENTRIES) {
		r = entlog_compact(&stage->log);
		if (r == 0 && stage->log.e.n >= STORE_PART_ENTRIES / 2)
			r = log_flush_part(v, err);
	}
	return r;
}

/* A segment that the first unit of p/n, of delta d, may go to. */
static int open_segment_for(struct volume *v, const struct seg_delta *d,
			    const uint8_t *p, size_t n, struct err *err)
{
	const struct stage *stage = &v->op.cur;
	struct unit_view u;
	int r = log_open_segment(v, err);

	if (r < 0)
		return r;
	if (unit_parse(p, n, &u) < 0)
		return -EBADMSG;
	if (log_has_room(v, u.total_bytes) &&
	    (stage->n_deltas < PART_MAX_DELTAS || stage_knows(stage, d->index)))
		return 0;
	r = log_roll(v, err);
	return r == 0 ? log_open_segment(v, err) : r;
}

static int stage_units(struct volume *v, const struct seg_delta *d,
		       const uint8_t *p, size_t n, struct err *err)
{
	int r = 0;

	while (n && r == 0) {
		size_t len;

		r = open_segment_for(v, d, p, n, err);
		if (r < 0)
			break;
		len = chunk_bytes(v, p, n);
		r = write_chunk(v, d, p, len, err);
		p += len;
		n -= len;
	}
	return r;
}

static int check_room(struct volume *v, struct err *err)
{
	int r = reserve_take(&v->store->reserve);

	if (r == 0)
		return volume_list_again(v, err);
	err_sys(err, -ENOSPC, "store-full", v->store->path, "stage units");
	err_remedy(err, "make room in the store's file system");
	return -ENOSPC;
}

int store_writer_units(struct store_writer *w, uint32_t delta_index,
		       const uint8_t *p, size_t n, struct err *err)
{
	LOCK_SCOPE(&w->v->lock);
	struct volume *v = w->v;
	char object[VOLUME_OBJECT_BYTES];
	size_t i;
	int r = writer_check(w, err);

	if (r < 0)
		return r;
	for (i = v->n_deltas; i > 0; i--)
		if (v->deltas[i - 1].index == delta_index)
			break;
	if (!i) {
		volume_object(v, object);
		return err_set(err, -EINVAL, "no-point-begun", object,
			       "stage units: delta index %u is not of the open "
			       "point", delta_index);
	}
	r = check_units(v, p, n, err);
	if (r == 0)
		r = check_room(v, err);
	if (r < 0)
		return r;
	r = stage_units(v, &v->deltas[i - 1], p, n, err);
	return r < 0 ? volume_write_failed(v, r, err) : 0;
}
