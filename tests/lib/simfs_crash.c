// SPDX-License-Identifier: Apache-2.0
/*
 * What a power cut may leave of a simfs. A choice is a sector, a size or a
 * name that has changed since it was last synced; each of its values since
 * then is a way in which it may be found, independently of all others.
 *
 * That is at least what any file system does: all orders of writing back, all
 * parts of what is written. States that some file system cannot leave are
 * among them; the programs must stand them all the same.
 */
#include "simfs_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

static bool is_catalog_name(const char *name)
{
	return !strncmp(name, "catalog.db", 10);
}

/* Which nodes have, had or may again have a name; of them SQLite's. */
struct reach {
	bool *named, *catalog;
};

static void reach_note(struct reach *r, const char *name, uint32_t node)
{
	r->named[node] = true;
	r->catalog[node] |= is_catalog_name(name);
}

static void reach_find(const struct simfs *fs, struct reach *r)
{
	size_t i, j;

	r->named = calloc(fs->n_nodes, sizeof(bool));
	r->catalog = calloc(fs->n_nodes, sizeof(bool));
	sim_must(r->named && r->catalog, "memory");
	r->named[0] = true;
	for (i = 0; i < fs->n_nodes; i++) {
		const struct sim_node *n = fs->nodes[i];

		for (j = 0; j < n->names.n; j++)
			reach_note(r, n->names.v[j].name, n->names.v[j].node);
		for (j = 0; j < n->synced_names.n; j++)
			reach_note(r, n->synced_names.v[j].name,
				   n->synced_names.v[j].node);
		for (j = 0; j < n->n_changes; j++)
			reach_note(r, n->changes[j].name, n->changes[j].node);
	}
}

static void reach_free(struct reach *r)
{
	free(r->named);
	free(r->catalog);
}

static void add(struct sim_choices *out, const struct sim_choice *c)
{
	out->v = sim_grow(out->v, out->n, sizeof(*out->v));
	out->v[out->n++] = *c;
}

/* ---- the choices ---- */

static bool same_name(const struct sim_node *n, size_t a, size_t b)
{
	return !strcmp(n->changes[a].name, n->changes[b].name);
}

/* Is there an earlier pending one of the same? */
static bool is_first_sector(const struct sim_node *n, size_t i)
{
	size_t j;

	for (j = 0; j < i; j++)
		if (n->versions[j].sector == n->versions[i].sector)
			return false;
	return true;
}

static void sector_choices(struct sim_node *n, bool catalog,
			   struct sim_choices *out)
{
	size_t i, j;

	for (i = 0; i < n->n_versions; i++) {
		struct sim_choice c = {
			.node = n,
			.op = SIM_WRITE,
			.sector = n->versions[i].sector,
			.n = 1,
			.catalog = catalog,
		};

		if (!is_first_sector(n, i))
			continue;
		for (j = i; j < n->n_versions; j++)
			c.n += n->versions[j].sector == c.sector;
		add(out, &c);
	}
}

static void name_choices(struct sim_node *n, struct sim_choices *out)
{
	size_t i, j;

	for (i = 0; i < n->n_changes; i++) {
		struct sim_choice c = {
			.node = n,
			.op = SIM_NAME,
			.name = (uint32_t)i,
			.n = 1,
			.catalog = is_catalog_name(n->changes[i].name),
		};

		for (j = 0; j < i && !same_name(n, i, j); j++)
			;
		if (j < i)
			continue;
		for (j = i; j < n->n_changes; j++)
			c.n += same_name(n, i, j);
		add(out, &c);
	}
}

void simfs_choices(const struct simfs *fs, struct sim_choices *out)
{
	struct reach r;
	size_t i;

	*out = (struct sim_choices){ 0 };
	reach_find(fs, &r);
	for (i = 0; i < fs->n_nodes; i++) {
		struct sim_node *n = fs->nodes[i];
		struct sim_choice size = {
			.node = n,
			.op = SIM_SIZE,
			.n = (uint32_t)n->n_sizes + 1,
			.catalog = r.catalog[i],
		};

		if (!r.named[i])
			continue;
		name_choices(n, out);
		if (n->n_sizes)
			add(out, &size);
		sector_choices(n, r.catalog[i], out);
	}
	reach_free(&r);
}

/* Does the k-th pending change of the node concern this choice? */
static bool concerns(const struct sim_choice *c, size_t k)
{
	switch (c->op) {
	case SIM_WRITE:
		return c->node->versions[k].sector == c->sector;
	case SIM_NAME:
		return same_name(c->node, c->name, k);
	default:
		return true;
	}
}

static size_t n_pending(const struct sim_choice *c)
{
	if (c->op == SIM_WRITE)
		return c->node->n_versions;
	return c->op == SIM_NAME ? c->node->n_changes : c->node->n_sizes;
}

static uint64_t time_of(const struct sim_choice *c, size_t k)
{
	if (c->op == SIM_WRITE)
		return c->node->versions[k].time;
	return c->op == SIM_NAME ? c->node->changes[k].time :
				   c->node->sizes[k].time;
}

uint32_t simfs_pick_until(const struct simfs *fs,
			  const struct sim_choice *choice, uint64_t time)
{
	uint32_t pick = 0;
	size_t k;

	(void)fs;
	for (k = 0; k < n_pending(choice); k++)
		if (concerns(choice, k) && time_of(choice, k) <= time)
			pick++;
	return pick;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t *simfs_times(const struct simfs *fs, bool catalog, size_t *n)
{
	struct sim_choices all;
	uint64_t *times = NULL;
	size_t i, k, kept = 0;

	simfs_choices(fs, &all);
	*n = 0;
	for (i = 0; i < all.n; i++) {
		if (all.v[i].catalog != catalog)
			continue;
		for (k = 0; k < n_pending(&all.v[i]); k++) {
			if (!concerns(&all.v[i], k))
				continue;
			times = sim_grow(times, *n, sizeof(*times));
			times[(*n)++] = time_of(&all.v[i], k);
		}
	}
	if (*n)
		qsort(times, *n, sizeof(*times), by_value);
	for (i = 0; i < *n; i++)
		if (!kept || times[kept - 1] != times[i])
			times[kept++] = times[i];
	*n = kept;
	free(all.v);
	return times;
}

void simfs_describe(const struct sim_choice *c, char *out, size_t size)
{
	static const char *const kinds[] = { "sector", "size", "name" };

	(void)snprintf(out, size, "%s %s of node %u at %llu",
		       kinds[c->op], c->op == SIM_NAME ?
		       c->node->changes[c->name].name : "", c->node->id,
		       (unsigned long long)c->sector);
}

/* ---- a state ---- */

/* pick > 0: the pick-th pending change that concerns the choice. */
static size_t picked(const struct sim_choice *c, uint32_t pick)
{
	size_t k;

	for (k = 0; k < n_pending(c); k++)
		if (concerns(c, k) && !--pick)
			return k;
	sim_must(false, "no such pick");
	return 0;
}

static void apply_sector(struct sim_node *to, const struct sim_choice *c,
			 size_t k)
{
	uint64_t off = c->sector * SIM_SECTOR;

	if (off >= to->now.size)
		return;
	memcpy(to->now.p + off, c->node->versions[k].bytes,
	       MIN((uint64_t)SIM_SECTOR, to->now.size - off));
}

/* What the disk had there before, whoever's it was. */
static void fill_noise(struct sim_node *to, uint64_t from, uint64_t noise)
{
	uint64_t i;

	for (i = from; noise && i < to->now.size; i++) {
		noise = noise * 6364136223846793005ULL + 1442695040888963407ULL;
		to->now.p[i] = (uint8_t)(noise >> 56);
	}
}

static void start_node(struct sim_node *to, const struct sim_node *from)
{
	size_t i;

	to->ever_synced = true;
	sim_bytes_copy(&to->now, &from->synced);
	for (i = 0; i < from->synced_names.n; i++)
		sim_name_set(&to->names, from->synced_names.v[i].name,
			     from->synced_names.v[i].node);
}

static void apply(struct simfs *to, const struct sim_choice *c, uint32_t pick)
{
	struct sim_node *n = to->nodes[c->node->id];
	size_t k;

	if (!pick)
		return;
	k = picked(c, pick);
	if (c->op == SIM_WRITE)
		apply_sector(n, c, k);
	else if (c->op == SIM_NAME)
		sim_name_set(&n->names, c->node->changes[k].name,
			     c->node->changes[k].node);
	else
		sim_bytes_resize(&n->now, c->node->sizes[k].size);
}

static void settle(struct sim_node *n)
{
	size_t i;

	sim_bytes_copy(&n->synced, &n->now);
	for (i = 0; i < n->names.n; i++)
		sim_name_set(&n->synced_names, n->names.v[i].name,
			     n->names.v[i].node);
}

void simfs_crash(struct simfs *to, const struct simfs *from,
		 const struct sim_choices *choices, const uint32_t *picks,
		 uint64_t noise)
{
	size_t i;

	memset(to, 0, sizeof(*to));
	to->io.ops = from->io.ops;
	to->time = from->time;
	for (i = 0; i < from->n_nodes; i++)
		start_node(sim_node_add(to, from->nodes[i]->is_dir),
			   from->nodes[i]);
	/* Sizes first: sectors lie in them. */
	for (i = 0; i < choices->n; i++)
		if (choices->v[i].op != SIM_WRITE)
			apply(to, &choices->v[i], picks[i]);
	for (i = 0; i < to->n_nodes; i++)
		fill_noise(to->nodes[i], from->nodes[i]->synced.size, noise);
	for (i = 0; i < choices->n; i++)
		if (choices->v[i].op == SIM_WRITE)
			apply(to, &choices->v[i], picks[i]);
	for (i = 0; i < to->n_nodes; i++)
		settle(to->nodes[i]);
}
