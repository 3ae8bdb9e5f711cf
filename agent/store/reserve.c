// SPDX-License-Identifier: Apache-2.0
/*
 * The reserve file. It exists so that a full file system stops new data and
 * nothing else: the commit of what was accepted, and the catalog's rows, still
 * find room. Its content means nothing and it needs no sync; after a crash it
 * is what it is and is filled up again.
 */
#include "store/reserve.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/segwrite.h"

#define RESERVE_NAME "reserve"

void reserve_init(struct reserve *r, struct io *io, int dirfd,
		  uint64_t bytes)
{
	*r = (struct reserve){ .io = io, .dirfd = dirfd, .bytes = bytes };
	pthread_mutex_init(&r->lock, NULL);
}

void reserve_destroy(struct reserve *r)
{
	if (r->io)
		pthread_mutex_destroy(&r->lock);
	r->io = NULL;
}

static int resize(struct reserve *r, uint64_t bytes)
{
	uint64_t size = 0;
	int fd, ret;

	fd = r->io->ops->open(r->io, r->dirfd, RESERVE_NAME,
			      O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	ret = r->io->ops->size(r->io, fd, &size);
	if (ret == 0 && size > bytes)
		ret = r->io->ops->ftruncate(r->io, fd, bytes);
	/* Again also at full size: an earlier one may have been cut short. */
	if (ret == 0 && bytes)
		ret = r->io->ops->fallocate(r->io, fd, 0, 0, bytes);
	(void)r->io->ops->close(r->io, fd);
	return ret;
}

int reserve_take(struct reserve *r)
{
	LOCK_SCOPE(&r->lock);
	int ret;

	if (r->held || !r->bytes)
		return 0;
	ret = resize(r, r->bytes);
	if (is_full(ret))
		return ret;
	if (ret < 0)
		log_warn("store: no space can be put by for a full file "
			 "system: errno=%d", -ret);
	r->held = true;
	return 0;
}

bool reserve_give_up(struct reserve *r)
{
	LOCK_SCOPE(&r->lock);

	if (!r->held || !r->bytes)
		return false;
	r->held = false;
	return resize(r, 0) == 0;
}
