// SPDX-License-Identifier: Apache-2.0
/*
 * What is asked of a store without writing: volumes and points. Any thread;
 * callbacks run without a lock.
 *
 * The catalog may lack the newest point of a volume for a while (see
 * commit.c): whoever looks for points asks the volume first.
 */
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/lineage.h"
#include "store/storevol.h"

const char *point_kind_name(enum point_kind kind)
{
	static const char *const names[] = { "crash", "frozen", "app",
					     "final" };

	return kind <= POINT_FINAL ? names[kind] : "unknown";
}

struct volume *store_volume(struct store *s, const struct uuid *uuid)
{
	LOCK_SCOPE(&s->lock);

	return store_find_volume(s, uuid);
}

static void get_info(struct volume *v, struct volume_info *out)
{
	LOCK_SCOPE(&v->lock);

	volume_info_get(v, out);
}

int store_volumes(struct store *s,
		  int (*cb)(void *arg, const struct volume_info *v), void *arg)
{
	struct volume_info info;
	bool removed = false;
	struct volume *v;
	size_t i;
	int r = 0;

	/* The list only grows, and volumes live as long as the store. */
	for (i = 0; r == 0; i++) {
		pthread_mutex_lock(&s->lock);
		v = i < s->n_volumes ? s->volumes[i] : NULL;
		removed = v && v->removed;
		pthread_mutex_unlock(&s->lock);
		if (!v)
			break;
		if (removed)
			continue;
		get_info(v, &info);
		/* Not yet read: see on_directory in store.c. */
		if (info.name[0])
			r = cb(arg, &info);
	}
	return r;
}

int store_volume_by_uuid(struct store *s, const struct uuid *uuid,
			 struct volume_info *out)
{
	struct volume *v = store_volume(s, uuid);

	if (!v)
		return -ENOENT;
	get_info(v, out);
	return 0;
}

/* Names change under s->lock. */
static int find_by_name(struct store *s, const char *source, const char *name,
			struct volume **out)
{
	LOCK_SCOPE(&s->lock);
	struct volume *found = NULL;
	size_t i;

	for (i = 0; i < s->n_volumes; i++) {
		struct volume *v = s->volumes[i];

		if (v->removed || strcmp(v->row.name, name) ||
		    (source && strcmp(v->row.source, source)))
			continue;
		if (found)
			return -ENOTUNIQ;
		found = v;
	}
	*out = found;
	return found ? 0 : -ENOENT;
}

int store_volume_by_name(struct store *s, const char *source, const char *name,
			 struct volume_info *out)
{
	struct volume *v;
	int r = find_by_name(s, source && source[0] ? source : NULL, name, &v);

	if (r == 0)
		get_info(v, out);
	return r;
}

static void get_point_info(struct volume *v, const struct cat_point *p,
			   struct point_info *out)
{
	LOCK_SCOPE(&v->lock);

	volume_point_info(v, p, out);
}

struct points_walk {
	struct volume *v;
	int (*cb)(void *arg, const struct point_info *p);
	void *arg;
	uint64_t last_ord;		/* called back for */
};

static int on_point(void *arg, const struct cat_point *p)
{
	struct points_walk *w = arg;
	struct point_info info;

	/* The newest may be met twice: listed between two looks. */
	if (p->ord == w->last_ord)
		return 0;
	get_point_info(w->v, p, &info);
	w->last_ord = p->ord;
	return w->cb(w->arg, &info);
}

int store_points(struct store *s, const struct uuid *volume, bool backwards,
		 int (*cb)(void *arg, const struct point_info *p), void *arg)
{
	struct volume *v = store_volume(s, volume);
	struct points_walk w = { .v = v, .cb = cb, .arg = arg };
	struct cat_point newest;
	bool unlisted;
	int r = 0;

	if (!v)
		return -ENOENT;
	pthread_mutex_lock(&v->lock);
	unlisted = v->unlisted.set;
	newest = v->newest;
	pthread_mutex_unlock(&v->lock);
	if (unlisted && backwards)
		r = on_point(&w, &newest);
	if (r == 0)
		r = catalog_points(s->catalog, v->row.id, backwards, on_point,
				   &w, NULL);
	if (r == 0 && unlisted && !backwards)
		r = on_point(&w, &newest);
	return r;
}

/*
 * What the disk did not give before it may give now. A writer from before does
 * not go on in what was read anew: what it had staged may not be in it.
 */
static struct volume *volume_to_ask(struct store *s, const struct uuid *uuid)
{
	struct volume *v = store_volume(s, uuid);
	struct err why = ERR_INIT;

	if (!v)
		return NULL;
	LOCK_SCOPE(&v->lock);
	if (v->broken && !v->removed && volume_recover(v, &why) == 0)
		v->writer++;
	return v;
}

/* Of a volume that could not be read in full nobody knows what is missing. */
static int why_none(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	return v->broken && v->why.num < 0 ? v->why.num : -ENOENT;
}

/* r as the look-ups give it. */
static int answer(struct volume *v, int r, const struct cat_point *p,
		  struct point_info *out)
{
	if (r < 0)
		return r;
	if (r)
		return why_none(v);
	get_point_info(v, p, out);
	return 0;
}

int store_point_find(struct store *s, const struct uuid *volume,
		     uint64_t epoch, uint64_t seq, struct point_info *out)
{
	struct volume *v = volume_to_ask(s, volume);
	struct cat_point p;

	if (!v)
		return -ENOENT;
	return answer(v, volume_find_point(v, epoch, seq, &p, NULL), &p, out);
}

int store_point_at(struct store *s, const struct uuid *volume,
		   int64_t wall_ns, struct point_info *out)
{
	struct volume *v = volume_to_ask(s, volume);
	struct cat_point p;
	struct lineage l;
	size_t i;
	int r;

	if (!v)
		return -ENOENT;
	r = volume_newest(v, &p);
	if (r || p.info.meta.flip_wall_ns <= wall_ns)
		return answer(v, r, &p, out);
	r = lineage_of(s->catalog, v->row.id, &p, &l, NULL);
	if (r < 0)
		return r;
	r = 1;
	for (i = 0; r == 1 && i < l.n; i++)
		r = catalog_point_at(s->catalog, v->row.id, l.steps[i].epoch,
				     l.steps[i].max_seq, wall_ns, &p, NULL);
	free(l.steps);
	return answer(v, r, &p, out);
}

int store_point_labelled(struct store *s, const struct uuid *volume,
			 const char *label, struct point_info *out)
{
	struct volume *v = volume_to_ask(s, volume);
	struct cat_point p;
	int r;

	if (!v || !label[0])
		return -ENOENT;
	r = volume_newest(v, &p);
	if (r == 0 && strcmp(p.info.meta.label, label))
		r = catalog_point_labelled(s->catalog, v->row.id, label, &p,
					   NULL);
	return answer(v, r, &p, out);
}
