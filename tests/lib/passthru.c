// SPDX-License-Identifier: Apache-2.0
/* See passthru.h. */
#include "passthru.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/nvme_ioctl.h>
#include <scsi/sg.h>

#define MIB (1U << 20)
#define TIMEOUT_MS 30000U
#define DATA_BYTES 8192U

/* ---- SCSI ---- */

#define SCSI_TEST_UNIT_READY 0x00
#define SCSI_INQUIRY 0x12
#define SCSI_READ_10 0x28
#define SCSI_WRITE_10 0x2a
#define SCSI_UNMAP 0x42
#define SCSI_WRITE_SAME_16 0x93

struct scsi_command {
	uint8_t cdb[16];
	uint8_t cdb_len;
	int direction;
	uint32_t data_bytes;
};

static void put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

/* A list of one range: 8 blocks from lba on. */
static void unmap_list(uint8_t *data, uint32_t lba)
{
	memset(data, 0, 24);
	data[1] = 22;
	data[3] = 16;
	put_be32(data + 12, lba);
	put_be32(data + 16, 8);
}

static void scsi_build(struct scsi_command *c, uint8_t opcode, uint32_t lbs,
		       uint8_t *data)
{
	uint32_t lba = MIB / lbs, blocks = DATA_BYTES / lbs;

	memset(c, 0, sizeof(*c));
	c->cdb[0] = opcode;
	c->cdb_len = 10;
	c->direction = SG_DXFER_TO_DEV;
	c->data_bytes = DATA_BYTES;
	switch (opcode) {
	case SCSI_TEST_UNIT_READY:
		c->cdb_len = 6;
		c->direction = SG_DXFER_NONE;
		c->data_bytes = 0;
		break;
	case SCSI_INQUIRY:
		c->cdb_len = 6;
		c->cdb[4] = 36;
		c->direction = SG_DXFER_FROM_DEV;
		c->data_bytes = 36;
		break;
	case SCSI_UNMAP:
		c->cdb[8] = 24;
		c->data_bytes = 24;
		unmap_list(data, lba);
		break;
	case SCSI_WRITE_SAME_16:
		c->cdb_len = 16;
		put_be32(c->cdb + 6, lba);
		put_be32(c->cdb + 10, 64);
		c->data_bytes = lbs;
		break;
	default:
		if (opcode == SCSI_READ_10)
			c->direction = SG_DXFER_FROM_DEV;
		put_be32(c->cdb + 2, lba);
		c->cdb[8] = (uint8_t)blocks;
		break;
	}
}

static int scsi_run(const char *path, uint32_t lbs, const struct passthru *p)
{
	uint8_t data[DATA_BYTES], sense[64];
	struct scsi_command c;
	struct sg_io_hdr h;
	int fd = open(path, O_RDWR | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	memset(data, 0x77, sizeof(data));
	scsi_build(&c, p->opcode, lbs, data);
	memset(&h, 0, sizeof(h));
	h.interface_id = 'S';
	h.dxfer_direction = c.direction;
	h.cmd_len = c.cdb_len;
	h.cmdp = c.cdb;
	h.dxferp = data;
	h.dxfer_len = c.data_bytes;
	h.sbp = sense;
	h.mx_sb_len = sizeof(sense);
	h.timeout = TIMEOUT_MS;
	r = ioctl(fd, SG_IO, &h) < 0 ? -errno : 0;
	if (r == 0 && (h.status || h.host_status || h.driver_status))
		r = -EIO;
	(void)close(fd);
	return r;
}

static const struct passthru scsi[] = {
	{ "TEST UNIT READY", false, true, SCSI_TEST_UNIT_READY, scsi_run },
	{ "INQUIRY", false, true, SCSI_INQUIRY, scsi_run },
	{ "READ(10)", false, true, SCSI_READ_10, scsi_run },
	{ "WRITE(10)", true, true, SCSI_WRITE_10, scsi_run },
	{ "UNMAP", true, true, SCSI_UNMAP, scsi_run },
	{ "WRITE SAME(16)", true, true, SCSI_WRITE_SAME_16, scsi_run },
	/* Known to nobody: whatever it did. */
	{ "a vendor's command", true, false, 0xd0, scsi_run },
	{ 0 },
};

/* ---- NVMe ---- */

#define NVME_WRITE 0x01
#define NVME_READ 0x02
#define NVME_WRITE_ZEROES 0x08

static int nvme_run(const char *path, uint32_t lbs, const struct passthru *p)
{
	struct nvme_passthru_cmd c;
	uint8_t *data = NULL;
	int fd = open(path, O_RDWR | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	if (posix_memalign((void **)&data, 4096, DATA_BYTES))
		abort();
	memset(data, 0x77, DATA_BYTES);
	memset(&c, 0, sizeof(c));
	r = ioctl(fd, NVME_IOCTL_ID);
	c.opcode = p->opcode;
	c.nsid = (uint32_t)r;
	c.cdw10 = MIB / lbs;
	c.cdw12 = DATA_BYTES / lbs - 1;
	c.timeout_ms = TIMEOUT_MS;
	if (p->opcode != NVME_WRITE_ZEROES) {
		c.addr = (uint64_t)(uintptr_t)data;
		c.data_len = DATA_BYTES;
	}
	if (r >= 0)
		r = ioctl(fd, NVME_IOCTL_IO_CMD, &c);
	r = r < 0 ? -errno : r ? -EIO : 0;
	(void)close(fd);
	free(data);
	return r;
}

static const struct passthru nvme[] = {
	{ "Read", false, true, NVME_READ, nvme_run },
	{ "Write", true, true, NVME_WRITE, nvme_run },
	/* No data goes out: by its operation it is one that reads. */
	{ "Write Zeroes", true, true, NVME_WRITE_ZEROES, nvme_run },
	{ 0 },
};

const struct passthru *passthru_of(const char *family)
{
	if (!strcmp(family, "scsi"))
		return scsi;
	return strcmp(family, "nvme") ? NULL : nvme;
}
