// SPDX-License-Identifier: Apache-2.0
/*
 * The sending half of a session: who may push which volume, and how points
 * reach the store. What belongs to the protocol (order, ranges, whole units,
 * the epoch and size that were opened) the serve machine has checked before.
 *
 * Invariants: a volume's name is the certificate's name and the name it was
 * first pushed under, for life. Nothing is acknowledged but what
 * store_writer_commit has promised. After the first failed write or commit the
 * session ends; whatever the store did not promise is the source's to send
 * again. A session that was superseded can write nothing: the store fences its
 * writer, and this one ends.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/log.h"
#include "base/units.h"
#include "pki/pki.h"
#include "replica/replica_session.h"

#define SECTOR_BYTES 512U

static_assert(sizeof(struct head) == sizeof(struct wire_head),
	      "a head travels as it is");

static void head_to_wire(const struct head *h, struct wire_head *out)
{
	memcpy(out->b, h->b, sizeof(out->b));
}

static void head_from_wire(const struct wire_head *h, struct head *out)
{
	memcpy(out->b, h->b, sizeof(out->b));
}

/* ---- VOLUME_OPEN ---- */

static int check_request(const struct wire_volume_open *o, struct err *err)
{
	if (!name_is_valid(o->name))
		return err_set(err, -EINVAL, "bad-name", "volume",
			       "the name is not a valid one");
	if (!o->size_bytes || o->size_bytes % SECTOR_BYTES ||
	    o->size_bytes > US_MAX_BLOCKS * US_BLOCK_BYTES)
		return err_set(err, -EINVAL, "bad-size", o->name,
			       "a volume cannot have this size: %" PRIu64,
			       o->size_bytes);
	if (!o->epoch || uuid_is_zero(&o->uuid))
		return err_set(err, -EINVAL, "bad-volume", o->name,
			       "epoch or UUID is missing");
	return 0;
}

/* The volume's name here, and whether this peer may speak for it. */
static int check_owner(struct session *s, const struct wire_volume_open *o,
		       const struct volume_info *known, struct err *err)
{
	const char *peer = s->conn->peer_name;

	if (!known || !strcmp(known->source, peer))
		return 0;
	err_set(err, -EACCES, "not-permitted", o->name,
		"the volume belongs to source %s, the certificate to %s",
		known->source, peer);
	err_remedy(err, "use a certificate with the name %s", known->source);
	return -EACCES;
}

static int check_patterns(struct session *s, const struct wire_volume_open *o,
			  const char *full_name, struct err *err)
{
	const char *peer = s->conn->peer_name;

	if (!pki_volume_allowed(s->conn->peer_volumes, peer, peer, o->name)) {
		err_set(err, -EACCES, "not-permitted", full_name,
			"the certificate's volumes are \"%s\"",
			s->conn->peer_volumes);
		err_remedy(err, "issue a certificate whose --volumes pattern "
				"covers it");
		return -EACCES;
	}
	if (!replica_accepts(s->r, full_name)) {
		err_set(err, -EACCES, "not-accepted", full_name,
			"no [accept] section of the replica covers it");
		err_remedy(err, "add one at the replica, [accept %s], and "
				"reload it", full_name);
		return -EACCES;
	}
	return 0;
}

/*
 * A store on the volume that it protects would write what it then has to
 * store. Device numbers mean something only within one boot of one kernel.
 */
static int check_not_below_us(struct session *s,
			      const struct wire_volume_open *o,
			      const char *full_name, struct err *err)
{
	const struct replica_env *env = &s->r->env;
	int r;

	if (!env->holds_path || uuid_is_zero(&env->boot) ||
	    !uuid_equal(&env->boot, &s->hello.boot))
		return 0;
	r = env->holds_path(o->disk_major, o->disk_minor, o->part_major,
			    o->part_minor, s->r->store_path);
	if (r < 0)
		log_warn("%s: cannot tell whether the store lies on it: %s",
			 full_name, strerror(-r));
	if (r <= 0)
		return 0;
	err_set(err, -EINVAL, "store-on-volume", full_name,
		"the store %s lies on the volume itself", s->r->store_path);
	err_remedy(err, "move the store to another disk");
	return -EINVAL;
}

/* Does the history the source remembers agree with the one held here? */
static int check_history(struct session *s, const struct wire_volume_open *o,
			 const char *full_name, struct err *err)
{
	struct point_info p;
	int r;

	if (!o->has_acked)
		return 0;
	r = store_point_find(s->r->store, &o->uuid, o->acked_epoch,
			     o->acked_seq, &p);
	if (r == -ENOENT)
		return 0;	/* the source sees how old we are, and judges */
	if (r < 0)
		return err_sys(err, r, "store-failed", full_name,
			       "look up point %" PRIu64 ":%" PRIu64,
			       o->acked_epoch, o->acked_seq);
	if (!memcmp(p.head.b, o->acked_head.b, HEAD_BYTES))
		return 0;
	err_set(err, -ESTALE, "head-mismatch", full_name,
		"point %" PRIu64 ":%" PRIu64 " is another one here than the "
		"source remembers: the histories differ",
		o->acked_epoch, o->acked_seq);
	err_remedy(err, "run `understudyctl resync %s --yes %s` at the source",
		   o->name, o->name);
	return -ESTALE;
}

static int may_push(struct session *s, const struct wire_volume_open *o,
		    struct err *err)
{
	struct volume_info info;
	char full_name[132];
	bool known;
	int r;

	r = check_request(o, err);
	if (r < 0)
		return r;
	snprintf(full_name, sizeof(full_name), "%s/%s", s->conn->peer_name,
		 o->name);
	r = store_volume_by_uuid(s->r->store, &o->uuid, &info);
	if (r < 0 && r != -ENOENT)
		return err_sys(err, r, "store-failed", full_name,
			       "look up the volume");
	known = r == 0;
	r = check_owner(s, o, known ? &info : NULL, err);
	if (r == 0)
		r = check_patterns(s, o, full_name, err);
	if (r == 0)
		r = check_not_below_us(s, o, full_name, err);
	if (r == 0 && known)
		r = check_history(s, o, full_name, err);
	return r;
}

static void fill_state(const struct volume_info *info,
		       struct wire_volume_state *out)
{
	*out = (struct wire_volume_state){
		.handle = 1,
		.epoch = info->epoch,
		.has_point = info->has_point,
		.has_open = info->open_bytes > 0,
		.open_bytes = info->open_bytes,
	};
	if (!info->has_point)
		return;
	out->seq = info->newest.meta.seq;
	out->flip_wall_ns = info->newest.meta.flip_wall_ns;
	head_to_wire(&info->newest.head, &out->head);
	head_to_wire(&info->newest.prev_head, &out->prev_head);
}

/*
 * What another source staged (a clone of this one, or this one before a boot)
 * is nothing that this one's pending blocks know of: blocks that it would leave
 * alone would become part of its point. Only a source that has everything
 * pending, one without an acknowledged point, may go on in it whoever began.
 */
static int drop_foreign_units(struct session *s,
			      const struct wire_volume_open *o,
			      struct volume_info *info, struct err *err)
{
	bool own = record_author(s->r, &o->uuid, &s->hello);
	int r;

	if (own || !o->has_acked || !info->open_bytes)
		return 0;
	log_info("%s: units staged by another source or boot are discarded",
		 s->push.full_name);
	r = store_writer_discard(s->push.writer, err);
	return r < 0 ? r : store_writer_info(s->push.writer, info);
}

/* The writer, and with it the volume: the older session is out from here. */
static int take_volume(struct session *s, const struct wire_volume_open *o,
		       struct volume_info *info, struct err *err)
{
	const struct store_volume_spec spec = {
		.uuid = o->uuid,
		.source = s->conn->peer_name,
		.name = o->name,
		.size_bytes = o->size_bytes,
		.epoch = o->epoch,
	};
	struct push *push = &s->push;
	LOCK_SCOPE(&s->r->opening);
	int r;

	r = store_writer_open(s->r->store, &spec, &push->writer, err);
	if (r < 0)
		return err_sys(err, r, "store-failed", o->name,
			       "open the volume for writing");
	r = store_writer_info(push->writer, info);
	if (r == 0) {
		snprintf(push->full_name, sizeof(push->full_name), "%s/%s",
			 info->source, info->name);
		r = record_begin(s->r, &o->uuid, s->peer, push->full_name,
				 s->offset_ns);
	}
	if (r == 0)
		r = drop_foreign_units(s, o, info, err);
	if (r < 0) {
		store_writer_close(TAKE_PTR(push->writer));
		return err_sys(err, r, "store-failed", o->name,
			       "look at the volume");
	}
	push->volume = o->uuid;
	push->seq = info->has_point ? info->newest.meta.seq : 0;
	return 0;
}

static int refuse(struct session *s, const struct wire_volume_open *o,
		  const struct err *err)
{
	struct wire_error e;

	wire_error_from_err(err, &e);
	record_refused(s->r, &o->uuid, err);
	replica_log_refusal(s->r, s->peer->address, err);
	replica_tell(s->r, "session-refused", err->object, err->code,
		     "%s from %s: %s", s->conn->peer_name, s->peer->address,
		     err->message);
	return session_answered(s, serve_refuse(s->serve, &e));
}

int push_volume_open(struct session *s, const struct wire_volume_open *o)
{
	struct wire_volume_state state;
	struct err err = ERR_INIT;
	struct volume_info info;
	int r;

	if (s->push.writer)
		return err_set(&s->err, -EPROTO, "protocol", s->push.full_name,
			       "a session opens one volume");
	r = may_push(s, o, &err);
	if (r == 0)
		r = take_volume(s, o, &info, &err);
	if (r < 0)
		return refuse(s, o, &err);
	fill_state(&info, &state);
	log_info("%s from %s: session began, newest point %" PRIu64 ":%" PRIu64
		 ", %" PRIu64 " bytes staged", s->push.full_name,
		 s->peer->address, info.epoch, s->push.seq, info.open_bytes);
	replica_tell(s->r, "session-began", s->push.full_name, NULL,
		     "from %s", s->peer->address);
	replica_tell_state(s->r, &s->push.volume);
	return session_answered(s, serve_volume(s->serve, &state));
}

void push_close(struct session *s, const struct err *why)
{
	if (!s->push.writer)
		return;
	record_end(s->r, &s->push.volume, s->peer, why);
	store_writer_close(TAKE_PTR(s->push.writer));
	replica_tell(s->r, "session-ended", s->push.full_name,
		     why ? why->code : NULL, "from %s%s%s", s->peer->address,
		     why ? ": " : "", why ? why->message : "");
	replica_tell_state(s->r, &s->push.volume);
}

/* ---- points ---- */

/*
 * A failure of the store ends the session. A fenced writer is told by what
 * fenced it, whichever of the two was noticed first.
 */
static int store_failed(struct session *s, int r, const struct err *err,
			const char *what)
{
	bool fenced = atomic_load(&s->peer->stop) == STOP_SUPERSEDED ||
		      (r == -ESTALE && !strcmp(err->code, "fenced"));

	if (fenced)
		return err_set(&s->err, -ESTALE, "superseded",
			       s->push.full_name,
			       "a newer session has taken over this volume");
	if (err->num)
		err_copy(&s->err, err);
	err_sys(&s->err, r, "store-failed", s->push.full_name, "%s", what);
	if (r == -ENOSPC || r == -EDQUOT)
		err_done(&s->err, "nothing more is taken in; committed points "
				  "are not touched");
	return r;
}

static int no_volume(struct session *s)
{
	return err_set(&s->err, -EPROTO, "protocol", s->conn->peer_name,
		       "no volume is open");
}

int push_point_begin(struct session *s, const struct delta *d)
{
	struct push *push = &s->push;
	struct err err = ERR_INIT;
	int r;

	if (!push->writer)
		return no_volume(s);
	r = store_writer_begin(push->writer, d, &push->delta_index, &err);
	if (r < 0)
		return store_failed(s, r, &err, "begin a point");
	push->has_delta = true;
	return 0;
}

int push_units(struct session *s, const uint8_t *p, size_t n)
{
	struct push *push = &s->push;
	struct err err = ERR_INIT;
	int r;

	if (!push->writer || !push->has_delta)
		return no_volume(s);
	r = store_writer_units(push->writer, push->delta_index, p, n, &err);
	return r < 0 ? store_failed(s, r, &err, "stage units") : 0;
}

int push_fp_query(struct session *s, uint64_t first, uint32_t count)
{
	struct push *push = &s->push;
	struct err err = ERR_INIT;
	int r;

	if (!push->writer)
		return no_volume(s);
	if (count > WIRE_MAX_FP_BLOCKS)
		return err_set(&s->err, -EPROTO, "protocol", push->full_name,
			       "too many fingerprints at once");
	if (!push->fps)
		push->fps = calloc(WIRE_MAX_FP_BLOCKS, sizeof(*push->fps));
	if (!push->fps)
		return err_set(&s->err, -ENOMEM, "no-memory", push->full_name,
			       "out of memory");
	r = store_writer_fps(push->writer, first, count, push->fps, &err);
	if (r < 0)
		return store_failed(s, r, &err, "look up fingerprints");
	return session_answered(s, serve_fps(s->serve, first, count,
					     (const uint8_t *)push->fps));
}

static_assert((int)STORE_HELD_SOUND == (int)WIRE_HELD_SOUND &&
		      (int)STORE_HELD_ABSENT == (int)WIRE_HELD_ABSENT &&
		      (int)STORE_HELD_DAMAGED == (int)WIRE_HELD_DAMAGED &&
		      (int)STORE_HELD_STAGED == (int)WIRE_HELD_STAGED,
	      "told as it is found");

struct push_verify {
	struct store_held held[WIRE_MAX_VERIFY_BLOCKS];
	uint8_t bytes[WIRE_MAX_VERIFY_BLOCKS * WIRE_HELD_BYTES];
};

static int read_held(struct session *s, const struct serve_event *ev,
		     struct err *err)
{
	struct push_verify *pv = s->push.verify;
	uint32_t i, n = 0, n_extents = (uint32_t)(ev->n_bytes /
						  WIRE_EXTENT_BYTES);
	int r = ev->fresh ? store_writer_forget(s->push.writer, err) : 0;

	for (i = 0; r == 0 && i < n_extents; i++) {
		struct wire_extent e = wire_extent_get(ev->bytes, i);

		r = store_writer_held(s->push.writer, e.first, e.count,
				      pv->held + n, err);
		n += e.count;
	}
	for (i = 0; r == 0 && i < n; i++) {
		uint8_t *p = pv->bytes + (size_t)i * WIRE_HELD_BYTES;

		p[0] = (uint8_t)pv->held[i].kind;
		memcpy(p + 1, pv->held[i].fp.b, UNIT_FP_BYTES);
	}
	return r;
}

/* Of the newest committed point: nobody else writes to this volume. */
int push_verify(struct session *s, const struct serve_event *ev)
{
	struct push *push = &s->push;
	struct err err = ERR_INIT;
	struct volume_info info;
	int r;

	if (!push->writer)
		return no_volume(s);
	if (!push->verify)
		push->verify = malloc(sizeof(*push->verify));
	if (!push->verify)
		return err_set(&s->err, -ENOMEM, "no-memory", push->full_name,
			       "out of memory");
	r = read_held(s, ev, &err);
	if (r == 0)
		r = store_writer_info(push->writer, &info);
	if (r < 0)
		return store_failed(s, r, &err, "look up what is stored");
	return session_answered(
		s, serve_verified(s->serve,
				  info.has_point ? info.newest.meta.epoch : 0,
				  info.has_point ? info.newest.meta.seq : 0,
				  ev->count, push->verify->bytes));
}

static int bad_clock(struct session *s, int64_t wall_ns)
{
	return err_set(&s->err, -EPROTO, "bad-clock", s->push.full_name,
		       "the point's time cannot be: %" PRId64, wall_ns);
}

static int check_commit(struct session *s, const struct wire_commit *c)
{
	if (!wall_is_sane(c->flip_wall_ns))
		return bad_clock(s, c->flip_wall_ns);
	if (c->kind > POINT_FINAL)
		return err_set(&s->err, -EPROTO, "protocol", s->push.full_name,
			       "the point is of no known kind: %u", c->kind);
	return 0;
}

static void ack_of(const struct point_info *p, struct wire_ack *ack)
{
	*ack = (struct wire_ack){
		.epoch = p->meta.epoch,
		.seq = p->meta.seq,
		.received_wall_ns = p->received_wall_ns,
		.changed_bytes = p->changed_bytes,
		.stored_bytes = p->stored_bytes,
	};
	head_to_wire(&p->head, &ack->head);
}

int push_commit(struct session *s, const struct wire_commit *c)
{
	struct point_meta meta = {
		.epoch = c->epoch,
		.seq = c->seq,
		.flip_wall_ns = c->flip_wall_ns,
		.kind = (enum point_kind)c->kind,
		.size_bytes = c->size_bytes,
	};
	struct err err = ERR_INIT;
	struct point_info point;
	struct wire_ack ack;
	struct head prev;
	bool changes;
	int r;

	if (!s->push.writer)
		return no_volume(s);
	r = check_commit(s, c);
	if (r < 0)
		return r;
	snprintf(meta.label, sizeof(meta.label), "%s", c->label);
	meta.group.uuid = c->group.uuid;
	meta.group.seq = c->group.seq;
	meta.group.n_members = c->group.n_members;
	snprintf(meta.group.name, sizeof(meta.group.name), "%s",
		 c->group.name);
	head_from_wire(&c->prev_head, &prev);
	r = store_writer_commit(s->push.writer, &meta, &prev, &point, &err);
	if (r < 0)
		return store_failed(s, r, &err, "commit a point");
	changes = record_committed(s->r, &s->push.volume, !s->push.seq,
				   point.meta.flip_wall_ns);
	if (changes)
		replica_tell_state(s->r, &s->push.volume);
	s->push.seq = point.meta.seq;
	s->push.has_delta = false;
	ack_of(&point, &ack);
	return session_answered(s, serve_ack(s->serve, &ack));
}

int push_confirm(struct session *s, const struct serve_event *ev)
{
	if (!s->push.writer)
		return no_volume(s);
	if (!wall_is_sane(ev->wall_ns))
		return bad_clock(s, ev->wall_ns);
	record_confirmed(s->r, &s->push.volume, ev->epoch, ev->seq,
			 ev->wall_ns);
	return 0;
}

int push_discard(struct session *s)
{
	struct err err = ERR_INIT;
	int r;

	if (!s->push.writer)
		return no_volume(s);
	r = store_writer_discard(s->push.writer, &err);
	if (r < 0)
		return store_failed(s, r, &err, "discard what is staged");
	s->push.has_delta = false;
	log_info("%s: what was staged is discarded: the source asked for it",
		 s->push.full_name);
	return 0;
}

int push_escrow(struct session *s, const uint8_t *text, size_t len)
{
	struct err err = ERR_INIT;
	bool had;
	int r;

	if (!s->push.writer)
		return no_volume(s);
	had = keys_has(s->r, &s->push.volume);
	r = keys_save(s->r, &s->push.volume, (const char *)text, len, &err);
	if (r == 0 && !had)
		replica_tell(s->r, "key-escrowed", s->push.full_name, NULL,
			     "its key is kept at this replica");
	if (r < 0) {
		log_failure(LOG_LEVEL_WARN, &err);
		return session_answer_error(s, &err);
	}
	return 0;
}
