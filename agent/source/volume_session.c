// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's session with its replica: opening it, deciding what its answer
 * means, escrow of the key, acknowledgements. The worker's thread only.
 *
 * What the replica's newest point means to a source that remembers the last
 * acknowledged one (seq, head):
 *   the same                     go on after it
 *   its predecessor is ours,     a commit became durable whose answer was lost
 *   and it is the commit that    (only one is ever outstanding): go on after
 *   was sent last, or everything it; what it held stays pending here and is
 *   is pending                   compared, since this process cannot know what
 *                                exactly the point covered
 *   none, or another chain       the replica went back, or is not the one, or a
 *                                clone of this source pushed to it: refused
 *                                until `resync`
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "source/encode.h"
#include "source/volume_internal.h"

static void on_fps(void *arg, uint64_t first, uint32_t count,
		   const uint8_t *fps)
{
	struct volume *v = arg;

	if (v->ship)
		ship_on_fps(v->ship, first, count, fps);
}

static void on_held(void *arg, uint64_t epoch, uint64_t seq, uint32_t count,
		    const uint8_t *held)
{
	volume_turn_on_held(arg, epoch, seq, count, held);
}

/* Only noted: making it durable here takes a disk's time, and this may be the
 * middle of a round. */
static void on_ack(void *arg, const struct wire_ack *ack)
{
	struct volume *v = arg;

	v->ack = *ack;
	v->ack_came = true;
}

static bool head_is_zero(const struct wire_head *h)
{
	static const struct wire_head zero;

	return !memcmp(h, &zero, sizeof(zero));
}

static bool head_equal(const struct wire_head *a, const struct wire_head *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static int refuse(struct volume *v, struct err *err, const char *code,
		  const char *what)
{
	v->refused = true;
	err_set(err, -ESTALE, code, v->cfg.name, "replica %s: %s",
		v->cfg.replica.name, what);
	return err_remedy(err, "understudyctl resync %s --yes %s", v->cfg.name,
			  v->cfg.name);
}

static bool is_intended(const struct volume *v,
			const struct wire_volume_state *s)
{
	return v->vs.intent_seq == s->seq &&
	       v->vs.intent_flip_wall_ns == s->flip_wall_ns;
}

/* Sent by this source, or harmless since every block is pending here. */
static bool may_be_ours(const struct volume *v,
			const struct wire_volume_state *s)
{
	if (cut_pending_blocks(v->cut) == v->tracker->n_blocks)
		return true;
	return is_intended(v, s);
}

static int judge_history(struct volume *v, const struct wire_volume_state *s,
			 struct err *err)
{
	const struct acked *a = &v->vs.acked;

	if (v->resync)
		return 0;
	if (!s->has_point)
		return a->valid ? refuse(v, err, "replica-behind",
					 "it has no point of this volume, "
					 "acknowledged points are gone")
				: 0;
	if (a->valid && s->seq == a->seq && head_equal(&s->head, &a->head))
		return 0;
	if (s->seq > (a->valid ? a->seq : 0) && may_be_ours(v, s) &&
	    (a->valid ? head_equal(&s->prev_head, &a->head)
		      : head_is_zero(&s->prev_head)))
		return 0;
	if (a->valid && s->seq < a->seq)
		return refuse(v, err, "replica-behind",
			      "it has gone back behind the last acknowledged "
			      "point");
	return refuse(v, err, "head-mismatch",
		      "its newest point does not follow the last "
		      "acknowledged one");
}

static void fill_open(struct volume *v, struct wire_volume_open *o)
{
	memset(o, 0, sizeof(*o));
	o->uuid = v->vs.uuid;
	(void)snprintf(o->name, sizeof(o->name), "%s", v->cfg.name);
	o->size_bytes = v->dev.n_sectors << 9;
	o->epoch = v->vs.epoch;
	o->block_bytes = 1U << v->tracker->block_shift;
	o->has_acked = v->vs.acked.valid && !v->resync;
	if (o->has_acked) {
		o->acked_epoch = v->vs.acked.epoch;
		o->acked_seq = v->vs.acked.seq;
		o->acked_head = v->vs.acked.head;
	}
	o->disk_major = v->dev.disk_major;
	o->disk_minor = v->dev.disk_minor;
	o->part_major = v->dev.major;
	o->part_minor = v->dev.minor;
}

/*
 * A commit whose answer was lost is remembered before anything is built on it:
 * else a second lost answer would leave the replica two points ahead, and that
 * looks like another history. What it covered stays pending all the same.
 */
static int remember_base(struct volume *v, const struct wire_volume_state *s,
			 struct err *err)
{
	const struct acked *known = &v->vs.acked;
	const struct acked a = {
		.valid = true,
		.epoch = s->epoch,
		.seq = s->seq,
		.head = s->head,
		.flip_wall_ns = s->flip_wall_ns,
		/* That of another's commit is not said here. */
		.has_kind = is_intended(v, s) && v->vs.intent_has_kind,
		.kind = v->vs.intent_kind,
	};
	int r;

	/* In a resync the replica may have gone back: what this source knows
	 * stays until it has made a point. */
	if (v->resync)
		return 0;
	if (!s->has_point || (known->valid && known->seq == s->seq &&
			      head_equal(&known->head, &s->head)))
		return 0;
	r = volstate_save_acked(&v->vs, &a, err);
	if (!r)
		volume_show_point(v, &a);
	return r;
}

static void change_escrowed(struct volstate_switches *sw, const void *arg)
{
	sw->key_escrowed_id = *(const uint32_t *)arg;
}

/*
 * The replica keeps the key, so that it can restore without this host. What
 * the session seals with is exactly the key that went there.
 */
static int escrow_key(struct volume *v, struct err *err)
{
	char text[KEY_TEXT_MAX];
	int n, r;

	pthread_mutex_lock(&v->lock);
	v->session_key = v->vs.key;
	pthread_mutex_unlock(&v->lock);
	if (!v->cfg.key_escrow)
		return 0;
	n = volume_key_to_text(&v->session_key, v->cfg.name, &v->vs.uuid, text,
			       sizeof(text));
	if (n < 0)
		return err_sys(err, n, "no-key", v->cfg.name, "escrow");
	r = dial_escrow(link_dial(v->link), text, (size_t)n);
	OPENSSL_cleanse(text, sizeof(text));
	if (r)
		return err_sys(err, r, "protocol", v->cfg.name, "escrow");
	r = link_wait_done(v->link, WIRE_REQ_ESCROW, err);
	return r ? r : volume_save_switches(v, change_escrowed,
					    &v->session_key.id, err);
}

#define PUBLISH_NS (200 * NSEC_PER_MSEC)

/*
 * A round may take hours: it is seen in status, it hears orders, and the
 * session lives on through a stretch of which nothing is sent.
 */
static int watch(struct watched_sink *w)
{
	uint64_t now = clock_mono_ns(w->v->env.clock);

	if (now < w->next_publish_ns)
		return 0;
	w->next_publish_ns = now + PUBLISH_NS;
	volume_publish(w->v);
	return volume_cancelled(w->v) ? -ECANCELED : ship_pump(w->v->ship);
}

static int sink_expect(struct cut_sink *s, uint64_t first, uint64_t count)
{
	struct watched_sink *w = (struct watched_sink *)(void *)s;
	struct cut_sink *to = ship_sink(w->v->ship);
	int r = watch(w);

	if (r)
		return r;
	return to->expect(to, first, count);
}

static int sink_stage(struct cut_sink *s, uint64_t first, uint32_t count,
		      const uint8_t *data)
{
	struct watched_sink *w = (struct watched_sink *)(void *)s;
	struct cut_sink *to = ship_sink(w->v->ship);
	int r = watch(w);

	if (r)
		return r;
	volume_turn_on_stage(w->v, first, count, data);
	return to->stage(to, first, count, data);
}

static int open_ship(struct volume *v, struct err *err)
{
	struct ship_config sc = {
		.link = v->link,
		.volume = v->vs.uuid,
		.epoch = v->vs.epoch,
		.key = &v->session_key,
		.compression = v->cfg.compression,
		.rnd = v->env.rnd,
		.encode_threads = encoder_threads(),
	};
	int r = ship_new(&sc, &v->ship, err);

	if (r)
		return r;
	v->sink = (struct watched_sink){
		.sink = { .expect = sink_expect, .stage = sink_stage },
		.v = v,
	};
	cut_set_sink(v->cut, &v->sink.sink);
	return 0;
}

/* Numbers are never given twice, also not after a replica went back. */
static void adopt_state(struct volume *v, const struct wire_volume_state *s,
			uint64_t acked_seq)
{
	v->has_base = s->has_point;
	v->base_seq = MAX(s->has_point ? s->seq : 0, acked_seq);
	memset(&v->base_head, 0, sizeof(v->base_head));
	if (s->has_point)
		v->base_head = s->head;
	v->leftover = s->has_open;
	/* What this process did not send, the replica may hold all the same. */
	v->compare = s->has_point || s->has_open;
	v->is_outstanding = v->ack_came = false;
}

/* The name in our certificate: how the replica calls this host. */
static void show_source(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	(void)snprintf(v->shown.source, sizeof(v->shown.source), "%s",
		       link_accept(v->link)->peer_name);
}

int volume_session_open(struct volume *v, struct err *err)
{
	struct link_config lc = {
		.replica = &v->cfg.replica,
		.env = &v->env,
		.handler = &v->handler,
		.wake_fd = v->wake_fd,
		.stop_fd = v->stop_fd,
		.role = WIRE_ROLE_SENDER,
		.refused = &v->refused,
	};
	struct wire_volume_state state;
	struct wire_volume_open o;
	uint64_t seq = 0;
	int r;

	v->handler = (struct link_handler){
		.on_fps = on_fps,
		.on_ack = on_ack,
		.on_held = on_held,
		.cancelled = volume_cancelled,
		.arg = v,
	};
	v->refused = false;
	volume_set_link(v, "connecting", "");
	r = link_open(&lc, &v->link, err);
	if (!r) {
		fill_open(v, &o);
		r = link_volume_open(v->link, &o, &state, err);
	}
	if (!r && v->group &&
	    !(link_accept(v->link)->features & WIRE_FEATURE_GROUPS)) {
		v->refused = true;
		r = err_set(err, -EOPNOTSUPP, "no-groups", v->cfg.replica.name,
			    "the replica does not know points of groups");
		err_remedy(err, "install this version at the replica, or take "
			   "the volume out of [group %s]", v->cfg.group.name);
	}
	if (!r)
		r = judge_history(v, &state, err);
	if (!r) {
		seq = v->vs.acked.valid ? v->vs.acked.seq : 0;
		r = remember_base(v, &state, err);
	}
	if (!r)
		r = escrow_key(v, err);
	if (!r)
		r = open_ship(v, err);
	if (r) {
		volume_session_close(v, true);
		volume_set_link(v, v->refused ? "refused" : "disconnected",
				err->code);
		return r;
	}
	adopt_state(v, &state, seq);
	volume_set_link(v, "connected", "");
	show_source(v);
	return 0;
}

void volume_session_close(struct volume *v, bool orderly)
{
	struct ship_totals t;

	volume_group_unready(v);
	v->group_waits = false;
	if (v->session_told)
		volume_tell(v, "session-ended", NULL,
			    "with replica %s, by this side",
			    v->cfg.replica.name);
	v->session_told = false;
	if (v->cut)
		cut_session_lost(v->cut);
	volume_turn_on_session_lost(v);
	if (v->ship) {
		LOCK_SCOPE(&v->lock);

		ship_get_totals(v->ship, &t);
		v->shipped_before.staged_bytes += t.staged_bytes;
		v->shipped_before.unchanged_bytes += t.unchanged_bytes;
		v->shipped_before.unit_bytes += t.unit_bytes;
		ship_free(v->ship);
		v->ship = NULL;
	}
	link_close(v->link, orderly);
	v->link = NULL;
	v->confirm_mono_ns = 0;
	v->is_outstanding = v->ack_came = false;
}

/* The volume is, at the replica, what it was at this moment. */
void volume_proven(struct volume *v, uint64_t mono_ns)
{
	LOCK_SCOPE(&v->lock);

	v->has_proven = true;
	v->proven_mono_ns = mono_ns;
}


static void count_point(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	v->shown.points++;
}

/* Those whose own attempt made this point: an earlier one's flip may have been
 * before their wish. */
static void finish_waiters(struct volume *v, const struct acked *a)
{
	LOCK_SCOPE(&v->lock);
	struct sync_waiter **p = &v->waiters, *w;

	while ((w = *p)) {
		if (w->seq != a->seq) {
			p = &w->next;
			continue;
		}
		w->point.seq = a->seq;
		w->point.epoch = a->epoch;
		w->point.flip_wall_ns = a->flip_wall_ns;
		(void)snprintf(w->point.kind, sizeof(w->point.kind), "%s",
			       point_kind_name(v->out.kind));
		w->done = true;
		*p = w->next;
	}
	pthread_cond_broadcast(&v->changed);
}

/* One ordered since the device was opened has not been done yet. */
static void change_resync_done(struct volstate_switches *sw, const void *arg)
{
	struct volume *v = (struct volume *)(uintptr_t)arg;
	LOCK_SCOPE(&v->lock);

	if (v->resync_wanted)
		return;
	sw->resync = false;
	/* Everything has been compared, and what differed was shipped. */
	sw->differs = false;
}

static int resync_done(struct volume *v, struct err *err)
{
	int r;

	if (!v->resync)
		return 0;
	r = volume_save_switches(v, change_resync_done, v, err);
	if (!r)
		v->resync = v->vs.sw.resync;
	return r;
}

int volume_session_ack(struct volume *v, struct err *err)
{
	struct acked a = {
		.valid = true,
		.epoch = v->ack.epoch,
		.seq = v->ack.seq,
		.head = v->ack.head,
		.flip_wall_ns = v->out.flip_wall_ns,
		.has_kind = true,
		.kind = v->out.kind,
	};
	int r;

	v->ack_came = false;
	if (!v->is_outstanding || v->ack.seq != v->out.seq)
		return err_set(err, -EPROTO, "protocol", v->cfg.name,
			       "acknowledgement of a point that is not "
			       "outstanding");
	/* Remembered first: only then may marks be let go. */
	r = volstate_save_acked(&v->vs, &a, err);
	if (!r)
		r = volstate_save_intent(&v->vs, 0, 0, POINT_CRASH, err);
	if (!r)
		r = resync_done(v, err);
	if (r)
		return r;
	cut_acked(v->cut);
	volume_turn_on_settled(v);
	v->is_outstanding = false;
	v->dial_backoff_ns = 0;
	v->has_base = true;
	v->base_seq = a.seq;
	v->base_head = a.head;
	volume_show_point(v, &a);
	count_point(v);
	volume_proven(v, v->out.flip_mono_ns);
	if (!v->out.is_stale) {
		volume_audit_healed(v, a.seq);
		volume_set_phase(v, PHASE_RUNNING, NULL);
	}
	finish_waiters(v, &a);
	return 0;
}
