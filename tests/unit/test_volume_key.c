// SPDX-License-Identifier: Apache-2.0
/* A volume's key through its generations: what seals, what opens, what joins. */
#include <errno.h>
#include <string.h>

#include "base/rnd.h"
#include "lib/tap.h"
#include "wire/seal.h"

static const struct uuid volume = { .b = { 1, 2, 3, 4 } };
static const struct comp_config comp = { .mode = COMP_NONE };

static int failing_fill(struct rnd *r, void *p, size_t n)
{
	(void)r;
	(void)p;
	(void)n;
	return -EIO;
}

static struct rnd failing = { .fill = failing_fill };

static struct volume_key new_key(void)
{
	struct volume_key k;

	ASSERT_OK(volume_key_new(rnd_system(), 1, &k));
	return k;
}

static struct volume_key rotated(const struct volume_key *from)
{
	struct volume_key k = *from;

	ASSERT_OK(volume_key_rotate(&k, rnd_system()));
	return k;
}

TEST(a_rotation_keeps_what_was_and_numbers_on)
{
	struct volume_key one = new_key(), two = rotated(&one);
	struct volume_key three = rotated(&two);

	EXPECT_INT(three.id, 3);
	EXPECT_INT(three.n_former, 2);
	EXPECT_MEM(volume_key_find(&three, 1), one.bytes, VOLUME_KEY_BYTES);
	EXPECT_MEM(volume_key_find(&three, 2), two.bytes, VOLUME_KEY_BYTES);
	EXPECT_TRUE(memcmp(two.bytes, one.bytes, VOLUME_KEY_BYTES) != 0);
	EXPECT_TRUE(!volume_key_find(&three, 4));
	EXPECT_INT(volume_key_lowest(&three), 1);
}

TEST(a_rotation_without_random_bytes_or_room_changes_nothing)
{
	struct volume_key k = new_key(), before;
	int r = 0;

	while (!r) {
		before = k;
		r = volume_key_rotate(&k, rnd_system());
	}
	EXPECT_INT(r, -ENOSPC);
	EXPECT_INT(k.id, VOLUME_KEY_GENERATIONS);
	EXPECT_MEM(&k, &before, sizeof(k));
	k = before = new_key();
	EXPECT_INT(volume_key_rotate(&k, &failing), -EIO);
	EXPECT_MEM(&k, &before, sizeof(k));
}

/* Seals a block of zeros' neighbour under k; opens it with o. */
static int seal_and_open(const struct volume_key *k, struct opener *o)
{
	struct sealer *s = sealer_new(k, &volume, 1, 7, &comp, rnd_system());
	static const uint8_t plain[US_BLOCK_BYTES] = { 42 };
	static uint8_t back[US_BLOCK_BYTES];
	struct buf out = { 0 };
	struct unit_view v;
	struct fp fp = { .b = { 9 } };
	int r;

	ASSERT_TRUE(s);
	ASSERT_OK(sealer_data(s, 0, 1, plain, &fp, &out));
	EXPECT_INT(sealer_delta(s)->key_id, k->id);
	memset(back, 0, sizeof(back));
	r = opener_open(o, sealer_delta(s), out.data, out.len, &v, back,
			sizeof(back));
	EXPECT_INT(opener_try(o, sealer_delta(s)), r);
	if (!r)
		EXPECT_MEM(back, plain, sizeof(plain));
	sealer_free(s);
	buf_free(&out);
	return r;
}

TEST(a_rotated_key_opens_what_every_generation_sealed)
{
	struct volume_key one = new_key(), two = rotated(&one);
	struct opener *o = opener_new(&two);

	ASSERT_TRUE(o);
	EXPECT_OK(seal_and_open(&one, o));
	EXPECT_OK(seal_and_open(&two, o));
	opener_free(o);
}

TEST(a_key_that_lacks_the_generation_says_which)
{
	struct volume_key one = new_key(), two = rotated(&one), other;
	struct opener *o = opener_new(&one);

	ASSERT_TRUE(o);
	EXPECT_INT(seal_and_open(&two, o), -ENOKEY);
	EXPECT_INT(opener_lacks(o), 2);
	/* Another key of a generation that is there is plainly wrong. */
	other = new_key();
	EXPECT_INT(seal_and_open(&other, o), -ENOKEY);
	EXPECT_INT(opener_lacks(o), 0);
	opener_free(o);
}

static struct fp fp_under(const struct volume_key *k)
{
	static const uint8_t data[US_BLOCK_BYTES] = { 1, 2, 3 };
	struct fp_ctx *ctx = fp_ctx_new(k, &volume);
	struct fp fp;

	ASSERT_TRUE(ctx);
	ASSERT_OK(fp_compute(ctx, 5, data, &fp));
	fp_ctx_free(ctx);
	return fp;
}

TEST(fingerprints_outlive_rotations)
{
	struct volume_key one = new_key(), two = rotated(&one);
	struct volume_key three = rotated(&two), other = new_key();
	struct fp a = fp_under(&one), b = fp_under(&three);
	struct fp c = fp_under(&other);

	EXPECT_TRUE(fp_equal(&a, &b));
	EXPECT_TRUE(!fp_equal(&a, &c));
}

TEST(keys_join_unless_they_contradict)
{
	struct volume_key one = new_key(), two = rotated(&one);
	struct volume_key three = rotated(&two), all, other;

	all = one;
	EXPECT_INT(volume_key_merge(&all, &three), 1);
	EXPECT_MEM(&all, &three, sizeof(all));
	EXPECT_INT(volume_key_merge(&all, &one), 0);
	EXPECT_INT(volume_key_merge(&all, &two), 0);
	EXPECT_MEM(&all, &three, sizeof(all));

	/* A former generation alone finds its place. */
	all = three;
	all.former[0] = all.former[1];
	all.n_former = 1;
	other = two;
	other.n_former = 0;
	EXPECT_INT(volume_key_merge(&all, &other), 1);
	EXPECT_INT(all.id, 3);
	EXPECT_INT(all.former[0].id, 2);
	EXPECT_INT(all.former[1].id, 1);

	other = two;
	other.bytes[0] ^= 1;
	all = three;
	EXPECT_INT(volume_key_conflict(&all, &other), 2);
	EXPECT_INT(volume_key_conflict(&other, &all), 2);
	EXPECT_INT(volume_key_merge(&all, &other), -EEXIST);
	EXPECT_MEM(&all, &three, sizeof(all));
	other = two;
	other.former[0].bytes[31] ^= 1;
	EXPECT_INT(volume_key_conflict(&all, &other), 1);
}
