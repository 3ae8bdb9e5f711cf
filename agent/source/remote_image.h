/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_REMOTE_IMAGE_H
#define SOURCE_REMOTE_IMAGE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "source/volume.h"
#include "store/restore.h"
#include "wire/session.h"

/*
 * Reading points from a replica over a session of its own (right `read`).
 * Blocking; one thread.
 */
struct remote;
struct conn;

/* Each address of the replica in turn, until one accepts us. */
int remote_connect(const struct replica_config *replica,
		   const struct source_env *env, struct remote **out,
		   struct err *err);
/* Over a connection that is there already; takes it, also on failure. */
int remote_over(struct conn *conn, const char *replica_name,
		const struct source_env *env, struct remote **out,
		struct err *err);
/* NULL is fine. */
void remote_close(struct remote *r);
DEFINE_CLEANUP(struct remote, remote_close)
/*
 * name is NAME or SOURCE/NAME; cb per point, oldest first. A non-zero result
 * of cb is returned; the rest of the list is then thrown away.
 */
int remote_points(struct remote *r, const char *name,
		  int (*cb)(void *arg, const struct wire_point *p), void *arg,
		  struct err *err);
/*
 * The points of a group, oldest first, and what it is called in full: as
 * remote_points. -ENOENT "no-group", also from a replica that knows of none.
 */
int remote_group_points(struct remote *r, const char *name,
			int (*cb)(void *arg, const struct wire_group_point *p),
			void *arg, struct wire_group_name *out,
			struct err *err);
/*
 * Opens a view and makes an image of it; takes the remote on success. key
 * opens the units here; it does not travel. Read in rising order the image
 * asks ahead, by more the longer that goes on; what is under way stays in the
 * sockets' buffers, so that memory does not depend on it.
 */
int remote_image(struct remote *r, const struct wire_view_open *sel,
		 const struct volume_key *key, struct image **out,
		 struct err *err);

#endif
