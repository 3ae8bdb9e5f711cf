// SPDX-License-Identifier: Apache-2.0
/*
 * Units come out as they went in, each sealed under a nonce of its own,
 * whatever number of threads encodes them. TEST_SEED=n repeats a run. (With
 * threads of the encoder's own: pthread_create.)
 */
#include "tap.h"

#include <errno.h>
#include <string.h>

#include "base/rnd.h"
#include "source/encode.h"

#define DELTAS 6U
#define UNITS 600U			/* of each delta */

struct put {
	uint64_t first;
	uint32_t count;
	bool is_zero;
	uint8_t byte;			/* content of a data unit */
};

struct far_side {
	struct opener *opener;
	struct delta delta;
	struct put puts[UNITS];
	uint32_t n_put, n_taken;
	uint64_t counters[UNITS];
	int fail_after;			/* takes; then -EPIPE; < 0: never */
};

static void judge_unit(struct far_side *f, const uint8_t *p, size_t n)
{
	static uint8_t plain[UNIT_MAX_PLAIN_BYTES];
	const struct put *want = &f->puts[f->n_taken];
	struct unit_view u;
	size_t i;

	ASSERT_LT(f->n_taken, f->n_put);
	ASSERT_OK(opener_open(f->opener, &f->delta, p, n, &u, plain,
			      sizeof(plain)));
	ASSERT_U64(u.first, want->first);
	ASSERT_U64(u.count, want->count);
	ASSERT_INT(u.codec == UNIT_ZERO, want->is_zero);
	for (i = 0; !want->is_zero && i < (size_t)u.count * US_BLOCK_BYTES;
	     i += 97)
		ASSERT_INT(plain[i], (uint8_t)(want->byte + i * i));
	f->counters[f->n_taken++] = u.counter;
}

static int take(void *arg, const uint8_t *units, size_t n)
{
	struct far_side *f = arg;
	struct unit_view u;
	size_t at;

	if (f->fail_after >= 0 && !f->fail_after--)
		return -EPIPE;
	for (at = 0; at < n; at += u.total_bytes) {
		ASSERT_OK(unit_parse(units + at, n - at, &u));
		judge_unit(f, units + at, u.total_bytes);
	}
	return 0;
}

static int put_one(struct encoder *e, struct far_side *f,
		   struct rnd_seeded *rnd)
{
	static uint8_t plain[UNIT_MAX_PLAIN_BYTES];
	struct fp fps[UNIT_MAX_BLOCKS];
	struct put *p = &f->puts[f->n_put++];
	size_t i;

	*p = (struct put){
		.first = rnd_seeded_below(rnd, 1 << 20),
		.is_zero = !rnd_seeded_below(rnd, 4),
		.count = 1 + (uint32_t)rnd_seeded_below(rnd, UNIT_MAX_BLOCKS),
		.byte = (uint8_t)rnd_seeded_below(rnd, 256),
	};
	if (p->is_zero)
		return encoder_zero(e, p->first, p->count);
	for (i = 0; i < (size_t)p->count * US_BLOCK_BYTES; i++)
		plain[i] = (uint8_t)(p->byte + i * i);
	memset(fps, 7, sizeof(fps));
	return encoder_data(e, p->first, p->count, plain, fps);
}

static void counters_are_distinct(const struct far_side *f)
{
	uint32_t i, j;

	for (i = 0; i < f->n_taken; i++)
		for (j = 0; j < i; j++)
			ASSERT_MSG(f->counters[i] != f->counters[j],
				   "a nonce was used twice");
}

static struct encoder *open_encoder(struct far_side *f, unsigned int threads,
				    struct volume_key *key)
{
	struct encoder_config ec = { .epoch = 1, .key = key,
				     .compression = { .mode = COMP_AUTO },
				     .rnd = rnd_system(),
				     .n_threads = threads, .take = take,
				     .arg = f };
	struct encoder *e;

	memset(f, 0, sizeof(*f));
	f->fail_after = -1;
	ASSERT_OK(volume_key_new(rnd_system(), 1, key));
	ASSERT_OK(uuid_new(rnd_system(), &ec.volume));
	f->opener = opener_new(key);
	e = encoder_new(&ec);
	ASSERT_NOT_NULL(f->opener);
	ASSERT_NOT_NULL(e);
	return e;
}

static void run_deltas(unsigned int threads, uint64_t seed)
{
	struct rnd_seeded rnd;
	struct volume_key key;
	struct far_side f;
	struct encoder *e = open_encoder(&f, threads, &key);
	const struct delta *d;
	uint32_t i, seq;

	rnd_seeded_init(&rnd, seed);
	for (seq = 1; seq <= DELTAS; seq++) {
		uint64_t n = 1 + rnd_seeded_below(&rnd, UNITS);

		d = encoder_begin(e, seq);
		ASSERT_NOT_NULL(d);
		f.delta = *d;
		f.n_put = f.n_taken = 0;
		for (i = 0; i < n; i++) {
			ASSERT_OK(put_one(e, &f, &rnd));
			if (!rnd_seeded_below(&rnd, 100))
				ASSERT_OK(encoder_flush(e));
		}
		ASSERT_OK(encoder_flush(e));
		ASSERT_U64(f.n_taken, f.n_put);
		counters_are_distinct(&f);
	}
	encoder_free(e);
	opener_free(f.opener);
}

TEST_WITH_TIMEOUT(units_come_out_as_they_went_in, 60)
{
	uint64_t seed = tap_seed();
	unsigned int threads;

	for (threads = 0; threads <= ENCODE_THREADS_MAX; threads++)
		run_deltas(threads, seed + threads);
}

TEST(after_a_failure_nothing_is_taken_any_more)
{
	struct rnd_seeded rnd;
	struct volume_key key;
	struct far_side f;
	struct encoder *e = open_encoder(&f, 2, &key);
	int i, r = 0;

	rnd_seeded_init(&rnd, 1);
	f.delta = *encoder_begin(e, 1);
	f.fail_after = 3;
	for (i = 0; i < (int)UNITS && !r; i++)
		r = put_one(e, &f, &rnd);
	if (!r)
		r = encoder_flush(e);
	EXPECT_INT(r, -EPIPE);
	EXPECT_INT(encoder_flush(e), -EPIPE);
	EXPECT_INT(put_one(e, &f, &rnd), -EPIPE);
	encoder_free(e);
	opener_free(f.opener);
}

TEST(an_encoder_is_freed_with_work_under_way)
{
	struct rnd_seeded rnd;
	struct volume_key key;
	struct far_side f;
	struct encoder *e = open_encoder(&f, 3, &key);
	int i;

	rnd_seeded_init(&rnd, 2);
	f.delta = *encoder_begin(e, 1);
	for (i = 0; i < 100; i++)
		ASSERT_OK(put_one(e, &f, &rnd));
	encoder_free(e);
	opener_free(f.opener);
}

TEST(a_count_that_no_unit_can_have_is_an_error)
{
	struct volume_key key;
	struct far_side f;
	struct encoder *e = open_encoder(&f, 1, &key);
	struct fp fp = { { 1 } };
	uint8_t plain[US_BLOCK_BYTES] = { 1 };

	f.delta = *encoder_begin(e, 1);
	EXPECT_INT(encoder_data(e, 0, 0, plain, &fp), -EINVAL);
	EXPECT_INT(encoder_data(e, 0, UNIT_MAX_BLOCKS + 1, plain, &fp),
		   -EINVAL);
	EXPECT_OK(encoder_flush(e));
	encoder_free(e);
	opener_free(f.opener);
}
