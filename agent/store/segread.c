// SPDX-License-Identifier: Apache-2.0
/*
 * Reading segments: headers, parts, units. Nothing that comes from a segment
 * is used before its checksum or hash was verified, and what was asked for is
 * compared with what is there: a unit that is sound but another one is damage
 * too. One thread per reader; writes nothing.
 */
#include "store/segread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static int damaged(struct err *err, int r, const struct uuid *id, uint64_t off,
		   const char *what)
{
	char object[SEGMENT_OBJECT_BYTES];

	segment_object(id, object);
	return err_sys(err, r, "segment-damaged", object, "%s at offset=%llu",
		       what, (unsigned long long)off);
}

int segreader_init(struct segreader *r, struct io *io, int dirfd,
		   const struct uuid *store, const struct uuid *volume,
		   struct err *err)
{
	char name[UUID_TEXT_SIZE];
	size_t i;

	*r = (struct segreader){ .io = io, .store = *store, .volume = *volume };
	for (i = 0; i < SEGREADER_FDS; i++)
		r->slots[i].fd = -1;
	uuid_format(volume, name);
	r->dirfd = io->ops->open(io, dirfd, name,
				 O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r->dirfd < 0)
		return err_sys(err, r->dirfd, "volume-missing", name,
			       "open the volume's directory");
	return 0;
}

void segreader_close(struct segreader *r)
{
	size_t i;

	if (!r->io)
		return;
	for (i = 0; i < SEGREADER_FDS; i++)
		if (r->slots[i].fd >= 0)
			(void)r->io->ops->close(r->io, r->slots[i].fd);
	if (r->dirfd >= 0)
		(void)r->io->ops->close(r->io, r->dirfd);
	r->io = NULL;
}

static int check_header(struct segreader *r, const struct uuid *id, int fd)
{
	uint8_t header[SEG_HEADER_BYTES];
	struct seg_header h;
	int ret;

	ret = io_pread_all(r->io, fd, header, sizeof(header), 0);
	if (ret == 0)
		ret = seg_header_decode(header, &h);
	if (ret < 0)
		return ret;
	if (!uuid_equal(&h.store, &r->store) ||
	    !uuid_equal(&h.volume, &r->volume) || !uuid_equal(&h.segment, id))
		return -EBADMSG;
	return 0;
}

static int segment_fd(struct segreader *r, const struct uuid *id,
		      struct err *err)
{
	char name[SEGMENT_NAME_BYTES];
	size_t i, oldest = 0;
	int fd, ret;

	for (i = 0; i < SEGREADER_FDS; i++) {
		if (r->slots[i].fd >= 0 && uuid_equal(&r->slots[i].id, id)) {
			r->slots[i].used = ++r->tick;
			return r->slots[i].fd;
		}
		if (r->slots[i].used < r->slots[oldest].used)
			oldest = i;
	}
	segment_file_name(id, name);
	fd = r->io->ops->open(r->io, r->dirfd, name, O_RDONLY | O_NOFOLLOW, 0);
	if (fd < 0)
		return damaged(err, fd, id, 0, "open");
	ret = check_header(r, id, fd);
	if (ret < 0) {
		(void)r->io->ops->close(r->io, fd);
		return damaged(err, ret, id, 0, "header");
	}
	if (r->slots[oldest].fd >= 0)
		(void)r->io->ops->close(r->io, r->slots[oldest].fd);
	r->slots[oldest].fd = fd;
	r->slots[oldest].id = *id;
	r->slots[oldest].used = ++r->tick;
	return fd;
}

int segreader_read(struct segreader *r, const struct uuid *id, uint64_t off,
		   void *p, size_t n, struct err *err)
{
	int fd, ret;

	fd = segment_fd(r, id, err);
	if (fd < 0)
		return fd;
	ret = io_pread_all(r->io, fd, p, n, off);
	return ret < 0 ? damaged(err, ret, id, off, "read") : 0;
}

void part_tables_free(struct part_tables *t)
{
	free(t->deltas);
	free(t->pages);
	memset(t, 0, sizeof(*t));
}

static bool head_is_as_listed(const struct part_head *h,
			      const struct part_ref *ref)
{
	return !memcmp(h->hash.b, ref->hash.b, DIGEST_BYTES) &&
	       uuid_equal(&h->data_segment, &ref->data_segment) &&
	       h->lo == ref->lo && h->hi == ref->hi &&
	       h->n_entries == ref->n_entries;
}

/* Frame and fixed head; p holds at least both. */
static int decode_head(const uint8_t *p, const struct part_ref *ref,
		       struct part_head *head)
{
	const struct rec_place at = { seg_salt(&ref->segment), ref->off };
	struct rec_header rec;
	int ret;

	ret = rec_header_decode(p, &at, &rec);
	if (ret < 0)
		return ret;
	if (rec.type != REC_PART || rec_total_bytes(&rec) != ref->bytes)
		return -EBADMSG;
	ret = part_head_get(p + REC_HEADER_BYTES, PART_HEAD_BYTES,
			    rec.body_bytes, head);
	if (ret < 0)
		return ret;
	return head_is_as_listed(head, ref) ? 0 : -EBADMSG;
}

static int add_page(const uint8_t *body, const struct part_tables *t,
		    uint32_t page, uint32_t order, struct entvec *entries)
{
	struct ent ents[PART_PAGE_ENTRIES];
	uint32_t k;
	int ret;

	ret = part_page_get(body + part_pages_off(&t->head) +
				    (size_t)page * PART_PAGE_BYTES,
			    &t->head, page, &t->pages[page], ents);
	for (k = 0; ret == 0 && k < part_page_entries(&t->head, page); k++) {
		ents[k].order = order;
		ret = entvec_add(entries, &ents[k]);
	}
	return ret;
}

static int decode_part(const uint8_t *body, struct part_tables *t,
		       struct entvec *entries, uint32_t order)
{
	uint32_t i;
	int ret;

	t->deltas = calloc(t->head.n_deltas, sizeof(*t->deltas));
	t->pages = calloc(t->head.n_pages, sizeof(*t->pages));
	if (!t->deltas || !t->pages)
		return -ENOMEM;
	ret = part_tables_get(body, (size_t)part_pages_off(&t->head), &t->head,
			      t->deltas, t->pages);
	for (i = 0; ret == 0 && entries && i < t->head.n_pages; i++)
		ret = add_page(body, t, i, order, entries);
	return ret;
}

/* Ensures that scratch holds the first n bytes of the record. */
static int read_record(struct segreader *r, const struct part_ref *ref,
		       struct buf *scratch, size_t n, struct err *err)
{
	size_t have = scratch->len;
	uint8_t *p;

	if (n <= have)
		return 0;
	p = buf_extend(scratch, n - have);
	if (!p)
		return -ENOMEM;
	return segreader_read(r, &ref->segment, ref->off + have, p, n - have,
			      err);
}

int segreader_part(struct segreader *r, const struct part_ref *ref,
		   struct buf *scratch, struct part_tables *out,
		   struct entvec *entries, uint32_t order, struct err *err)
{
	size_t first = REC_HEADER_BYTES + PART_HEAD_BYTES;
	int ret;

	memset(out, 0, sizeof(*out));
	buf_reset(scratch);
	if (ref->bytes < first ||
	    ref->bytes > REC_HEADER_BYTES + REC_MAX_BODY_BYTES)
		return damaged(err, -EBADMSG, &ref->segment, ref->off,
			       "part of impossible length");
	ret = read_record(r, ref, scratch, entries ? ref->bytes : first, err);
	if (ret == 0)
		ret = decode_head(scratch->data, ref, &out->head);
	if (ret == 0) {
		out->pages_off = ref->off + REC_HEADER_BYTES +
				 part_pages_off(&out->head);
		ret = read_record(r, ref, scratch,
				  (size_t)(out->pages_off - ref->off), err);
	}
	if (ret == 0)
		ret = decode_part(scratch->data + REC_HEADER_BYTES, out,
				  entries, order);
	if (ret < 0) {
		part_tables_free(out);
		return damaged(err, ret, &ref->segment, ref->off, "part");
	}
	return 0;
}

int segreader_page(struct segreader *r, const struct part_ref *ref,
		   const struct part_tables *t, uint32_t page, struct ent *out,
		   struct err *err)
{
	uint64_t off = t->pages_off + (uint64_t)page * PART_PAGE_BYTES;
	uint8_t bytes[PART_PAGE_BYTES];
	int ret;

	ret = segreader_read(r, &ref->segment, off, bytes,
			     (size_t)part_page_entries(&t->head, page) *
				     PART_ENTRY_BYTES, err);
	if (ret == 0)
		ret = part_page_get(bytes, &t->head, page, &t->pages[page],
				    out);
	return ret < 0 ? damaged(err, ret, &ref->segment, off, "part page") :
			 0;
}

static bool unit_is_meant(const uint8_t *p, size_t n, const struct ent *e,
			  uint32_t delta_index)
{
	struct unit_view u;

	if (unit_parse(p, n, &u) < 0 || u.total_bytes != n ||
	    unit_verify_checksum(p, n) < 0 || unit_sum_field(p) != e->unit_sum)
		return false;
	if (delta_index != UINT32_MAX && u.delta_index != delta_index)
		return false;
	return u.codec == e->codec && u.first + e->skip == e->first &&
	       e->skip < u.count && e->count <= u.count - e->skip;
}

int segreader_unit(struct segreader *r, const struct uuid *segment,
		   const struct ent *e, uint32_t delta_index, struct buf *out,
		   struct err *err)
{
	char object[SEGMENT_OBJECT_BYTES];
	uint8_t *p;
	int ret;

	buf_reset(out);
	p = buf_extend(out, e->unit_bytes);
	if (!p)
		return -ENOMEM;
	ret = segreader_read(r, segment, e->unit_off, p, e->unit_bytes, err);
	if (ret < 0)
		return ret;
	if (unit_is_meant(p, e->unit_bytes, e, delta_index))
		return 0;
	segment_object(segment, object);
	return err_set(err, -EBADMSG, "unit-damaged", object,
		       "unit at offset=%llu length=%u: checksum mismatch: "
		       "block=%llu count=%u",
		       (unsigned long long)e->unit_off, e->unit_bytes,
		       (unsigned long long)e->first, e->count);
}
