// SPDX-License-Identifier: Apache-2.0
/* See causal.h. Writers are threads of the test; judging is single-threaded. */
#include "causal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512U

struct chain_writer {
	struct causal_writers *all;
	pthread_t thread;
	uint32_t chain;
	uint64_t first;			/* number to write next */
	atomic_llong writes;
	int error;
};

struct causal_writers {
	struct causal_layout layout;
	int fd;
	atomic_bool stop;
	atomic_uint pause_us;
	struct chain_writer w[];
};

uint64_t causal_slot_off(const struct causal_layout *l, uint32_t chain,
			 uint32_t slot)
{
	/* Chains interleave, so that neighbours share words of bitmaps. */
	return (uint64_t)slot * l->stride_bytes +
	       (uint64_t)chain * l->slot_bytes;
}

static void fill(uint8_t *buf, uint32_t len, uint32_t chain, uint64_t n)
{
	uint32_t i;

	for (i = 0; i < len; i += SECTOR) {
		uint64_t words[3] = { n, chain, i / SECTOR };

		memcpy(buf + i, words, sizeof(words));
	}
}

static void *write_chain(void *arg)
{
	struct chain_writer *w = arg;
	const struct causal_layout *l = &w->all->layout;
	uint8_t *buf = NULL;
	unsigned int pause_us;
	uint64_t n;
	uint32_t s;

	if (posix_memalign((void **)&buf, 4096, l->slot_bytes)) {
		w->error = -ENOMEM;
		return NULL;
	}
	memset(buf, 0xa5, l->slot_bytes);
	/* A number is finished before the writer stops, so that the next one
	 * can go on from there. */
	for (n = w->first; !atomic_load(&w->all->stop) && !w->error; n++) {
		fill(buf, l->slot_bytes, w->chain, n);
		for (s = 0; s < l->slots && !w->error; s++) {
			ssize_t r = pwrite(w->all->fd, buf, l->slot_bytes,
					   (off_t)causal_slot_off(l, w->chain,
								  s));

			if (r != (ssize_t)l->slot_bytes)
				w->error = r < 0 ? -errno : -EIO;
			w->writes++;
			pause_us = atomic_load(&w->all->pause_us);
			if (pause_us)
				(void)usleep(pause_us);
		}
	}
	w->first = n;
	free(buf);
	return NULL;
}

struct causal_writers *causal_start(const char *device,
				    const struct causal_layout *l)
{
	struct causal_writers *w =
		calloc(1, sizeof(*w) + l->chains * sizeof(w->w[0]));
	uint32_t i;

	if (!w)
		return NULL;
	w->layout = *l;
	w->pause_us = l->pause_us;
	w->fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (w->fd < 0) {
		free(w);
		return NULL;
	}
	for (i = 0; i < l->chains; i++) {
		w->w[i].all = w;
		w->w[i].chain = i;
		w->w[i].first = l->next[i] ? l->next[i] : 1;
		if (pthread_create(&w->w[i].thread, NULL, write_chain,
				   &w->w[i]))
			abort();
	}
	return w;
}

void causal_pace(struct causal_writers *w, uint32_t pause_us)
{
	atomic_store(&w->pause_us, pause_us);
}

int64_t causal_writes(struct causal_writers *w)
{
	int64_t total = 0;
	uint32_t i;

	for (i = 0; i < w->layout.chains; i++)
		total += atomic_load(&w->w[i].writes);
	return total;
}

int64_t causal_stop(struct causal_writers *w, struct causal_layout *l)
{
	int64_t total = 0;
	uint32_t i;

	atomic_store(&w->stop, true);
	for (i = 0; i < w->layout.chains; i++) {
		pthread_join(w->w[i].thread, NULL);
		l->next[i] = w->w[i].first;
		if (total >= 0)
			total = w->w[i].error ? w->w[i].error
					      : total + w->w[i].writes;
	}
	close(w->fd);
	free(w);
	return total;
}

/* Smallest and largest number in the sectors of a slot. */
static const char *slot_span(const uint8_t *buf, uint32_t len, uint32_t chain,
			     uint64_t *lo, uint64_t *hi)
{
	uint32_t i;

	*lo = UINT64_MAX;
	*hi = 0;
	for (i = 0; i < len; i += SECTOR) {
		uint64_t words[3];

		memcpy(words, buf + i, sizeof(words));
		if (words[0] && (words[1] != chain || words[2] != i / SECTOR))
			return "a sector of another place";
		if (words[0] < *lo)
			*lo = words[0];
		if (words[0] > *hi)
			*hi = words[0];
	}
	return NULL;
}

static const char *judge_chain(const struct causal_layout *l, uint32_t chain,
			       const uint64_t *lo, const uint64_t *hi)
{
	static char what[200];
	uint32_t s, torn = 0;

	for (s = 0; s < l->slots; s++) {
		torn += lo[s] != hi[s];
		if (hi[s] - lo[s] > 1 || torn > 1) {
			(void)snprintf(what, sizeof(what),
				       "chain %u slot %u torn: %" PRIu64
				       "..%" PRIu64 ", %u torn slots",
				       chain, s, lo[s], hi[s], torn);
			return what;
		}
		if (s && hi[s] > lo[s - 1]) {
			(void)snprintf(what, sizeof(what),
				       "chain %u: slot %u has %" PRIu64
				       ", slot %u before it only %" PRIu64,
				       chain, s, hi[s], s - 1, lo[s - 1]);
			return what;
		}
	}
	if (hi[0] > lo[l->slots - 1] + 1) {
		(void)snprintf(what, sizeof(what),
			       "chain %u: first slot %" PRIu64
			       " runs ahead of last %" PRIu64,
			       chain, hi[0], lo[l->slots - 1]);
		return what;
	}
	return NULL;
}

const char *causal_judge(const struct causal_layout *l,
			 int (*read)(void *arg, uint64_t off, uint32_t len,
				     uint8_t *out),
			 void *arg)
{
	uint64_t lo[CAUSAL_SLOTS_MAX], hi[CAUSAL_SLOTS_MAX];
	uint8_t *buf = malloc(l->slot_bytes);
	const char *wrong = NULL;
	uint32_t c, s;

	for (c = 0; buf && c < l->chains && !wrong; c++) {
		for (s = 0; s < l->slots && !wrong; s++) {
			if (read(arg, causal_slot_off(l, c, s), l->slot_bytes,
				 buf))
				wrong = "a slot could not be read";
			else
				wrong = slot_span(buf, l->slot_bytes, c,
						  &lo[s], &hi[s]);
		}
		if (!wrong)
			wrong = judge_chain(l, c, lo, hi);
	}
	free(buf);
	return buf ? wrong : "out of memory";
}
