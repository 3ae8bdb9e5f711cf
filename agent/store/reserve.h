/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_RESERVE_H
#define STORE_RESERVE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/io.h"

/*
 * Space put by in a file of its own, given up when footers or the catalog
 * find the file system full, and taken back before new data is accepted.
 * Any thread.
 */
struct reserve {
	pthread_mutex_t lock;
	struct io *io;
	int dirfd;
	uint64_t bytes;
	bool held;			/* or not possible here */
};

void reserve_init(struct reserve *r, struct io *io, int dirfd,
		  uint64_t bytes);
void reserve_destroy(struct reserve *r);
/* 0: there is room in reserve; -ENOSPC or -EDQUOT: there is none. */
int reserve_take(struct reserve *r);
/* True when space was freed: what failed is worth trying once more. */
bool reserve_give_up(struct reserve *r);

#endif
