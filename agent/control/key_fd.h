/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_KEY_FD_H
#define CONTROL_KEY_FD_H

#include "base/err.h"
#include "base/uuid.h"
#include "wire/seal.h"

/*
 * An exported key in a regular file that somebody else opened.
 */
struct key_file {
	struct volume_key key;		/* wiped by the owner */
	char name[65];
	struct uuid volume;
};

/* From the start of the file. 0, or negative errno with err told. */
int key_fd_read(int fd, struct key_file *out, struct err *err);
/* Replaces the file's content, durably. */
int key_fd_write(int fd, const struct volume_key *key, const char *name,
		 const struct uuid *volume, struct err *err);

#endif
