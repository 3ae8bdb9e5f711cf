/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_ALLOC_HOOKS_H
#define TESTS_UNIT_ALLOC_HOOKS_H

/*
 * malloc, calloc and realloc of the whole process, which give NULL when
 * ALLOC_FAILS(name of the function, its caller's address) says so. Whoever
 * includes this defines that macro before, sets errno where it says so, and
 * does not allocate to find it out. Include it once, in the test that is the
 * program.
 */
#include <stdlib.h>

#ifndef ALLOC_FAILS
#error "ALLOC_FAILS(what, caller) decides"
#endif

#define ALLOC_FAILS_HERE ALLOC_FAILS(__func__, __builtin_return_address(0))

/* Whoever lies below: a sanitizer, or the C library itself. */
void *__interceptor_malloc(size_t) __attribute__((weak));
void *__interceptor_calloc(size_t, size_t) __attribute__((weak));
void *__interceptor_realloc(void *, size_t) __attribute__((weak));
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

void *malloc(size_t n)
{
	if (ALLOC_FAILS_HERE)
		return NULL;
	return __interceptor_malloc ? __interceptor_malloc(n) :
				      __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	if (ALLOC_FAILS_HERE)
		return NULL;
	return __interceptor_calloc ? __interceptor_calloc(n, size) :
				      __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	if (ALLOC_FAILS_HERE)
		return NULL;
	return __interceptor_realloc ? __interceptor_realloc(p, n) :
				       __libc_realloc(p, n);
}

#endif
