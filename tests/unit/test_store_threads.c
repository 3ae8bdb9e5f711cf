// SPDX-License-Identifier: Apache-2.0
/*
 * One store, many threads: each volume has its writer, others list, look up
 * and read meanwhile, and sessions fence each other. Of use under the thread
 * sanitizer; judged here is that everybody sees whole points.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "storelab.h"

#include "base/cleanup.h"

#include "lib/tap.h"

#define BLOCKS 64U
#define POINTS 60U

/* Every block of point n of a volume holds version n. */
struct actor {
	struct lab lab;			/* shares the store of the first */
	atomic_bool *stop;
	atomic_uint acked;
	unsigned int read, failed, fenced;
	pthread_t thread;
};

static void complain(struct actor *a, const char *what, const struct err *err)
{
	a->failed++;
	printf("# %s: %s\n", what, err->message);
}

static void paint(struct lab *l, uint64_t version)
{
	uint64_t i;

	for (i = 0; i < BLOCKS; i++)
		l->now.versions[i] = version;
	for (i = 0; i < BLOCKS; i += 16)
		lab_again(l, i, 16);
}

static void *write_points(void *arg)
{
	struct actor *a = arg;
	struct lab *l = &a->lab;
	struct err err = ERR_INIT;
	int r = lab_writer(l, &err);

	while (r == 0 && l->seq < POINTS) {
		r = lab_begin(l, &err);
		if (r < 0)
			break;
		paint(l, l->seq + 1);
		r = lab_stage(l, &err);
		if (r == 0)
			r = lab_commit(l, NULL, &err);
		if (r == 0)
			atomic_store(&a->acked, (unsigned int)l->seq);
	}
	if (r < 0)
		complain(a, "writer", &err);
	return NULL;
}

static int one_point(void *arg, const struct point_info *p)
{
	struct point_info *last = arg;

	/* Newest first, without a hole. */
	if (last->meta.seq && last->meta.seq != p->meta.seq + 1)
		return -EBADMSG;
	*last = *p;
	return 0;
}

static bool is_version(const uint8_t *got, uint64_t version)
{
	uint8_t want[US_BLOCK_BYTES];
	unsigned int i;

	lab_fill(version, want);
	for (i = 0; i < BLOCKS; i++)
		if (memcmp(got + (size_t)i * sizeof(want), want,
			   sizeof(want)))
			return false;
	return true;
}

static void read_once(struct actor *a, struct actor *of, struct opener *o)
{
	static _Thread_local uint8_t out[BLOCKS * US_BLOCK_BYTES];
	struct point_info last = { 0 }, p;
	struct err err = ERR_INIT;
	unsigned int acked = atomic_load(&of->acked);
	struct view *v;

	if (!acked)
		return;
	if (store_points(a->lab.store, &of->lab.spec.uuid, true, one_point,
			 &last) < 0)
		complain(a, "list", &err);
	if (store_point_find(a->lab.store, &of->lab.spec.uuid, 0, acked, &p))
		complain(a, "find", &err);
	if (view_open(a->lab.store, &of->lab.spec.uuid, 0, acked, &v, &err)) {
		complain(a, "view", &err);
		return;
	}
	if (view_read(v, o, 0, BLOCKS, out, &err) || !is_version(out, acked))
		complain(a, "read", &err);
	view_close(v);
	a->read++;
}

struct reader {
	struct actor a;
	struct actor *of;
};

static void *read_points(void *arg)
{
	struct reader *r = arg;
	struct opener *o = opener_new(&r->of->lab.key);

	while (!atomic_load(r->a.stop))
		read_once(&r->a, r->of, o);
	opener_free(o);
	return NULL;
}

/* With randomness and files that may be used by many threads. */
static void open_shared(struct lab *l)
{
	const struct store_config cfg = {
		.path = l->dir,
		.segment_bytes = 300000,
		.reserve_bytes = 1 << 20,
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = rnd_system(),
	};
	struct err err = ERR_INIT;

	ASSERT_OK(store_open(&cfg, &l->store, &err));
}

/* A volume of the store of l. */
static void actor_init(struct actor *a, struct lab *l, const char *name)
{
	memset(a, 0, sizeof(*a));
	lab_init(&a->lab, 1 + (uint64_t)name[0], BLOCKS);
	lab_remove(a->lab.dir);
	a->lab.store = l->store;
	a->lab.spec.name = name;
}

static void actor_free(struct actor *a)
{
	store_writer_close(a->lab.writer);
	a->lab.writer = NULL;
	a->lab.store = NULL;
	lab_free(&a->lab);
}

TEST(writers_and_readers_of_several_volumes_do_not_meet)
{
	struct actor writers[2];
	struct reader readers[2];
	atomic_bool stop = false;
	struct lab l;
	unsigned int i;

	lab_init(&l, 3, BLOCKS);
	open_shared(&l);
	actor_init(&writers[0], &l, "a");
	actor_init(&writers[1], &l, "b");
	for (i = 0; i < 2; i++) {
		readers[i] = (struct reader){ .a.stop = &stop,
					      .of = &writers[i] };
		readers[i].a.lab.store = l.store;
		ASSERT_OK(pthread_create(&writers[i].thread, NULL,
					 write_points, &writers[i]));
		ASSERT_OK(pthread_create(&readers[i].a.thread, NULL,
					 read_points, &readers[i]));
	}
	for (i = 0; i < 2; i++)
		ASSERT_OK(pthread_join(writers[i].thread, NULL));
	atomic_store(&stop, true);
	for (i = 0; i < 2; i++) {
		ASSERT_OK(pthread_join(readers[i].a.thread, NULL));
		EXPECT_U64(writers[i].failed, 0);
		EXPECT_U64(readers[i].a.failed, 0);
		EXPECT_U64(atomic_load(&writers[i].acked), POINTS);
		EXPECT_GT(readers[i].a.read, 0);
		actor_free(&writers[i]);
	}
	lab_free(&l);
}

/* Sessions of one source that come and go: each goes on where it finds it. */
static void *intrude(void *arg)
{
	struct actor *a = arg;
	struct lab *l = &a->lab;
	struct volume_info v;
	struct err err = ERR_INIT;
	int r;

	while (!atomic_load(a->stop)) {
		err_clear(&err);
		r = lab_writer(l, &err);
		if (r == 0)
			r = store_writer_info(l->writer, &v);
		if (r == 0) {
			l->seq = v.has_point ? v.newest.meta.seq : 0;
			l->head = v.newest.head;
			r = lab_begin(l, &err);
		}
		if (r == 0) {
			paint(l, l->seq + 1);
			r = lab_stage(l, &err);
		}
		if (r == 0)
			r = lab_commit(l, NULL, &err);
		if (r == -ESTALE)
			a->fenced++;
		else if (r < 0)
			complain(a, "intruder", &err);
		else
			a->read++;
		if (l->seq >= POINTS)
			atomic_store(a->stop, true);
	}
	return NULL;
}

TEST(fencing_sessions_leave_an_unbroken_row_of_points)
{
	struct point_info last = { 0 };
	struct actor actors[3];
	struct uuid uuid;
	atomic_bool stop = false;
	struct lab l;
	unsigned int i;

	lab_init(&l, 4, BLOCKS);
	open_shared(&l);
	for (i = 0; i < 3; i++) {
		/* The same name, so the same key and UUID. */
		actor_init(&actors[i], &l, "a");
		actors[i].stop = &stop;
	}
	uuid = actors[0].lab.spec.uuid;
	for (i = 0; i < 3; i++)
		ASSERT_OK(pthread_create(&actors[i].thread, NULL, intrude,
					 &actors[i]));
	for (i = 0; i < 3; i++)
		ASSERT_OK(pthread_join(actors[i].thread, NULL));
	for (i = 0; i < 3; i++) {
		tap_note("session %u: %u points, fenced %u times", i,
			 actors[i].read, actors[i].fenced);
		EXPECT_U64(actors[i].failed, 0);
		actor_free(&actors[i]);
	}
	EXPECT_OK(store_points(l.store, &uuid, true, one_point, &last));
	EXPECT_U64(last.meta.seq, 1);
	lab_free(&l);
}
