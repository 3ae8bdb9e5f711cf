// SPDX-License-Identifier: Apache-2.0
/*
 * Group points out of the points of volumes. A group is of a source: points of
 * another one's volumes that carry the same UUID have no say in it.
 *
 * A number may have been used twice, by a source that died between the commits
 * of two members: the time of the flip tells the two apart. Footers that
 * contradict each other (another count, one volume twice) make no group point.
 *
 * Any thread. The catalog may lack the newest point of a volume for a while
 * (see commit.c); it is taken from the volume then.
 */
#include "store/grouppoints.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/storevol.h"

/* One point that says it is of the group. */
struct claim {
	struct volume *v;
	char source[STORE_NAME_MAX + 1];
	char name[STORE_NAME_MAX + 1];
	struct cat_point p;
};

struct claims {
	struct claim *v;
	size_t n, cap;
};

static struct claim *claims_add(struct claims *c)
{
	size_t cap = c->cap ? 2 * c->cap : 8;
	struct claim *v;

	if (c->n == c->cap) {
		v = reallocarray(c->v, cap, sizeof(*v));
		if (!v)
			return NULL;
		c->v = v;
		c->cap = cap;
	}
	return &c->v[c->n++];
}

static void claims_free(struct claims *c)
{
	free(c->v);
}

/* The i-th volume and its names: 0; 1, it is to be passed over; -ENOENT. */
static int volume_at(struct store *s, size_t i, struct claim *out)
{
	LOCK_SCOPE(&s->lock);

	if (i >= s->n_volumes)
		return -ENOENT;
	out->v = s->volumes[i];
	memcpy(out->source, out->v->row.source, sizeof(out->source));
	memcpy(out->name, out->v->row.name, sizeof(out->name));
	return out->v->removed || !out->name[0];
}

/* Its newest point, when the catalog lacks it and it is of a group. */
static bool get_unlisted(struct volume *v, struct cat_point *out)
{
	LOCK_SCOPE(&v->lock);

	*out = v->newest;
	return v->unlisted.set && v->has_point &&
	       point_has_group(&out->info.meta);
}

/* The volumes of one source, and what the catalog lacks of them. */
struct members {
	struct claims volumes;		/* p is not used */
	struct claims unlisted;
};

static void members_free(struct members *m)
{
	claims_free(&m->volumes);
	claims_free(&m->unlisted);
}

static int members_of(struct store *s, const char *source, struct members *out)
{
	struct claim *to, c;
	size_t i;
	int r;

	for (i = 0; (r = volume_at(s, i, &c)) >= 0; i++) {
		if (r || strcmp(c.source, source))
			continue;
		to = claims_add(&out->volumes);
		if (!to)
			return -ENOMEM;
		*to = c;
		if (!get_unlisted(c.v, &c.p))
			continue;
		to = claims_add(&out->unlisted);
		if (!to)
			return -ENOMEM;
		*to = c;
	}
	return 0;
}

static const struct claim *by_row(const struct members *m, int64_t id)
{
	size_t i;

	for (i = 0; i < m->volumes.n; i++)
		if (m->volumes.v[i].v->row.id == id)
			return &m->volumes.v[i];
	return NULL;
}

/* ---- the points of one number ---- */

static int add_listed(struct store *s, const struct members *m,
		      const struct cat_member *row, struct claims *out)
{
	const struct claim *volume = by_row(m, row->volume);
	struct claim c, *to;
	int r;

	if (!volume)
		return 0;
	c = *volume;
	r = catalog_point_ord(s->catalog, row->volume, row->ord, &c.p, NULL);
	if (r)
		return r < 0 ? r : 0;	/* removed meanwhile */
	to = claims_add(out);
	if (!to)
		return -ENOMEM;
	*to = c;
	return 0;
}

static bool is_claim(const struct cat_point *p, const struct uuid *group,
		     uint64_t seq)
{
	const struct point_group *g = &p->info.meta.group;

	return uuid_equal(&g->uuid, group) && g->seq == seq;
}

/* Listed between two looks, perhaps. */
static bool has_claim(const struct claims *c, const struct claim *one)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		if (c->v[i].v == one->v && c->v[i].p.ord == one->p.ord)
			return true;
	return false;
}

static int by_flip_and_name(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int64_t s = x->p.info.meta.flip_wall_ns;
	int64_t t = y->p.info.meta.flip_wall_ns;
	int r = (s > t) - (s < t);

	if (!r)
		r = strcmp(x->name, y->name);
	return r ? r : (x->p.ord > y->p.ord) - (x->p.ord < y->p.ord);
}

/* Every point of the source that says it is of (group, seq), by flip. */
static int claims_get(struct store *s, const struct members *m,
		      const struct uuid *group, uint64_t seq,
		      struct claims *out)
{
	_cleanup_free_ struct cat_member *rows = NULL;
	struct cat_members all;
	struct claim *to;
	size_t i;
	int r;

	r = catalog_group_rows(s->catalog, group, seq, &all, NULL);
	if (r < 0)
		return r;
	rows = all.v;
	for (i = 0; r == 0 && i < all.n; i++)
		r = add_listed(s, m, &all.v[i], out);
	for (i = 0; r == 0 && i < m->unlisted.n; i++) {
		const struct claim *c = &m->unlisted.v[i];

		if (!is_claim(&c->p, group, seq) || has_claim(out, c))
			continue;
		to = claims_add(out);
		if (!to)
			return -ENOMEM;
		*to = *c;
	}
	if (r == 0 && out->n)
		qsort(out->v, out->n, sizeof(*out->v), by_flip_and_name);
	return r;
}

/* How many from c on have the same time. */
static size_t same_flip(const struct claim *c, size_t n)
{
	size_t i = 1;

	while (i < n &&
	       c[i].p.info.meta.flip_wall_ns == c->p.info.meta.flip_wall_ns)
		i++;
	return i;
}

/* n of one time: each says n, and none is there twice. */
static bool is_complete(const struct claim *c, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (c[i].p.info.meta.group.n_members != n ||
		    (i && c[i].v == c[i - 1].v))
			return false;
	return n <= STORE_MAX_GROUP_MEMBERS;
}

static void get_member(const struct claim *c, struct group_member *m)
{
	struct volume *v = c->v;

	LOCK_SCOPE(&v->lock);
	m->volume = v->row.uuid;
	memcpy(m->name, c->name, sizeof(m->name));
	volume_point_info(v, &c->p, &m->point);
}

static void sum_up(struct group_point *p)
{
	const struct point_info *first = &p->members[0].point, *i;
	uint32_t k;

	p->seq = first->meta.group.seq;
	p->flip_wall_ns = first->meta.flip_wall_ns;
	p->kind = first->meta.kind;
	memcpy(p->label, first->meta.label, sizeof(p->label));
	for (k = 0; k < p->n_members; k++) {
		i = &p->members[k].point;
		if (i->received_wall_ns > p->received_wall_ns || !k)
			p->received_wall_ns = i->received_wall_ns;
		if (i->meta.kind != p->kind)
			p->kind = POINT_CRASH;
		if (strcmp(i->meta.label, p->label))
			p->label[0] = 0;
		p->damaged |= i->damaged;
		p->size_bytes += i->meta.size_bytes;
		p->changed_bytes += i->changed_bytes;
		p->stored_bytes += i->stored_bytes;
	}
}

static int tell(const struct claim *c, size_t n,
		int (*cb)(void *arg, const struct group_point *p), void *arg)
{
	_cleanup_free_ struct group_member *members = NULL;
	struct group_point p = { .n_members = (uint32_t)n };
	size_t i;

	members = calloc(n, sizeof(*members));
	if (!members)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		get_member(&c[i], &members[i]);
	p.members = members;
	sum_up(&p);
	return cb(arg, &p);
}

static int tell_all(const struct claims *c,
		    int (*cb)(void *arg, const struct group_point *p),
		    void *arg)
{
	size_t i, n;
	int r = 0;

	for (i = 0; r == 0 && i < c->n; i += n) {
		n = same_flip(&c->v[i], c->n - i);
		if (is_complete(&c->v[i], n))
			r = tell(&c->v[i], n, cb, arg);
	}
	return r;
}

/* ---- the walk ---- */

/* The next number that a listed or an unlisted point has. 0; 1. */
static int next_seq(struct store *s, const struct members *m,
		    const struct uuid *group, uint64_t *seq)
{
	uint64_t after = *seq;
	size_t i;
	int r = catalog_group_seq(s->catalog, group, after, seq, NULL);

	for (i = 0; r >= 0 && i < m->unlisted.n; i++) {
		const struct point_group *g =
			&m->unlisted.v[i].p.info.meta.group;

		if (uuid_equal(&g->uuid, group) && g->seq > after &&
		    (r == 1 || g->seq < *seq)) {
			*seq = g->seq;
			r = 0;
		}
	}
	return r;
}

static int tell_number(struct store *s, const struct members *m,
		       const struct uuid *group, uint64_t seq,
		       int (*cb)(void *arg, const struct group_point *p),
		       void *arg)
{
	struct claims c = { 0 };
	int r = claims_get(s, m, group, seq, &c);

	if (r == 0)
		r = tell_all(&c, cb, arg);
	claims_free(&c);
	return r;
}

int store_group_points(struct store *s, const struct group_info *g,
		       int (*cb)(void *arg, const struct group_point *p),
		       void *arg)
{
	struct members m = { 0 };
	uint64_t seq = 0;
	int end = 0, r = members_of(s, g->source, &m);

	while (r == 0 && !end) {
		end = next_seq(s, &m, &g->uuid, &seq);
		if (end < 0)
			r = end;
		else if (!end)
			r = tell_number(s, &m, &g->uuid, seq, cb, arg);
	}
	members_free(&m);
	return r;
}

static int is_at(void *arg, const struct group_point *p)
{
	const int64_t *flip_wall_ns = arg;

	return p->flip_wall_ns == *flip_wall_ns;
}

int store_group_is_complete(struct store *s, const char *source,
			    const struct point_meta *m)
{
	int64_t flip_wall_ns = m->flip_wall_ns;
	struct members all = { 0 };
	int r;

	if (!point_has_group(m))
		return 0;
	r = members_of(s, source, &all);
	if (r == 0)
		r = tell_number(s, &all, &m->group.uuid, m->group.seq, is_at,
				&flip_wall_ns);
	members_free(&all);
	return r;
}

/* ---- which groups there are ---- */

struct found {
	struct group_info info;
	uint64_t seq;			/* of the footer that named it */
	int64_t flip_wall_ns;
};

struct founds {
	struct found *v;
	size_t n, cap;
};

static struct found *founds_get(struct founds *f, const char *source,
				const struct uuid *group)
{
	size_t i, cap = f->cap ? 2 * f->cap : 8;
	struct found *v;

	for (i = 0; i < f->n; i++)
		if (uuid_equal(&f->v[i].info.uuid, group) &&
		    !strcmp(f->v[i].info.source, source))
			return &f->v[i];
	if (f->n == f->cap) {
		v = reallocarray(f->v, cap, sizeof(*v));
		if (!v)
			return NULL;
		f->v = v;
		f->cap = cap;
	}
	v = &f->v[f->n++];
	memset(v, 0, sizeof(*v));
	v->info.uuid = *group;
	memcpy(v->info.source, source, strlen(source));
	return v;
}

static int note_footer(struct founds *f, const struct claim *c)
{
	const struct point_meta *m = &c->p.info.meta;
	struct found *to = founds_get(f, c->source, &m->group.uuid);

	if (!to)
		return -ENOMEM;
	if (m->group.seq > to->seq ||
	    (m->group.seq == to->seq && m->flip_wall_ns >= to->flip_wall_ns)) {
		memcpy(to->info.name, m->group.name, sizeof(to->info.name));
		to->seq = m->group.seq;
		to->flip_wall_ns = m->flip_wall_ns;
	}
	return 0;
}

static int note_volume(struct store *s, struct claim *c, struct founds *f)
{
	const int64_t id = c->v->row.id;
	struct uuid group = { 0 };
	int r = 0, end = 0;

	while (r == 0 && !end) {
		end = catalog_group_next(s->catalog, id, &group, &group, NULL);
		if (!end)
			end = catalog_group_newest(s->catalog, id, &group,
						   &c->p, NULL);
		if (!end)
			r = note_footer(f, c);
	}
	if (r == 0 && end >= 0 && get_unlisted(c->v, &c->p))
		r = note_footer(f, c);
	return end < 0 ? end : r;
}

static int by_full_name(const void *a, const void *b)
{
	const struct group_info *x = &((const struct found *)a)->info;
	const struct group_info *y = &((const struct found *)b)->info;
	int r = strcmp(x->source, y->source);

	if (!r)
		r = strcmp(x->name, y->name);
	return r ? r : memcmp(x->uuid.b, y->uuid.b, sizeof(x->uuid.b));
}

int store_groups(struct store *s,
		 int (*cb)(void *arg, const struct group_info *g), void *arg)
{
	struct founds f = { 0 };
	struct claim c;
	size_t i;
	int r = 0, there;

	for (i = 0; r == 0 && (there = volume_at(s, i, &c)) >= 0; i++)
		if (!there)
			r = note_volume(s, &c, &f);
	if (r == 0 && f.n)
		qsort(f.v, f.n, sizeof(*f.v), by_full_name);
	for (i = 0; r == 0 && i < f.n; i++)
		r = cb(arg, &f.v[i].info);
	free(f.v);
	return r;
}

static bool is_in_group(struct store *s, const struct claim *c,
			const struct uuid *group)
{
	struct cat_point p;

	if (get_unlisted(c->v, &p) &&
	    uuid_equal(&p.info.meta.group.uuid, group))
		return true;
	return catalog_group_newest(s->catalog, c->v->row.id, group, &p,
				    NULL) != 1;
}

int store_group_volumes(struct store *s, const struct group_info *g,
			int (*cb)(void *arg, const struct volume_info *v),
			void *arg)
{
	struct volume_info info;
	struct claim c;
	size_t i;
	int r = 0, there;

	for (i = 0; r == 0 && (there = volume_at(s, i, &c)) >= 0; i++) {
		if (there || strcmp(c.source, g->source) ||
		    !is_in_group(s, &c, &g->uuid))
			continue;
		if (store_volume_by_uuid(s, &c.v->row.uuid, &info) == 0)
			r = cb(arg, &info);
	}
	return r;
}

/* ---- copies ---- */

int group_point_copy(const struct group_point *p, struct group_point *out)
{
	size_t n = p->n_members * sizeof(*p->members);
	struct group_member *members = malloc(n);

	if (!members)
		return -ENOMEM;
	memcpy(members, p->members, n);
	group_point_free(out);
	*out = *p;
	out->members = members;
	return 0;
}

void group_point_free(struct group_point *p)
{
	free(p->members);
	memset(p, 0, sizeof(*p));
}

void group_point_to_wire(const struct group_point *p,
			 uint8_t members[GROUP_MEMBERS_BYTES],
			 struct wire_group_point *out)
{
	uint32_t i;

	*out = (struct wire_group_point){
		.seq = p->seq,
		.flip_wall_ns = p->flip_wall_ns,
		.received_wall_ns = p->received_wall_ns,
		.kind = (uint8_t)p->kind,
		.damaged = p->damaged,
		.size_bytes = p->size_bytes,
		.changed_bytes = p->changed_bytes,
		.stored_bytes = p->stored_bytes,
		.n_members = p->n_members,
		.members = members,
	};
	(void)snprintf(out->label, sizeof(out->label), "%s", p->label);
	for (i = 0; i < p->n_members; i++) {
		const struct group_member *from = &p->members[i];
		struct wire_member m = {
			.volume = from->volume,
			.epoch = from->point.meta.epoch,
			.seq = from->point.meta.seq,
			.size_bytes = from->point.meta.size_bytes,
		};

		(void)snprintf(m.name, sizeof(m.name), "%s", from->name);
		wire_member_put(members, i, &m);
	}
}
