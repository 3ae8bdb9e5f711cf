// SPDX-License-Identifier: Apache-2.0
/*
 * Bytes through a connection, over TLS and over a pair: all of them, in order,
 * in any pieces, through key updates; who waits and who is woken.
 *
 * What should arrive is made from a seed on both sides, never taken from the
 * connection.
 */
#include "tap.h"

#include "unit/pki_fixture.h"

#include "unit/tls_fixture.h"

#include "base/checked.h"
#include "base/clock.h"
#include "base/rnd.h"

static void set_buffers(struct conn *c, int bytes)
{
	ASSERT_OK(setsockopt(conn_poll_fd(c), SOL_SOCKET, SO_SNDBUF, &bytes,
			     sizeof(bytes)));
}

/* ---- a stream made from a seed ---- */

struct stream {
	struct rnd_seeded rnd;
	uint64_t word;
	unsigned int used;
};

static void stream_init(struct stream *s, uint64_t seed)
{
	rnd_seeded_init(&s->rnd, seed);
	s->used = 8;
}

static uint8_t stream_next(struct stream *s)
{
	if (s->used == 8) {
		s->word = rnd_seeded_next(&s->rnd);
		s->used = 0;
	}
	return (uint8_t)(s->word >> 8 * s->used++);
}

static void stream_fill(struct stream *s, uint8_t *p, size_t n)
{
	while (n--)
		*p++ = stream_next(s);
}

/* Bytes that differ. */
static size_t stream_compare(struct stream *s, const uint8_t *p, size_t n)
{
	size_t bad = 0;

	while (n--)
		bad += *p++ != stream_next(s);
	return bad;
}

/* ---- both directions at once ---- */

/*
 * One end, one thread: writes from a queue and reads what comes, waiting for
 * either in poll(2), as an owner of a connection does.
 */
struct duplex {
	pthread_t thread;
	struct conn *c;
	uint64_t seed_out, seed_in, seed_sizes;
	uint64_t bytes;			/* each way */
	uint64_t sent, received, wrong;
	int64_t failure;
};

#define QUEUE_BYTES ((size_t)200000)

static bool duplex_write(struct duplex *d, struct stream *out, uint8_t *queue,
			 size_t *len, struct rnd_seeded *sizes)
{
	int64_t n;

	if (!*len && d->sent < d->bytes) {
		*len = 1 + rnd_seeded_below(sizes, QUEUE_BYTES);
		*len = (size_t)MIN((uint64_t)*len, d->bytes - d->sent);
		stream_fill(out, queue, *len);
	}
	if (!*len)
		return false;
	n = conn_write(d->c, queue, *len, 0);
	if (n < 0) {
		if (n != -EAGAIN)
			d->failure = n;
		return false;
	}
	memmove(queue, queue + n, *len - (size_t)n);
	*len -= (size_t)n;
	d->sent += (uint64_t)n;
	return true;
}

static bool duplex_read(struct duplex *d, struct stream *in, uint8_t *p,
			struct rnd_seeded *sizes)
{
	size_t want = 1 + rnd_seeded_below(sizes, 70000);
	int64_t n = conn_read(d->c, p, want, 0);

	if (n <= 0) {
		if (n != -EAGAIN)
			d->failure = n ? n : -ENODATA;
		return false;
	}
	d->wrong += stream_compare(in, p, (size_t)n);
	d->received += (uint64_t)n;
	return true;
}

static void *duplex_run(void *arg)
{
	struct duplex *d = arg;
	uint8_t *queue = malloc(QUEUE_BYTES), *p = malloc(70000);
	struct rnd_seeded sizes;
	struct stream out, in;
	size_t len = 0;

	rnd_seeded_init(&sizes, d->seed_sizes);
	stream_init(&out, d->seed_out);
	stream_init(&in, d->seed_in);
	while (!d->failure && (d->sent < d->bytes || d->received < d->bytes)) {
		struct pollfd f = { conn_poll_fd(d->c), POLLIN, 0 };
		bool moved = duplex_write(d, &out, queue, &len, &sizes);

		if (d->received < d->bytes)
			moved |= duplex_read(d, &in, p, &sizes);
		if (moved || d->failure || conn_pending(d->c))
			continue;
		if (len)
			f.events |= POLLOUT;
		if (d->received == d->bytes)
			f.events &= ~POLLIN;
		if (poll(&f, 1, PATIENCE_MS) != 1)
			d->failure = -ETIMEDOUT;
	}
	free(queue);
	free(p);
	return NULL;
}

static void transfer(struct conn *a, struct conn *b, uint64_t bytes,
		     uint64_t seed)
{
	struct duplex d[2] = {
		{ .c = a, .seed_out = seed, .seed_in = seed + 1,
		  .seed_sizes = seed + 2, .bytes = bytes },
		{ .c = b, .seed_out = seed + 1, .seed_in = seed,
		  .seed_sizes = seed + 3, .bytes = bytes },
	};
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_OK(pthread_create(&d[i].thread, NULL, duplex_run, &d[i]));
	for (i = 0; i < 2; i++)
		ASSERT_OK(pthread_join(d[i].thread, NULL));
	for (i = 0; i < 2; i++) {
		EXPECT_OK(d[i].failure);
		EXPECT_U64(d[i].sent, bytes);
		EXPECT_U64(d[i].received, bytes);
		EXPECT_U64(d[i].wrong, 0);
	}
}

TEST(every_byte_arrives_in_both_directions)
{
	uint64_t seed = tap_seed();
	size_t i;

	for (i = 0; i < 2; i++) {
		struct conn *a, *b;

		makers[i](&a, &b);
		transfer(a, b, 6 << 20, seed);
		conn_close(a, false);
		conn_close(b, false);
	}
}

/* The oracle above must object to a single changed byte. */
TEST(a_changed_byte_would_be_seen)
{
	struct stream out, in;
	uint8_t p[1000];

	stream_init(&out, 5);
	stream_init(&in, 5);
	stream_fill(&out, p, sizeof(p));
	p[777] ^= 1;
	EXPECT_U64(stream_compare(&in, p, sizeof(p)), 1);
}

/* ---- key updates ---- */

/* Counts the KeyUpdate messages that this end receives. */
static void count_key_updates(int is_write, int version, int content_type,
			      const void *p, size_t n, SSL *ssl, void *arg)
{
	(void)version;
	(void)ssl;
	if (!is_write && content_type == SSL3_RT_HANDSHAKE && n > 0 &&
	    *(const uint8_t *)p == SSL3_MT_KEY_UPDATE)
		++*(uint64_t *)arg;
}

static void watch_key_updates(struct conn *c, uint64_t *count)
{
	struct tls_conn *t = tls_conn_of(c);

	SSL_set_msg_callback(t->ssl, count_key_updates);
	SSL_set_msg_callback_arg(t->ssl, count);
}

TEST(keys_are_renewed_while_bytes_flow_both_ways)
{
	uint64_t at_a = 0, at_b = 0, n_a, n_b;
	uint64_t seed = tap_seed();
	struct conn *a, *b;

	tls_ends(&a, &b);
	watch_key_updates(a, &at_a);
	watch_key_updates(b, &at_b);
	tls_conn_of(a)->rekey_records = 3;
	tls_conn_of(b)->rekey_records = 5;
	transfer(a, b, 3 << 20, seed);
	n_a = tls_conn_of(a)->n_rekeys;
	n_b = tls_conn_of(b)->n_rekeys;
	tap_note("%" PRIu64 " and %" PRIu64 " updates", n_a, n_b);
	EXPECT_GE(n_a, 60);
	EXPECT_GE(n_b, 35);
	/* One that is due last may not have had a record behind it. */
	EXPECT_LE(n_a - at_b, 1);
	EXPECT_LE(n_b - at_a, 1);
	conn_close(a, false);
	conn_close(b, false);
}

TEST(a_key_update_that_finds_no_room_is_finished_later)
{
	uint64_t at_b = 0, seed = tap_seed();
	struct conn *a, *b;

	tls_ends(&a, &b);
	watch_key_updates(b, &at_b);
	set_buffers(a, 1);		/* the smallest the kernel has */
	set_buffers(b, 1);
	tls_conn_of(a)->rekey_records = 1;
	tls_conn_of(b)->rekey_records = 1;
	transfer(a, b, 1 << 20, seed);
	EXPECT_GE(at_b, 63);
	EXPECT_LE(tls_conn_of(a)->n_rekeys - at_b, 1);
	conn_close(a, false);
	conn_close(b, false);
}

/*
 * OpenSSL reads nothing while it cannot get rid of a KeyUpdate. Two ends in
 * that state at once would wait for each other for ever.
 */
TEST(reading_goes_on_while_a_key_update_finds_no_room)
{
	static uint8_t p[100000];
	struct conn *a, *b;
	char word[8] = "";
	uint64_t n;
	int i, held = 0;

	tls_ends(&a, &b);
	tls_conn_of(a)->rekey_records = 1;
	for (i = 0; i < 40; i++) {	/* of many fills, some end at one */
		n = fill_up(a, p, sizeof(p));
		held += tls_conn_of(a)->n_held > 0;
		EXPECT_INT(conn_write(b, "word", 4, 0), 4);
		EXPECT_INT(conn_read(a, word, sizeof(word), 0), 4);
		EXPECT_STR(word, "word");
		while (n) {		/* makes room for another fill */
			int64_t r = conn_read(b, p, 1 + (size_t)i * 997, 0);

			if (r == -EAGAIN)
				break;
			ASSERT_GT(r, 0);
			n -= MIN((uint64_t)r, n);
		}
	}
	tap_note("%d of 40 fills ended at a key update", held);
	EXPECT_GT(held, 0);
	conn_close(a, false);
	conn_close(b, false);
}

TEST(a_key_that_is_old_is_renewed_though_little_was_written)
{
	uint64_t at_b = 0;
	struct conn *a, *b;
	char byte;

	tls_ends(&a, &b);
	watch_key_updates(b, &at_b);
	EXPECT_INT(conn_write(a, "x", 1, PATIENCE_MS), 1);
	EXPECT_INT(conn_read(b, &byte, 1, PATIENCE_MS), 1);
	EXPECT_U64(at_b, 0);
	tls_conn_of(a)->key_since_ns -= TLS_REKEY_S * NSEC_PER_SEC;
	EXPECT_INT(conn_write(a, "y", 1, PATIENCE_MS), 1);
	EXPECT_INT(conn_read(b, &byte, 1, PATIENCE_MS), 1);
	EXPECT_INT(byte, 'y');
	EXPECT_U64(at_b, 1);
	conn_close(a, false);
	conn_close(b, false);
}

TEST(the_limits_of_a_key_are_those_of_the_rfc_and_less)
{
	struct conn *a, *b;

	tls_ends(&a, &b);
	EXPECT_U64(tls_conn_of(a)->rekey_records, 1 << 23);
	EXPECT_U64(tls_conn_of(a)->rekey_ns, 3600 * NSEC_PER_SEC);
	conn_close(a, false);
	conn_close(b, false);
}

/* ---- waiting ---- */

TEST(a_read_that_must_not_wait_does_not)
{
	struct conn *a, *b;
	char byte;
	size_t i;

	for (i = 0; i < 2; i++) {
		makers[i](&a, &b);
		EXPECT_INT(conn_read(a, &byte, 1, 0), -EAGAIN);
		EXPECT_INT(conn_read(a, &byte, 1, 1), -EAGAIN);
		EXPECT_STR(a->failure.code, "");
		conn_close(a, false);
		conn_close(b, false);
	}
}

TEST(a_write_that_finds_no_room_waits_as_long_as_it_may)
{
	static uint8_t p[100000];
	struct conn *a, *b;
	size_t i;

	for (i = 0; i < 2; i++) {
		makers[i](&a, &b);
		(void)fill_up(a, p, sizeof(p));
		EXPECT_INT(conn_write(a, p, sizeof(p), 1), -EAGAIN);
		conn_close(a, false);
		conn_close(b, false);
	}
}

/* What was half sent is sent again, from another place in memory. */
TEST(a_write_goes_on_from_another_buffer)
{
	struct stream out, in;
	uint8_t *p = malloc(60000), *q = malloc(60000);
	uint64_t total = 0, got = 0, wrong = 0;
	struct conn *a, *b;
	int64_t n;

	tls_ends(&a, &b);
	stream_init(&out, 9);
	stream_init(&in, 9);
	for (;;) {
		stream_fill(&out, p, 60000);
		n = conn_write(a, p, 60000, 0);
		if (n == 60000) {
			total += 60000;
			continue;
		}
		break;
	}
	if (n < 0)
		n = 0;
	total += (uint64_t)n;
	memcpy(q, p + n, (size_t)(60000 - n));
	memset(p, 0, 60000);
	EXPECT_INT(conn_write(a, q, (size_t)(60000 - n), 0), -EAGAIN);
	EXPECT_INT(conn_write(a, q, 1, 0), -EINVAL);
	while (got < total) {
		int64_t r = conn_read(b, p, 60000, PATIENCE_MS);

		ASSERT_GT(r, 0);
		wrong += stream_compare(&in, p, (size_t)r);
		got += (uint64_t)r;
	}
	total += 60000 - (uint64_t)n;
	while (n < 60000) {
		int64_t r = conn_write(a, q, (size_t)(60000 - n), 0);

		if (r > 0) {
			memmove(q, q + r, (size_t)(60000 - n - r));
			n += r;
		}
		r = conn_read(b, p, 60000, 0);
		if (r > 0) {
			wrong += stream_compare(&in, p, (size_t)r);
			got += (uint64_t)r;
		}
	}
	while (got < total) {
		int64_t r = conn_read(b, p, 60000, PATIENCE_MS);

		ASSERT_GT(r, 0);
		wrong += stream_compare(&in, p, (size_t)r);
		got += (uint64_t)r;
	}
	EXPECT_U64(wrong, 0);
	free(p);
	free(q);
	conn_close(a, false);
	conn_close(b, false);
}

/* The queue behind what was half sent may have grown meanwhile. */
TEST(a_write_goes_on_with_more_bytes)
{
	uint8_t *p = malloc(60000);
	uint64_t total = 0, got = 0, wrong = 0;
	struct stream out, in;
	struct conn *a, *b;
	int64_t n;

	tls_ends(&a, &b);
	stream_init(&out, 3);
	stream_init(&in, 3);
	do {
		stream_fill(&out, p, 5000);
		n = conn_write(a, p, 5000, 0);
		total += n > 0 ? (uint64_t)n : 0;
	} while (n == 5000);
	ASSERT_INT(n, -EAGAIN);
	stream_fill(&out, p + 5000, 55000);
	while (got < total + 60000) {
		static uint8_t q[60000];

		n = conn_read(b, q, sizeof(q), PATIENCE_MS);
		ASSERT_GT(n, 0);
		wrong += stream_compare(&in, q, (size_t)n);
		got += (uint64_t)n;
		if (got < 60000)
			continue;	/* room for all of it */
		n = conn_write(a, p, 60000, 0);
		if (n > 0)
			ASSERT_INT(n, 60000);
		if (n > 0)
			break;
	}
	while (got < total + 60000) {
		n = conn_read(b, p, 60000, PATIENCE_MS);
		ASSERT_GT(n, 0);
		wrong += stream_compare(&in, p, (size_t)n);
		got += (uint64_t)n;
	}
	EXPECT_U64(wrong, 0);
	free(p);
	conn_close(a, false);
	conn_close(b, false);
}

static void *wake_it(void *arg)
{
	conn_wake(arg);
	return NULL;
}

static void expect_woken(struct conn *c, uint8_t *p, size_t n, bool writes)
{
	pthread_t thread;

	ASSERT_OK(pthread_create(&thread, NULL, wake_it, c));
	EXPECT_INT(writes ? conn_write(c, p, n, -1) : conn_read(c, p, n, -1),
		   -EINTR);
	ASSERT_OK(pthread_join(thread, NULL));
}

TEST(a_wait_ends_when_another_thread_wakes_it)
{
	static uint8_t p[100000];
	struct conn *a, *b;
	size_t i;
	int k;

	for (i = 0; i < 2; i++) {
		makers[i](&a, &b);
		for (k = 0; k < 50; k++)
			expect_woken(a, p, sizeof(p), false);
		(void)fill_up(a, p, sizeof(p));
		for (k = 0; k < 50; k++)
			expect_woken(a, p, sizeof(p), true);
		/* Each wake ended one wait; none is left over. */
		EXPECT_INT(conn_read(a, p, 1, 1), -EAGAIN);
		conn_wake(a);
		conn_wake(a);
		conn_wake_clear(a);
		EXPECT_INT(conn_read(a, p, 1, 1), -EAGAIN);
		EXPECT_STR(a->failure.code, "");
		conn_close(a, false);
		conn_close(b, false);
	}
}

TEST(a_wake_before_the_wait_is_not_lost_and_takes_no_bytes)
{
	struct conn *a, *b;
	char bytes[4];
	size_t i;

	for (i = 0; i < 2; i++) {
		makers[i](&a, &b);
		conn_wake(a);
		EXPECT_INT(conn_read(a, bytes, 4, 0), -EAGAIN);
		EXPECT_INT(conn_read(a, bytes, 4, -1), -EINTR);
		conn_wake(a);
		EXPECT_INT(conn_write(b, "abc", 3, PATIENCE_MS), 3);
		EXPECT_INT(conn_read(a, bytes, 4, PATIENCE_MS), 3);
		conn_close(a, false);
		conn_close(b, false);
	}
}

TEST(what_poll_cannot_see_is_pending)
{
	struct pollfd f = { .events = POLLIN };
	struct conn *a, *b;
	char byte;
	int i;

	tls_ends(&a, &b);
	EXPECT_FALSE(conn_pending(b));
	for (i = 0; i < 3; i++)		/* three records */
		EXPECT_INT(conn_write(a, "xy", 2, PATIENCE_MS), 2);
	EXPECT_INT(conn_read(b, &byte, 1, PATIENCE_MS), 1);
	f.fd = conn_poll_fd(b);
	for (i = 0; i < 5; i++) {
		if (poll(&f, 1, 0) == 0)
			EXPECT_TRUE(conn_pending(b));
		EXPECT_INT(conn_read(b, &byte, 1, 0), 1);
	}
	EXPECT_FALSE(conn_pending(b));
	EXPECT_INT(conn_read(b, &byte, 1, 0), -EAGAIN);
	conn_close(a, false);
	conn_close(b, false);
}
