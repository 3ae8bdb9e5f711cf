/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Scope-bound release. An owner that hands its object on says so with
 * TAKE_PTR or TAKE_FD, after the last step that can fail.
 */
#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void cleanup_fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

static inline void cleanup_closedirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static inline void cleanup_unlockp(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}

static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep)
#define _cleanup_fclose_ _cleanup_(cleanup_fclosep)
#define _cleanup_closedir_ _cleanup_(cleanup_closedirp)

#define CLEANUP_CAT2(a, b) a##b
#define CLEANUP_CAT(a, b) CLEANUP_CAT2(a, b)
#define LOCK_SCOPE(m)                                                     \
	_cleanup_(cleanup_unlockp) __attribute__((unused))                \
	pthread_mutex_t *CLEANUP_CAT(scope_lock_, __LINE__) = cleanup_lock(m)

#define TAKE_PTR(p)                            \
	({                                     \
		__typeof__(p) take_tmp_ = (p); \
		(p) = NULL;                    \
		take_tmp_;                     \
	})

#define TAKE_FD(fd)                    \
	({                             \
		int take_fd_tmp_ = (fd); \
		(fd) = -1;             \
		take_fd_tmp_;          \
	})

/* Makes x_freep(struct x **) out of x_free(struct x *), for _cleanup_(). */
#define DEFINE_CLEANUP(type, fn)                \
	static inline void fn##p(type **p)      \
	{                                       \
		if (*p)                         \
			fn(*p);                 \
	}

#endif
