// SPDX-License-Identifier: Apache-2.0
/*
 * The reader of tests: its order comes from the seed, its hook runs before
 * every copy, its faults and tails are those of a device.
 */
#include "base/cleanup.h"
#include "source/reader_mem.h"
#include "tap.h"

#define MEM_BYTES (1U << 20)
#define MEM_REQUESTS 48U

struct mem_world {
	uint8_t *data;
	unsigned int n_hooks;
	bool write;			/* the hook changes what is copied next */
	uint64_t fail_off;
};

static void mem_hook(void *arg, uint64_t off, uint32_t len)
{
	struct mem_world *w = arg;

	w->n_hooks++;
	if (w->write)
		memset(w->data + off, (int)(0x80 + w->n_hooks % 64), len);
}

static int mem_fault(void *arg, const struct read_req *req)
{
	const struct mem_world *w = arg;

	return req->off_bytes == w->fail_off ? -EIO : 0;
}

static struct read_req *read_one(struct reader *r, uint64_t off, uint32_t len)
{
	struct read_req *q = r->ops->get(r), *got = NULL;

	ASSERT_NOT_NULL(q);
	q->off_bytes = off;
	q->len_bytes = len;
	memset(q->buf, 0xee, READER_BUF_BYTES);
	ASSERT_OK(r->ops->submit(r, q));
	ASSERT_OK(r->ops->next(r, true, &got));
	ASSERT_TRUE(got == q);
	return q;
}

static void mem_order(uint64_t seed, bool in_order, uint64_t *order)
{
	_cleanup_free_ uint8_t *data = calloc(1, MEM_BYTES);
	struct reader_mem_config cfg = {
		.data = data, .size_bytes = MEM_BYTES, .seed = seed,
		.in_order = in_order,
	};
	unsigned int i, n = 0;
	struct reader *r;
	struct read_req *q;
	int res;

	ASSERT_OK(reader_open_mem(&cfg, &r));
	for (i = 0; i < MEM_REQUESTS; i++) {
		q = r->ops->get(r);
		q->off_bytes = i * 4096ULL;
		q->len_bytes = 4096;
		ASSERT_OK(r->ops->submit(r, q));
	}
	while ((res = r->ops->next(r, true, &q)) == 0) {
		order[n++] = q->off_bytes;
		r->ops->put(r, q);
	}
	ASSERT_INT(res, 1);
	ASSERT_INT(n, MEM_REQUESTS);
	r->ops->close(r);
}

TEST(memory_order_follows_the_seed)
{
	uint64_t a[MEM_REQUESTS], b[MEM_REQUESTS], c[MEM_REQUESTS];
	unsigned int i;
	uint64_t sum = 0;

	mem_order(1, false, a);
	mem_order(1, false, b);
	mem_order(2, false, c);
	EXPECT_MEM(a, b, sizeof(a));
	EXPECT_TRUE(memcmp(a, c, sizeof(a)) != 0);
	for (i = 0; i < MEM_REQUESTS; i++)
		sum += a[i];
	EXPECT_U64(sum, 4096ULL * MEM_REQUESTS * (MEM_REQUESTS - 1) / 2);
	mem_order(3, true, a);
	for (i = 0; i < MEM_REQUESTS; i++)
		EXPECT_U64(a[i], i * 4096ULL);
}

TEST(memory_hook_writes_what_is_copied_next)
{
	_cleanup_free_ uint8_t *data = calloc(1, MEM_BYTES);
	struct mem_world w = { .data = data, .write = true };
	struct reader_mem_config cfg = {
		.data = data, .size_bytes = MEM_BYTES, .seed = tap_seed(),
		.slice_bytes = 4096, .before_copy = mem_hook, .arg = &w,
	};
	struct reader *r;
	struct read_req *q;

	ASSERT_OK(reader_open_mem(&cfg, &r));
	q = read_one(r, 0, 3 * 4096);
	ASSERT_OK(q->res);
	EXPECT_INT(w.n_hooks, 3);
	EXPECT_INT(q->buf[0], 0x81);		/* each slice after its hook */
	EXPECT_INT(q->buf[4096], 0x82);
	EXPECT_INT(q->buf[3 * 4096 - 1], 0x83);
	r->ops->close(r);
}

TEST(memory_faults_and_tails_are_as_on_devices)
{
	_cleanup_free_ uint8_t *data = malloc(MEM_BYTES);
	struct mem_world w = { .data = data, .fail_off = 8192 };
	struct reader_mem_config cfg = {
		.data = data, .size_bytes = MEM_BYTES - 512, .seed = 1,
		.fault = mem_fault, .arg = &w,
	};
	struct reader *r;
	struct read_req *q;

	memset(data, 0x42, MEM_BYTES);
	ASSERT_OK(reader_open_mem(&cfg, &r));
	q = read_one(r, 8192, 4096);
	EXPECT_INT(q->res, -EIO);
	r->ops->put(r, q);
	q = read_one(r, MEM_BYTES - 4096, 4096);
	EXPECT_OK(q->res);
	EXPECT_INT(q->buf[4096 - 513], 0x42);
	EXPECT_INT(q->buf[4096 - 512], 0);
	EXPECT_U64(r->bytes_read, 4096 - 512);
	r->ops->close(r);
}

TEST(memory_without_wait_may_say_not_yet)
{
	_cleanup_free_ uint8_t *data = calloc(1, MEM_BYTES);
	struct reader_mem_config cfg = {
		.data = data, .size_bytes = MEM_BYTES, .seed = 4,
	};
	unsigned int again = 0, done = 0, i;
	struct reader *r;
	struct read_req *q;
	int res;

	ASSERT_OK(reader_open_mem(&cfg, &r));
	for (i = 0; i < 32; i++) {
		q = r->ops->get(r);
		q->off_bytes = i * 4096ULL;
		q->len_bytes = 4096;
		ASSERT_OK(r->ops->submit(r, q));
	}
	while ((res = r->ops->next(r, false, &q)) != 1) {
		if (res == -EAGAIN) {
			again++;
			continue;
		}
		ASSERT_OK(res);
		done++;
		r->ops->put(r, q);
	}
	EXPECT_INT(done, 32);
	EXPECT_GT(again, 0);
	r->ops->close(r);
}
