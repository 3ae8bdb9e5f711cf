// SPDX-License-Identifier: Apache-2.0
/*
 * The open end of an open point: entries of the units that arrived, in the
 * order of arrival, until a PART record lists them. In memory only; one
 * thread. After a crash the same state is made again by reading the segment.
 */
#include "store/stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

void stage_free(struct stage *s)
{
	entlog_free(&s->log);
	free(s->deltas);
	memset(s, 0, sizeof(*s));
}

void stage_forget_entries(struct stage *s)
{
	entlog_clear(&s->log);
	s->arrivals = 0;
	s->bytes = 0;
}

void stage_forget_deltas(struct stage *s)
{
	s->n_deltas = 0;
}

void stage_reset(struct stage *s, const struct uuid *segment)
{
	stage_forget_entries(s);
	stage_forget_deltas(s);
	s->segment = *segment;
}

/* Position, or n_deltas. The newest is asked for most. */
static size_t find_delta(const struct stage *s, uint32_t index)
{
	size_t i;

	for (i = s->n_deltas; i > 0; i--)
		if (s->deltas[i - 1].index == index)
			return i - 1;
	return s->n_deltas;
}

bool stage_knows(const struct stage *s, uint32_t delta_index)
{
	return find_delta(s, delta_index) < s->n_deltas;
}

static bool same_delta(const struct delta *a, const struct delta *b)
{
	uint8_t x[DELTA_BYTES], y[DELTA_BYTES];

	delta_encode(a, x);
	delta_encode(b, y);
	return !memcmp(x, y, sizeof(x));
}

int stage_add_delta(struct stage *s, const struct seg_delta *d)
{
	size_t i = find_delta(s, d->index);

	if (i < s->n_deltas)
		return same_delta(&s->deltas[i].delta, &d->delta) ? 0 :
								    -EEXIST;
	if (s->n_deltas == PART_MAX_DELTAS)
		return -E2BIG;
	if (s->n_deltas == s->cap_deltas) {
		size_t cap = s->cap_deltas ? 2 * s->cap_deltas : 4;
		void *p = realloc(s->deltas, cap * sizeof(*s->deltas));

		if (!p)
			return -ENOMEM;
		s->deltas = p;
		s->cap_deltas = cap;
	}
	s->deltas[s->n_deltas++] = *d;
	return 0;
}

int stage_add_unit(struct stage *s, const uint8_t *p,
		   const struct unit_view *u, uint64_t off)
{
	size_t delta = find_delta(s, u->delta_index);
	struct ent e = {
		.first = u->first,
		.unit_off = off,
		.unit_sum = unit_sum_field(p),
		.count = u->count,
		.unit_bytes = u->total_bytes,
		.delta = (uint32_t)delta,
		.order = s->arrivals,
		.codec = (uint8_t)u->codec,
	};
	int r;

	if (delta == s->n_deltas)
		return -EBADMSG;
	r = entlog_add(&s->log, &e);
	if (r == 0)
		s->arrivals++;
	return r;
}

/*
 * Only the deltas that entries name go into the part: used gets them, and map
 * says for each delta of the stage where it is there.
 */
static int pick_deltas(const struct stage *s, struct seg_delta **used,
		       size_t *n_used, uint32_t **map)
{
	size_t i;

	*map = malloc((s->n_deltas + 1) * sizeof(**map));
	*used = malloc((s->n_deltas + 1) * sizeof(**used));
	if (!*map || !*used)
		return -ENOMEM;
	for (i = 0; i < s->n_deltas; i++)
		(*map)[i] = UINT32_MAX;
	*n_used = 0;
	for (i = 0; i < s->log.e.n; i++) {
		const struct ent *e = &s->log.e.v[i];

		if ((*map)[e->delta] != UINT32_MAX)
			continue;
		(*map)[e->delta] = (uint32_t)*n_used;
		(*used)[(*n_used)++] = s->deltas[e->delta];
	}
	return 0;
}

int stage_put_part(struct stage *s, uint64_t ord, struct buf *b,
		   const struct uuid *into, const struct rec_place *base,
		   struct part_ref *ref)
{
	_cleanup_free_ struct seg_delta *used = NULL;
	_cleanup_free_ uint32_t *map = NULL;
	struct part_content content = { 0 };
	struct part_head head = { .ord = ord };
	struct rec_place at = *base;
	size_t start;
	int r;

	r = entlog_compact(&s->log);
	if (r == 0)
		r = pick_deltas(s, &used, &content.n_deltas, &map);
	if (r < 0)
		return r;
	content.ents = s->log.e.v;
	content.n_ents = s->log.e.n;
	content.deltas = used;
	content.delta_map = map;
	head.data_segment = s->segment;
	head.staged_bytes = s->bytes;
	start = rec_begin(b);
	r = part_put(b, &content, &head);
	if (r < 0)
		return r == -EINVAL ? -EIO : r;
	at.off += start;
	rec_end(b, start, &at, REC_PART, 0);
	if (b->failed)
		return -ENOMEM;
	*ref = (struct part_ref){
		.segment = *into,
		.off = at.off,
		.bytes = (uint32_t)(b->len - start),
	};
	part_ref_describe(ref, &head);
	return 0;
}
