/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_PINS_H
#define TRACKER_TRACKER_PINS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"

/* Names and files under bpffs; knows nothing of what is in the maps. */
#define PINS_PATH_MAX 512

/* Makes sure a bpffs is mounted at path (mounts one when not). */
int pins_mount(const char *bpffs, struct err *err);
/* Makes <bpffs>/understudy-<node>, 0700; dir[PINS_PATH_MAX]. */
int pins_make_dir(const char *bpffs, const struct uuid *node, char *dir,
		  struct err *err);
void pins_dir(const char *bpffs, const struct uuid *node, char *dir);
void pins_path(const char *dir, const char *name, char out[PINS_PATH_MAX]);
void pins_volume_path(const char *dir, const char *what,
		      const struct uuid *volume, char out[PINS_PATH_MAX]);
bool pins_exist(const char *dir, const char *name);
/* Descriptor of a pinned object, or negative errno. */
int pins_get(const char *dir, const char *name);
/* Replaces what is pinned there without a moment of neither. */
int pins_put(const char *dir, const char *name, int fd);
int pins_remove(const char *dir, const char *name);
/* Removes every pin and the directory. */
int pins_remove_all(const char *dir, struct err *err);

#endif
