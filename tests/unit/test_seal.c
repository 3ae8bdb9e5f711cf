// SPDX-License-Identifier: Apache-2.0
/* Sealing and opening of units. */
#include "lib/tap.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <zstd.h>

#include "base/rnd.h"
#include "wire/aead.h"
#include "wire/kdf.h"
#include "wire/seal.h"

#define BLOCK US_BLOCK_BYTES

static const struct volume_key key = {
	.id = 1,
	.bytes = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
		   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 },
};
static const struct uuid volume = { { 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46,
				      0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d,
				      0x4e, 0x4f } };
static const struct comp_config no_comp = { .mode = COMP_NONE };
static uint8_t plain[UNIT_MAX_PLAIN_BYTES], back[UNIT_MAX_PLAIN_BYTES];
static struct fp fps[UNIT_MAX_BLOCKS];

/* Salt bytes 0x80, 0x81 ...: for known answers only. */
static int counting_fill(struct rnd *r, void *p, size_t n)
{
	size_t i;

	(void)r;
	for (i = 0; i < n; i++)
		((uint8_t *)p)[i] = (uint8_t)(0x80 + i);
	return 0;
}

static int failing_fill(struct rnd *r, void *p, size_t n)
{
	(void)r;
	(void)p;
	(void)n;
	return -EIO;
}

static struct rnd counting = { .fill = counting_fill };
static struct rnd failing = { .fill = failing_fill };

static void fill_plain(void)
{
	size_t i;

	for (i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 7 + 3);
	memset(fps, 0x33, sizeof(fps));
}

static struct sealer *sealer_at(uint64_t epoch, uint64_t seq,
				const struct comp_config *comp)
{
	struct sealer *s = sealer_new(&key, &volume, epoch, seq, comp,
				      rnd_system());

	ASSERT_NOT_NULL(s);
	return s;
}

static struct opener *opener_with(const struct volume_key *k)
{
	struct opener *o = opener_new(k);

	ASSERT_NOT_NULL(o);
	return o;
}

static int open_unit(const struct delta *d, const uint8_t *p, size_t n)
{
	struct opener *o = opener_with(&key);
	struct unit_view v;
	int r = opener_open(o, d, p, n, &v, back, sizeof(back));

	opener_free(o);
	return r;
}

/* ---- known answers, by tests/unit/seal_vectors.py ---- */

static const uint8_t known_commitment[16] = { 0x90, 0x2b, 0xc5, 0x92,
					      0x89, 0x0d, 0x4b, 0xce,
					      0x90, 0x6e, 0xbd, 0x11,
					      0x39, 0xcc, 0x4d, 0xa4 };
static const uint8_t known_zero_unit[56] = {
	0x38, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe8, 0x03, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x32, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0xfd, 0x2a, 0x19, 0x4c, 0xdc, 0x41, 0x3c, 0xc1,
	0x00, 0x0a, 0x85, 0xdd, 0xec, 0x49, 0x30, 0x19
};
static const uint8_t known_raw_head[88] = {
	0x48, 0x10, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0xea, 0x07, 0x93, 0xe0, 0x20, 0xce, 0xfd, 0x04,
	0x0e, 0x0a, 0x87, 0x6f, 0xba, 0xb6, 0xc9, 0xf9, 0xd2, 0xee, 0x08, 0x78,
	0x1a, 0x00, 0x4e, 0x71, 0xb8, 0x4a, 0x6d, 0x10, 0x65, 0xc6, 0x89, 0xad,
	0xde, 0xdd, 0x9c, 0x74, 0x3c, 0x3f, 0x02, 0xc0, 0x9c, 0x2b, 0xae, 0x19,
	0x1a, 0xc6, 0x4c, 0x71
};
/* of the whole raw unit, its checksum field zero */
static const uint8_t known_raw_sha256[32] = {
	0xbc, 0xa8, 0x72, 0x49, 0x02, 0x76, 0x55, 0x04, 0x08, 0x61, 0x74,
	0x35, 0x2d, 0x3c, 0x26, 0xb6, 0x25, 0xd1, 0x95, 0xc7, 0xfb, 0x0f,
	0x82, 0x18, 0x76, 0x29, 0x7b, 0x26, 0xf9, 0x3b, 0xc3, 0xf1
};

TEST(known_answers_of_a_second_implementation)
{
	struct sealer *s = sealer_new(&key, &volume, 3, 17, &no_comp,
				      &counting);
	struct fp_ctx *ctx = fp_ctx_new(&key, &volume);
	struct buf out = { 0 };
	uint8_t *raw, digest[32];

	ASSERT_TRUE(s && ctx);
	fill_plain();
	ASSERT_OK(fp_compute(ctx, 5, plain, &fps[0]));
	EXPECT_MEM(sealer_delta(s)->commitment, known_commitment, 16);
	ASSERT_OK(sealer_zero(s, 1000, 50, &out));
	ASSERT_OK(sealer_data(s, 5, 1, plain, fps, &out));
	ASSERT_U64(out.len, 56 + 40 + 16 + 4096 + 16);

	EXPECT_OK(unit_verify_checksum(out.data, 56));
	memset(out.data + 32, 0, 8);
	EXPECT_MEM(out.data, known_zero_unit, 56);

	raw = out.data + 56;
	EXPECT_OK(unit_verify_checksum(raw, out.len - 56));
	memset(raw + 32, 0, 8);
	EXPECT_MEM(raw, known_raw_head, sizeof(known_raw_head));
	ASSERT_TRUE(EVP_Digest(raw, out.len - 56, digest, NULL, EVP_sha256(),
			       NULL));
	EXPECT_MEM(digest, known_raw_sha256, 32);
	buf_free(&out);
	fp_ctx_free(ctx);
	sealer_free(s);
}

/* ---- round trips ---- */

static void fill_kind(struct rnd_seeded *rnd, uint64_t kind)
{
	size_t i;

	ASSERT_OK(rnd_fill(&rnd->rnd, fps, sizeof(fps)));
	if (kind == 0)
		ASSERT_OK(rnd_fill(&rnd->rnd, plain, sizeof(plain)));
	else
		for (i = 0; i < sizeof(plain); i++)
			plain[i] = (uint8_t)(i / (1 + kind * 10));
}

TEST(random_round_trips_through_every_codec)
{
	static const enum comp_mode modes[] = { COMP_AUTO, COMP_NONE, COMP_LZ4,
						COMP_ZSTD };
	struct opener *o = opener_with(&key);
	int i, seen[4] = { 0 };
	struct rnd_seeded rnd;

	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < 200; i++) {
		struct comp_config c = { .mode = modes[i % 4] };
		uint32_t count = (uint32_t)(1 + rnd_seeded_below(&rnd, 16));
		uint64_t first = rnd_seeded_below(&rnd, US_MAX_BLOCKS - 16);
		struct sealer *s = sealer_at(1, (uint64_t)i + 1, &c);
		struct buf out = { 0 };
		struct unit_view v;

		fill_kind(&rnd, rnd_seeded_below(&rnd, 3));
		ASSERT_OK(sealer_data(s, first, count, plain, fps, &out));
		ASSERT_OK(unit_verify_checksum(out.data, out.len));
		memset(back, 0, sizeof(back));
		ASSERT_OK(opener_open(o, sealer_delta(s), out.data, out.len,
				      &v, back, (size_t)count * BLOCK));
		ASSERT_MEM(back, plain, (size_t)count * BLOCK);
		ASSERT_U64(v.first, first);
		ASSERT_U64(v.count, count);
		ASSERT_MEM(v.fps, fps, count * sizeof(fps[0]));
		seen[v.codec]++;
		buf_free(&out);
		sealer_free(s);
	}
	EXPECT_TRUE(seen[UNIT_RAW] && seen[UNIT_LZ4] && seen[UNIT_ZSTD]);
	opener_free(o);
}

TEST(a_zero_unit_opens_to_nothing_but_its_range)
{
	struct sealer *s = sealer_at(1, 1, &no_comp);
	struct opener *o = opener_with(&key);
	struct buf out = { 0 };
	struct unit_view v;

	ASSERT_OK(sealer_zero(s, 7, UNIT_MAX_ZERO_BLOCKS, &out));
	ASSERT_U64(out.len, 56);
	ASSERT_OK(opener_open(o, sealer_delta(s), out.data, out.len, &v, NULL,
			      0));
	EXPECT_INT(v.codec, UNIT_ZERO);
	EXPECT_U64(v.first, 7);
	EXPECT_U64(v.count, UNIT_MAX_ZERO_BLOCKS);
	buf_free(&out);
	opener_free(o);
	sealer_free(s);
}

TEST(ranges_a_unit_cannot_have_are_refused_and_leave_the_buffer)
{
	struct sealer *s = sealer_at(1, 1, &no_comp);
	struct buf out = { 0 };
	const uint64_t end = US_MAX_BLOCKS;

	fill_plain();
	buf_put(&out, "abc", 3);
	EXPECT_INT(sealer_data(s, 0, 0, plain, fps, &out), -EINVAL);
	EXPECT_INT(sealer_data(s, 0, 17, plain, fps, &out), -EINVAL);
	EXPECT_INT(sealer_data(s, end, 1, plain, fps, &out), -EINVAL);
	EXPECT_INT(sealer_data(s, end - 1, 2, plain, fps, &out), -EINVAL);
	EXPECT_INT(sealer_zero(s, 0, 0, &out), -EINVAL);
	EXPECT_INT(sealer_zero(s, 0, UNIT_MAX_ZERO_BLOCKS + 1, &out), -EINVAL);
	EXPECT_INT(sealer_zero(s, UINT64_MAX, 1, &out), -EINVAL);
	EXPECT_U64(out.len, 3);
	EXPECT_FALSE(out.failed);
	EXPECT_OK(sealer_data(s, end - 1, 1, plain, fps, &out));
	buf_free(&out);
	sealer_free(s);
}

TEST(a_sealer_is_not_made_without_randomness)
{
	EXPECT_NULL(sealer_new(&key, &volume, 1, 1, &no_comp, &failing));
}

TEST(counters_rise_and_salts_differ)
{
	struct sealer *a = sealer_at(1, 1, &no_comp);
	struct sealer *b = sealer_at(1, 1, &no_comp);
	struct buf out = { 0 };
	struct unit_view v;
	uint64_t i;

	fill_plain();
	for (i = 0; i < 5; i++) {
		buf_reset(&out);
		ASSERT_OK(sealer_data(a, 0, 1, plain, fps, &out));
		ASSERT_OK(unit_parse(out.data, out.len, &v));
		EXPECT_U64(v.counter, i);
	}
	EXPECT_NE(memcmp(sealer_delta(a)->salt, sealer_delta(b)->salt, 32), 0);
	EXPECT_NE(memcmp(sealer_delta(a)->commitment,
			 sealer_delta(b)->commitment, 16), 0);
	buf_free(&out);
	sealer_free(a);
	sealer_free(b);
}

/* ---- what must not open ---- */

TEST(every_part_of_the_delta_is_bound)
{
	struct sealer *s = sealer_at(3, 17, &no_comp);
	const struct delta d = *sealer_delta(s);
	struct buf out = { 0 };
	struct delta x;

	fill_plain();
	ASSERT_OK(sealer_data(s, 5, 2, plain, fps, &out));
	ASSERT_OK(open_unit(&d, out.data, out.len));
	/* Each of these derives another key, which the commitment tells. */
	x = d;
	x.volume.b[3] ^= 1;
	EXPECT_INT(open_unit(&x, out.data, out.len), -ENOKEY);
	x = d;
	x.epoch++;
	EXPECT_INT(open_unit(&x, out.data, out.len), -ENOKEY);
	x = d;
	x.seq--;
	EXPECT_INT(open_unit(&x, out.data, out.len), -ENOKEY);
	x = d;
	x.salt[31] ^= 0x80;
	EXPECT_INT(open_unit(&x, out.data, out.len), -ENOKEY);
	x = d;
	x.commitment[0] ^= 1;
	EXPECT_INT(open_unit(&x, out.data, out.len), -ENOKEY);
	x = d;
	x.key_id = 2;
	EXPECT_INT(open_unit(&x, out.data, out.len), -ENOKEY);
	buf_free(&out);
	sealer_free(s);
}

/* Forge a field, mend the checksum: only the seal stands in the way. */
static int open_forged(const struct delta *d, const struct buf *unit,
		       size_t off, uint8_t flip)
{
	uint8_t *copy = malloc(unit->len);
	int r;

	ASSERT_NOT_NULL(copy);
	memcpy(copy, unit->data, unit->len);
	copy[off] ^= flip;
	put_le64(copy + 32, unit_checksum(copy, unit->len));
	memset(back, 0xee, sizeof(back));
	r = open_unit(d, copy, unit->len);
	free(copy);
	return r;
}

TEST(every_flipped_bit_of_a_data_unit_is_detected_by_the_seal)
{
	struct comp_config lz4 = { .mode = COMP_LZ4 };
	struct sealer *s = sealer_at(3, 17, &lz4);
	struct buf out = { 0 };
	size_t i;
	int bit;

	memset(plain, 0x11, sizeof(plain));
	memset(fps, 0x22, sizeof(fps));
	ASSERT_OK(sealer_data(s, 5, 2, plain, fps, &out));
	ASSERT_LT(out.len, 300);
	for (i = 0; i < out.len; i++) {
		/* delta index and checksum are no part of the seal */
		bool outside = (i >= 20 && i < 24) || (i >= 32 && i < 40);

		for (bit = 0; bit < 8; bit++)
			EXPECT_INT(open_forged(sealer_delta(s), &out, i,
					       (uint8_t)(1 << bit)),
				   outside ? 0 : -EBADMSG);
	}
	buf_free(&out);
	sealer_free(s);
}

TEST(every_flipped_bit_of_a_zero_unit_is_detected_by_the_seal)
{
	struct sealer *s = sealer_at(3, 17, &no_comp);
	struct buf out = { 0 };
	size_t i;
	int bit;

	ASSERT_OK(sealer_zero(s, 1024, 64, &out));
	for (i = 0; i < out.len; i++) {
		bool outside = (i >= 20 && i < 24) || (i >= 32 && i < 40);

		for (bit = 0; bit < 8; bit++)
			EXPECT_INT(open_forged(sealer_delta(s), &out, i,
					       (uint8_t)(1 << bit)),
				   outside ? 0 : -EBADMSG);
	}
	buf_free(&out);
	sealer_free(s);
}

TEST(a_refused_raw_unit_leaves_no_plaintext_behind)
{
	static const uint8_t zeros[BLOCK];
	struct sealer *s = sealer_at(3, 17, &no_comp);
	struct buf out = { 0 };

	fill_plain();
	ASSERT_OK(sealer_data(s, 5, 1, plain, fps, &out));
	EXPECT_INT(open_forged(sealer_delta(s), &out, out.len - 1, 1),
		   -EBADMSG);
	EXPECT_MEM(back, zeros, BLOCK);
	buf_free(&out);
	sealer_free(s);
}

TEST(units_of_two_deltas_do_not_open_under_each_other)
{
	struct sealer *a = sealer_at(3, 17, &no_comp);
	struct sealer *b = sealer_at(3, 17, &no_comp);
	struct buf ua = { 0 }, ub = { 0 };

	fill_plain();
	ASSERT_OK(sealer_data(a, 5, 1, plain, fps, &ua));
	ASSERT_OK(sealer_data(b, 5, 1, plain, fps, &ub));
	EXPECT_OK(open_unit(sealer_delta(a), ua.data, ua.len));
	EXPECT_OK(open_unit(sealer_delta(b), ub.data, ub.len));
	EXPECT_INT(open_unit(sealer_delta(a), ub.data, ub.len), -EBADMSG);
	EXPECT_INT(open_unit(sealer_delta(b), ua.data, ua.len), -EBADMSG);
	buf_free(&ua);
	buf_free(&ub);
	sealer_free(a);
	sealer_free(b);
}

TEST(a_unit_with_the_place_of_another_does_not_open)
{
	struct sealer *s = sealer_at(3, 17, &no_comp);
	struct buf a = { 0 }, b = { 0 };

	fill_plain();
	ASSERT_OK(sealer_data(s, 5, 1, plain, fps, &a));
	ASSERT_OK(sealer_data(s, 6, 1, plain, fps, &b));
	/* a's content and tag under b's header, in every mixture */
	memcpy(a.data + 8, b.data + 8, 8);
	EXPECT_INT(open_unit(sealer_delta(s), a.data, a.len), -EBADMSG);
	memcpy(a.data + 24, b.data + 24, 8);
	EXPECT_INT(open_unit(sealer_delta(s), a.data, a.len), -EBADMSG);
	memcpy(a.data + a.len - 16, b.data + b.len - 16, 16);
	EXPECT_INT(open_unit(sealer_delta(s), a.data, a.len), -EBADMSG);
	EXPECT_OK(open_unit(sealer_delta(s), b.data, b.len));
	buf_free(&a);
	buf_free(&b);
	sealer_free(s);
}

TEST(another_key_is_told_from_damage)
{
	struct sealer *s = sealer_at(3, 17, &no_comp);
	struct volume_key other = key;
	struct buf out = { 0 };
	struct unit_view v;
	struct opener *o;

	other.bytes[7] ^= 1;
	fill_plain();
	ASSERT_OK(sealer_data(s, 5, 1, plain, fps, &out));
	o = opener_with(&other);
	EXPECT_INT(opener_open(o, sealer_delta(s), out.data, out.len, &v, back,
			       sizeof(back)), -ENOKEY);
	/* and again: a refused delta is not remembered as good */
	EXPECT_INT(opener_open(o, sealer_delta(s), out.data, out.len, &v, back,
			       sizeof(back)), -ENOKEY);
	opener_free(o);
	buf_free(&out);
	sealer_free(s);
}

TEST(more_or_fewer_bytes_than_the_unit_are_refused)
{
	struct sealer *s = sealer_at(3, 17, &no_comp);
	struct opener *o = opener_with(&key);
	struct buf out = { 0 };
	struct unit_view v;

	fill_plain();
	ASSERT_OK(sealer_data(s, 5, 2, plain, fps, &out));
	buf_put_u8(&out, 0);
	EXPECT_INT(open_unit(sealer_delta(s), out.data, out.len), -EBADMSG);
	EXPECT_OK(open_unit(sealer_delta(s), out.data, out.len - 1));
	EXPECT_INT(open_unit(sealer_delta(s), out.data, out.len - 2), -EBADMSG);
	EXPECT_INT(open_unit(sealer_delta(s), out.data, 0), -EBADMSG);
	EXPECT_INT(opener_open(o, sealer_delta(s), out.data, out.len - 1, &v,
			       back, 2 * BLOCK - 1), -EINVAL);
	buf_free(&out);
	opener_free(o);
	sealer_free(s);
}

/* More deltas than are kept, in random order: every one still opens. */
TEST(an_opener_serves_more_deltas_than_it_keeps)
{
	enum { N = 400 };
	static struct delta deltas[N];
	static struct buf units[N];
	struct opener *o = opener_with(&key);
	struct rnd_seeded rnd;
	struct unit_view v;
	int i;

	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < N; i++) {
		struct sealer *s = sealer_at(1, (uint64_t)i + 1, &no_comp);

		memset(plain, i, BLOCK);
		plain[0] = (uint8_t)(i >> 8);
		ASSERT_OK(sealer_data(s, 0, 1, plain, fps, &units[i]));
		deltas[i] = *sealer_delta(s);
		sealer_free(s);
	}
	for (i = 0; i < 3 * N; i++) {
		uint64_t at = rnd_seeded_below(&rnd, N);

		ASSERT_OK(opener_open(o, &deltas[at], units[at].data,
				      units[at].len, &v, back, BLOCK));
		ASSERT_INT(back[1], at & 0xff);
		ASSERT_INT(back[0], at >> 8);
	}
	for (i = 0; i < N; i++)
		buf_free(&units[i]);
	opener_free(o);
}

/*
 * A holder of the key seals what no sealer would: 16 MiB packed as one block.
 */
TEST(what_is_sealed_but_does_not_unpack_is_damage)
{
	struct sealer *s = sealer_at(3, 17, &no_comp);
	const struct delta *d = sealer_delta(s);
	uint8_t delta_key[KDF_KEY_BYTES], u[UNIT_MAX_BYTES] = { 0 };
	uint8_t *zeros = calloc(1, 16 << 20), *bomb = u + 56;
	EVP_CIPHER_CTX *cipher;
	struct unit_view v;
	size_t n;

	ASSERT_NOT_NULL(zeros);
	n = ZSTD_compress(bomb, 4095, zeros, 16 << 20, 1);
	ASSERT_FALSE(ZSTD_isError(n));
	put_le32(u, (uint32_t)(56 + n + 16));
	u[4] = UNIT_ZSTD;
	put_le64(u + 8, 5);
	put_le32(u + 16, 1);
	ASSERT_OK(unit_parse(u, sizeof(u), &v));
	ASSERT_OK(kdf_delta_key(&key, d, delta_key));
	cipher = aead_new(delta_key, true);
	ASSERT_OK(aead_seal(cipher, d, u, &v, bomb));
	EXPECT_INT(open_unit(d, u, v.total_bytes), -EBADMSG);

	/* Control: a small content sealed the same way opens. */
	n = ZSTD_compress(bomb, 4095, zeros, 4096, 1);
	ASSERT_FALSE(ZSTD_isError(n));
	put_le32(u, (uint32_t)(56 + n + 16));
	put_le64(u + 24, 1);
	ASSERT_OK(unit_parse(u, sizeof(u), &v));
	ASSERT_OK(aead_seal(cipher, d, u, &v, bomb));
	EXPECT_OK(open_unit(d, u, v.total_bytes));
	EVP_CIPHER_CTX_free(cipher);
	free(zeros);
	sealer_free(s);
}

TEST(a_wiped_key_is_gone)
{
	struct volume_key k, zero;

	memset(&zero, 0, sizeof(zero));
	ASSERT_OK(volume_key_new(rnd_system(), 7, &k));
	EXPECT_U64(k.id, 7);
	EXPECT_NE(memcmp(k.bytes, zero.bytes, sizeof(k.bytes)), 0);
	volume_key_wipe(&k);
	EXPECT_MEM(&k, &zero, sizeof(k));
	EXPECT_INT(volume_key_new(&failing, 1, &k), -EIO);
}
