// SPDX-License-Identifier: Apache-2.0
/*
 * The loop of a protected volume: device, session, cuts at their interval.
 *
 * Invariants:
 * - A commit is sent only after a converged round, with the device verified
 *   and no loss unanswered after that round's last read.
 * - One point is outstanding at most; the next may be read and staged while it
 *   is, but its commit waits.
 * - Whatever fails, what is pending stays pending.
 *
 * One thread per volume; other threads reach it through the volume's lock and
 * its wake descriptor.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "source/volume_internal.h"
#include "store/store.h"

#define RETRY_MIN_NS (200 * NSEC_PER_MSEC)
#define RETRY_MAX_NS (10 * NSEC_PER_SEC)
#define DEVICE_RETRY_NS NSEC_PER_SEC
#define IDLE_MS 500
#define COLLECT_NS NSEC_PER_SEC
#define ACK_WAIT_NS (60 * NSEC_PER_SEC)

static uint64_t now_ns(const struct volume *v)
{
	return clock_mono_ns(v->env.clock);
}

bool volume_cancelled(void *arg)
{
	struct volume *v = arg;
	LOCK_SCOPE(&v->lock);

	return v->stop || v->paused || v->resync_wanted || v->rekeyed ||
	       v->adoption;
}

static bool stopping(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	return v->stop;
}

static void drain_wake(struct volume *v)
{
	uint64_t n;

	if (read(v->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_err("volume %s: wake: %m", v->cfg.name);
}

/* Until a time, or until somebody wants something; the session is served. */
static int wait_until(struct volume *v, uint64_t when, struct err *err)
{
	uint64_t now = now_ns(v);
	struct pollfd p = { .fd = v->wake_fd, .events = POLLIN };
	int ms = 0, r = 0;

	if (when > now)
		ms = (int)MIN((when - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC,
			      (uint64_t)IDLE_MS);
	if (v->link)
		r = link_pump(v->link, ms, err);
	else
		(void)poll(&p, 1, ms);
	drain_wake(v);
	return r;
}

int volume_wait_a_while(struct volume *v, struct err *err)
{
	uint64_t when = now_ns(v) + IDLE_MS * NSEC_PER_MSEC;

	return wait_until(v, volume_verify_when(v, when), err);
}

/* ---- waiters ---- */

/*
 * Waiters of now get the point of the attempt that begins now: its flips are
 * all later than their wish. A point has one label: who wants another waits
 * for the next.
 */
static bool take_waiters(struct volume *v, char label[STORE_LABEL_MAX + 1],
			 bool *quiesce)
{
	const bool is_never_held = v->group && !v->joint.quiesce;
	LOCK_SCOPE(&v->lock);
	struct sync_waiter *w;
	bool any = false;

	label[0] = '\0';
	*quiesce = false;
	for (w = v->waiters; w; w = w->next) {
		if (w->label && label[0] && strcmp(w->label, label))
			continue;
		/* Came after the attempt of all had begun. */
		if (w->quiesce && is_never_held)
			continue;
		w->taken = true;
		any = true;
		*quiesce |= w->quiesce;
		if (w->label)
			(void)snprintf(label, STORE_LABEL_MAX + 1, "%s",
				       w->label);
	}
	/* Of a group it is one for all. */
	*quiesce |= v->group && v->joint.quiesce;
	return any;
}

static void untake_waiters(struct volume *v)
{
	LOCK_SCOPE(&v->lock);
	struct sync_waiter *w;

	for (w = v->waiters; w; w = w->next) {
		w->taken = false;
		w->seq = 0;
	}
}

static void promise_waiters(struct volume *v, uint64_t seq, const char *label)
{
	LOCK_SCOPE(&v->lock);
	struct sync_waiter *w;

	for (w = v->waiters; w; w = w->next)
		/* (A group's label goes before that of a member's order.) */
		if (w->taken && (!w->label || !strcmp(w->label, label)))
			w->seq = seq;
}

/* *quiesce: there is one for a held point. */
static bool has_waiters(struct volume *v, bool *quiesce)
{
	bool any = false;
	LOCK_SCOPE(&v->lock);
	struct sync_waiter *w;

	*quiesce = false;
	for (w = v->waiters; w; w = w->next) {
		if (w->taken)
			continue;
		any = true;
		*quiesce |= w->quiesce;
	}
	return any;
}

/* ---- one attempt at a cut ---- */

static int take_ack(struct volume *v, struct err *err)
{
	if (v->confirm_mono_ns && v->link && link_answered(v->link)) {
		volume_proven(v, v->confirm_mono_ns);
		v->confirm_mono_ns = 0;
		volume_note_reason(v, NULL);
	}
	return v->ack_came ? volume_session_ack(v, err) : 0;
}

int volume_wait_ack(struct volume *v, struct err *err)
{
	uint64_t deadline = now_ns(v) + ACK_WAIT_NS;
	int r = take_ack(v, err);

	while (!r && v->is_outstanding) {
		if (stopping(v))
			return -ECANCELED;
		if (now_ns(v) > deadline)
			return err_set(err, -ETIMEDOUT, "link-timeout",
				       v->cfg.name,
				       "no acknowledgement of point %llu",
				       (unsigned long long)v->out.seq);
		r = wait_until(v, deadline, err);
		if (!r)
			r = take_ack(v, err);
	}
	return r;
}

/* Nothing differs from the newest point: say so instead of storing one. */
static int confirm(struct volume *v, const struct cut_round *round,
		   struct err *err)
{
	int r = 0;

	/* A commit that is known not to have come must not be taken for ours
	 * when a copy of the store that has it is put forward later. */
	if (v->vs.intent_seq)
		r = volstate_save_intent(&v->vs, 0, 0, POINT_CRASH, err);
	if (r)
		return r;
	r = dial_confirm(link_dial(v->link), v->vs.epoch, v->base_seq,
			 round->flip_wall_ns);
	if (r)
		return err_sys(err, r, "protocol", v->cfg.name, "confirm");
	cut_committed(v->cut);
	cut_acked(v->cut);
	volume_turn_on_settled(v);
	/* Counts once the replica has answered something that was sent later:
	 * a dead one must not look well. */
	if (!v->confirm_mono_ns && !link_ask_alive(v->link))
		v->confirm_mono_ns = round->flip_mono_ns;
	/* What was staged last is what that point has. */
	r = volume_turn_on_commit(v, v->base_seq, err);
	return r ? r : link_pump(v->link, 0, err);
}

static int commit(struct volume *v, const struct cut_round *round,
		  enum point_kind kind, const char *label, struct err *err)
{
	struct wire_commit c = {
		.epoch = v->vs.epoch,
		.seq = v->base_seq + 1,
		.flip_wall_ns = round->flip_wall_ns,
		.kind = (uint8_t)kind,
		.size_bytes = v->dev.n_sectors << 9,
		.prev_head = v->base_head,
	};
	int r;

	(void)snprintf(c.label, sizeof(c.label), "%s", label);
	if (v->group)
		volume_group_name_commit(v, &c);
	r = volstate_save_intent(&v->vs, c.seq, c.flip_wall_ns, kind, err);
	if (r)
		return r;
	r = ship_commit(v->ship, &c, err);
	if (r)
		return r;
	promise_waiters(v, c.seq, c.label);
	cut_committed(v->cut);
	v->is_outstanding = true;
	v->leftover = false;
	v->compare = false;
	v->out = (struct outstanding){
		.seq = c.seq,
		.flip_wall_ns = round->flip_wall_ns,
		.flip_mono_ns = round->flip_mono_ns,
		.kind = kind,
	};
	/* Before anything else is sent. */
	return volume_turn_on_commit(v, c.seq, err);
}

/* 0 also when it came to nothing for now; negative errno ends the session. */
static int attempt(struct volume *v, struct err *err)
{
	char label[STORE_LABEL_MAX + 1];
	bool quiesce, wanted = take_waiters(v, label, &quiesce);
	enum point_kind kind;
	struct cut_round round;
	bool may_confirm;
	int r;

	r = volume_converge(v, quiesce, &round, &kind, err);
	if (r)
		return r < 0 ? r : 0;
	r = volume_device_verify(v, err);
	if (r == -ESTALE) {
		/* Everything was made dirty: no point out of this. */
		err_clear(err);
		return v->cut ? 0 : -ENODEV;
	}
	if (r)
		return r;
	/* The number and the predecessor are those of the point before. */
	r = volume_wait_ack(v, err);
	if (r)
		return r;
	may_confirm = !wanted && !v->leftover && !v->resync && v->has_base &&
		      v->vs.acked.valid && v->base_seq == v->vs.acked.seq &&
		      v->phase == PHASE_RUNNING &&
		      !ship_point_has_units(v->ship);
	if (v->group) {
		r = volume_group_decide(v, kind, &may_confirm, err);
		if (r)
			return r < 0 ? r : 0;
	}
	r = may_confirm ? confirm(v, &round, err)
			: commit(v, &round, kind, label, err);
	if (r || may_confirm) {
		v->group_done = !r;
		return r;
	}
	/* Nobody else waits: the next cut may be read meanwhile. */
	if (wanted || v->group)
		r = volume_wait_ack(v, err);
	if (!r && v->group) {
		volume_group_durable(v);
		v->group_done = true;
	}
	return r;
}

/* ---- the loop ---- */

static void schedule_next(struct volume *v, uint64_t started)
{
	uint64_t now = now_ns(v);

	if (v->next_cut_ns > now)
		return;			/* something failed: wait as told */
	v->next_cut_ns = started + v->cfg.interval_ns;
	if (v->next_cut_ns < now)
		v->next_cut_ns = now;
}

/*
 * The replica said no because of a trouble of its own, not because of what we
 * are or ask for: it is asked again, and nobody here has to decide anything.
 */
static bool is_replicas_trouble(const struct err *err)
{
	static const char *const codes[] = {
		"store-full",	  "store-failed",    "write-failed",
		"read-failed",	  "cannot-read",     "cannot-create",
		"catalog-failed", "segment-damaged", "no-memory",
		"no-thread",	  "too-many",	     "shutdown",
		"superseded",	  "internal",	     "handshake-timeout",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(codes); i++)
		if (!strcmp(err->code, codes[i]))
			return true;
	return false;
}

static void tell_session_failed(struct volume *v, const struct err *err)
{
	const char *slug = v->session_told ? "session-ended" :
			   v->refused	   ? "session-refused" :
					     "connect-failed";

	v->session_told = false;
	volume_tell(v, slug, err->code, "replica %s: %s", v->cfg.replica.name,
		    err->message);
}

static void session_failed(struct volume *v, const struct err *err)
{
	if (err->num != -ECANCELED)
		tell_session_failed(v, err);
	if (is_replicas_trouble(err))
		v->refused = false;
	/* A session that ends as soon as it is used is no success: a full
	 * store would be tried, and the device read for it, all the time. */
	if (v->link && now_ns(v) - v->opened_ns > RETRY_MAX_NS)
		v->dial_backoff_ns = 0;
	v->dial_backoff_ns = MIN(MAX(v->dial_backoff_ns * 2, RETRY_MIN_NS),
				 RETRY_MAX_NS);
	v->next_dial_ns = now_ns(v) + v->dial_backoff_ns;
	volume_session_close(v, false);
	untake_waiters(v);
	if (v->refused)
		volume_set_phase(v, PHASE_REFUSED, err);
	else if (err->num && !strcmp(err->code, "state-unwritable"))
		volume_set_phase(v, PHASE_FAILED, err);
	else if (err->num)
		volume_note_reason(v, err);
	volume_set_link(v, v->refused ? "refused" : "disconnected", err->code);
}

static bool device_step(struct volume *v)
{
	struct err err = ERR_INIT;
	bool refused;

	if (v->cut)
		return true;
	if (now_ns(v) < v->next_device_ns)
		return false;
	v->next_device_ns = now_ns(v) + DEVICE_RETRY_NS;
	/* Before the device: it says how that is tracked. */
	if (!volume_group_join(v, &err) && !volume_device_ready(v, &err))
		return true;
	refused = err.num == -EOPNOTSUPP || err.num == -ESTALE ||
		  err.num == -EFBIG || err.num == -ENOTBLK;
	volume_set_phase(v, refused ? PHASE_REFUSED : PHASE_FAILED, &err);
	return false;
}

static bool session_step(struct volume *v)
{
	struct err err = ERR_INIT;

	if (v->link)
		return true;
	if (now_ns(v) < v->next_dial_ns)
		return false;
	if (volume_session_open(v, &err)) {
		session_failed(v, &err);
		return false;
	}
	v->opened_ns = now_ns(v);
	v->session_told = true;
	volume_tell(v, "session-began", NULL, "with replica %s",
		    v->cfg.replica.name);
	/* A failure is over when a point has been made, not before. */
	if (v->phase == PHASE_REFUSED)
		volume_set_phase(v, v->vs.acked.valid ? PHASE_RUNNING
						      : PHASE_INITIALIZING,
				 NULL);
	v->next_cut_ns = now_ns(v);
	/* Attempts that this one was missing from have put the others off. */
	volume_group_want(v, false);
	return true;
}

static void cut_step(struct volume *v)
{
	struct err err = ERR_INIT;
	uint64_t started = now_ns(v);
	bool quiesce, waiters = has_waiters(v, &quiesce);
	int r;

	r = take_ack(v, &err);
	/* Again after each attempt that came to nothing. */
	if (!r && waiters)
		volume_group_want(v, quiesce);
	if (!r && (started >= v->next_cut_ns || waiters ||
		   v->group_waits || volume_group_wanted(v))) {
		if (v->group && !volume_group_begin(v))
			return;
		r = attempt(v, &err);
		if (v->group)
			volume_group_end(v);
		schedule_next(v, started);
		untake_waiters(v);
		volume_publish(v);
	}
	if (!r)
		return;
	if (r == -ECANCELED) {
		volume_session_close(v, !err.num);
		untake_waiters(v);
		volume_set_link(v, "disconnected", "");
		return;
	}
	session_failed(v, &err);
}

/* Orders from other threads that change what the worker holds. */
static bool order_step(struct volume *v)
{
	struct err err = ERR_INIT;
	bool resync, paused, rekeyed, adoption;

	pthread_mutex_lock(&v->lock);
	resync = v->resync_wanted;
	v->resync_wanted = false;
	rekeyed = v->rekeyed;
	v->rekeyed = false;
	adoption = v->adoption;
	paused = v->paused;
	pthread_mutex_unlock(&v->lock);
	if (resync) {
		volume_session_close(v, true);
		volume_device_drop(v, true);
		v->next_device_ns = v->next_dial_ns = 0;
		v->dial_backoff_ns = 0;
	}
	if (rekeyed && v->link) {
		volume_session_close(v, true);
		v->next_dial_ns = 0;
	}
	if (adoption)
		volume_adopt(v);
	if (!paused)
		return true;
	if (v->link) {
		volume_session_close(v, true);
		volume_set_link(v, "disconnected", "");
	}
	volume_verify_interrupt(v, "paused", "shipping is paused");
	volume_publish(v);
	(void)wait_until(v, now_ns(v) + NSEC_PER_SEC, &err);
	return false;
}

/* With no session nothing is read; how much waits is seen all the same. */
static void collect_step(struct volume *v)
{
	struct err err = ERR_INIT;

	if (!v->cut || v->link || now_ns(v) < v->next_collect_ns)
		return;
	v->next_collect_ns = now_ns(v) + COLLECT_NS;
	if (!cut_collect(v->cut, &err))
		return;
	err_done(&err, "the device is opened again");
	log_failure(LOG_LEVEL_ERR, &err);
	volume_device_drop(v, false);
}

static void idle_step(struct volume *v)
{
	struct err err = ERR_INIT;
	uint64_t when = now_ns(v) + IDLE_MS * NSEC_PER_MSEC;
	int r;

	if (v->link && v->group_waits)
		;			/* the last one to be ready wakes */
	else if (v->link)
		when = MIN(when, v->next_cut_ns);
	else
		when = MIN(when, v->cut ? v->next_dial_ns : v->next_device_ns);
	when = volume_audit_when(v, volume_verify_when(v, when));
	r = wait_until(v, when, &err);
	if (r && r != -ECANCELED && v->link)
		session_failed(v, &err);
}

/* Not only before a point: a volume at rest makes none for long. */
static void settle_step(struct volume *v)
{
	struct err err = ERR_INIT;

	if (!v->cut || !v->link || v->settled || now_ns(v) < v->next_settle_ns)
		return;
	v->next_settle_ns = now_ns(v) + SETTLE_NS;
	/* What cannot be looked at is told when a point is due. */
	(void)volume_device_verify(v, &err);
}

/* Between two cuts. True: there is more to do at once. */
static bool verify_step(struct volume *v)
{
	struct err err = ERR_INIT;
	int r;

	settle_step(v);
	r = volume_verify_step(v, &err);
	if (!r)
		r = volume_audit_step(v, &err);
	if (r < 0 && v->link)
		session_failed(v, &err);
	/* What a session ships into is the device's as it was. */
	if (v->link && !v->cut)
		volume_session_close(v, true);
	return r > 0;
}

void *volume_worker(void *arg)
{
	struct volume *v = arg;

	while (!stopping(v)) {
		/* Tracking goes on also while shipping is paused. */
		bool device = device_step(v);

		collect_step(v);
		if (!order_step(v))
			continue;
		if (device && v->cut && session_step(v))
			cut_step(v);
		volume_publish(v);
		if (!verify_step(v) && !stopping(v))
			idle_step(v);
	}
	volume_verify_interrupt(v, "stopping", "the daemon is stopping");
	volume_session_close(v, true);
	volume_device_drop(v, v->untrack);
	return NULL;
}
