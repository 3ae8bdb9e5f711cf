// SPDX-License-Identifier: Apache-2.0
/*
 * A store whose segments somebody forged: the input says which records there
 * are, and they are framed, placed and hashed as they should be. The store is
 * opened, its catalog being made of them; every point is looked at, and read
 * with a key. Input: a byte of options, then records (operation, values).
 */
#include "fuzz_input.h"

#include "base/checked.h"
#include "base/log.h"
#include "store/footfmt.h"
#include "store/grouppoints.h"
#include "store/store.h"
#include "wire/seal.h"

SCRATCH_DIR_HERE

#define BLOCKS_READ 64U
#define POINTS_READ 8U
#define UNITS_KEPT 64U

enum { OP_VOLUME, OP_DELTA, OP_UNITS, OP_PART, OP_POINT, OP_EPOCH, OP_DISCARD,
       OP_RAW, OP_NEXT_SEGMENT, OP_CUT, N_OPS };

static const struct uuid store_id = { { 1 } }, volume_id = { { 2 } };

/* What is being written. */
struct forge {
	struct buf b;			/* of the present segment */
	struct uuid id;
	uint64_t number;
	uint64_t ord;			/* of the next point */
	struct head head;
	struct ent units[UNITS_KEPT];	/* since the last part */
	size_t n_units;
	struct seg_delta deltas[8];
	size_t n_deltas;
	struct part_ref parts[8];	/* since the last point */
	uint32_t n_parts;
	char dir[300];
};

/* ---- I/O that keeps nothing for good ---- */

static int no_sync(struct io *io, int fd)
{
	(void)io;
	(void)fd;
	return 0;
}

static int no_room(struct io *io, int fd, int mode, uint64_t off, uint64_t len)
{
	(void)io;
	(void)fd;
	(void)mode;
	(void)off;
	(void)len;
	return 0;
}

static struct io *careless_io(void)
{
	static struct io_ops ops;
	static struct io io = { &ops };

	ops = *io_posix()->ops;
	ops.fdatasync = no_sync;
	ops.fsync = no_sync;
	ops.fallocate = no_room;
	return &io;
}

/* ---- records ---- */

static struct rec_place place(const struct forge *f, size_t start)
{
	return (struct rec_place){ seg_salt(&f->id), start };
}

static void end_record(struct forge *f, size_t start, unsigned int type,
		       uint8_t flags)
{
	struct rec_place at = place(f, start);

	rec_end(&f->b, start, &at, (enum rec_type)type, flags);
}

static void begin_segment(struct forge *f)
{
	struct seg_header h = { .store = store_id, .volume = volume_id,
				.number = ++f->number };

	h.segment = (struct uuid){ { 3, (uint8_t)f->number } };
	f->id = h.segment;
	f->n_units = f->n_deltas = 0;
	seg_header_encode(&h, buf_extend(&f->b, SEG_HEADER_BYTES));
}

static void end_segment(struct forge *f)
{
	char path[400], name[SEGMENT_NAME_BYTES];

	segment_file_name(&f->id, name);
	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	must(!f->b.failed);
	scratch_write(path, f->b.data, f->b.len);
	buf_reset(&f->b);
}

static void put_volume(struct forge *f, struct input *in)
{
	struct rec_volume v = { .volume = volume_id, .name = "a",
				.source = "b" };

	v.size_bytes = in_number(in) * US_BLOCK_BYTES;
	v.epoch = 1 + (in_u8(in) & 3);
	v.name[0] = (char)('a' + (in_u8(in) & 3));
	rec_volume_put(&f->b, &v);
}

static void put_delta(struct forge *f, struct input *in)
{
	struct rec_delta d = { .index = in_u8(in) & 7 };

	d.delta.volume = volume_id;
	d.delta.epoch = 1 + (in_u8(in) & 1);
	d.delta.seq = in_u8(in);
	d.delta.key_id = in_u8(in) & 3;
	if (f->n_deltas < 8)
		f->deltas[f->n_deltas++] =
			(struct seg_delta){ d.index, d.delta };
	rec_delta_put(&f->b, &d);
}

static void put_unit(struct forge *f, struct input *in)
{
	struct ent e = { .first = in_number(in), .unit_off = f->b.len };
	size_t payload, fps, total;
	uint8_t *p;

	e.codec = in_u8(in) & 3;
	e.delta = in_u8(in) & 7;
	e.count = 1 + (e.codec ? in_u8(in) & 15 : (uint32_t)in_u16(in));
	fps = e.codec ? e.count * UNIT_FP_BYTES : 0;
	payload = e.codec == UNIT_RAW ? (size_t)e.count * US_BLOCK_BYTES :
		  e.codec ? 1U + in_u8(in) : 0;
	total = UNIT_HEADER_BYTES + fps + payload + UNIT_TAG_BYTES;
	e.unit_bytes = (uint32_t)total;
	p = buf_extend(&f->b, total);
	must(p != NULL);
	memset(p, 0, total);
	put_le32(p, e.unit_bytes);
	p[4] = e.codec;
	put_le64(p + 8, e.first);
	put_le32(p + 16, e.count);
	put_le32(p + 20, e.delta);
	(void)in_bytes(in, p + UNIT_HEADER_BYTES, fps > 4 ? 4 : 0);
	e.unit_sum = unit_checksum(p, total);
	put_le64(p + 32, e.unit_sum);
	if (f->n_units < UNITS_KEPT)
		f->units[f->n_units++] = e;
}

/* Entries as the units are, or moved a little. */
static void list_units(struct forge *f, struct input *in, struct entvec *ev)
{
	uint8_t how = in_u8(in);
	size_t i;

	for (i = 0; i < f->n_units; i++) {
		struct ent e = f->units[i];
		size_t d;

		for (d = 0; d < f->n_deltas; d++)
			if (f->deltas[d].index == e.delta)
				break;
		e.delta = (uint32_t)(d < f->n_deltas ? d : 0);
		e.order = (uint32_t)i;
		if (how & 1)
			e.unit_off = in_number(in);
		if (how & 2)
			e.skip = in_u8(in);
		if (how & 4)
			e.unit_bytes = (uint32_t)in_number(in);
		if (how & 8)
			e.first = in_number(in);
		if (how & 16)
			e.count = 1 + in_u16(in);
		must(!entvec_add(ev, &e));
	}
	must(!entvec_resolve(ev));
}

static void put_part_of(struct forge *f, struct input *in, size_t start)
{
	struct part_head h = { .data_segment = f->id, .ord = f->ord };
	struct part_ref *ref = &f->parts[f->n_parts];
	struct entvec ev = { 0 };
	struct part_content c = { .deltas = f->deltas,
				  .n_deltas = f->n_deltas };
	int r;

	list_units(f, in, &ev);
	c.ents = ev.v;
	c.n_ents = ev.n;
	if (in_u8(in) == 0xff)
		h.data_segment.b[1] = in_u8(in);
	h.staged_bytes = in_u8(in);
	r = part_put(&f->b, &c, &h);
	entvec_free(&ev);
	if (r == 0 && f->n_parts < 8) {
		*ref = (struct part_ref){ .segment = f->id, .off = start,
					  .hash = h.hash };
		part_ref_describe(ref, &h);
		f->n_parts++;
	}
	f->n_units = 0;
}

/* Of what type it is to be. */
static enum rec_type put_point(struct forge *f, struct input *in)
{
	struct point_foot foot = { .volume = volume_id, .ord = f->ord,
				   .parts = f->parts,
				   .n_parts = f->n_parts };
	struct point_info *i = &foot.info;
	uint8_t how;

	i->meta.epoch = 1 + (in_u8(in) & 1);
	i->meta.seq = in_u8(in);
	i->meta.size_bytes = in_number(in) * US_BLOCK_BYTES;
	i->meta.flip_wall_ns = (int64_t)in_number(in);
	i->changed_bytes = in_number(in);
	i->prev_head = f->head;
	how = in_u8(in);
	if (how == 0xff)
		i->prev_head.b[0] ^= 1;
	if (how == 0xfe) {
		i->meta.group.uuid.b[0] = 1 + (in_u8(in) & 1);
		i->meta.group.seq = in_u8(in);
		i->meta.group.n_members = in_u8(in);
		i->meta.group.name[0] = (char)in_u8(in);
	}
	if (point_put(&f->b, &foot) == 0) {
		f->head = i->head;
		f->ord++;
	}
	f->n_parts = 0;
	return point_record_type(&i->meta);
}

static void put_epoch(struct forge *f, struct input *in)
{
	struct rec_epoch e = { .volume = volume_id };

	e.epoch = in_u8(in) & 7;
	e.parent_epoch = in_u8(in) & 7;
	e.parent_seq = in_u8(in);
	memcpy(e.parent_head, f->head.b, HEAD_BYTES);
	rec_epoch_put(&f->b, &e);
}

static void put_raw(struct forge *f, struct input *in)
{
	uint8_t bytes[256];
	size_t n = in_u8(in);

	(void)in_bytes(in, bytes, n);
	buf_put(&f->b, bytes, n);
}

static void put_record(struct forge *f, struct input *in)
{
	static const uint8_t types[] = { REC_VOLUME, REC_DELTA, REC_UNITS,
					 REC_PART, REC_POINT, REC_EPOCH,
					 REC_DISCARD };
	unsigned int op = in_u8(in) % N_OPS, n, type = 0;
	size_t start = f->b.len;

	if (op == OP_NEXT_SEGMENT) {
		end_segment(f);
		begin_segment(f);
		return;
	}
	if (op == OP_CUT) {
		n = in_u8(in);
		f->b.len -= MIN(n, f->b.len - SEG_HEADER_BYTES);
		return;
	}
	(void)rec_begin(&f->b);
	if (op == OP_VOLUME)
		put_volume(f, in);
	else if (op == OP_DELTA)
		put_delta(f, in);
	else if (op == OP_UNITS)
		for (n = 1 + (in_u8(in) & 3); n; n--)
			put_unit(f, in);
	else if (op == OP_PART)
		put_part_of(f, in, start);
	else if (op == OP_POINT)
		type = put_point(f, in);
	else if (op == OP_EPOCH)
		put_epoch(f, in);
	else if (op == OP_DISCARD)
		rec_discard_put(&f->b, &(struct rec_discard){
			.volume = volume_id, .ord = f->ord });
	else
		put_raw(f, in);
	if (op == OP_RAW)
		end_record(f, start, in_u8(in) & 15, in_u8(in) & 1);
	else
		end_record(f, start, type ? type : types[op], 0);
	if (op == OP_PART && f->n_parts)
		f->parts[f->n_parts - 1].bytes = (uint32_t)(f->b.len - start);
}

/* ---- what the store makes of them ---- */

struct walk {
	uint64_t at;
};

static int see_piece(void *arg, const struct view_piece *p)
{
	struct walk *w = arg;
	struct unit_view u;

	must(p->first == w->at && p->count);
	w->at += p->count;
	if (p->absent)
		return 0;
	must(!unit_parse(p->unit, p->unit_bytes, &u));
	must(u.total_bytes == p->unit_bytes);
	must((uint64_t)p->skip + p->count <= u.count);
	return 0;
}

static void read_view(struct view *v, struct opener *o)
{
	static uint8_t out[BLOCKS_READ * US_BLOCK_BYTES];
	uint64_t size = view_point(v)->meta.size_bytes;
	uint64_t n = MIN(div_up_u64(size, US_BLOCK_BYTES),
			 (uint64_t)BLOCKS_READ);
	uint64_t block = 0, first, count;
	struct walk w = { 0 };
	unsigned int i;
	bool zero;

	if (n && view_walk(v, 0, n, see_piece, &w, NULL) == 0)
		must(w.at == n);
	if (n)
		(void)view_read(v, o, 0, n, out, NULL);
	for (i = 0; i < 100; i++) {
		if (view_next(v, block, &first, &count, &zero, NULL))
			break;
		must(first >= block && count && first + count > block);
		block = first + count;
	}
}

struct seen {
	struct store *s;
	struct opener *o;
	unsigned int n;
};

static int see_point(void *arg, const struct point_info *p)
{
	struct seen *seen = arg;
	struct view *v = NULL;

	if (seen->n++ >= POINTS_READ)
		return 1;
	if (view_open(seen->s, &volume_id, p->meta.epoch, p->meta.seq, &v,
		      NULL) == 0)
		read_view(v, seen->o);
	view_close(v);
	return 0;
}

static int see_volume(void *arg, const struct volume_info *v)
{
	(void)arg;
	must(uuid_equal(&v->uuid, &volume_id));
	must(strlen(v->name) <= STORE_NAME_MAX);
	return 0;
}

static int see_group_point(void *arg, const struct group_point *p)
{
	(void)arg;
	/* There is one volume. */
	must(p->seq && p->n_members == 1);
	must(uuid_equal(&p->members[0].volume, &volume_id));
	return 0;
}

static int see_group(void *arg, const struct group_info *g)
{
	(void)store_group_points(arg, g, see_group_point, NULL);
	return 0;
}

static void write_on(struct store *s)
{
	struct store_volume_spec spec = { .uuid = volume_id, .source = "b",
					  .name = "a", .epoch = 7,
					  .size_bytes = 64 * US_BLOCK_BYTES };
	struct point_meta meta = { .epoch = 7, .seq = 1000,
				   .size_bytes = spec.size_bytes };
	static struct fp fps[16];
	struct store_writer *w = NULL;
	struct volume_info info;
	struct point_info done;

	if (store_writer_open(s, &spec, &w, NULL))
		return;
	store_writer_info(w, &info);
	(void)store_writer_fps(w, 0, 16, fps, NULL);
	if (info.has_point)
		meta.seq = info.newest.meta.seq + 1;
	(void)store_writer_commit(w, &meta, &info.newest.head, &done, NULL);
	store_writer_close(w);
}

static void look(const char *path, bool writable)
{
	static const struct volume_key key = { .id = 1 };
	struct store_config cfg = { .path = path, .io = careless_io(),
				    .clock = clock_real(),
				    .rnd = rnd_system(), .reserve_bytes = 1,
				    .read_only = !writable };
	struct seen seen = { .o = opener_new(&key) };
	struct err err = ERR_INIT;

	must(seen.o != NULL);
	if (store_open(&cfg, &seen.s, &err)) {
		must(err.message[0]);
	} else {
		(void)store_volumes(seen.s, see_volume, NULL);
		(void)store_points(seen.s, &volume_id, true, see_point, &seen);
		(void)store_groups(seen.s, see_group, seen.s);
		if (writable)
			write_on(seen.s);
		store_close(seen.s);
	}
	opener_free(seen.o);
}

static void make_store(const char path[240], struct forge *f)
{
	struct store_meta m = { .store = store_id };
	uint8_t bytes[STORE_META_BYTES];
	char text[UUID_TEXT_SIZE], meta[300];

	scratch_remove(path);
	must(!mkdir(path, 0700));
	store_meta_encode(&m, bytes);
	(void)snprintf(meta, sizeof(meta), "%s/store.meta", path);
	scratch_write(meta, bytes, sizeof(bytes));
	(void)snprintf(f->dir, sizeof(f->dir), "%s/volumes", path);
	must(!mkdir(f->dir, 0700));
	uuid_format(&volume_id, text);
	(void)snprintf(f->dir, sizeof(f->dir), "%s/volumes/%s", path, text);
	must(!mkdir(f->dir, 0700));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data + 1, size - 1 };
	struct forge f = { .ord = 1 };
	char path[240];

	if (!size || size > 4096)
		return 0;
	log_init("fuzz", LOG_LEVEL_ERR);
	(void)snprintf(path, sizeof(path), "%s/store", scratch_dir());
	make_store(path, &f);
	begin_segment(&f);
	while (in.n && f.b.len < (1U << 20))
		put_record(&f, &in);
	end_segment(&f);
	buf_free(&f.b);
	look(path, data[0] & 1);
	/* Again, with the catalog that is there now. */
	if (data[0] & 1)
		look(path, data[0] & 2);
	return 0;
}
