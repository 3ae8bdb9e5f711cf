// SPDX-License-Identifier: Apache-2.0
/*
 * Writing a segment. Called with the volume's lock held.
 *
 * Durable: the header and the name, once segfile_create is back; records, once
 * segfile_sync is back. A failed write (other than for want of room) or sync
 * leaves the file in an unknown state: the caller gives it up. A write cut
 * short by a full file system is the one thing that may be repeated: what it
 * left lies after sf->off, was never synced and belongs to nothing.
 */
#include "store/segwrite.h"

#include <fcntl.h>

#include "base/fault.h"

static int told(const struct segfile *sf, int r, const char *what,
		struct err *err)
{
	char object[SEGMENT_OBJECT_BYTES];

	segment_object(&sf->id, object);
	err_sys(err, r, is_full(r) ? "store-full" : "write-failed", object,
		"%s at offset=%llu", what, (unsigned long long)sf->off);
	if (is_full(r))
		err_remedy(err, "make room in the store's file system");
	return r;
}

static int write_header(struct segfile *sf, int dirfd,
			const struct seg_header *h)
{
	uint8_t header[SEG_HEADER_BYTES];
	int r;

	seg_header_encode(h, header);
	r = io_pwrite_all(sf->io, sf->fd, header, sizeof(header), 0);
	if (r == 0)
		r = sf->io->ops->fdatasync(sf->io, sf->fd);
	if (r == 0)
		r = sf->io->ops->fsync(sf->io, dirfd);
	return r;
}

int segfile_create(struct segfile *sf, struct io *io, int dirfd,
		   const struct seg_header *h, struct err *err)
{
	char name[SEGMENT_NAME_BYTES];
	int r;

	*sf = (struct segfile){
		.io = io,
		.fd = -1,
		.id = h->segment,
		.number = h->number,
		.salt = seg_salt(&h->segment),
	};
	segment_file_name(&h->segment, name);
	r = FAULT("store.segment.create");
	if (r == 0)
		r = io->ops->open(io, dirfd, name, O_WRONLY | O_CREAT | O_EXCL,
				  0600);
	if (r < 0)
		return told(sf, r, "create", err);
	sf->fd = r;
	r = write_header(sf, dirfd, h);
	if (r < 0) {
		told(sf, r, "write the header", err);
		(void)segfile_close(sf);
		(void)io->ops->unlinkat(io, dirfd, name, 0);
		return r;
	}
	sf->off = SEG_HEADER_BYTES;
	return 0;
}

int segfile_write(struct segfile *sf, const struct buf *records,
		  struct err *err)
{
	int r;

	if (records->failed)
		return err_sys(err, -ENOMEM, "no-memory", "store",
			       "encode records");
	if (!records->len)
		return 0;
	r = FAULT("store.segment.write");
	if (r == 0)
		r = io_pwrite_all(sf->io, sf->fd, records->data, records->len,
				  sf->off);
	if (r < 0)
		return told(sf, r, "write", err);
	sf->off += records->len;
	return 0;
}

int segfile_sync(struct segfile *sf, struct err *err)
{
	int r = FAULT("store.segment.sync");

	if (r == 0)
		r = sf->io->ops->fdatasync(sf->io, sf->fd);
	return r < 0 ? told(sf, r, "fdatasync", err) : 0;
}

int segfile_close(struct segfile *sf)
{
	int r = 0;

	if (sf->fd >= 0)
		r = sf->io->ops->close(sf->io, sf->fd);
	sf->fd = -1;
	return r;
}
