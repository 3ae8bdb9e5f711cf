/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Arithmetic on numbers that came from disk, wire or user. Each returns true
 * when the result is representable and stored; false leaves *out undefined.
 */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

static inline bool mul_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

/* align is a power of two. */
static inline bool align_up_u64(uint64_t v, uint64_t align, uint64_t *out)
{
	uint64_t t;

	if (!add_u64(v, align - 1, &t))
		return false;
	*out = t & ~(align - 1);
	return true;
}

/* Does [off, off + len) lie inside [0, size)? */
static inline bool range_inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static inline uint64_t div_up_u64(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

static inline bool is_pow2_u64(uint64_t v)
{
	return v && !(v & (v - 1));
}

#define MIN(a, b)                            \
	({                                   \
		__typeof__(a) min_a_ = (a);  \
		__typeof__(b) min_b_ = (b);  \
		min_a_ < min_b_ ? min_a_ : min_b_; \
	})
#define MAX(a, b)                            \
	({                                   \
		__typeof__(a) max_a_ = (a);  \
		__typeof__(b) max_b_ = (b);  \
		max_a_ > max_b_ ? max_a_ : max_b_; \
	})
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
