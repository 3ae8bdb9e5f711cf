/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_MODEL_IMAGE_H
#define TESTS_UNIT_MODEL_IMAGE_H

/*
 * An image held in memory whose every byte the test knows, with stretches of
 * data, of zeros, and of nothing. Include it after tap.h, in the test.
 */
#include "base/checked.h"
#include "store/restore.h"

#define B US_BLOCK_BYTES

enum { ABSENT, ZERO, DATA };

struct model {
	struct image image;
	uint64_t n_blocks;
	uint8_t *kind;			/* per block */
	uint8_t *bytes;			/* n_blocks * B */
	int read_error;			/* given by read */
	uint64_t read_error_block;
	bool backwards;			/* next lies */
	uint64_t max_stretch;
	int closed;
};

static int model_next(struct image *im, uint64_t block, uint64_t *first,
		      uint64_t *count, bool *zero, struct err *err)
{
	struct model *m = (struct model *)im;
	uint64_t b = block, e;

	(void)err;
	while (b < m->n_blocks && m->kind[b] == ABSENT)
		b++;
	if (b >= m->n_blocks)
		return 1;
	for (e = b; e < m->n_blocks && m->kind[e] == m->kind[b] &&
	     e - b < m->max_stretch; e++)
		;
	*first = m->backwards && block ? block - 1 : b;
	*count = e - b;
	*zero = m->kind[b] == ZERO;
	return 0;
}

static int model_read(struct image *im, uint64_t first, uint64_t count,
		      uint8_t *out, struct err *err)
{
	struct model *m = (struct model *)im;

	if (count > IMAGE_READ_MAX || first + count > m->n_blocks)
		return err_set(err, -EINVAL, "test", "model", "bad read");
	if (m->read_error && m->read_error_block >= first &&
	    m->read_error_block < first + count)
		return err_set(err, m->read_error, "test", "model", "told to");
	memcpy(out, m->bytes + first * B, count * B);
	return 0;
}

static inline void model_close(struct image *im)
{
	((struct model *)im)->closed++;
}

static const struct image_ops model_ops = { model_next, model_read,
					    model_close };

static inline void model_init(struct model *m, uint64_t size_bytes)
{
	memset(m, 0, sizeof(*m));
	m->image.ops = &model_ops;
	m->image.point.meta.size_bytes = size_bytes;
	snprintf(m->image.name, sizeof(m->image.name), "web1/db1");
	m->n_blocks = div_up_u64(size_bytes, B);
	m->kind = calloc(m->n_blocks, 1);
	m->bytes = calloc(m->n_blocks, B);
	m->max_stretch = UINT64_MAX;
	ASSERT_TRUE(m->kind && m->bytes);
}

static inline void model_free(struct model *m)
{
	free(m->kind);
	free(m->bytes);
}

static inline void model_set(struct model *m, uint64_t first, uint64_t count,
		      int kind, uint8_t seed)
{
	uint64_t size = m->image.point.meta.size_bytes, i;

	memset(m->kind + first, kind, count);
	for (i = first * B; i < (first + count) * B; i++)
		m->bytes[i] = kind == DATA && i < size ?
			(uint8_t)(seed + i / B + i * 7) | 1 : 0;
}

#endif
