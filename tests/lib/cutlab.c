// SPDX-License-Identifier: Apache-2.0
/*
 * See cutlab.h. What was promised is written down only when the call is back
 * and the file system lives; what is under way is written down before.
 */
#include "cutlab.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/log.h"

static uint64_t tick_mono(struct clock *c)
{
	(void)c;
	return 1;
}

static int64_t tick_wall(struct clock *c)
{
	(void)c;
	return INT64_C(1700000000000000000);
}

static struct clock still = { tick_mono, tick_wall };

/* ---- syncs that are passed, and the one that is left out ---- */

static void note_site(struct cutlab *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->n_sites; i++)
		if (!strcmp(c->sites[i].name, name))
			break;
	if (i == c->n_sites) {
		c->sites = reallocarray(c->sites, i + 1, sizeof(*c->sites));
		if (!c->sites)
			abort();
		c->sites[i] = (struct cut_site){ 0 };
		(void)snprintf(c->sites[i].name, sizeof(c->sites[i].name),
			       "%s", name);
		c->n_sites++;
	}
	c->sites[i].hits++;
}

/* Is this the sync to leave out? */
static bool on_sync(struct cutlab *c, const struct sim_event *e)
{
	char name[sizeof(c->left_out)];

	if (!e->is_sync)
		return false;
	(void)snprintf(name, sizeof(name), "%s: %s", c->doing, e->what);
	note_site(c, name);
	if (strcmp(name, c->left_out))
		return false;
	c->n_left_out++;
	return true;
}

static bool in_history(struct simfs *fs, const struct sim_event *e, void *arg)
{
	struct cutlab *c = arg;

	(void)fs;
	if (c->on_event)
		c->on_event(c, e);
	return on_sync(c, e);
}

static bool in_judgement(struct simfs *fs, const struct sim_event *e, void *arg)
{
	(void)fs;
	return on_sync(arg, e);
}

/* ---- a history ---- */

/*
 * What is said is listened to, not shown: a process that dies has much to
 * say, and of a state that is judged a line of level error is a failure.
 */
static void hear(struct cutlab *c)
{
	c->real_stderr = fcntl(2, F_DUPFD_CLOEXEC, 3);
	c->heard = memfd_create("stderr", MFD_CLOEXEC);
	if (c->real_stderr < 0 || c->heard < 0)
		abort();
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_set_report_fd((void *)(intptr_t)c->real_stderr);
#endif
	if (dup2(c->heard, 2) < 0)
		abort();
}

static void hear_no_more(struct cutlab *c)
{
	if (dup2(c->real_stderr, 2) < 0)
		abort();
	(void)close(c->real_stderr);
	(void)close(c->heard);
}

static void forget_heard(struct cutlab *c)
{
	if (ftruncate(c->heard, 0) < 0 || lseek(c->heard, 0, SEEK_SET) < 0)
		abort();
}

static bool heard_nothing(struct cutlab *c, char *text, size_t size)
{
	ssize_t n = pread(c->heard, text, size - 1, 0);
	char *said;

	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	/* Without its time: the same failure is the same text. */
	said = strstr(text, "error: ");
	if (said)
		memmove(text, said, strlen(said) + 1);
	return n == 0;
}

void cutlab_init(struct cutlab *c, uint64_t seed, uint64_t segment_bytes)
{
	memset(c, 0, sizeof(*c));
	simfs_init(&c->fs);
	c->fs.before = in_history;
	c->fs.arg = c;
	(void)simfs_for_sqlite(&c->fs);
	lab_init_on(&c->lab, seed, CUT_BLOCKS, &c->fs.io, "/store");
	c->lab.segment_bytes = segment_bytes;
	c->lab.clock = &still;
	c->promise.epoch = 1;
	log_init("test", LOG_LEVEL_ERR);
	hear(c);
}

void cutlab_free(struct cutlab *c)
{
	(void)simfs_for_sqlite(&c->fs);
	c->on_event = NULL;
	c->fs.before = NULL;
	lab_free(&c->lab);
	(void)simfs_for_sqlite(NULL);
	simfs_free(&c->fs);
	free(c->sites);
	hear_no_more(c);
}

void cutlab_move(struct cutlab *c, struct simfs *fs)
{
	uint64_t calls = c->fs.calls;

	simfs_free(&c->fs);
	c->fs = *fs;
	memset(fs, 0, sizeof(*fs));
	c->fs.before = in_history;
	c->fs.arg = c;
	c->fs.calls = calls;
}

/* The end of a step. */
static bool done(struct cutlab *c, int r, const struct err *err)
{
	if (c->fs.dead)
		return false;
	if (r == 0)
		return true;
	(void)snprintf(c->why, sizeof(c->why), "%s: %d %s: %s", c->doing, r,
		       err->code, err->message);
	return false;
}

bool cut_open(struct cutlab *c)
{
	struct err err = ERR_INIT;

	c->doing = "open";
	return done(c, lab_open(&c->lab, false, &err), &err);
}

bool cut_writer(struct cutlab *c)
{
	struct err err = ERR_INIT;

	c->doing = "writer";
	return done(c, lab_writer(&c->lab, &err), &err);
}

static void promise_staged(struct cut_promise *p, uint64_t block, uint64_t v)
{
	if (p->n_staged[block] == CUT_STAGED) {
		printf("# cutlab: too much staged\n");
		exit(1);
	}
	p->staged[block][p->n_staged[block]++] = v;
}

bool cut_stage(struct cutlab *c, uint64_t first, uint32_t count, bool zero)
{
	struct err err = ERR_INIT;
	uint32_t i;
	int r;

	c->doing = "begin";
	r = lab_begin(&c->lab, &err);
	if (!done(c, r, &err))
		return false;
	if (zero)
		lab_zero(&c->lab, first, count);
	else
		lab_data(&c->lab, first, count);
	for (i = 0; i < count; i++)
		promise_staged(&c->promise, first + i,
			       c->lab.now.versions[first + i]);
	c->doing = "units";
	return done(c, lab_stage(&c->lab, &err), &err);
}

static void nothing_staged(struct cut_promise *p)
{
	memset(p->n_staged, 0, sizeof(p->n_staged));
}

static void promise_coming(struct cut_promise *p, const struct lab *l)
{
	memcpy(p->versions[p->seq + 1], l->now.versions,
	       sizeof(p->versions[0]));
	p->coming = true;
}

static void promise_kept(struct cut_promise *p, const struct head *head)
{
	p->seq++;
	p->heads[p->seq] = *head;
	p->coming = false;
	nothing_staged(p);
}

bool cut_commit(struct cutlab *c)
{
	struct err err = ERR_INIT;
	struct point_info info;

	c->doing = "commit";
	promise_coming(&c->promise, &c->lab);
	if (!done(c, lab_commit(&c->lab, &info, &err), &err))
		return false;
	promise_kept(&c->promise, &info.head);
	return true;
}

/* What the newest point says is what a source ships over again. */
static void back_to_newest(struct lab *l, const struct cut_promise *p)
{
	memcpy(l->now.versions, p->versions[p->seq], sizeof(p->versions[0]));
}

bool cut_discard(struct cutlab *c)
{
	struct err err = ERR_INIT;

	c->doing = "discard";
	if (!done(c, store_writer_discard(c->lab.writer, &err), &err))
		return false;
	nothing_staged(&c->promise);
	back_to_newest(&c->lab, &c->promise);
	return true;
}

bool cut_epoch(struct cutlab *c)
{
	struct err err = ERR_INIT;

	c->doing = "epoch";
	c->lab.spec.epoch++;
	c->promise.epoch_coming = c->lab.spec.epoch;
	if (!done(c, lab_writer(&c->lab, &err), &err))
		return false;
	c->promise.epoch = c->lab.spec.epoch;
	c->promise.epoch_coming = 0;
	nothing_staged(&c->promise);
	back_to_newest(&c->lab, &c->promise);
	return true;
}

bool cut_rename(struct cutlab *c, const char *name)
{
	struct err err = ERR_INIT;

	c->doing = "rename";
	c->lab.spec.name = name;
	return done(c, lab_writer(&c->lab, &err), &err);
}

static void end_store(struct lab *l, struct simfs *fs, enum cut_death how)
{
	bool dead = fs->dead;

	/* A process that is killed closes nothing; the next one finds the
	 * system alive. One that closes may meet its end in that. */
	fs->dead |= how != CUT_CLOSE;
	lab_close(l);
	if (how != CUT_CLOSE)
		fs->dead = dead;
}

void cut_close(struct cutlab *c, enum cut_death how)
{
	c->doing = "close";
	end_store(&c->lab, &c->fs, how);
}

/*
 * Segments of a few units, so that they fill; what is staged is taken up by a
 * later life, thrown away, committed; epochs and names change.
 */
static bool first_life(struct cutlab *c)
{
	return cut_open(c) && cut_writer(c) &&
	       cut_stage(c, 0, 2, false) && cut_stage(c, 4, 2, true) &&
	       cut_stage(c, 1, 3, false) && cut_commit(c) &&
	       cut_stage(c, 0, 1, false) && cut_stage(c, 5, 3, false) &&
	       cut_discard(c) && cut_stage(c, 2, 1, false) && cut_commit(c) &&
	       cut_stage(c, 6, 2, false);
}

static bool later_life(struct cutlab *c)
{
	return cut_open(c) && cut_writer(c) &&
	       cut_stage(c, 7, 1, false) && cut_rename(c, "db2") &&
	       cut_commit(c) && cut_stage(c, 3, 1, false) && cut_epoch(c) &&
	       cut_stage(c, 1, 1, false) && cut_commit(c);
}

bool cut_history(struct cutlab *c)
{
	if (!first_life(c))
		return false;
	cut_close(c, CUT_KILL);
	if (!later_life(c))
		return false;
	cut_close(c, CUT_CLOSE);
	return cut_open(c) && cut_writer(c) && cut_commit(c);
}

/* ---- the judge ---- */

struct judge {
	struct cutlab *c;
	struct lab l;			/* on the state */
	struct cut_promise *p;
	uint64_t n_points;
	struct err err;
};

static bool no(struct judge *j, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static bool no(struct judge *j, const char *fmt, ...)
{
	char *why = j->c->why;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(why, sizeof(j->c->why), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(j->c->why) && j->err.code[0])
		(void)snprintf(why + n, sizeof(j->c->why) - (size_t)n,
			       ": %s: %s", j->err.code, j->err.message);
	return false;
}

static int on_point(void *arg, const struct point_info *info)
{
	struct judge *j = arg;
	const struct cut_promise *p = j->p;
	uint64_t seq = ++j->n_points;

	if (info->meta.seq != seq || seq > p->seq + p->coming) {
		no(j, "point %" PRIu64 " is there, which nobody committed",
		   info->meta.seq);
		return -EBADMSG;
	}
	if (info->damaged) {
		no(j, "point %" PRIu64 " is called damaged", seq);
		return -EBADMSG;
	}
	if (memcmp(&info->prev_head, &p->heads[seq - 1], HEAD_BYTES) ||
	    (seq <= p->seq && memcmp(&info->head, &p->heads[seq],
				     HEAD_BYTES))) {
		no(j, "point %" PRIu64 " has another head", seq);
		return -EBADMSG;
	}
	j->l.head = info->head;
	j->l.seq = seq;
	return 0;
}

static bool look_at_points(struct judge *j)
{
	const struct cut_promise *p = j->p;
	struct lab_image want = { .n_blocks = CUT_BLOCKS };
	uint64_t seq, block = 0;
	int r;

	j->n_points = 0;
	j->l.seq = 0;
	j->l.head = (struct head){ 0 };
	r = store_points(j->l.store, &j->l.spec.uuid, false, on_point, j);
	if (r == -ENOENT)
		r = 0;
	if (r == -EBADMSG && j->c->why[0])
		return false;
	if (r < 0)
		return no(j, "points cannot be listed: %d", r);
	if (j->n_points < p->seq)
		return no(j, "point %" PRIu64 " is lost", j->n_points + 1);
	for (seq = 1; seq <= j->n_points; seq++) {
		want.versions = (uint64_t *)p->versions[seq];
		err_clear(&j->err);
		r = lab_compare(&j->l, seq, &want, &block, &j->err);
		if (r)
			return no(j, "point %" PRIu64 " reads wrong at block "
				  "%" PRIu64 " (%d)", seq, block, r);
	}
	return true;
}

static bool fp_is(struct judge *j, uint64_t block, uint64_t version,
		  const struct fp *fp)
{
	struct fp want = lab_fp(&j->l, block, version);

	return fp_equal(fp, &want);
}

/* What the open point holds must have been staged since the newest point. */
static bool look_at_staged(struct judge *j, uint64_t block,
			   const struct fp *fp)
{
	const struct cut_promise *p = j->p;
	uint32_t i;

	if (fp_is(j, block, p->versions[j->n_points][block], fp) ||
	    (!p->versions[j->n_points][block] && fp_equal(fp, &fp_unknown)))
		return true;
	/* Whatever was staged is in the point under way, if that is there. */
	for (i = 0; j->n_points == p->seq && i < p->n_staged[block]; i++)
		if (fp_is(j, block, p->staged[block][i], fp))
			return true;
	return no(j, "block %" PRIu64 " of the open point is nothing that "
		  "was staged", block);
}

static bool look_at_epoch(struct judge *j)
{
	struct cut_promise *p = j->p;
	struct volume_info info;
	int r = store_volume_by_uuid(j->l.store, &j->l.spec.uuid, &info);

	if (r == -ENOENT && !p->seq && p->epoch == 1)
		return true;
	if (r < 0)
		return no(j, "the volume is not there: %d", r);
	if (info.epoch != p->epoch && info.epoch != p->epoch_coming)
		return no(j, "epoch is %" PRIu64 ", not %" PRIu64, info.epoch,
			  p->epoch);
	p->epoch = info.epoch;
	p->epoch_coming = 0;
	return true;
}

/* As a source does: asks what is there, ships what differs, commits. */
static bool go_on(struct judge *j)
{
	struct cut_promise *p = j->p;
	struct lab *l = &j->l;
	struct fp fps[CUT_BLOCKS];
	struct point_info info;
	uint64_t i;
	int r;

	j->c->doing = "writer";
	l->spec.epoch = p->epoch;
	r = lab_writer(l, &j->err);
	if (r == 0)
		r = store_writer_fps(l->writer, 0, CUT_BLOCKS, fps, &j->err);
	if (r < 0)
		return no(j, "no writer: %d", r);
	for (i = 0; i < CUT_BLOCKS; i++)
		if (!look_at_staged(j, i, &fps[i]))
			return false;
	l->now.versions[p->seq % CUT_BLOCKS] = l->next_version++;
	j->c->doing = "begin";
	r = lab_begin(l, &j->err);
	j->c->doing = "units";
	for (i = 0; r == 0 && i < CUT_BLOCKS; i++)
		if (!fp_is(j, i, l->now.versions[i], &fps[i]))
			lab_again(l, i, 1);
	if (r == 0)
		r = lab_stage(l, &j->err);
	j->c->doing = "commit";
	promise_coming(p, l);
	if (r == 0)
		r = lab_commit(l, &info, &j->err);
	if (r < 0)
		return no(j, "cannot go on: %d", r);
	promise_kept(p, &info.head);
	return true;
}

static void judge_begin(struct judge *j, struct cutlab *c, struct simfs *fs,
			struct cut_promise *p)
{
	*j = (struct judge){ .c = c, .l = c->lab, .p = p };
	j->l.other_io = &fs->io;
	j->l.store = NULL;
	j->l.writer = NULL;
	j->l.sealer = NULL;
	j->l.units = (struct buf){ 0 };
	j->l.now = lab_image_copy(&c->lab.now);
	memcpy(j->l.now.versions, p->versions[p->seq + p->coming],
	       sizeof(p->versions[0]));
	rnd_seeded_init(&j->l.rnd, ++c->judged);
	fs->before = in_judgement;
	fs->arg = c;
	c->why[0] = 0;
}

static void judge_end(struct judge *j, struct simfs *fs, enum cut_death how)
{
	end_store(&j->l, fs, how);
	fs->before = NULL;
	sealer_free(j->l.sealer);
	buf_free(&j->l.units);
	lab_image_free(&j->l.now);
}

static bool open_state(struct judge *j, bool read_only)
{
	char text[256];
	int r;

	forget_heard(j->c);
	j->c->doing = "open";
	r = lab_open(&j->l, read_only, &j->err);
	if (!heard_nothing(j->c, text, sizeof(text)))
		return no(j, "it complains: %s", text);
	return r == 0 || no(j, "it does not open: %d", r);
}

bool cut_judge(struct cutlab *c, struct simfs *fs, struct cut_promise *p,
	       enum cut_death how)
{
	struct simfs *former = simfs_for_sqlite(fs);
	const char *doing = c->doing;
	struct judge j;
	bool ok;

	judge_begin(&j, c, fs, p);
	ok = open_state(&j, false) && look_at_epoch(&j) && look_at_points(&j);
	/* Shown is promised, and what is not shown must not come later. */
	if (ok && j.n_points > p->seq)
		promise_kept(p, &j.l.head);
	p->coming = false;
	if (how != CUT_KILL_OPENED)
		ok = ok && go_on(&j) && look_at_points(&j);
	judge_end(&j, fs, how);
	c->doing = doing;
	(void)simfs_for_sqlite(former);
	return ok;
}

bool cut_look(struct cutlab *c, struct simfs *fs, const struct cut_promise *p)
{
	struct simfs *former = simfs_for_sqlite(fs);
	struct cut_promise copy = *p;
	const char *doing = c->doing;
	struct judge j;
	bool ok;

	judge_begin(&j, c, fs, &copy);
	ok = open_state(&j, true) && look_at_epoch(&j) && look_at_points(&j);
	judge_end(&j, fs, CUT_CLOSE);
	c->doing = doing;
	(void)simfs_for_sqlite(former);
	return ok;
}

/* What the open point holds of it need not be shipped again. */
static bool take_over(struct judge *j)
{
	struct cutlab *c = j->c;
	struct fp fps[CUT_BLOCKS];
	uint64_t i;
	int r;

	c->doing = "writer";
	c->lab.spec.epoch = j->p->epoch;
	r = lab_writer(&c->lab, &j->err);
	if (r == 0)
		r = store_writer_fps(c->lab.writer, 0, CUT_BLOCKS, fps,
				     &j->err);
	if (r < 0)
		return c->fs.dead ? false : no(j, "no writer: %d", r);
	for (i = 0; i < CUT_BLOCKS; i++)
		if (!look_at_staged(j, i, &fps[i]))
			return false;
	if (j->n_points > j->p->seq)
		promise_kept(j->p, &j->l.head);
	j->p->coming = false;
	back_to_newest(&c->lab, j->p);
	for (i = 0; i < CUT_BLOCKS; i++) {
		uint32_t k;

		for (k = 0; k < j->p->n_staged[i]; k++)
			if (fp_is(j, i, j->p->staged[i][k], &fps[i]))
				c->lab.now.versions[i] = j->p->staged[i][k];
	}
	return true;
}

bool cut_recover(struct cutlab *c)
{
	struct judge j = { .c = c, .p = &c->promise };
	bool ok;

	c->why[0] = 0;
	/* The judge reads through a handle of its own making. */
	if (!cut_open(c))
		return false;
	j.l = c->lab;
	ok = look_at_epoch(&j) && look_at_points(&j);
	c->lab.head = j.l.head;
	c->lab.seq = j.l.seq;
	ok = ok && take_over(&j);
	return ok && !c->fs.dead;
}

uint64_t cut_promise_hash(const struct cut_promise *p)
{
	uint64_t h = XXH3_64bits(p->heads, sizeof(p->heads[0]) * (p->seq + 1));

	h = XXH3_64bits_withSeed(p->versions, sizeof(p->versions[0]) *
				 (p->seq + 1 + p->coming), h);
	h = XXH3_64bits_withSeed(p->n_staged, sizeof(p->n_staged), h);
	return h + p->epoch + (p->epoch_coming << 8) + p->coming;
}
