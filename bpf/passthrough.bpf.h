/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_PASSTHROUGH_H
#define BPF_PASSTHROUGH_H

/*
 * Commands that somebody sent past the block layer (SG_IO, bsg, NVMe's
 * ioctls). Their direction says nothing of what they do: those that erase
 * carry no data. So only commands that are known to leave the medium alone
 * are harmless, by their code; whatever else is not, and neither is one whose
 * code cannot be read, or that a driver we do not know was sent.
 *
 * Where a driver keeps the command is in its own types, which may be those of
 * a module: the daemon looks it up in the kernel's BTF (tracker_commands.c)
 * and puts it into the map. Zero: not known.
 *
 * Admin commands of NVMe go through a queue without a disk and are not seen.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct us_commands);
} commands SEC(".maps");

#define CDB_BYTES 16

static __always_inline bool ata_is_harmless(__u8 command, __u8 feature)
{
	switch (command) {
	case 0x20:			/* READ SECTORS */
	case 0x24:			/* READ SECTORS EXT */
	case 0x25:			/* READ DMA EXT */
	case 0x27:			/* READ NATIVE MAX ADDRESS EXT */
	case 0x2f:			/* READ LOG EXT */
	case 0x40:			/* READ VERIFY SECTORS */
	case 0x42:			/* READ VERIFY SECTORS EXT */
	case 0x47:			/* READ LOG DMA EXT */
	case 0x60:			/* READ FPDMA QUEUED */
	case 0x98:			/* CHECK POWER MODE, as it was once */
	case 0xa1:			/* IDENTIFY PACKET DEVICE */
	case 0xc8:			/* READ DMA */
	case 0xe0:			/* STANDBY IMMEDIATE */
	case 0xe1:			/* IDLE IMMEDIATE */
	case 0xe2:			/* STANDBY */
	case 0xe3:			/* IDLE */
	case 0xe4:			/* READ BUFFER */
	case 0xe5:			/* CHECK POWER MODE */
	case 0xe7:			/* FLUSH CACHE */
	case 0xea:			/* FLUSH CACHE EXT */
	case 0xec:			/* IDENTIFY DEVICE */
	case 0xf8:			/* READ NATIVE MAX ADDRESS */
		return true;
	case 0xb0:			/* SMART: its own operations */
		return feature == 0xd0 || feature == 0xd1 ||
		       feature == 0xd2 || feature == 0xd5 ||
		       feature == 0xd8 || feature == 0xd9 ||
		       feature == 0xda || feature == 0xdb;
	default:
		return false;
	}
}

static __always_inline bool scsi_is_harmless(const __u8 *cdb)
{
	switch (cdb[0]) {
	case 0x00:			/* TEST UNIT READY */
	case 0x03:			/* REQUEST SENSE */
	case 0x08:			/* READ(6) */
	case 0x12:			/* INQUIRY */
	case 0x1a:			/* MODE SENSE(6) */
	case 0x1c:			/* RECEIVE DIAGNOSTIC RESULTS */
	case 0x1e:			/* PREVENT ALLOW MEDIUM REMOVAL */
	case 0x25:			/* READ CAPACITY(10) */
	case 0x28:			/* READ(10) */
	case 0x2f:			/* VERIFY(10) */
	case 0x34:			/* PRE-FETCH(10) */
	case 0x35:			/* SYNCHRONIZE CACHE(10) */
	case 0x37:			/* READ DEFECT DATA(10) */
	case 0x3c:			/* READ BUFFER(10) */
	case 0x4d:			/* LOG SENSE */
	case 0x5a:			/* MODE SENSE(10) */
	case 0x5e:			/* PERSISTENT RESERVE IN */
	case 0x88:			/* READ(16) */
	case 0x8f:			/* VERIFY(16) */
	case 0x90:			/* PRE-FETCH(16) */
	case 0x91:			/* SYNCHRONIZE CACHE(16) */
	case 0xa0:			/* REPORT LUNS */
	case 0xa2:			/* SECURITY PROTOCOL IN */
	case 0xa3:			/* MAINTENANCE IN: reports */
	case 0xa8:			/* READ(12) */
	case 0xaf:			/* VERIFY(12) */
	case 0xb7:			/* READ DEFECT DATA(12) */
		return true;
	case 0x1b:			/* START STOP UNIT: no other medium, */
		return !(cdb[4] & 0x06);	/* no cache that is lost */
	case 0x9e:			/* SERVICE ACTION IN(16): READ CAPACITY, */
		return (cdb[1] & 0x1f) >= 0x10 &&	/* READ LONG, GET LBA */
		       (cdb[1] & 0x1f) <= 0x13;	/* STATUS, REFERRALS */
	case 0x85:			/* ATA PASS-THROUGH(16) */
		return ata_is_harmless(cdb[14], cdb[4]);
	case 0xa1:			/* ATA PASS-THROUGH(12) */
		return ata_is_harmless(cdb[9], cdb[3]);
	default:
		return false;
	}
}

static __always_inline bool nvme_is_harmless(__u8 opcode)
{
	switch (opcode) {
	case 0x00:			/* flush */
	case 0x02:			/* read */
	case 0x05:			/* compare */
	case 0x0c:			/* verify */
	case 0x0e:			/* reservation report */
		return true;
	default:
		return false;
	}
}

/* Reads n bytes of the command, which is there or where a pointer there leads. */
static __always_inline bool read_command(const struct request *rq,
					 __u32 offset, bool is_pointer,
					 __u8 *out, __u32 n)
{
	const void *at = (const void *)rq + offset;

	if (!offset)
		return false;
	if (is_pointer && bpf_probe_read_kernel(&at, sizeof(at), at))
		return false;
	return !bpf_probe_read_kernel(out, n, at);
}

/* Whose names these are: sd's and NVMe's alone. */
static __noinline int passthrough_is_harmless(struct request *rq)
{
	struct gendisk *disk = request_disk(rq);
	__u8 name[4] = {}, cdb[CDB_BYTES] = {};
	struct us_commands *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&commands, &zero);
	if (!c || !disk || bpf_probe_read_kernel(name, sizeof(name),
						 disk->disk_name))
		return 0;
	if (name[0] == 's' && name[1] == 'd')
		return read_command(rq, c->scsi_cdb, c->scsi_cdb_is_pointer,
				    cdb, sizeof(cdb)) && scsi_is_harmless(cdb);
	if (name[0] == 'n' && name[1] == 'v' && name[2] == 'm' &&
	    name[3] == 'e')
		return read_command(rq, c->nvme_command, true, cdb, 1) &&
		       nvme_is_harmless(cdb[0]);
	return 0;
}

#endif
