/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_VOLUME_INTERNAL_H
#define SOURCE_VOLUME_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/blkdev.h"
#include "device/blkdev_fs.h"
#include "device/blkdev_remap.h"
#include "freeze/freezer.h"
#include "source/audit.h"
#include "source/cut.h"
#include "source/link.h"
#include "source/reader.h"
#include "source/settle.h"
#include "source/ship.h"
#include "source/source_group.h"
#include "tracker/tracker.h"
#include "tracker/tracker_host.h"
#include "source/verify.h"
#include "source/volstate.h"
#include "source/volume.h"
#include "store/store.h"

/*
 * Shared by the files of a volume: volume.c (calls from other threads),
 * volume_worker.c (the loop), volume_rounds.c and volume_quiesce.c (a cut, with
 * writers free or held), volume_device.c (device, tracker, engine),
 * volume_session.c (the replica), volume_status.c (what is shown).
 */

/* What the worker says of itself; protected and lagging follow from the lag. */
enum phase {
	PHASE_INITIALIZING,		/* no point yet */
	PHASE_STARTING,			/* has points; the device was not
					 * looked at yet */
	PHASE_COMPARING,		/* everything is looked at again */
	PHASE_RUNNING,
	PHASE_REFUSED,			/* until an operator acts */
	PHASE_FAILED,			/* tried again by itself */
};

struct sync_waiter {
	struct sync_waiter *next;
	const char *label;
	bool quiesce;
	bool taken;			/* by the attempt under way */
	uint64_t seq;			/* of the commit that will answer; 0 */
	bool done;
	int result;
	struct sync_result point;
	struct err err;
};

/* The point that awaits its acknowledgement. */
struct outstanding {
	uint64_t seq;
	int64_t flip_wall_ns;
	uint64_t flip_mono_ns;
	enum point_kind kind;
	bool is_stale;			/* a loss came to light since: durable,
					 * but it ends no comparison */
};

/* Writers being held, for one attempt. All zero: they are not. */
struct volume_hold {
	struct volume *v;
	struct freeze_hold *hold;	/* NULL: not prepared, or ended */
	struct blkdev_fs fs;		/* what is to be frozen */
	bool has_hook;
	uint64_t limit_ns;
	bool is_stale;			/* by the flip there was another one */
	bool is_whole;			/* without a gap between these: */
	uint64_t frozen_ns, thaw_ns;
	uint64_t held_ns;
	enum freeze_why why;
};

/* Between engine and ship: a round may take hours, and is watched. */
struct watched_sink {
	struct cut_sink sink;		/* first */
	struct volume *v;
	uint64_t next_publish_ns;
};

/* A cause for which a write may have been missed. */
struct loss {
	const char *code;
	size_t count;			/* where in struct tracker_losses */
	bool is_anew;			/* the tracker is of no more use */
	const char *what;
};

/* The programs' count of writes beside the disk's, see volume_loss.c. */
struct written {
	bool has_base, has_mark;
	int64_t base;			/* issued less written never is below */
	int64_t marked;			/* issued, when nothing was under way */
	uint64_t mark_ns;
	uint64_t skipped;
};

/* Another identity, wished by an order that waits for the worker. */
struct adoption {
	const struct uuid *uuid;
	const struct volume_key *key;
	bool taken, done;
	int result;
	struct err err;
};

struct volume {
	struct volume_config cfg;
	struct source_group *group;	/* NULL: of none, or not joined yet; set
					 * once, under lock, by the worker */
	int member;			/* of it */
	struct source_env env;
	pthread_t thread;
	int wake_fd;			/* orders: drained by the worker */
	int stop_fd;			/* stop: stays readable */

	/* Held while volume.json is written; taken before lock. Nobody waits
	 * for a disk under lock, or status would wait with him. */
	pthread_mutex_t save_lock;
	pthread_mutex_t lock;		/* down to the blank line */
	pthread_cond_t changed;
	bool stop, cancel, untrack;
	bool resync_wanted;
	bool rekeyed;			/* the session has an older key */
	struct adoption *adoption;	/* its owner waits */
	struct sync_waiter *waiters;
	struct volstate vs;		/* worker reads without the lock what
					 * it alone changes: dir, uuid */
	struct volume_status shown;	/* counters and texts */
	enum phase phase;
	bool paused;
	int64_t audit_proven_wall_ns;	/* shown; 0: nothing */
	bool has_proven;		/* a durable point is the volume as of */
	uint64_t proven_mono_ns;	/* ... this moment */
	enum volume_state last_state;	/* as computed last, for `since` */
	char group_lacks[192];		/* members that the group waits for */
	uint64_t group_since_ns;	/* ... and since when */
	struct verify_job *verify_job;	/* ordered, not yet done */

	/* The worker's own. */
	struct blkdev dev;
	bool dev_open;
	struct blkdev_remap *remap;	/* NULL where nothing is mapped */
	uint64_t known_ends;		/* of bios from before tracking */
	bool is_distrusted;		/* what it shows may be other content,
					 * whatever the tracker says */
	uint64_t known_diskseq;		/* of the device when it was the one */
	bool holds_state;		/* under lock: our own state lies on
					 * the volume */
	struct tracker *tracker;
	struct reader *reader;
	struct cut *cut;
	struct link *link;
	struct link_handler handler;
	struct ship *ship;
	struct volume_key session_key;	/* of ship; escrowed if it has to be */
	struct watched_sink sink;
	bool resync;			/* in force: everything was made dirty
					 * for it, any history is accepted */
	bool refused;			/* the replica said no */
	bool compare;			/* ask what it holds before shipping */
	bool leftover;			/* its open point holds earlier units */
	bool has_base;			/* the replica's newest point: */
	uint64_t base_seq;
	struct wire_head base_head;
	bool ack_came;
	struct wire_ack ack;
	uint64_t confirm_mono_ns;	/* flip of a confirmation that has not
					 * been answered yet; 0: none */
	bool is_outstanding;
	struct outstanding out;
	uint32_t rounds;		/* of the attempt under way */
	bool group_waits;		/* for other members to be ready */
	bool group_done;		/* this member's part of the attempt */
	struct group_attempt joint;	/* what the members have in common */
	enum point_kind joint_kind;
	struct err group_err;		/* met while waiting for them */
	bool settled;			/* no write from before the tracking is
					 * under way any more */
	struct settle settle;		/* how that is found */
	uint64_t next_settle_ns;
	uint64_t next_cut_ns, next_dial_ns, next_device_ns, dial_backoff_ns;
	uint64_t next_collect_ns;	/* while there is no session */
	uint64_t next_hold_ns;		/* for contention: not before */
	char hold_told[40];		/* why there was none, last time */
	uint64_t opened_ns;		/* the session */
	bool session_told;		/* that it began, and not that it ended */
	struct tracker_losses losses;	/* as the tracker said last */
	struct written written;
	struct err lost_why;		/* why the device is set up anew */
	struct ship_totals shipped_before;	/* of sessions that ended */
	struct verify *verify;		/* under way */
	struct verify *asker;		/* whose answers are due; NULL: of one
					 * that is no more */
	uint32_t answers_due;
	struct audit *audit;		/* while there is something to audit */
	struct audit_mark audit_mark;	/* as last told; what is kept */
	uint64_t audit_bytes;		/* of earlier ones, as audit_laps */
	uint64_t audit_bytes_before;	/* this reader */
	uint64_t audit_laps;
	uint64_t audit_resets;		/* times that nothing was proven */
	uint64_t audit_slice_ns;	/* the last one */
	uint64_t audit_save_ns;		/* not before */
	bool audit_unreadable;		/* told of this window */
	bool audit_healing;		/* told when everything is compared */
	bool verify_ask_failed;
};

/* volume.c: the worker has something to look at; arg is the volume. */
void volume_wake(void *arg);
/* These switches, once they are durable. */
int volume_save_switches(struct volume *v,
			 void (*change)(struct volstate_switches *sw,
					const void *arg),
			 const void *arg, struct err *err);

/* volume_status.c */
void volume_set_phase(struct volume *v, enum phase phase,
		      const struct err *why);
void volume_note_reason(struct volume *v, const struct err *why);
void volume_set_link(struct volume *v, const char *state, const char *reason);
void volume_set_limit(struct volume *v, const char *by);
void volume_publish(struct volume *v);
void volume_show_point(struct volume *v, const struct acked *a);
/* As an event of this volume; reason may be NULL. */
void volume_tell(struct volume *v, const char *slug, const char *reason,
		 const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Is it, as far as everybody knows, protected right now? */
bool volume_is_protected(struct volume *v);
void volume_note_losses(struct volume *v, const struct tracker_losses *now);

/* volume_device.c: 0 when device, tracker, reader and engine stand. */
int volume_device_ready(struct volume *v, struct err *err);
void volume_device_drop(struct volume *v, bool untrack);
/* Still the same device, and nothing lost since the last consequence?
 * -ESTALE: everything was made dirty (or the device dropped), no point. */
int volume_device_verify(struct volume *v, struct err *err);
/* Would that be so? Only looks. */
bool volume_device_is_sound(struct volume *v);

/* volume_loss.c: the loss that makes a cut impossible; NULL: there is none. */
const struct loss *volume_fatal_loss(const struct volume *v,
				     const struct tracker_losses *l);
const struct loss *volume_completions_missed(void);
extern const struct loss volume_mapping_changed;
void volume_describe_loss(const struct volume *v, const struct loss *loss,
			  const struct tracker_losses *l, struct err *why);
/* Has the disk written more than the tracker saw? Sets unseen_sectors. */
void volume_compare_written(struct volume *v, struct tracker_losses *l);

/* volume_quiesce.c: may it be held, and what of it? Begins h, which is to be ended also after a
 * failure. */
int volume_hold_look(struct volume *v, struct volume_hold *h, struct err *err);
/* The same, and is everything written back? Nothing is held yet. */
int volume_hold_prepare(struct volume *v, struct volume_hold *h,
			struct err *err);
/* Once more: what became dirty meanwhile. */
int volume_hold_again(struct volume_hold *h, struct err *err);
int volume_hold_take(struct volume_hold *h, struct err *err);
bool volume_hold_is_held(const struct volume_hold *h);
/* Let go; knows afterwards what was. Once is enough, twice no harm. */
void volume_hold_end(struct volume_hold *h);
/* The parts of that: letting go; what it was; is_stale, since somebody may have
 * mounted something before the flip. */
void volume_hold_release(struct volume_hold *h, struct freeze_result *res);
void volume_hold_was(struct volume_hold *h, const struct freeze_result *res);
void volume_hold_look_again(struct volume_hold *h);
/* What a point of this converged round may be called; after the end. */
enum point_kind volume_hold_kind(const struct volume_hold *h,
				 const struct cut_round *round);
/* Waiters that want no other point are told why there is none. */
void volume_hold_refuse(struct volume *v, const struct err *why);

/* volume_rekey.c: the worker's part of volume_import_key. */
void volume_adopt(struct volume *v);

/* volume_session.c */
int volume_session_open(struct volume *v, struct err *err);
void volume_session_close(struct volume *v, bool orderly);
/* The volume is, at the replica, what it was at this moment. */
void volume_proven(struct volume *v, uint64_t mono_ns);
/* Takes an acknowledgement that came; 0, or the failure that ends it. */
int volume_session_ack(struct volume *v, struct err *err);

/* verify_volume.c */
int volume_verify_step(struct volume *v, struct err *err);
/* The same in a meeting of a group, between two rounds. */
int volume_verify_in_meeting(struct volume *v, struct err *err);
/* For so long it had no turn. */
void volume_verify_rested(struct volume *v, uint64_t ns);
/* The earlier of when and the next slice. */
uint64_t volume_verify_when(struct volume *v, uint64_t when);
/* Ends one that is under way. */
void volume_verify_interrupt(struct volume *v, const char *code,
			     const char *why);

/*
 * verify_turn.c: a verification and the audit beside it. One of them asks at a
 * time, since answers come in the order of the questions; both are told of what
 * the cuts do. The worker's, as all from here.
 */
/* Are no answers due but those of who (NULL: who is yet to come)? */
bool volume_turn_may_ask(const struct volume *v, const struct verify *who);
/* who is about to be freed: answers that are still due are nobody's. */
void volume_turn_leave(struct volume *v, const struct verify *who);
/* The ask of struct verify_config; arg is the volume. */
int volume_turn_ask(void *arg, bool fresh, const struct wire_extent *e,
		    uint32_t n, struct err *err);
void volume_turn_on_held(struct volume *v, uint64_t epoch, uint64_t seq,
			 uint32_t count, const uint8_t *held);
void volume_turn_on_stage(struct volume *v, uint64_t first, uint32_t count,
			  const uint8_t *data);
int volume_turn_on_commit(struct volume *v, uint64_t seq, struct err *err);
void volume_turn_on_settled(struct volume *v);
void volume_turn_on_session_lost(struct volume *v);
void volume_turn_on_all_dirty(struct volume *v);

/* audit_volume.c */
/* Begins with what is remembered; dirty: everything was made so. */
void volume_audit_begin(struct volume *v, bool dirty);
/* As volume_verify_step. */
int volume_audit_step(struct volume *v, struct err *err);
uint64_t volume_audit_when(struct volume *v, uint64_t when);
/* Engine or tracker are about to go; what was shown stays. */
void volume_audit_drop(struct volume *v);
/* Nothing counts as proven any more. */
void volume_audit_reset(struct volume *v);
/* A verification that began then has found everything equal. */
void volume_audit_proven(struct volume *v, int64_t began_wall_ns);
/* A point was acknowledged that ends a comparison of everything. */
void volume_audit_healed(struct volume *v, uint64_t seq);
uint64_t volume_audit_bytes(const struct volume *v);
uint64_t volume_audit_laps(const struct volume *v);

/* volume_rounds.c: ROUND_CONVERGED, and what a point of this round may be
 * called; ROUND_NO_USE; negative errno. quiesce: held, or nothing for who wants
 * it. */
enum { ROUND_CONVERGED = 0, ROUND_NO_USE = 1, ROUND_AGAIN = 2 };
int volume_converge(struct volume *v, bool quiesce, struct cut_round *round,
		    enum point_kind *kind, struct err *err);
/* One of those, or negative errno. may_ask: the replica, what it holds. */
int volume_round(struct volume *v, bool may_ask, struct cut_round *round,
		 struct err *err);
/* Had the last one so little to read that the next can be made while writers
 * wait? *before_bytes is what the one before had, or UINT64_MAX. */
bool volume_round_was_small(const struct volume *v,
			    const struct cut_round *round,
			    uint64_t *before_bytes);
/* What a point of this round may be called, told and, when it was ordered and
 * is none of a held one, refused to who ordered it. */
void volume_round_name(struct volume *v, const struct volume_hold *hold,
		       const struct cut_round *round, bool ordered,
		       enum point_kind *kind, struct err *why);
/* Why there was no cut in time. */
void volume_round_late(const struct volume *v, const struct volume_hold *hold,
		       struct err *why);

/* volume_group_hold.c: as volume_converge, with all members' writers held. */
int volume_group_converge(struct volume *v, struct cut_round *round,
			  enum point_kind *kind, struct err *err);

/* volume_group.c; only of a member, but for join, part and unready. */
/* Of one, unless it is already. */
int volume_group_join(struct volume *v, struct err *err);
void volume_group_part(struct volume *v);
/* Session or device are no more, or the attempt has come to nothing. */
void volume_group_unready(struct volume *v);
/* Has an attempt begun, to be ended by volume_group_end? */
bool volume_group_begin(struct volume *v);
void volume_group_end(struct volume *v);
bool volume_group_wanted(struct volume *v);
/* The others are to be ready soon, too; nothing, of no member. */
void volume_group_want(struct volume *v, bool quiesce);
/* For cut_config.flip; arg is the volume. */
int volume_group_flip(void *arg, struct cut_round *out, struct err *err);
/* GROUP_GO, GROUP_AGAIN, GROUP_GIVE_UP; negative errno: the session ends. */
int volume_group_vote(struct volume *v, enum group_vote vote, struct err *err);
int volume_group_gave_up(struct volume *v, struct err *err);
/* Do all confirm, or all commit, with a number? 0; else as above. The kind is
 * the same for all. */
int volume_group_decide(struct volume *v, enum point_kind kind,
			bool *may_confirm, struct err *err);
void volume_group_name_commit(const struct volume *v, struct wire_commit *c);
void volume_group_durable(struct volume *v);

/* volume_worker.c */
/* Serves the session for a while, or until woken. */
int volume_wait_a_while(struct volume *v, struct err *err);
/* Until no point is outstanding. */
int volume_wait_ack(struct volume *v, struct err *err);
void *volume_worker(void *arg);
bool volume_cancelled(void *arg);

/* One tracker host per process and state, opened by its first user. */
int source_host_get(const struct source_env *env, struct tracker_host **out,
		    struct err *err);
void source_host_put(bool untrack);

#endif
