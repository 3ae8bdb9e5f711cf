// SPDX-License-Identifier: Apache-2.0
/*
 * Every byte of a catalog changed (one of 16 without TEST_LONG): the store says
 * what is wrong, or gives exactly what it has. No point is missing in silence,
 * none says other things of itself, none reads otherwise.
 */
#include "storelab.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "unit/store_ok.h"

#define BLOCKS 24U
#define POINTS 4U

struct scene {
	struct lab lab;
	struct lab_image points[POINTS + 1];
	struct point_info infos[POINTS + 1];
	char path[128];			/* of the catalog */
	uint64_t size;
};

static uint64_t file_size(const char *path)
{
	struct stat st;

	ASSERT_OK(stat(path, &st));
	return (uint64_t)st.st_size;
}

/* Two epochs, a segment for each point. */
static void scene_make(struct scene *s)
{
	struct lab *l = &s->lab;

	memset(s, 0, sizeof(*s));
	lab_init(l, tap_seed(), BLOCKS);
	while (l->seq < POINTS) {
		l->spec.epoch = 1 + l->seq / 2;
		OK(lab_open(l, false, &err));
		OK(lab_writer(l, &err));
		OK(lab_begin(l, &err));
		lab_data(l, l->seq * 4, 2);
		lab_zero(l, l->seq * 4 + 2, 2);
		OK(lab_stage(l, &err));
		OK(lab_commit(l, &s->infos[l->seq + 1], &err));
		s->points[l->seq] = lab_image_copy(&l->now);
		lab_close(l);
	}
	(void)snprintf(s->path, sizeof(s->path), "%s/catalog.db", l->dir);
	s->size = file_size(s->path);
}

static void scene_free(struct scene *s)
{
	size_t i;

	for (i = 0; i <= POINTS; i++)
		lab_image_free(&s->points[i]);
	lab_free(&s->lab);
}

static void flip(const struct scene *s, uint64_t off)
{
	uint8_t byte;
	int fd = open(s->path, O_RDWR | O_CLOEXEC);

	ASSERT_GE(fd, 0);
	ASSERT_INT(pread(fd, &byte, 1, (off_t)off), 1);
	byte ^= (uint8_t)(1U << off % 8);
	ASSERT_INT(pwrite(fd, &byte, 1, (off_t)off), 1);
	close(fd);
}

static bool same_info(const struct point_info *a, const struct point_info *b)
{
	return a->meta.epoch == b->meta.epoch && a->meta.seq == b->meta.seq &&
	       a->meta.flip_wall_ns == b->meta.flip_wall_ns &&
	       a->meta.size_bytes == b->meta.size_bytes &&
	       a->meta.kind == b->meta.kind &&
	       !strcmp(a->meta.label, b->meta.label) &&
	       a->received_wall_ns == b->received_wall_ns &&
	       !memcmp(&a->head, &b->head, HEAD_BYTES);
}

/* Points that are there and whole; -1: something was told instead. */
static int look(struct scene *s, uint64_t off)
{
	struct lab *l = &s->lab;
	struct volume_info v;
	struct point_info p;
	uint64_t seq, block;
	int r, good = 0;

	r = store_volume_by_uuid(l->store, &l->spec.uuid, &v);
	ASSERT_MSG(!r, "  at %" PRIu64 ": the volume is gone", off);
	for (seq = 1; seq <= POINTS; seq++) {
		r = store_point_find(l->store, &l->spec.uuid, (seq + 1) / 2,
				     seq, &p);
		if (r < 0 && r != -ENOENT)
			return -1;
		if (r < 0)
			continue;
		ASSERT_MSG(same_info(&p, &s->infos[seq]),
			   "  at %" PRIu64 ": point %" PRIu64 " is another",
			   off, seq);
		err_clear(&err);
		r = lab_compare(l, seq, &s->points[seq], &block, &err);
		ASSERT_MSG(r <= 0, "  at %" PRIu64 ": wrong bytes", off);
		if (r < 0) {
			EXPECT_TRUE(err.num && err.message[0]);
			return -1;
		}
		good++;
	}
	return good;
}

/* The same as a daemon has it; true: something was told. */
static bool is_told_when_written(struct scene *s, uint64_t off)
{
	struct lab *l = &s->lab;
	int good = -1;

	err_clear(&err);
	if (lab_open(l, false, &err) < 0) {
		EXPECT_TRUE(err.message[0]);
		return true;
	}
	if (lab_writer(l, &err) < 0)
		EXPECT_TRUE(err.message[0]);
	else
		good = look(s, off);
	lab_close(l);
	ASSERT_MSG(good < 0 || good == (int)POINTS,
		   "  at %" PRIu64 ": %d points, and nothing is said", off,
		   good);
	return good < 0;
}

TEST_WITH_TIMEOUT(no_byte_of_a_catalog_makes_a_point_vanish_or_lie, 600)
{
	unsigned int tried = 0, told = 0, daemons = 0, step = getenv("TEST_LONG") ? 1 : 16;
	char whole[64];
	struct scene s;
	uint64_t off;
	int good;

	scene_make(&s);
	lab_make_dir(whole);
	lab_copy(s.lab.dir, whole);
	for (off = rnd_seeded_below(&s.lab.rnd, step); off < s.size;
	     off += step) {
		flip(&s, off);
		tried++;
		err_clear(&err);
		if (lab_open(&s.lab, true, &err) < 0) {
			EXPECT_TRUE(err.message[0]);
			good = -1;
		} else {
			good = look(&s, off);
			lab_close(&s.lab);
		}
		told += good < 0;
		ASSERT_MSG(good < 0 || good == (int)POINTS,
			   "  at %" PRIu64 ": %d points, and nothing is said",
			   off, good);
		if (rnd_seeded_below(&s.lab.rnd, 8)) {
			flip(&s, off);
			continue;
		}
		daemons += is_told_when_written(&s, off);
		lab_remove(s.lab.dir);
		lab_copy(whole, s.lab.dir);
	}
	tap_note("%u of %" PRIu64 " bytes: %u told to a reader, %u of an "
		 "eighth to a daemon; the others harmless", tried, s.size,
		 told, daemons);
	EXPECT_GT(daemons, 0);
	lab_remove(whole);
	scene_free(&s);
}
