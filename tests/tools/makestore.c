// SPDX-License-Identifier: Apache-2.0
/*
 *	makestore DIR [SEED] <SCENARIO
 *
 * makes a store of one volume, web1/db1, as a scenario says: DIR/store, the
 * exported key DIR/key, what a source would have in its state directory,
 * DIR/state, and of every point the image that it should be,
 * DIR/EPOCH-SEQ.img. The images come from the scenario, not from the store.
 * Key, names and contents follow from SEED, so that a scenario can be played
 * again. One command a line; # begins a comment:
 *
 *	size BYTES		of the volume, from the next open on
 *	segment BYTES		segments are rolled at this size
 *	open			a replica starts, a source connects
 *	close			both end; what is staged stays as it is
 *	tear			while closed: half a record at the log's end
 *	epoch N			from the next open on
 *	rotate			the key gets another generation
 *	begin CODEC		a delta: auto, none, lz4 or zstd
 *	noise FIRST COUNT	blocks that nothing can compress
 *	text FIRST COUNT	that can be
 *	mixed FIRST COUNT	either, zeros, and some that are half zeros
 *	zero FIRST COUNT	a zero unit
 *	group NUMBER MEMBERS	of the group "shop": the next point is a member's
 *	commit [LABEL]		a point
 *	discard			what is staged
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "control/key_fd.h"
#include "source/volstate.h"
#include "store/store.h"
#include "storelab.h"
#include "wire/seal.h"

#define IMAGE_MAX (UINT64_C(64) << 20)

enum content { NOISE, TEXT, HALF, ZERO, N_CONTENTS };

struct maker {
	const char *dir;
	struct rnd_seeded rnd, content;
	struct clock clock;
	int64_t now_ns;
	uint64_t segment_bytes;
	struct store_volume_spec spec;
	struct volstate state;
	struct fp_ctx *fps;
	struct store *store;
	struct store_writer *writer;
	struct sealer *sealer;
	uint32_t delta;
	struct head head;
	uint64_t seq;
	struct point_group group;	/* of the next point */
	uint8_t *image, *committed;	/* IMAGE_MAX bytes each */
	struct buf units;
};

struct command {
	char word[16], text[STORE_LABEL_MAX + 1];
	uint64_t arg[2];
};

static void must(bool ok, const char *what, const struct err *err)
{
	if (ok)
		return;
	(void)fprintf(stderr, "makestore: %s: %s\n", what,
		      err && err->num ? err->message : "failed");
	exit(1);
}

/* Time goes on by a millisecond whenever somebody looks. */
static int64_t tick(struct clock *c)
{
	struct maker *m = (struct maker *)((char *)c -
					   offsetof(struct maker, clock));

	m->now_ns += 1000000;
	return m->now_ns;
}

static uint64_t tick_mono(struct clock *c)
{
	return (uint64_t)tick(c);
}

static int create(const struct maker *m, const char *name)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", m->dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(fd >= 0, path, NULL);
	return fd;
}

static void write_key(const struct maker *m, int fd)
{
	struct err err = ERR_INIT;

	must(key_fd_write(fd, &m->state.key, m->spec.name, &m->spec.uuid,
			  &err) == 0, "key", &err);
	(void)close(fd);
}

static void open_state(struct maker *m)
{
	struct err err = ERR_INIT;
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/state", m->dir);
	must(mkdir(path, 0700) == 0, path, NULL);
	must(volstate_open(io_posix(), &m->rnd.rnd, path, m->spec.name,
			   &m->state, &err) == 0, path, &err);
	m->spec.uuid = m->state.uuid;
	m->spec.epoch = m->state.epoch;
}

static void rotate(struct maker *m)
{
	char path[700];
	int fd;

	must(volume_key_rotate(&m->state.key, &m->rnd.rnd) == 0, "rotate",
	     NULL);
	(void)snprintf(path, sizeof(path), "%s/key", m->state.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0, path, NULL);
	write_key(m, fd);
}

static void set_epoch(struct maker *m, uint64_t epoch)
{
	struct err err = ERR_INIT;

	m->state.epoch = epoch;
	must(volstate_save(&m->state, &m->state.sw, &err) == 0, "epoch", &err);
	m->spec.epoch = epoch;
}

static void tear(const struct maker *m)
{
	char store[512], path[256];
	ssize_t n;
	int fd;

	(void)snprintf(store, sizeof(store), "%s/store", m->dir);
	(void)lab_segment(store, 0, path);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	n = write(fd, "URec, and then no more", 22);
	must(fd >= 0 && n == 22 && !m->writer, "tear", NULL);
	(void)close(fd);
}

static void write_image(const struct maker *m)
{
	char name[64];
	int fd;

	(void)snprintf(name, sizeof(name), "%" PRIu64 "-%" PRIu64 ".img",
		       m->spec.epoch, m->seq);
	fd = create(m, name);
	must(write(fd, m->image, m->spec.size_bytes) ==
		     (ssize_t)m->spec.size_bytes, name, NULL);
	(void)close(fd);
}

static void open_store(struct maker *m)
{
	struct err err = ERR_INIT;
	char path[512];
	const struct store_config cfg = {
		.path = path,
		.segment_bytes = m->segment_bytes,
		.reserve_bytes = 4096,
		.io = io_posix(),
		.clock = &m->clock,
		.rnd = &m->rnd.rnd,
	};

	(void)snprintf(path, sizeof(path), "%s/store", m->dir);
	must(store_open(&cfg, &m->store, &err) == 0, "open", &err);
	must(store_writer_open(m->store, &m->spec, &m->writer, &err) == 0,
	     "open", &err);
}

static void close_store(struct maker *m)
{
	store_writer_close(m->writer);
	store_close(m->store);
	m->writer = NULL;
	m->store = NULL;
}

static void begin(struct maker *m, const char *codec)
{
	struct comp_config comp = { .mode = COMP_AUTO };
	struct err err = ERR_INIT;

	if (!strcmp(codec, "none"))
		comp.mode = COMP_NONE;
	else if (!strcmp(codec, "lz4"))
		comp.mode = COMP_LZ4;
	else if (!strcmp(codec, "zstd"))
		comp.mode = COMP_ZSTD;
	else
		must(!strcmp(codec, "auto"), codec, NULL);
	sealer_free(m->sealer);
	m->sealer = sealer_new(&m->state.key, &m->spec.uuid, m->spec.epoch,
			       m->seq + 1, &comp, &m->rnd.rnd);
	must(m->sealer != NULL, "begin", NULL);
	must(store_writer_begin(m->writer, sealer_delta(m->sealer), &m->delta,
				&err) == 0, "begin", &err);
}

static void fill(struct maker *m, enum content c, uint8_t *block)
{
	uint64_t v = rnd_seeded_next(&m->content);
	size_t i, n = c == ZERO ? 0 : US_BLOCK_BYTES / (c == HALF ? 2 : 1);

	memset(block, 0, US_BLOCK_BYTES);
	for (i = 0; i < n; i += 8) {
		put_le64(block + i, v);
		if (c != TEXT)
			v = rnd_seeded_next(&m->content);
	}
}

/*
 * Of the last block that is written, what is past the end of the volume is
 * zeros. Blocks past the end stay as they are, should the volume grow again.
 */
static void cut_tail(const struct maker *m, uint64_t first, uint64_t end)
{
	uint64_t from = first * US_BLOCK_BYTES, to = end * US_BLOCK_BYTES;

	if (from < m->spec.size_bytes)
		from = m->spec.size_bytes;
	if (from < to)
		memset(m->image + from, 0, to - from);
}

static void stage(struct maker *m)
{
	struct err err = ERR_INIT;

	must(m->sealer != NULL, "no delta was begun", NULL);
	must(store_writer_units(m->writer, m->delta, m->units.data,
				m->units.len, &err) == 0, "units", &err);
	buf_reset(&m->units);
}

static void data_unit(struct maker *m, uint64_t first, uint32_t count)
{
	const uint8_t *plain = m->image + first * US_BLOCK_BYTES;
	struct fp fps[UNIT_MAX_BLOCKS];
	uint32_t i;

	for (i = 0; i < count; i++) {
		const uint8_t *b = plain + (size_t)i * US_BLOCK_BYTES;

		fps[i] = fp_zero_block;
		if (!block_is_zero(b, US_BLOCK_BYTES))
			must(fp_compute(m->fps, first + i, b, &fps[i]) == 0,
			     "fingerprint", NULL);
	}
	must(sealer_data(m->sealer, first, count, plain, fps, &m->units) == 0,
	     "seal", NULL);
	stage(m);
}

static void data(struct maker *m, const struct command *c)
{
	uint64_t first = c->arg[0], end = first + c->arg[1], b;
	enum content content = !strcmp(c->word, "text") ? TEXT : NOISE;

	for (b = first; b < end; b++) {
		if (!strcmp(c->word, "mixed"))
			content = rnd_seeded_below(&m->content, N_CONTENTS);
		fill(m, content, m->image + b * US_BLOCK_BYTES);
	}
	cut_tail(m, first, end);
	for (b = first; b < end; b += UNIT_MAX_BLOCKS)
		data_unit(m, b, (uint32_t)(end - b < UNIT_MAX_BLOCKS ?
						   end - b : UNIT_MAX_BLOCKS));
}

static void zero(struct maker *m, uint64_t first, uint64_t count)
{
	memset(m->image + first * US_BLOCK_BYTES, 0, count * US_BLOCK_BYTES);
	must(sealer_zero(m->sealer, first, (uint32_t)count, &m->units) == 0,
	     "seal", NULL);
	stage(m);
}

static void commit(struct maker *m, const char *label)
{
	struct point_meta meta = {
		.epoch = m->spec.epoch,
		.seq = m->seq + 1,
		.flip_wall_ns = tick(&m->clock),
		.size_bytes = m->spec.size_bytes,
		.group = m->group,
	};
	struct acked acked = { .valid = true, .epoch = meta.epoch,
			       .seq = meta.seq,
			       .flip_wall_ns = meta.flip_wall_ns };
	struct err err = ERR_INIT;
	struct point_info info;

	(void)snprintf(meta.label, sizeof(meta.label), "%s", label);
	must(store_writer_commit(m->writer, &meta, &m->head, &info, &err) == 0,
	     "commit", &err);
	memcpy(acked.head.b, info.head.b, sizeof(acked.head.b));
	must(volstate_save_acked(&m->state, &acked, &err) == 0, "state", &err);
	m->head = info.head;
	m->seq = meta.seq;
	memset(&m->group, 0, sizeof(m->group));
	memcpy(m->committed, m->image, IMAGE_MAX);
	write_image(m);
}

static void set_group(struct maker *m, const struct command *c)
{
	memset(m->group.uuid.b, 0x67, sizeof(m->group.uuid.b));
	m->group.seq = c->arg[0];
	m->group.n_members = (uint32_t)c->arg[1];
	strcpy(m->group.name, "shop");
}

static void discard(struct maker *m)
{
	struct err err = ERR_INIT;

	must(store_writer_discard(m->writer, &err) == 0, "discard", &err);
	memcpy(m->image, m->committed, IMAGE_MAX);
	sealer_free(m->sealer);
	m->sealer = NULL;
}

static bool in_image(const struct command *c)
{
	return c->arg[1] && c->arg[0] < IMAGE_MAX / US_BLOCK_BYTES &&
	       c->arg[1] <= IMAGE_MAX / US_BLOCK_BYTES - c->arg[0];
}

static bool is(const struct command *c, const char *word)
{
	return !strcmp(c->word, word);
}

/* What needs no writer. */
static bool set(struct maker *m, const struct command *c)
{
	if (is(c, "size"))
		m->spec.size_bytes = c->arg[0];
	else if (is(c, "segment"))
		m->segment_bytes = c->arg[0];
	else if (is(c, "epoch"))
		set_epoch(m, c->arg[0]);
	else if (is(c, "rotate"))
		rotate(m);
	else if (is(c, "tear"))
		tear(m);
	else if (is(c, "open"))
		open_store(m);
	else
		return false;
	must(m->spec.size_bytes <= IMAGE_MAX, "the volume is too large", NULL);
	return true;
}

static void act(struct maker *m, const struct command *c)
{
	if (set(m, c))
		return;
	must(m->writer != NULL, c->word, NULL);
	if (is(c, "close"))
		close_store(m);
	else if (is(c, "begin"))
		begin(m, c->text);
	else if (is(c, "group"))
		set_group(m, c);
	else if (is(c, "commit"))
		commit(m, c->text);
	else if (is(c, "discard"))
		discard(m);
	else if (is(c, "zero") && in_image(c))
		zero(m, c->arg[0], c->arg[1]);
	else if ((is(c, "noise") || is(c, "text") || is(c, "mixed")) &&
		 in_image(c))
		data(m, c);
	else
		must(false, c->word, NULL);
}

static void play(struct maker *m, FILE *in)
{
	char line[256];

	while (fgets(line, sizeof(line), in)) {
		struct command c = { 0 };

		line[strcspn(line, "#\n")] = 0;
		if (sscanf(line, "%15s %64s", c.word, c.text) < 1)
			continue;
		(void)sscanf(line, "%*s %" SCNu64 " %" SCNu64, &c.arg[0],
			     &c.arg[1]);
		act(m, &c);
	}
}

int main(int argc, char **argv)
{
	struct maker m = { .clock = { .mono_ns = tick_mono, .wall_ns = tick },
			   .now_ns = INT64_C(1700000000000000000) };
	uint64_t seed = argc == 3 ? strtoull(argv[2], NULL, 10) : 1;

	must(argc == 2 || argc == 3, "see its source for the usage", NULL);
	m.dir = argv[1];
	must(mkdir(m.dir, 0700) == 0 || access(m.dir, W_OK) == 0, m.dir, NULL);
	rnd_seeded_init(&m.rnd, seed);
	rnd_seeded_init(&m.content, seed + 1);
	m.spec.source = "web1";
	m.spec.name = "db1";
	open_state(&m);
	m.fps = fp_ctx_new(&m.state.key, &m.spec.uuid);
	m.image = calloc(2, IMAGE_MAX);
	must(m.fps && m.image, "memory", NULL);
	m.committed = m.image + IMAGE_MAX;
	play(&m, stdin);
	close_store(&m);
	write_key(&m, create(&m, "key"));
	volstate_close(&m.state);
	sealer_free(m.sealer);
	fp_ctx_free(m.fps);
	buf_free(&m.units);
	free(m.image);
	return 0;
}
