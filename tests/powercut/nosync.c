// SPDX-License-Identifier: Apache-2.0
/*
 * LD_PRELOAD: a program whose syncs do nothing. For the negative control: who
 * judges power cuts must notice such a program.
 */
#include <unistd.h>

int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}
