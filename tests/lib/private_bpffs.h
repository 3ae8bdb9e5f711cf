/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_PRIVATE_BPFFS_H
#define TESTS_LIB_PRIVATE_BPFFS_H

#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

/*
 * Puts the calling process into a mount namespace of its own with a fresh
 * bpffs, so that whatever it pins is gone when it ends, however it ends.
 * 0, or -1 with the reason on standard error.
 */
static inline int private_bpffs(void)
{
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700")) {
		perror("private bpffs");
		return -1;
	}
	return 0;
}

#endif
