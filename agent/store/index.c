// SPDX-License-Identifier: Apache-2.0
/*
 * The index over a row of parts.
 *
 * Invariants: an entry's order is the place of its part in parts, so that
 * settling by order is settling by age; entries of one part do not overlap;
 * merged parts are wholly in mem, all others are named in paged.
 *
 * A part that cannot be read is worse than an old one: falling through to
 * what lies below it would show a past state as the present. It therefore
 * stays in the index as a stretch of unreadable blocks.
 *
 * Cost: adding a small part is amortised O(log); a look-up costs a search in
 * mem and one in each paged part whose range it touches. One thread.
 */
#include "store/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define PAGE_SLOTS 64U

int index_init(struct index *ix, struct segreader *reader)
{
	*ix = (struct index){ .reader = reader };
	ix->pages = calloc(PAGE_SLOTS, sizeof(*ix->pages));
	return ix->pages ? 0 : -ENOMEM;
}

void index_free(struct index *ix)
{
	size_t i;

	for (i = 0; i < ix->n_parts; i++)
		part_tables_free(&ix->parts[i].tables);
	free(ix->parts);
	free(ix->paged);
	free(ix->pages);
	entlog_free(&ix->mem);
	entvec_free(&ix->loading);
	buf_free(&ix->scratch);
	memset(ix, 0, sizeof(*ix));
}

static struct index_part *new_part(struct index *ix,
				   const struct part_ref *ref, uint64_t ord)
{
	if (ix->n_parts == UINT32_MAX)
		return NULL;
	if (ix->n_parts == ix->cap_parts) {
		size_t cap = ix->cap_parts ? 2 * ix->cap_parts : 16;
		void *p = realloc(ix->parts, cap * sizeof(*ix->parts));

		if (!p)
			return NULL;
		ix->parts = p;
		ix->cap_parts = cap;
	}
	ix->parts[ix->n_parts] = (struct index_part){ .ref = *ref, .ord = ord };
	return &ix->parts[ix->n_parts];
}

/* The part at the end of the row becomes one that is not merged. */
static int add_paged(struct index *ix, enum index_part_kind kind)
{
	if (ix->n_paged == ix->cap_paged) {
		size_t cap = ix->cap_paged ? 2 * ix->cap_paged : 16;
		void *p = realloc(ix->paged, cap * sizeof(*ix->paged));

		if (!p)
			return -ENOMEM;
		ix->paged = p;
		ix->cap_paged = cap;
	}
	ix->parts[ix->n_parts].kind = kind;
	ix->paged[ix->n_paged++] = (uint32_t)ix->n_parts++;
	return 0;
}

static int merge(struct index *ix, const struct entvec *ents)
{
	size_t i;
	int r;

	for (i = 0; i < ents->n; i++) {
		struct ent e = ents->v[i];

		e.order = (uint32_t)ix->n_parts;
		r = entlog_add(&ix->mem, &e);
		if (r < 0)
			return r;
	}
	ix->parts[ix->n_parts++].kind = INDEX_MERGED;
	return 0;
}

int index_add(struct index *ix, const struct part_ref *ref, uint64_t ord)
{
	struct index_part *p = new_part(ix, ref, ord);
	int r;

	if (!p)
		return -ENOMEM;
	if (ref->n_entries > INDEX_SMALL_ENTRIES)
		return add_paged(ix, INDEX_PAGED);
	ix->loading.n = 0;
	r = segreader_part(ix->reader, ref, &ix->scratch, &p->tables,
			   &ix->loading, 0, NULL);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return add_paged(ix, INDEX_UNREADABLE);
	/* Entries know their place; pages are for parts left on disk. */
	free(p->tables.pages);
	p->tables.pages = NULL;
	r = merge(ix, &ix->loading);
	if (r < 0)
		part_tables_free(&p->tables);
	return r;
}

int index_add_ents(struct index *ix, const struct part_ref *ref, uint64_t ord,
		   const struct entvec *ents)
{
	if (!new_part(ix, ref, ord))
		return -ENOMEM;
	if (ref->n_entries > INDEX_SMALL_ENTRIES)
		return add_paged(ix, INDEX_PAGED);
	return merge(ix, ents);
}

int index_settle(struct index *ix)
{
	return entlog_compact(&ix->mem);
}

static int load(struct index *ix, struct index_part *p)
{
	int r;

	if (p->loaded)
		return 0;
	r = segreader_part(ix->reader, &p->ref, &ix->scratch, &p->tables, NULL,
			   0, NULL);
	p->loaded = r == 0;
	return r;
}

/* The page through the cache; NULL and *r when it cannot be had. */
static const struct index_page *get_page(struct index *ix, uint32_t part,
					 uint32_t page, int *r)
{
	const struct index_part *p = &ix->parts[part];
	struct index_page *slot;

	slot = &ix->pages[(part * 31U + page) % PAGE_SLOTS];
	*r = 0;
	if (slot->n && slot->part == part && slot->page == page)
		return slot;
	slot->n = 0;
	*r = segreader_page(ix->reader, &p->ref, &p->tables, page, slot->ents,
			    NULL);
	if (*r < 0)
		return NULL;
	slot->part = part;
	slot->page = page;
	slot->n = part_page_entries(&p->tables.head, page);
	return slot;
}

/* The last page that begins at or before block; 0 when none does. */
static uint32_t page_of(const struct part_tables *t, uint64_t block)
{
	uint32_t lo = 0, hi = t->head.n_pages;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (t->pages[mid].first <= block)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static int find_unreadable(const struct index_part *p, uint32_t part,
			   uint64_t first, uint64_t end, struct entvec *out)
{
	struct ent e = { .order = part, .codec = ENT_UNREADABLE };

	e.first = MAX(first, p->ref.lo);
	e.count = (uint32_t)(MIN(end, p->ref.hi) - e.first);
	return entvec_add(out, &e);
}

static int find_paged(struct index *ix, uint32_t part, uint64_t first,
		      uint64_t end, struct entvec *out)
{
	const struct part_tables *t = &ix->parts[part].tables;
	const struct index_page *page;
	uint32_t i, k;
	int r;

	for (i = page_of(t, first); i < t->head.n_pages; i++) {
		if (t->pages[i].first >= end)
			break;
		page = get_page(ix, part, i, &r);
		for (k = 0; r == 0 && k < page->n; k++) {
			struct ent e = page->ents[k];

			e.order = part;
			r = entvec_add_clipped(out, &e, first, end);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int find_in_part(struct index *ix, uint32_t part, uint64_t first,
			uint64_t end, struct entvec *out)
{
	struct index_part *p = &ix->parts[part];
	size_t n = out->n;
	int r = 0;

	if (p->ref.hi <= first || p->ref.lo >= end)
		return 0;
	if (p->kind == INDEX_PAGED) {
		r = load(ix, p);
		if (r == 0)
			r = find_paged(ix, part, first, end, out);
		if (r == 0 || r == -ENOMEM)
			return r;
	}
	out->n = n;
	return find_unreadable(p, part, first, end, out);
}

int index_find(struct index *ix, uint64_t first, uint64_t end,
	       struct entvec *out)
{
	size_t i;
	int r;

	out->n = 0;
	r = entlog_find(&ix->mem, first, end, out);
	for (i = 0; r == 0 && i < ix->n_paged; i++)
		r = find_in_part(ix, ix->paged[i], first, end, out);
	return r == 0 ? entvec_resolve(out) : r;
}

/* Block lies inside [lo, hi) of the part. */
static int next_in_paged(struct index *ix, uint32_t part, uint64_t block,
			 uint64_t *out)
{
	const struct part_tables *t = &ix->parts[part].tables;
	const struct index_page *page;
	uint32_t i, k;
	int r;

	r = load(ix, &ix->parts[part]);
	if (r < 0)
		return r;
	i = page_of(t, block);
	page = get_page(ix, part, i, &r);
	if (!page)
		return r;
	for (k = 0; k < page->n; k++)
		if (ent_end(&page->ents[k]) > block) {
			*out = MAX(block, page->ents[k].first);
			return 0;
		}
	/* hi says that there is one more page. */
	*out = i + 1 < t->head.n_pages ? t->pages[i + 1].first : block;
	return 0;
}

static int next_in_part(struct index *ix, uint32_t part, uint64_t block,
			uint64_t *out)
{
	struct index_part *p = &ix->parts[part];
	int r = -EBADMSG;

	*out = MAX(block, p->ref.lo);
	if (block <= p->ref.lo || p->kind == INDEX_UNREADABLE)
		return 0;
	r = next_in_paged(ix, part, block, out);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		*out = block;
	return 0;
}

int index_next(struct index *ix, uint64_t block, uint64_t *out)
{
	bool found;
	uint64_t at;
	size_t i;
	int r;

	r = entlog_compact(&ix->mem);
	if (r < 0)
		return r;
	found = entlog_next(&ix->mem, block, out);
	for (i = 0; i < ix->n_paged; i++) {
		const struct index_part *p = &ix->parts[ix->paged[i]];

		if (p->ref.hi <= block || (found && *out <= p->ref.lo))
			continue;
		r = next_in_part(ix, ix->paged[i], block, &at);
		if (r < 0)
			return r;
		if (!found || at < *out)
			*out = at;
		found = true;
	}
	return found ? 0 : 1;
}

uint32_t index_newest_key(struct index *ix)
{
	uint32_t newest = 0, d;
	size_t i;

	for (i = 0; i < ix->n_parts; i++) {
		struct index_part *p = &ix->parts[i];

		if (p->kind == INDEX_UNREADABLE ||
		    (p->kind == INDEX_PAGED && load(ix, p) < 0) ||
		    !p->tables.deltas)
			continue;
		for (d = 0; d < p->tables.head.n_deltas; d++)
			newest = MAX(newest,
				     p->tables.deltas[d].delta.key_id);
	}
	return newest;
}
