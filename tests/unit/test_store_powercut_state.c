// SPDX-License-Identifier: Apache-2.0
/*
 * Power cuts under what a source must not forget of a volume, and under the
 * keys that a replica keeps: all states that a cut may leave, on the file
 * system of lib/simfs.h, also after a kill at each step; and each sync left
 * out.
 *
 * test-timeout: 400
 */
#define TEST_TIMEOUT_S 300
#include "replica/replica_internal.h"
#include "cutlab.h"
#include "source/volstate.h"

#include "lib/tap.h"

#define MAX_COMBINATIONS 4096U

struct subject;

/* What is under test: a history, and a judge of what is left of it. */
struct subject_ops {
	/* False: a call failed. */
	bool (*history)(struct subject *s);
	/* Opens what is in fs, compares with what was promised, goes on; what
	 * a process promises by that stays promised. */
	bool (*judge)(struct subject *s, struct simfs *fs, bool process);
};

struct subject {
	const struct subject_ops *ops;
	struct simfs fs;
	struct rnd_seeded rnd;
	void *promise;			/* copied for each process */
	size_t promise_size;
	const char *doing;
	char left_out[128];
	uint64_t n_left_out, states, moments;
	char sites[32][128];
	size_t n_sites;
	bool broken, broken_process;
	char why[256], where[384];
};

static bool no(struct subject *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static bool no(struct subject *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	return false;
}

static bool is_left_out(struct subject *s, const struct sim_event *e)
{
	char name[128];
	size_t i;

	if (!e->is_sync)
		return false;
	(void)snprintf(name, sizeof(name), "%s: %s", s->doing, e->what);
	for (i = 0; i < s->n_sites && strcmp(s->sites[i], name); i++)
		;
	if (i == s->n_sites) {
		ASSERT_LT(i, 32);
		memcpy(s->sites[s->n_sites++], name, sizeof(name));
	}
	if (strcmp(name, s->left_out))
		return false;
	s->n_left_out++;
	return true;
}

static bool all_states(struct subject *s, const struct simfs *fs);

static bool in_judgement(struct simfs *fs, const struct sim_event *e, void *arg)
{
	(void)fs;
	return is_left_out(arg, e);
}

/* The process that goes on after a kill is cut, too. */
static bool in_process(struct simfs *fs, const struct sim_event *e, void *arg)
{
	struct subject *s = arg;

	if (e->is_sync && !s->broken_process)
		s->broken_process = !all_states(s, fs);
	return is_left_out(s, e);
}

static bool judged(struct subject *s, struct simfs *fs, bool process)
{
	const char *doing = s->doing;
	bool ok;

	fs->before = process ? in_process : in_judgement;
	fs->arg = s;
	s->states++;
	ok = s->ops->judge(s, fs, process);
	fs->before = NULL;
	s->doing = doing;
	return ok && !s->broken_process;
}

static bool next_picks(const struct sim_choices *all, uint32_t *picks)
{
	size_t i;

	for (i = 0; i < all->n; i++) {
		if (++picks[i] < all->v[i].n)
			return true;
		picks[i] = 0;
	}
	return false;
}

/* Every state that a cut leaves now, with zeros and with noise. */
static bool all_states(struct subject *s, const struct simfs *fs)
{
	struct sim_choices all;
	struct simfs state;
	uint64_t n = 0;
	uint32_t *picks;
	bool ok = true;

	simfs_choices(fs, &all);
	picks = calloc(all.n + 1, sizeof(*picks));
	ASSERT_NOT_NULL(picks);
	s->moments++;
	do {
		ASSERT_LT(n, MAX_COMBINATIONS);
		simfs_crash(&state, fs, &all, picks, n % 2 ? n : 0);
		ok = judged(s, &state, false);
		simfs_free(&state);
		n++;
	} while (ok && next_picks(&all, picks));
	free(picks);
	free(all.v);
	return ok;
}

/* A new process on what a killed one leaves, and then the cut. */
static bool kill_stands(struct subject *s)
{
	uint8_t promise[8192];
	struct simfs fs;
	bool ok;

	ASSERT_LE(s->promise_size, sizeof(promise));
	memcpy(promise, s->promise, s->promise_size);
	simfs_copy(&fs, &s->fs);
	ok = judged(s, &fs, true) && all_states(s, &fs);
	simfs_free(&fs);
	memcpy(s->promise, promise, s->promise_size);
	return ok;
}

static bool in_history(struct simfs *fs, const struct sim_event *e, void *arg)
{
	struct subject *s = arg;
	const char *when = "cut";

	if (!s->broken && e->is_sync)
		s->broken = !all_states(s, fs);
	if (!s->broken) {
		when = "kill";
		s->broken = !kill_stands(s);
	}
	if (s->broken && !s->where[0])
		(void)snprintf(s->where, sizeof(s->where), "%s in %s (%s): %s",
			       when, s->doing, e->what, s->why);
	return is_left_out(s, e);
}

/* False: a promise was broken, s->where. */
static bool stands(struct subject *s, const char *left_out)
{
	s->broken = s->broken_process = false;
	s->where[0] = 0;
	s->states = s->moments = s->n_left_out = 0;
	memset(s->promise, 0, s->promise_size);
	(void)snprintf(s->left_out, sizeof(s->left_out), "%s", left_out);
	rnd_seeded_init(&s->rnd, 1);
	simfs_init(&s->fs);
	s->doing = "state";
	ASSERT_OK(io_make_dir(&s->fs.io, "/state", 0700, NULL));
	s->fs.before = in_history;
	s->fs.arg = s;
	if (!s->ops->history(s) && !s->broken) {
		s->broken = true;
		memcpy(s->where, s->why, sizeof(s->why));
	}
	if (!s->broken && !all_states(s, &s->fs)) {
		s->broken = true;
		(void)snprintf(s->where, sizeof(s->where), "cut after: %s",
			       s->why);
	}
	simfs_free(&s->fs);
	return !s->broken;
}

static void each_left_out(struct subject *s)
{
	char sites[32][128];
	size_t n, i;

	ASSERT_MSG(stands(s, "none"), "  with all syncs: %s", s->where);
	tap_note("moments=%" PRIu64 " states=%" PRIu64, s->moments, s->states);
	n = s->n_sites;
	memcpy(sites, s->sites, sizeof(sites));
	for (i = 0; i < n; i += CUT_SLOW ? 4 : 1) {
		bool noticed = !stands(s, sites[i]);

		tap_note("%-40s %s", sites[i], noticed ? s->where :
							 "NOT NOTICED");
		EXPECT_TRUE(noticed);
	}
}

/* ---- a source's volume ---- */

struct volume_promise {
	bool made;			/* volstate_open was back once */
	struct uuid uuid;
	struct volume_key key;
	struct acked acked, acked_coming;
	bool has_coming;
	bool paused, paused_coming;
};

static struct acked acked_of(uint64_t seq)
{
	struct acked a = { .valid = true, .epoch = 1, .seq = seq,
			   .flip_wall_ns = (int64_t)seq * 1000 };

	memset(a.head.b, (int)seq, sizeof(a.head.b));
	return a;
}

static bool same_acked(const struct acked *a, const struct acked *b)
{
	return a->valid == b->valid && a->epoch == b->epoch &&
	       a->seq == b->seq && a->flip_wall_ns == b->flip_wall_ns &&
	       !memcmp(a->head.b, b->head.b, sizeof(a->head.b));
}

static bool save_acked(struct subject *s, struct volstate *v, uint64_t seq)
{
	struct volume_promise *p = s->promise;
	struct err err = ERR_INIT;

	s->doing = "acked";
	p->acked_coming = acked_of(seq);
	p->has_coming = true;
	if (volstate_save_intent(v, seq, 1, POINT_CRASH, &err) ||
	    volstate_save_acked(v, &p->acked_coming, &err))
		return no(s, "acked: %s", err.message);
	p->acked = p->acked_coming;
	p->has_coming = false;
	return true;
}

static bool save_paused(struct subject *s, struct volstate *v, bool paused)
{
	struct volume_promise *p = s->promise;
	struct err err = ERR_INIT;

	s->doing = "switch";
	v->sw.paused = paused;
	p->paused_coming = paused;
	if (volstate_save(v, &v->sw, &err))
		return no(s, "switch: %s", err.message);
	p->paused = paused;
	return true;
}

static bool open_volume(struct subject *s, struct simfs *fs,
			struct volstate *v)
{
	struct err err = ERR_INIT;

	s->doing = "open";
	return !volstate_open(&fs->io, &s->rnd.rnd, "/state", "db1", v,
			      &err) ||
	       no(s, "it does not open: %s: %s", err.code, err.message);
}

static void promise_made(struct volume_promise *p, const struct volstate *v)
{
	p->made = true;
	p->uuid = v->uuid;
	p->key = v->key;
}

static bool volume_history(struct subject *s)
{
	struct volstate v;
	uint64_t seq;
	bool ok;

	if (!open_volume(s, &s->fs, &v))
		return false;
	promise_made(s->promise, &v);
	ok = save_paused(s, &v, true);
	for (seq = 1; ok && seq <= 3; seq++)
		ok = save_acked(s, &v, seq);
	ok = ok && save_paused(s, &v, false);
	volstate_close(&v);
	if (!ok || !open_volume(s, &s->fs, &v))
		return false;
	ok = save_acked(s, &v, 4);
	volstate_close(&v);
	return ok;
}

static bool volume_is_right(struct subject *s, const struct volstate *v)
{
	struct volume_promise *p = s->promise;

	if (p->made && (!uuid_equal(&v->uuid, &p->uuid) ||
			memcmp(v->key.bytes, p->key.bytes, VOLUME_KEY_BYTES)))
		return no(s, "it is another volume now");
	if (p->made && !same_acked(&v->acked, &p->acked) &&
	    !(p->has_coming && same_acked(&v->acked, &p->acked_coming)))
		return no(s, "acknowledged is %" PRIu64 ", not %" PRIu64,
			  v->acked.seq, p->acked.seq);
	if (p->made && v->sw.paused != p->paused &&
	    v->sw.paused != p->paused_coming)
		return no(s, "paused is %d", v->sw.paused);
	/* What a process saw it must go on seeing. */
	if (!p->made)
		promise_made(p, v);
	p->acked = v->acked;
	p->has_coming = false;
	p->paused = p->paused_coming = v->sw.paused;
	return true;
}

static bool judge_volume(struct subject *s, struct simfs *fs, bool process)
{
	struct volume_promise before = *(struct volume_promise *)s->promise;
	struct volstate v;
	bool ok = open_volume(s, fs, &v);

	if (!ok)
		return false;
	ok = volume_is_right(s, &v) && save_acked(s, &v, v.acked.seq + 1);
	if (!process)
		ok = ok && save_paused(s, &v, !v.sw.paused);
	volstate_close(&v);
	if (process || !ok)
		return ok;
	ok = open_volume(s, fs, &v);
	if (ok) {
		ok = volume_is_right(s, &v);
		volstate_close(&v);
	}
	*(struct volume_promise *)s->promise = before;
	return ok;
}

static const struct subject_ops volume_ops = { volume_history, judge_volume };

static void volume_subject(struct subject *s, struct volume_promise *p)
{
	*s = (struct subject){ .ops = &volume_ops, .promise = p,
			       .promise_size = sizeof(*p) };
}

TEST(a_source_remembers_whatever_a_cut_leaves_and_each_sync_is_needed)
{
	struct volume_promise p;
	struct subject s;

	volume_subject(&s, &p);
	each_left_out(&s);
}

/* ---- the keys that a replica keeps ---- */

struct keys_promise {
	int kept;			/* generations; 0: none */
	int coming;			/* or so many */
};

#define GENERATIONS 2
static struct volume_key generations[GENERATIONS + 1];
static struct uuid keys_volume;

static void make_keys(void)
{
	struct rnd_seeded rnd;

	rnd_seeded_init(&rnd, 7);
	ASSERT_OK(uuid_new(&rnd.rnd, &keys_volume));
	ASSERT_OK(volume_key_new(&rnd.rnd, 1, &generations[1]));
	generations[2] = generations[1];
	ASSERT_OK(volume_key_rotate(&generations[2], &rnd.rnd));
}

static void replica_init(struct replica *r, struct simfs *fs)
{
	memset(r, 0, sizeof(*r));
	r->env.io = &fs->io;
	r->state_dir = (char *)"/state";
	pthread_mutex_init(&r->keys_lock, NULL);
}

static void replica_end(struct replica *r)
{
	free(r->keys_dir);
	pthread_mutex_destroy(&r->keys_lock);
}

static bool keep(struct subject *s, struct replica *r, int generation)
{
	struct keys_promise *p = s->promise;
	char text[KEY_TEXT_MAX];
	struct err err = ERR_INIT;
	int n;

	s->doing = "keep";
	p->coming = generation;
	n = volume_key_to_text(&generations[generation], "db1", &keys_volume,
			       text, sizeof(text));
	ASSERT_GT(n, 0);
	if (keys_save(r, &keys_volume, text, (size_t)n, &err))
		return no(s, "keep: %s: %s", err.code, err.message);
	p->kept = generation;
	return true;
}

static bool forget(struct subject *s, struct replica *r)
{
	struct keys_promise *p = s->promise;

	s->doing = "forget";
	p->coming = 0;
	if (keys_forget(r, &keys_volume))
		return no(s, "forget");
	p->kept = 0;
	return true;
}

static bool keys_history(struct subject *s)
{
	struct err err = ERR_INIT;
	struct replica r;
	bool ok;

	s->doing = "open";
	replica_init(&r, &s->fs);
	ok = !keys_open(&r, &err) || no(s, "open: %s", err.message);
	ok = ok && keep(s, &r, 1) && keep(s, &r, 1) && keep(s, &r, 2) &&
	     forget(s, &r) && keep(s, &r, 1);
	replica_end(&r);
	return ok;
}

/* What is kept; -1: that cannot be told. */
static int generation_kept(struct subject *s, struct replica *r)
{
	struct err err = ERR_INIT;
	struct volume_key key;
	int n = replica_key(r, &keys_volume, &key, &err), g;

	if (n == -ENOKEY)
		return 0;
	for (g = 1; n == 0 && g <= GENERATIONS; g++)
		if (key.id == generations[g].id &&
		    !memcmp(key.bytes, generations[g].bytes,
			    VOLUME_KEY_BYTES) &&
		    volume_key_lowest(&key) == 1)
			return g;
	(void)no(s, "the key cannot be read: %d %s: %s", n, err.code,
		 err.message);
	return -1;
}

static bool keys_are_right(struct subject *s, struct replica *r)
{
	const struct keys_promise *p = s->promise;
	int g = generation_kept(s, r);

	if (g >= 0 && g != p->kept && g != p->coming)
		return no(s, "generation %d is kept, not %d", g, p->kept);
	return g >= 0;
}

static bool judge_keys(struct subject *s, struct simfs *fs, bool process)
{
	struct keys_promise before = *(struct keys_promise *)s->promise;
	struct err err = ERR_INIT;
	struct replica r;
	bool ok;
	int g;

	s->doing = "open";
	replica_init(&r, fs);
	ok = !keys_open(&r, &err) || no(s, "open: %s", err.message);
	ok = ok && keys_are_right(s, &r);
	/* A source whose key was not confirmed hands it in again; whoever was
	 * forgetting it goes on with that. */
	g = ok ? generation_kept(s, &r) : 0;
	if (ok && !before.coming && before.kept)
		ok = forget(s, &r);
	else if (ok)
		ok = keep(s, &r, g == 2 || before.coming == 2 ? 2 : 1);
	ok = ok && keys_are_right(s, &r);
	replica_end(&r);
	if (ok && !process)
		*(struct keys_promise *)s->promise = before;
	return ok;
}

static const struct subject_ops keys_ops = { keys_history, judge_keys };

TEST(a_replica_keeps_keys_whatever_a_cut_leaves_and_each_sync_is_needed)
{
	struct keys_promise p;
	struct subject s = { .ops = &keys_ops, .promise = &p,
			     .promise_size = sizeof(p) };

	make_keys();
	each_left_out(&s);
}
