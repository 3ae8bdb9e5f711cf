/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_OWN_DIR_H
#define TESTS_LIB_OWN_DIR_H

/*
 * A directory of the test's own: one at a time, empty when made, gone with all
 * that is in it when it is removed, or when the process that made it exits,
 * also because an assertion failed.
 */

extern char own_dir[160];		/* its path; empty: there is none */

/* Where syncs cost something only if there is no file system in memory. */
void own_dir_in_memory(const char *name);
/* In $TMPDIR, or /tmp. */
void own_dir_on_disk(const char *name);
void own_dir_remove(void);

#endif
