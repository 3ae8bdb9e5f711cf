// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's state in memory, and the one place from which the catalog is
 * told what became durable. Called with the volume's lock held, except at
 * start and end.
 *
 * Invariant between catalog and segments: parts of the open point are listed
 * only together with the sealing of every segment they lie in, so that what a
 * scan of the unsealed segments finds and what the catalog lists are disjoint.
 */
#include "store/storevol.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"

struct volume *volume_new(struct store *s, const struct uuid *uuid)
{
	struct volume *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->store = s;
	v->row.uuid = *uuid;
	v->dirfd = -1;
	v->seg.fd = -1;
	v->next_number = 1;
	pthread_mutex_init(&v->lock, NULL);
	return v;
}

void volume_free(struct volume *v)
{
	if (!v)
		return;
	volume_drop_index(v);
	(void)segfile_close(&v->seg);
	open_point_clear(&v->op);
	stage_free(&v->op.cur);
	free(v->op.parts);
	free(v->unlisted.parts);
	damages_free(&v->damages);
	free(v->unsealed);
	free(v->deltas);
	buf_free(&v->out);
	if (v->dirfd >= 0)
		(void)v->store->cfg.io->ops->close(v->store->cfg.io, v->dirfd);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void volume_object(const struct volume *v, char out[VOLUME_OBJECT_BYTES])
{
	char uuid[UUID_TEXT_SIZE];

	uuid_format(&v->row.uuid, uuid);
	if (v->row.name[0])
		(void)snprintf(out, VOLUME_OBJECT_BYTES, "volume %s/%s",
			       v->row.source, v->row.name);
	else
		(void)snprintf(out, VOLUME_OBJECT_BYTES, "volume %s", uuid);
}

void volume_point_info(const struct volume *v, const struct cat_point *p,
		       struct point_info *out)
{
	*out = p->info;
	out->damaged = damages_concern(&v->damages, p->ord);
}

void volume_info_get(const struct volume *v, struct volume_info *out)
{
	memset(out, 0, sizeof(*out));
	out->uuid = v->row.uuid;
	memcpy(out->source, v->row.source, sizeof(out->source));
	memcpy(out->name, v->row.name, sizeof(out->name));
	out->size_bytes = v->row.size_bytes;
	out->epoch = v->row.epoch;
	out->has_point = v->has_point;
	if (v->has_point)
		volume_point_info(v, &v->newest, &out->newest);
	out->n_points = v->row.n_points + v->unlisted.set;
	out->open_bytes = open_point_bytes(&v->op);
	if (open_point_exists(&v->op))
		out->open_seq = v->op.seq ? v->op.seq :
					    v->newest.info.meta.seq + 1;
	out->damaged = v->broken || v->damages.n != 0;
}

uint64_t open_point_bytes(const struct open_point *op)
{
	uint64_t n = op->cur.bytes;
	size_t i;

	for (i = 0; i < op->n_parts; i++)
		n += op->parts[i].staged_bytes + op->parts[i].bytes;
	for (i = 0; i < op->n_tails; i++)
		n += op->tails[i].bytes;
	return n;
}

int open_point_add_part(struct open_point *op, const struct part_ref *ref)
{
	if (op->n_parts == op->cap_parts) {
		uint32_t cap = op->cap_parts ? 2 * op->cap_parts : 4;
		void *p;

		if (op->n_parts >= POINT_MAX_PARTS)
			return -E2BIG;
		p = realloc(op->parts, cap * sizeof(*op->parts));
		if (!p)
			return -ENOMEM;
		op->parts = p;
		op->cap_parts = cap;
	}
	op->parts[op->n_parts++] = *ref;
	return 0;
}

void open_point_drop_tail(struct open_point *op, const struct uuid *segment)
{
	size_t i;

	for (i = 0; i < op->n_tails; i++)
		if (uuid_equal(&op->tails[i].segment, segment))
			break;
	if (i == op->n_tails)
		return;
	stage_free(&op->tails[i]);
	op->n_tails--;
	memmove(&op->tails[i], &op->tails[i + 1],
		(op->n_tails - i) * sizeof(*op->tails));
}

void open_point_drop_tails(struct open_point *op)
{
	while (op->n_tails)
		stage_free(&op->tails[--op->n_tails]);
	free(TAKE_PTR(op->tails));
}

void open_point_clear(struct open_point *op)
{
	open_point_drop_tails(op);
	stage_forget_entries(&op->cur);
	op->n_parts = 0;
	op->n_listed = 0;
	op->seq = 0;
}

int volume_add_unsealed(struct volume *v, const struct cat_segment *s)
{
	if (v->n_unsealed == v->cap_unsealed) {
		size_t cap = v->cap_unsealed ? 2 * v->cap_unsealed : 4;
		void *p = realloc(v->unsealed, cap * sizeof(*v->unsealed));

		if (!p)
			return -ENOMEM;
		v->unsealed = p;
		v->cap_unsealed = cap;
	}
	v->unsealed[v->n_unsealed++] = *s;
	return 0;
}

void volume_drop_index(struct volume *v)
{
	if (v->newest_index) {
		index_free(v->newest_index);
		free(TAKE_PTR(v->newest_index));
	}
	segreader_close(&v->reader);
}

/* Segments as they will be; seals all but, with keep_last, the last. */
static struct cat_segment *marked(const struct volume *v,
				  const struct volume_mark *mark)
{
	struct cat_segment *s;
	size_t i;

	s = malloc((v->n_unsealed + 1) * sizeof(*s));
	for (i = 0; s && i < v->n_unsealed; i++) {
		s[i] = v->unsealed[i];
		s[i].sealed = !(mark->keep_last && i + 1 == v->n_unsealed);
		if (!s[i].sealed)
			s[i].seen_bytes = mark->seen_bytes;
	}
	return s;
}

static void forget_sealed(struct volume *v, const struct volume_mark *mark)
{
	if (mark->keep_last && v->n_unsealed) {
		v->unsealed[0] = v->unsealed[v->n_unsealed - 1];
		v->unsealed[0].seen_bytes = mark->seen_bytes;
		v->n_unsealed = 1;
	} else {
		v->n_unsealed = 0;
	}
}

int volume_list(struct volume *v, const struct volume_mark *mark,
		struct err *err)
{
	_cleanup_free_ struct cat_segment *segments = marked(v, mark);
	struct cat_volume row = v->row;
	struct cat_change change = {
		.volume = &row,
		.point = mark->point,
		.ord = mark->point ? mark->point->ord : volume_next_ord(v),
		.segments = segments,
		.n_segments = v->n_unsealed,
		.drop_open = mark->drop_open,
	};
	int r;

	if (!segments)
		return -ENOMEM;
	if (!mark->drop_open) {
		change.parts = v->op.parts;
		change.from_part = v->op.n_listed;
		change.n_parts = v->op.n_parts;
	}
	if (mark->point) {
		row.n_points++;
		row.size_bytes = mark->point->info.meta.size_bytes;
	}
	r = catalog_apply(v->store->catalog, &change, err);
	if (r == -ENOSPC && reserve_give_up(&v->store->reserve))
		r = catalog_apply(v->store->catalog, &change, NULL);
	if (r < 0)
		return r;
	/* Not the whole row: its number is read without the lock. */
	v->row.n_points = row.n_points;
	v->row.size_bytes = row.size_bytes;
	v->op.n_listed = v->op.n_parts;
	forget_sealed(v, mark);
	return 0;
}

int volume_list_again(struct volume *v, struct err *err)
{
	struct unlisted *u = &v->unlisted;
	struct open_point *op = &v->op;
	struct open_point now = *op;
	struct volume_mark mark = {
		.point = &v->newest,
		.keep_last = true,
		.seen_bytes = u->seen_bytes,
	};
	int r;

	if (!u->set)
		return 0;
	/* Lend the point its own parts: those staged since are not its. */
	op->parts = u->parts;
	op->n_listed = u->from_part;
	op->n_parts = u->n_parts;
	r = volume_list(v, &mark, err);
	*op = now;
	if (r < 0)
		return r;
	free(TAKE_PTR(u->parts));
	*u = (struct unlisted){ 0 };
	return 0;
}
