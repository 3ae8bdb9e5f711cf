// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's key and its generations. No I/O; any thread, a key being its
 * owner's. Copies made here are wiped before they go.
 */
#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>

#include "wire/seal.h"

int volume_key_new(struct rnd *rnd, uint32_t id, struct volume_key *out)
{
	int r;

	memset(out, 0, sizeof(*out));
	r = rnd_fill(rnd, out->bytes, sizeof(out->bytes));
	if (r < 0) {
		volume_key_wipe(out);
		return r;
	}
	out->id = id;
	return 0;
}

void volume_key_wipe(struct volume_key *key)
{
	OPENSSL_cleanse(key, sizeof(*key));
}

const uint8_t *volume_key_find(const struct volume_key *key, uint32_t id)
{
	uint32_t i;

	if (id == key->id)
		return key->bytes;
	for (i = 0; i < key->n_former; i++)
		if (key->former[i].id == id)
			return key->former[i].bytes;
	return NULL;
}

uint32_t volume_key_lowest(const struct volume_key *key)
{
	return key->n_former ? key->former[key->n_former - 1].id : key->id;
}

/* Puts a generation that the key lacks where it belongs. */
static int add(struct volume_key *key, const struct key_generation *g)
{
	struct key_generation moved = *g;
	uint32_t i;

	if (key->n_former >= VOLUME_KEY_GENERATIONS - 1)
		return -ENOSPC;
	if (g->id > key->id) {
		moved.id = key->id;
		memcpy(moved.bytes, key->bytes, sizeof(moved.bytes));
		key->id = g->id;
		memcpy(key->bytes, g->bytes, sizeof(key->bytes));
	}
	for (i = key->n_former; i && key->former[i - 1].id < moved.id; i--)
		key->former[i] = key->former[i - 1];
	key->former[i] = moved;
	key->n_former++;
	OPENSSL_cleanse(&moved, sizeof(moved));
	return 0;
}

int volume_key_rotate(struct volume_key *key, struct rnd *rnd)
{
	struct key_generation g = { .id = key->id + 1 };
	int r = 0;

	if (key->id == UINT32_MAX)
		return -ENOSPC;
	r = rnd_fill(rnd, g.bytes, sizeof(g.bytes));
	if (r >= 0)
		r = add(key, &g);
	OPENSSL_cleanse(&g, sizeof(g));
	return r;
}

uint32_t volume_key_conflict(const struct volume_key *a,
			     const struct volume_key *b)
{
	const uint8_t *theirs = volume_key_find(b, a->id);
	uint32_t i;

	if (theirs && CRYPTO_memcmp(a->bytes, theirs, VOLUME_KEY_BYTES))
		return a->id;
	for (i = 0; i < a->n_former; i++) {
		const struct key_generation *g = &a->former[i];

		theirs = volume_key_find(b, g->id);
		if (theirs && CRYPTO_memcmp(g->bytes, theirs, VOLUME_KEY_BYTES))
			return g->id;
	}
	return 0;
}

/* 1 when it was not there. */
static int take(struct volume_key *into, const struct key_generation *g)
{
	int r;

	if (volume_key_find(into, g->id))
		return 0;
	r = add(into, g);
	return r < 0 ? r : 1;
}

int volume_key_merge(struct volume_key *into, const struct volume_key *from)
{
	struct key_generation newest = { .id = from->id };
	struct volume_key all = *into;
	int r, changed = 0;
	uint32_t i;

	if (volume_key_conflict(into, from))
		return -EEXIST;
	memcpy(newest.bytes, from->bytes, sizeof(newest.bytes));
	r = take(&all, &newest);
	for (i = 0; r >= 0 && i < from->n_former; i++) {
		changed |= r;
		r = take(&all, &from->former[i]);
	}
	if (r >= 0) {
		changed |= r;
		*into = all;
	}
	volume_key_wipe(&all);
	OPENSSL_cleanse(&newest, sizeof(newest));
	return r < 0 ? r : changed;
}
