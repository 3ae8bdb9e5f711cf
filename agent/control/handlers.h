/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_HANDLERS_H
#define CONTROL_HANDLERS_H

#include "control/ctlserver.h"
#include "control/daemon.h"
#include "wire/session.h"

/*
 * What the daemon does for each verb of the control protocol. Every function
 * runs in the thread of its request.
 */
extern const struct ctl_verb control_verbs[];	/* arg: struct daemon */

int handle_status(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err);
int handle_points(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err);
int handle_group_point(void *arg, struct ctl_call *call, json_t **result,
		       struct err *err);
int handle_restore(void *arg, struct ctl_call *call, json_t **result,
		   struct err *err);
int handle_events(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err);
int handle_why(void *arg, struct ctl_call *call, json_t **result,
	       struct err *err);
int handle_sync(void *arg, struct ctl_call *call, json_t **result,
		struct err *err);
int handle_scrub(void *arg, struct ctl_call *call, json_t **result,
		 struct err *err);
int handle_verify(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err);
int handle_key_export(void *arg, struct ctl_call *call, json_t **result,
		      struct err *err);
int handle_key_exported(void *arg, struct ctl_call *call, json_t **result,
			struct err *err);
int handle_remove(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err);
int handle_key_rotate(void *arg, struct ctl_call *call, json_t **result,
		      struct err *err);
int handle_key_import(void *arg, struct ctl_call *call, json_t **result,
		      struct err *err);

/*
 * Where the points of a volume that a client named are.
 */
enum lookup_kind {
	LOOKUP_LOCAL,		/* protected here: dv is held */
	LOOKUP_STORED,		/* in this replica's store: info */
	LOOKUP_NOWHERE,		/* neither; a replica of ours may know it */
};

struct lookup {
	enum lookup_kind kind;
	struct volume_name name;
	struct daemon_volume *dv;
	struct volume_info info;
	char full[SELECTOR_VOLUME_SIZE];	/* as this daemon calls it */
};

/* 0 (also for LOOKUP_NOWHERE), or -EINVAL / -ENOTUNIQ with err told. */
int lookup_volume(struct daemon *d, const char *text, struct lookup *out,
		  struct err *err);
/* The same, and LOOKUP_NOWHERE is -ENOENT "no-volume". */
int lookup_known(struct daemon *d, const char *text, struct lookup *out,
		 struct err *err);
/* The same, and it must be protected here. */
int lookup_local(struct daemon *d, const char *text, struct lookup *out,
		 struct err *err);
/*
 * Of a volume protected here. Nothing is read of a refused one: no use to wait
 * for it. -EPERM with the reason of the refusal.
 */
int lookup_not_refused(struct ctl_call *call, const struct lookup *l,
		       struct err *err);
void lookup_release(struct daemon *d, struct lookup *l);
/*
 * The replica that has the points of l: by name, of the volume, or the only
 * one there is. -ENOENT with err told.
 */
int lookup_replica(struct daemon *d, const struct lookup *l, const char *from,
		   struct replica_config *out, struct err *err);

/*
 * The points of a group, and which one was found: of this replica's store, or
 * of a replica that this daemon ships to. -ENOENT "no-group"; -ENOTUNIQ.
 */
struct group_walk {
	int (*cb)(void *arg, const struct wire_group_point *p);
	void *arg;
};
int group_walk(struct daemon *d, const char *text, const char *from,
	       const struct group_walk *w, struct wire_group_name *out,
	       struct err *err);

/* The documented JSON of a volume and of a point. NULL: out of memory. */
json_t *volume_status_json(const struct volume_status *s);
json_t *replica_volume_json(const struct replica_volume_status *s);
json_t *point_json(const struct wire_point *p);
void point_from_info(const struct point_info *info, struct wire_point *out);

/* The escrowed key of a stored volume. 0, -ENOKEY "no-key". */
struct volume_key;
int handler_stored_key(struct daemon *d, const struct lookup *l,
		       struct volume_key *out, struct err *err);
int handler_no_memory(const char *what, struct err *err);

#endif
