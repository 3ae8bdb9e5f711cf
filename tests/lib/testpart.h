/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_TESTPART_H
#define TESTS_LIB_TESTPART_H

#include <stdint.h>

/* One partition of a disk, number 1, told to the kernel without a table. disk
 * is the path of its node. 0 or negative errno. */
int testpart_add(const char *disk, uint64_t start_bytes, uint64_t size_bytes);
int testpart_remove(const char *disk);
/* Path of its node, which is made when nobody else does. */
int testpart_node(const char *disk, char path[80]);

#endif
