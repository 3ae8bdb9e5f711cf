/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NTH_ALLOC_H
#define TESTS_UNIT_NTH_ALLOC_H

/*
 * Allocations of which the n-th fails, once: of those that the program makes,
 * or the C library in its name; with nth_alloc.everywhere also those of other
 * libraries.
 *
 * Any thread. Include it once, in the test that is the program.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/checked.h"

static struct {
	atomic_ullong calls, at;
	atomic_bool armed, has_hit;
	bool everywhere;
	/* Where the code of the program is, and of the C library. */
	struct nth_range {
		uintptr_t from, to;
	} program, libc;
} nth_alloc;

static inline bool nth_range_has(const struct nth_range *r, uintptr_t at)
{
	return at >= r->from && at < r->to;
}

static inline int nth_note_range(struct dl_phdr_info *info, size_t size,
				 void *arg)
{
	uintptr_t libc = (uintptr_t)dlsym(RTLD_DEFAULT, "opendir");
	struct nth_range r = { UINTPTR_MAX, 0 };
	int i;

	(void)size, (void)arg;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD)
			continue;
		r.from = MIN(r.from, at);
		r.to = MAX(r.to, at + p->p_memsz);
	}
	if (nth_range_has(&r, libc))
		nth_alloc.libc = r;
	else if (nth_range_has(&r, (uintptr_t)nth_note_range))
		nth_alloc.program = r;
	return 0;
}

/*
 * A sanitizer asks for the stack of every thread that begins, and gives up when
 * it does not learn of it; nobody else asks. What that takes never fails.
 */
static __thread unsigned int nth_spared;

__attribute__((no_sanitize_address)) int
pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
	static int (*next)(pthread_t thread, pthread_attr_t *attr);
	int r;

	nth_spared++;
	if (!next)
		next = (__typeof__(next))dlsym(RTLD_NEXT, "pthread_getattr_np");
	r = next(thread, attr);
	nth_spared--;
	return r;
}

/* Not looked at by a sanitizer: it allocates before it is ready to look. */
__attribute__((no_sanitize_address)) static inline bool
nth_alloc_fails(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;

	if (!atomic_load(&nth_alloc.armed) || nth_spared)
		return false;
	if (!nth_alloc.everywhere && !nth_range_has(&nth_alloc.program, at) &&
	    !nth_range_has(&nth_alloc.libc, at))
		return false;
	if (atomic_fetch_add(&nth_alloc.calls, 1) + 1 !=
	    atomic_load(&nth_alloc.at))
		return false;
	atomic_store(&nth_alloc.has_hit, true);
	errno = ENOMEM;
	return true;
}

#define ALLOC_FAILS(what, caller) nth_alloc_fails(caller)
#include "unit/alloc_hooks.h"

/* From now on the at-th; counts from zero. */
static inline void nth_alloc_arm(uint64_t at)
{
	(void)dl_iterate_phdr(nth_note_range, NULL);
	atomic_store(&nth_alloc.calls, 0);
	atomic_store(&nth_alloc.has_hit, false);
	atomic_store(&nth_alloc.at, at);
	atomic_store(&nth_alloc.armed, true);
}

static inline void nth_alloc_disarm(void)
{
	atomic_store(&nth_alloc.armed, false);
}

#endif
