// SPDX-License-Identifier: Apache-2.0
/*
 * The text of a volume key, as a person types it in or a peer escrows it. The
 * first byte chooses: 0, the rest is the text; 1, it is the text up to the
 * check, which is put right; else it is the key, and the text is made of that.
 * What is read says the same when it is written and read again.
 */
#include "fuzz_input.h"

#include <openssl/evp.h>

#include "base/units.h"
#include "wire/seal.h"

static bool same_key(const struct volume_key *a, const struct volume_key *b)
{
	uint32_t i;

	if (a->id != b->id || a->n_former != b->n_former ||
	    memcmp(a->bytes, b->bytes, sizeof(a->bytes)) != 0)
		return false;
	for (i = 0; i < a->n_former; i++)
		if (a->former[i].id != b->former[i].id ||
		    memcmp(a->former[i].bytes, b->former[i].bytes,
			   sizeof(a->former[i].bytes)) != 0)
			return false;
	return true;
}

static void check_key(const struct volume_key *key)
{
	uint32_t i, above = key->id;

	must(key->id && key->n_former < VOLUME_KEY_GENERATIONS);
	for (i = 0; i < key->n_former; i++) {
		must(key->former[i].id && key->former[i].id < above);
		above = key->former[i].id;
		must(volume_key_find(key, above) == key->former[i].bytes);
	}
	must(volume_key_lowest(key) == above);
	must(!volume_key_conflict(key, key));
}

static void round_trip(const struct volume_key *key, const char *name,
		       const struct uuid *volume)
{
	char text[KEY_TEXT_MAX], name2[65];
	struct volume_key key2;
	struct uuid volume2;
	int n = volume_key_to_text(key, name, volume, text, sizeof(text));

	must(n > 0 && (size_t)n < sizeof(text));
	must(!volume_key_from_text(text, (size_t)n, &key2, name2, &volume2,
				   NULL));
	must(same_key(key, &key2) && !strcmp(name, name2) &&
	     uuid_equal(volume, &volume2));
	/* One character less is no key. */
	must(volume_key_from_text(text, (size_t)n - 2, &key2, name2, &volume2,
				  NULL) == -EBADMSG);
}

static void read_text(const char *text, size_t n)
{
	struct volume_key key, copy;
	struct err err = ERR_INIT;
	struct uuid volume;
	char name[65];
	int r = volume_key_from_text(text, n, &key, name, &volume, &err);

	if (r) {
		must(r == -EBADMSG && err.message[0]);
		return;
	}
	must(name_is_valid(name));
	check_key(&key);
	round_trip(&key, name, &volume);
	copy = key;
	must(!volume_key_merge(&copy, &key) && same_key(&copy, &key));
}

static void read_checked(const uint8_t *p, size_t n)
{
	char text[KEY_TEXT_MAX + 64];
	uint8_t digest[EVP_MAX_MD_SIZE];
	size_t i;

	if (n > KEY_TEXT_MAX)
		return;
	memcpy(text, p, n);
	must(EVP_Digest(p, n, digest, NULL, EVP_sha256(), NULL) == 1);
	n += (size_t)sprintf(text + n, "check ");
	for (i = 0; i < 8; i++)
		n += (size_t)sprintf(text + n, "%02x", digest[i]);
	text[n++] = '\n';
	read_text(text, n);
}

static void make_text(struct input *in)
{
	struct volume_key key = { 0 };
	struct uuid volume;
	char name[65] = { 0 };
	uint32_t left = in_u8(in) % (VOLUME_KEY_GENERATIONS + 1);

	(void)in_bytes(in, name, in_u8(in) % sizeof(name));
	(void)in_bytes(in, volume.b, sizeof(volume.b));
	key.id = 1 + left + in_u16(in);
	(void)in_bytes(in, key.bytes, sizeof(key.bytes));
	for (; left > 1; left--) {
		struct key_generation *g = &key.former[key.n_former++];

		g->id = left - 1;
		(void)in_bytes(in, g->bytes, sizeof(g->bytes));
	}
	check_key(&key);
	name[64] = 0;
	if (name_is_valid(name))
		round_trip(&key, name, &volume);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data + 1, size - 1 };

	if (!size)
		return 0;
	if (data[0] == 0)
		read_text((const char *)in.p, in.n);
	else if (data[0] == 1)
		read_checked(in.p, in.n);
	else
		make_text(&in);
	return 0;
}
