// SPDX-License-Identifier: Apache-2.0
/*
 * The reader alone: a whole device through the buffers that the source reads
 * through, nothing done with what comes.
 *
 *	bench_reader DEVICE
 *
 * Prints megabytes (10^6) a second.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/checked.h"
#include "base/clock.h"
#include "source/reader.h"

/* Keeps every buffer in flight; 0 or what a read ended with. */
static int read_all(struct reader *r)
{
	struct read_req *req;
	uint64_t off = 0;
	int res;

	for (;;) {
		while (off < r->size_bytes && (req = r->ops->get(r))) {
			req->off_bytes = off;
			req->len_bytes = (uint32_t)MIN(
				r->size_bytes - off,
				(uint64_t)READER_BUF_BYTES);
			off += req->len_bytes;
			res = r->ops->submit(r, req);
			if (res)
				return res;
		}
		res = r->ops->next(r, true, &req);
		if (res)
			return res == 1 ? 0 : res;
		res = req->res;
		r->ops->put(r, req);
		if (res)
			return res;
	}
}

int main(int argc, char **argv)
{
	struct reader_config cfg = { .clock = clock_real() };
	struct err err = ERR_INIT;
	struct reader *r;
	uint64_t start;
	int lbs, res;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: bench_reader DEVICE\n");
		return 2;
	}
	cfg.fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (cfg.fd < 0 || ioctl(cfg.fd, BLKGETSIZE64, &cfg.size_bytes) ||
	    ioctl(cfg.fd, BLKSSZGET, &lbs)) {
		perror(argv[1]);
		return 1;
	}
	cfg.lbs_bytes = (uint32_t)lbs;
	if (reader_open(&cfg, &r, &err)) {
		(void)fprintf(stderr, "bench_reader: %s\n", err.message);
		return 1;
	}
	start = clock_mono_ns(cfg.clock);
	res = read_all(r);
	if (res)
		(void)fprintf(stderr, "bench_reader: %s\n", strerror(-res));
	else
		(void)printf("%.1f\n",
			     (double)cfg.size_bytes * 1e3 /
				     (double)(clock_mono_ns(cfg.clock) -
					      start));
	r->ops->close(r);
	(void)close(cfg.fd);
	return res != 0;
}
