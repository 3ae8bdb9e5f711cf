// SPDX-License-Identifier: Apache-2.0
/*
 * What a daemon reads of its own state. The first byte chooses: volume.json,
 * the record of what was acknowledged (its checksums put right or not), or the
 * log of events.
 */
#include "fuzz_input.h"

#include <xxhash.h>

#include "base/log.h"
#include "base/units.h"
#include "control/event_files.h"
#include "source/volstate.h"

SCRATCH_DIR_HERE

#define RECORD_BYTES 512U
#define RECORDS 3U
#define SUM_OFF 72U
#define INTENT_SUM_OFF 24U

/* The same UUID and key each time, so that the corpus fits. */
static int open_volume(struct volstate *v)
{
	struct err err = ERR_INIT;
	struct rnd_seeded rnd;
	int r;

	rnd_seeded_init(&rnd, 1);
	r = volstate_open(io_posix(), &rnd.rnd, scratch_dir(), "a", v, &err);
	must(r == 0 || err.message[0]);
	return r;
}

/* Whatever it made of it, it can save and read again. */
static void look(void)
{
	struct volstate v, again;

	if (open_volume(&v))
		return;
	must(name_is_valid(v.name) && v.epoch);
	if (volstate_save(&v, &v.sw, NULL) == 0) {
		must(!open_volume(&again));
		must(again.epoch == v.epoch && again.sw.paused == v.sw.paused);
		must(again.acked.valid == v.acked.valid &&
		     again.acked.seq == v.acked.seq);
		volstate_close(&again);
	}
	volstate_close(&v);
}

/* Everything of the volume as it is when new, but for one file. */
static void with_file(const char *name, const void *p, size_t n)
{
	struct volstate v;
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/volumes", scratch_dir());
	scratch_remove(path);
	must(!open_volume(&v));
	(void)snprintf(path, sizeof(path), "%s/%s", v.dir, name);
	volstate_close(&v);
	scratch_write(path, p, n);
	look();
}

static void acked(struct input *in)
{
	uint8_t records[RECORDS * RECORD_BYTES];
	static const size_t sum_at[RECORDS] = { SUM_OFF, SUM_OFF,
						INTENT_SUM_OFF };
	bool right = in_u8(in) & 1;
	size_t i;

	memset(records, 0, sizeof(records));
	for (i = 0; i < RECORDS; i++) {
		uint8_t *r = records + i * RECORD_BYTES;

		(void)in_bytes(in, r, 96);
		if (right)
			put_le64(r + sum_at[i], XXH3_64bits(r, sum_at[i]));
	}
	with_file("acked", records, sizeof(records));
}

static int see_event(void *arg, uint64_t id, const json_t *event)
{
	(void)arg;
	must(id && json_is_object(event));
	return 0;
}

static void events(const uint8_t *p, size_t n)
{
	struct event_files f;
	struct event_last last;
	char path[700];

	event_files_init(&f, io_posix(), scratch_dir());
	must(mkdir(f.dir, 0700) == 0 || access(f.dir, F_OK) == 0);
	(void)snprintf(path, sizeof(path), "%s/%020d.jsonl", f.dir, 1);
	scratch_write(path, p, n);
	if (event_files_look(&f, &last) == 0) {
		must(strnlen(last.slug, sizeof(last.slug)) <
		     sizeof(last.slug));
		(void)event_files_walk(&f, 0, see_event, NULL);
		(void)event_files_walk(&f, last.id, see_event, NULL);
	}
	event_files_close(&f);
	(void)unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data + 1, size - 1 };

	log_init("fuzz", LOG_LEVEL_ERR);
	if (!size || size > 1 << 16)
		return 0;
	if (data[0] % 3 == 0)
		with_file("volume.json", in.p, in.n);
	else if (data[0] % 3 == 1)
		acked(&in);
	else
		events(in.p, in.n);
	return 0;
}
