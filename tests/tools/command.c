// SPDX-License-Identifier: Apache-2.0
/*
 * Sends a command past the block layer:
 *
 *	command scsi DEV none|in|out BYTES CDB...
 *		SG_IO; the bytes of the command in hexadecimal. What goes out
 *		is zeros, or, with BYTES 24 and the code 42 (UNMAP), the first
 *		eight blocks' descriptor
 *	command nvme DEV OPCODE [BYTES]
 *		an I/O command of the namespace, at its first block
 *
 * Exit: 0 the device took it, 1 it answered with an error (it has seen the
 * command all the same), 2 it was not sent.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/nvme_ioctl.h>
#include <scsi/sg.h>

#define DATA_MAX 65536U

static int fail(const char *what)
{
	perror(what);
	return 2;
}

static int scsi(int fd, const char *direction, unsigned int bytes,
		char **words, int n)
{
	static const struct {
		const char *name;
		int code;
	} ways[] = {
		{ "none", SG_DXFER_NONE },
		{ "in", SG_DXFER_FROM_DEV },
		{ "out", SG_DXFER_TO_DEV },
	};
	static uint8_t data[DATA_MAX];
	uint8_t cdb[16] = { 0 }, sense[64];
	struct sg_io_hdr io = {
		.interface_id = 'S', .cmdp = cdb, .cmd_len = (uint8_t)n,
		.sbp = sense, .mx_sb_len = sizeof(sense), .timeout = 20000,
		.dxferp = data, .dxfer_len = bytes,
	};
	size_t i;

	for (i = 0; i < 3; i++)
		if (!strcmp(ways[i].name, direction))
			io.dxfer_direction = ways[i].code;
	if (!io.dxfer_direction || n < 1 || n > 16 || bytes > DATA_MAX)
		return 2;
	for (i = 0; i < (size_t)n; i++)
		cdb[i] = (uint8_t)strtoul(words[i], NULL, 16);
	if (cdb[0] == 0x42) {		/* lengths, then first and count */
		data[1] = 22;
		data[3] = 16;
		data[19] = 8;
	}
	if (ioctl(fd, SG_IO, &io))
		return fail("SG_IO");
	return io.status || io.host_status || io.driver_status;
}

static int nvme(int fd, const char *opcode, unsigned int bytes)
{
	static uint8_t data[DATA_MAX] __attribute__((aligned(4096)));
	struct nvme_passthru_cmd c = {
		.opcode = (uint8_t)strtoul(opcode, NULL, 16),
		.addr = bytes ? (uintptr_t)data : 0, .data_len = bytes,
	};
	int nsid = ioctl(fd, NVME_IOCTL_ID), r;

	if (nsid < 0 || bytes > DATA_MAX)
		return fail("namespace");
	c.nsid = (uint32_t)nsid;
	r = ioctl(fd, NVME_IOCTL_IO_CMD, &c);
	return r < 0 ? fail("command") : r != 0;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc < 4)
		return 2;
	fd = open(argv[2], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(argv[2]);
	if (!strcmp(argv[1], "scsi") && argc > 5)
		return scsi(fd, argv[3], (unsigned int)atoi(argv[4]), argv + 5,
			    argc - 5);
	if (!strcmp(argv[1], "nvme"))
		return nvme(fd, argv[3], argc > 4 ?
				    (unsigned int)atoi(argv[4]) : 0);
	return 2;
}
