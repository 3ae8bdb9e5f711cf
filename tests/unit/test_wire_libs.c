// SPDX-License-Identifier: Apache-2.0
/*
 * What sealing, opening and sessions ask of libraries fails, one place after
 * the other: whoever was called says so and leaves nothing behind, what was
 * sealed before still opens, a session that could not go on is over, and the
 * next one comes to its end.
 *
 * test-timeout: 600
 */
#include "lib/tap.h"

#include "unit/nth_site.h"
#include "unit/session_pair.h"

#include "wire/compress.h"
#include "wire/kdf.h"
#include "wire/seal.h"

/* What is called here counts, and may fail. */
#define PRODUCT(call) \
	({ \
		__typeof__(call) r_; \
		site_begin(); \
		r_ = (call); \
		site_end(); \
		r_; \
	})

/* Ends a step that cannot go on; that is legal when something failed. */
#define NEEDS(call) \
	do { \
		int n_ = PRODUCT(call); \
		if (n_ < 0) { \
			ASSERT_MSG(sites.hit, "  by itself: %s: %d", #call, \
				   n_); \
			return -1; \
		} \
	} while (0)

#define BLOCK US_BLOCK_BYTES

static const struct uuid volume = { { 0x40, 0x41 } };
static uint8_t plain[UNIT_MAX_PLAIN_BYTES], back[UNIT_MAX_PLAIN_BYTES];
static struct fp fps[UNIT_MAX_BLOCKS];

/* step until it works: it fails once, at most. */
static void until_done(int (*step)(void))
{
	unsigned int tries;

	for (tries = 0; step() < 0; tries++)
		ASSERT_MSG(tries < 2, "  %s failed: again and again",
			   sites.hit);
}

static void fill(unsigned int kind)
{
	size_t i;

	for (i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(kind ? i / 256 : i * i >> 3 ^ i * 31);
}

struct seals {
	struct volume_key key;
	struct sealer *sealer, *twin;
	struct opener *opener;
	struct fp_ctx *fps;
	struct buf units;
};

static void seals_free(struct seals *s)
{
	sealer_free(s->sealer);
	sealer_free(s->twin);
	opener_free(s->opener);
	fp_ctx_free(s->fps);
	buf_free(&s->units);
}

static int open_all(struct seals *s)
{
	const struct delta *d = sealer_delta(s->sealer);
	struct unit_view v;
	size_t at;
	int r;

	for (at = 0; at < s->units.len; at += v.total_bytes) {
		ASSERT_OK(unit_parse(s->units.data + at, s->units.len - at,
				     &v));
		r = PRODUCT(opener_open(s->opener, d, s->units.data + at,
					v.total_bytes, &v, back,
					sizeof(back)));
		ASSERT_TRUE(r == 0 || sites.hit);
		if (r < 0)
			return r;
		if (v.codec != UNIT_ZERO)
			ASSERT_MEM(back, plain, v.count * BLOCK);
	}
	return 0;
}

static int seal_with(struct seals *s, enum comp_mode mode)
{
	const struct comp_config comp = { .mode = mode };
	size_t before;
	uint32_t i;
	int r;

	sealer_free(s->sealer);
	s->sealer = PRODUCT(sealer_new(&s->key, &volume, 1, 2, &comp,
				       rnd_system()));
	sealer_free(s->twin);
	s->twin = s->sealer ? PRODUCT(sealer_twin(s->sealer, &s->key, &comp)) :
			      NULL;
	if (!s->twin)
		return -1;
	NEEDS(sealer_follow(s->twin, s->sealer, &s->key));
	for (i = 0; i < UNIT_MAX_BLOCKS; i++)
		NEEDS(fp_compute(s->fps, 100 + i, plain + i * BLOCK, &fps[i]));
	before = s->units.len;
	r = PRODUCT(sealer_data(s->sealer, 100, UNIT_MAX_BLOCKS, plain, fps,
				&s->units));
	if (r == 0)
		r = PRODUCT(sealer_zero(s->sealer, 900, 70, &s->units));
	else
		ASSERT_U64(s->units.len, before);
	/* What was sealed before a failure is as good as ever. */
	return open_all(s) < 0 ? -1 : r;
}

static int seal_step(void)
{
	static const enum comp_mode modes[] = { COMP_NONE, COMP_LZ4, COMP_ZSTD,
						COMP_AUTO };
	_cleanup_(seals_free) struct seals s = { 0 };
	char text[KEY_TEXT_MAX], name[65];
	struct volume_key again;
	struct uuid id;
	struct err err = ERR_INIT;
	size_t i;

	ASSERT_OK(volume_key_new(rnd_system(), 1, &s.key));
	s.opener = PRODUCT(opener_new(&s.key));
	s.fps = s.opener ? PRODUCT(fp_ctx_new(&s.key, &volume)) : NULL;
	if (!s.fps) {
		ASSERT_NOT_NULL(sites.hit);
		return -1;
	}
	for (i = 0; i < 2 * sizeof(modes) / sizeof(modes[0]); i++) {
		fill((unsigned int)i & 1);
		buf_reset(&s.units);
		if (seal_with(&s, modes[i / 2]) < 0) {
			ASSERT_NOT_NULL(sites.hit);
			return -1;
		}
	}
	NEEDS(opener_try(s.opener, sealer_delta(s.sealer)));
	NEEDS(volume_key_to_text(&s.key, "db1", &volume, text, sizeof(text)));
	NEEDS(volume_key_from_text(text, strlen(text), &again, name, &id,
				   &err));
	ASSERT_MEM(again.bytes, s.key.bytes, VOLUME_KEY_BYTES);
	return 0;
}

static void seal_life(void *arg)
{
	(void)arg;
	until_done(seal_step);
}

TEST_WITH_TIMEOUT(each_library_call_of_sealing_and_opening_fails, 300)
{
	EXPECT_GT(sites_fail_each(seal_life, NULL, 1), 20);
}

/* Fetched once in a process, each test being one: none for as long as it is. */
static void is_told_without(const char *name)
{
	static const struct comp_config comp = { .mode = COMP_NONE };
	struct volume_key key;

	ASSERT_OK(volume_key_new(rnd_system(), 1, &key));
	sites.fail_name = name;
	EXPECT_TRUE(!PRODUCT(sealer_new(&key, &volume, 1, 1, &comp,
					rnd_system())));
	sites.fail_name = NULL;
	EXPECT_TRUE(!PRODUCT(fp_ctx_new(&key, &volume)));
}

TEST(without_the_cipher_nothing_is_sealed)
{
	is_told_without("EVP_CIPHER_fetch");
}

TEST(without_hmac_nothing_is_sealed)
{
	is_told_without("EVP_MAC_fetch");
}

TEST(without_hkdf_nothing_is_sealed)
{
	is_told_without("EVP_KDF_fetch");
}

/* ---- sessions ---- */

static const uint8_t held_fps[4096 * UNIT_FP_BYTES];

static int answer_read(struct pair *p, uint64_t first, uint32_t count)
{
	struct wire_piece piece = { .first = first, .count = 1,
				    .absent = true };
	uint8_t unit[2000];

	NEEDS(serve_piece(p->s, &piece));
	piece = (struct wire_piece){ .first = first + 1, .count = count - 1,
				     .delta = pair_delta(10), .unit = unit };
	piece.unit_bytes = pair_unit(unit, piece.first, count - 1, false);
	NEEDS(serve_piece(p->s, &piece));
	return PRODUCT(serve_read_end(p->s, first, count));
}

/* What the accepting end has to say to what came. */
static int answer(struct pair *p)
{
	struct wire_accept accept = pair_accept();
	struct wire_volume_state state = pair_state();
	struct wire_view_state view = pair_view(5);
	struct wire_ack ack = pair_ack(11);
	const struct serve_event *e = &p->se;

	switch (e->type) {
	case SERVE_HELLO:
		return PRODUCT(serve_accept(p->s, &accept));
	case SERVE_VOLUME_OPEN:
		return PRODUCT(serve_volume(p->s, &state));
	case SERVE_FP_QUERY:
		return PRODUCT(serve_fps(p->s, e->first, e->count, held_fps));
	case SERVE_COMMIT:
		return PRODUCT(serve_ack(p->s, &ack));
	case SERVE_POINTS_QUERY:
		NEEDS(serve_point(p->s, &view.point));
		return PRODUCT(serve_points_end(p->s));
	case SERVE_VIEW_OPEN:
		return PRODUCT(serve_view(p->s, &view));
	case SERVE_VIEW_READ:
		return answer_read(p, e->first, e->count);
	default:
		return 0;
	}
}

static int feed(struct pair *p, bool to_accepting)
{
	struct buf *out = to_accepting ? dial_out(p->d) : serve_out(p->s);
	int r = to_accepting ?
			PRODUCT(serve_feed(p->s, out->data, out->len,
					   &p->err)) :
			PRODUCT(dial_feed(p->d, out->data, out->len, &p->err));

	buf_consume(out, out->len);
	return r;
}

/* Until neither has anything to say. */
static int talk(struct pair *p)
{
	int r;

	do {
		NEEDS(feed(p, true));
		while ((r = PRODUCT(serve_next(p->s, &p->se, &p->err))) == 0)
			NEEDS(answer(p));
		NEEDS(r);
		NEEDS(feed(p, false));
		while ((r = PRODUCT(dial_next(p->d, &p->de, &p->err))) == 0) {
			if (p->de.type == DIAL_BYE ||
			    p->de.type == DIAL_REFUSED)
				return sites.hit ? -1 : 0;
		}
		NEEDS(r);
	} while (dial_out(p->d)->len || serve_out(p->s)->len);
	return 0;
}

static int sender_says(struct pair *p)
{
	struct wire_volume_open open = pair_open();
	struct wire_commit c = pair_commit(11);
	struct delta d = pair_delta(11);
	uint8_t units[2000];
	size_t n;

	n = pair_unit(units, 5, 3, false);
	n += pair_unit(units + n, 90, 3, true);
	NEEDS(talk(p));
	NEEDS(dial_volume_open(p->d, &open));
	NEEDS(talk(p));
	NEEDS(dial_escrow(p->d, "a key", 5));
	NEEDS(dial_point_begin(p->d, &d));
	NEEDS(dial_units(p->d, units, n));
	NEEDS(dial_fp_query(p->d, 0, 4096));
	NEEDS(dial_commit(p->d, &c));
	NEEDS(talk(p));
	NEEDS(dial_confirm(p->d, 3, 11, 9));
	NEEDS(dial_discard(p->d));
	NEEDS(dial_ping(p->d));
	NEEDS(talk(p));
	NEEDS(dial_bye(p->d));
	return talk(p);
}

static int reader_says(struct pair *p)
{
	struct wire_view_open sel = { .name = "db1" };

	NEEDS(talk(p));
	NEEDS(dial_points_query(p->d, "web1", "db1"));
	NEEDS(dial_view_open(p->d, &sel));
	NEEDS(talk(p));
	NEEDS(dial_view_read(p->d, 5, 0, 8));
	NEEDS(talk(p));
	NEEDS(dial_view_close(p->d, 5));
	NEEDS(dial_bye(p->d));
	return talk(p);
}

static int session(enum wire_role role, int (*say)(struct pair *p))
{
	struct wire_hello hello = pair_hello(role);
	struct pair p = { 0 };
	int r = -1;

	p.d = PRODUCT(dial_new(&hello));
	p.s = PRODUCT(serve_new());
	if (p.d && p.s)
		r = say(&p);
	ASSERT_TRUE(r == 0 || sites.hit);
	pair_free(&p);
	return r;
}

static int session_step(void)
{
	int r = session(WIRE_ROLE_SENDER, sender_says);

	return r == 0 ? session(WIRE_ROLE_READER, reader_says) : r;
}

static void session_life(void *arg)
{
	(void)arg;
	until_done(session_step);
}

TEST_WITH_TIMEOUT(each_library_call_of_a_session_fails, 300)
{
	EXPECT_GT(sites_fail_every(session_life, NULL), 20);
}
