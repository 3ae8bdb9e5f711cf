// SPDX-License-Identifier: Apache-2.0
/* See devload.h. Threads share nothing but the device. */
#include "devload.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fs.h>

#include "base/rnd.h"

struct loader {
	struct devload *all;
	pthread_t thread;
	struct rnd_seeded rnd;
	struct devload_done done;
	uint8_t *buf;
	int direct_fd, buffered_fd;
	uint64_t first_bytes, size_bytes;	/* its own range */
};

struct devload {
	struct devload_config cfg;
	atomic_uint running;
	struct loader l[];
};

/* What a driver says of an operation that it does not know differs. */
static int answer(int r)
{
	if (r >= 0)
		return 0;
	return errno == ENOTTY || errno == ENOTSUP ? -EOPNOTSUPP : -errno;
}

int devload_discard(int fd, uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };

	return answer(ioctl(fd, BLKDISCARD, range));
}

int devload_zero(int fd, uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };

	return answer(ioctl(fd, BLKZEROOUT, range));
}

int devload_punch(int fd, uint64_t off, uint64_t len)
{
	return answer(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)off, (off_t)len));
}

static void noise(struct rnd_seeded *r, uint8_t *out, uint64_t len)
{
	uint64_t i, v = 0;

	/* Each sector differs from every other; all of it new each time. */
	for (i = 0; i < len; i += sizeof(v)) {
		if (i % 512 < 16)
			v = rnd_seeded_next(r);
		memcpy(out + i, &v, sizeof(v));
	}
}

static int write_all(int fd, const uint8_t *buf, uint64_t off, uint64_t len)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, (off_t)off);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		buf += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int devload_write(int fd, uint64_t seed, uint64_t off, uint64_t len)
{
	struct rnd_seeded rnd;
	uint8_t *buf = NULL;
	int r;

	if (posix_memalign((void **)&buf, 4096, len))
		return -ENOMEM;
	rnd_seeded_init(&rnd, seed);
	noise(&rnd, buf, len);
	r = write_all(fd, buf, off, len);
	free(buf);
	return r;
}

/* Sizes by powers of two, so that small ones are as likely as large ones. */
static uint64_t random_length(struct loader *l)
{
	const struct devload_config *c = &l->all->cfg;
	uint64_t units = c->max_bytes / c->lbs_bytes, most = 1;
	uint64_t powers = 1;

	while (most * 2 <= units) {
		most *= 2;
		powers++;
	}
	most = 1ULL << rnd_seeded_below(&l->rnd, powers);
	return (1 + rnd_seeded_below(&l->rnd, most)) * c->lbs_bytes;
}

static int one_op(struct loader *l)
{
	const struct devload_config *c = &l->all->cfg;
	uint64_t len = random_length(l), units, off;
	uint64_t what = rnd_seeded_below(&l->rnd, 100);
	struct devload_done *d = &l->done;

	if (len > l->size_bytes / 2)
		len = c->lbs_bytes;
	units = (l->size_bytes - len) / c->lbs_bytes;
	off = l->first_bytes +
	      rnd_seeded_below(&l->rnd, units + 1) * c->lbs_bytes;
	d->bytes += len;
	if (what < 12 && ++d->discards)
		return devload_discard(l->direct_fd, off, len);
	if (what < 20 && ++d->zeroes)
		return devload_zero(l->direct_fd, off, len);
	if (what < 26 && ++d->holes)
		return devload_punch(l->direct_fd, off, len);
	noise(&l->rnd, l->buf, len);
	if (what < 40 && ++d->buffered) {
		int r = write_all(l->buffered_fd, l->buf, off, len);

		return r < 0 ? r : answer(fdatasync(l->buffered_fd));
	}
	d->writes++;
	return write_all(l->direct_fd, l->buf, off, len);
}

static void *load(void *arg)
{
	struct loader *l = arg;
	uint32_t i;
	int r;

	for (i = 0; i < l->all->cfg.ops && !l->done.error; i++) {
		r = one_op(l);
		if (r == -EOPNOTSUPP)
			l->done.unsupported++;
		else if (r < 0)
			l->done.error = r;
	}
	atomic_fetch_sub(&l->all->running, 1);
	return NULL;
}

static void open_loader(struct devload *all, uint32_t i)
{
	const struct devload_config *c = &all->cfg;
	struct loader *l = &all->l[i];

	l->all = all;
	/* Nothing overlaps: what two writes at a time leave of a mirror is
	 * not one content. */
	l->size_bytes = c->size_bytes / c->threads / 4096 * 4096;
	l->first_bytes = i * l->size_bytes;
	if (i == c->threads - 1)
		l->size_bytes = c->size_bytes - l->first_bytes;
	rnd_seeded_init(&l->rnd, c->seed + i);
	l->direct_fd = open(c->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	l->buffered_fd = open(c->path, O_RDWR | O_CLOEXEC);
	if (l->direct_fd < 0 || l->buffered_fd < 0)
		l->done.error = -errno;
	if (posix_memalign((void **)&l->buf, 4096, c->max_bytes))
		abort();
}

struct devload *devload_start(const struct devload_config *cfg)
{
	struct devload *all =
		calloc(1, sizeof(*all) + cfg->threads * sizeof(all->l[0]));
	uint32_t i;

	if (!all)
		return NULL;
	all->cfg = *cfg;
	atomic_store(&all->running, cfg->threads);
	for (i = 0; i < cfg->threads; i++) {
		open_loader(all, i);
		if (pthread_create(&all->l[i].thread, NULL, load, &all->l[i]))
			abort();
	}
	return all;
}

bool devload_running(struct devload *l)
{
	return atomic_load(&l->running) > 0;
}

void devload_join(struct devload *l, struct devload_done *out)
{
	uint32_t i;

	memset(out, 0, sizeof(*out));
	for (i = 0; i < l->cfg.threads; i++) {
		const struct devload_done *d = &l->l[i].done;

		(void)pthread_join(l->l[i].thread, NULL);
		out->writes += d->writes;
		out->buffered += d->buffered;
		out->discards += d->discards;
		out->zeroes += d->zeroes;
		out->holes += d->holes;
		out->bytes += d->bytes;
		out->unsupported += d->unsupported;
		if (!out->error)
			out->error = d->error;
		(void)close(l->l[i].direct_fd);
		(void)close(l->l[i].buffered_fd);
		free(l->l[i].buf);
	}
	free(l);
}
