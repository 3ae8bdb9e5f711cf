/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_REMOTE_IMAGE_H
#define SOURCE_REMOTE_IMAGE_H

#include "base/err.h"
#include "source/volume.h"
#include "store/restore.h"
#include "wire/session.h"

/*
 * Reading points from a replica over a session of its own (right `read`).
 * Blocking; one thread.
 */
struct remote;

int remote_connect(const struct replica_config *replica,
		   const struct source_env *env, struct remote **out,
		   struct err *err);
void remote_close(struct remote *r);
/* name is NAME or SOURCE/NAME; cb per point, oldest first. */
int remote_points(struct remote *r, const char *name,
		  int (*cb)(void *arg, const struct wire_point *p), void *arg,
		  struct err *err);
/*
 * Opens a view and makes an image of it; takes the remote on success. key
 * opens the units here; it does not travel.
 */
int remote_image(struct remote *r, const struct wire_view_open *sel,
		 const struct volume_key *key, struct image **out,
		 struct err *err);

#endif
