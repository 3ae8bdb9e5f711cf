// SPDX-License-Identifier: Apache-2.0
#include "storelab.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/segfmt.h"

/* ---- I/O that can fail ---- */

static struct labio *lab_of(struct io *io)
{
	return (struct labio *)((char *)io - offsetof(struct labio, io));
}

static const struct io_ops *real(void)
{
	return io_posix()->ops;
}

static int hit(struct labio *l, enum lab_op op)
{
	l->calls[op]++;
	if (!l->fail_in[op])
		return 0;
	if (--l->fail_in[op])
		return 0;
	if (l->sticky)
		l->fail_in[op] = 1;
	return l->error;
}

static int lab_io_open(struct io *io, int dirfd, const char *path, int flags,
		       mode_t mode)
{
	int r = flags & O_EXCL ? hit(lab_of(io), LAB_CREATE) : 0;

	return r < 0 ? r : real()->open(io, dirfd, path, flags, mode);
}

static ssize_t lab_io_pwritev(struct io *io, int fd, const struct iovec *iov,
			      int n_iov, uint64_t off)
{
	struct labio *l = lab_of(io);
	struct iovec one;
	int r = hit(l, LAB_WRITE);

	if (r < 0) {
		/* What a failing disk may do: half of it. */
		one = iov[0];
		one.iov_len /= 2;
		(void)real()->pwritev(io, fd, &one, 1, off);
		return r;
	}
	if (!l->room_bytes)
		return -ENOSPC;
	one = iov[0];
	if (one.iov_len > l->room_bytes)
		one.iov_len = l->room_bytes;
	if (l->room_bytes != UINT64_MAX)
		l->room_bytes -= one.iov_len;
	return n_iov == 1 || one.iov_len < iov[0].iov_len ?
		       real()->pwritev(io, fd, &one, 1, off) :
		       real()->pwritev(io, fd, iov, n_iov, off);
}

static struct lab_synced *find_synced(struct labio *l, const char *name)
{
	size_t i;

	for (i = 0; i < l->n_synced; i++)
		if (!strcmp(l->synced[i].name, name))
			return &l->synced[i];
	return NULL;
}

uint64_t labio_synced(const struct labio *l, const char *name)
{
	const struct lab_synced *s = find_synced((struct labio *)l, name);

	return s ? s->bytes : 0;
}

static void note_synced(struct labio *l, int fd)
{
	char link[64], path[512];
	struct lab_synced *s;
	const char *name;
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return;
	path[n] = 0;
	name = strrchr(path, '/') + 1;
	s = find_synced(l, name);
	if (!s && l->n_synced < sizeof(l->synced) / sizeof(l->synced[0])) {
		s = &l->synced[l->n_synced++];
		(void)snprintf(s->name, sizeof(s->name), "%.63s", name);
	}
	if (s)
		(void)real()->size(&l->io, fd, &s->bytes);
}

static int lab_sync(struct io *io, int fd, bool data_only)
{
	struct labio *l = lab_of(io);
	int r;

	if (l->on_sync)
		l->on_sync(l, l->arg);
	r = hit(l, LAB_SYNC);
	if (r == 0 && l->real_sync)
		r = data_only ? real()->fdatasync(io, fd) :
				real()->fsync(io, fd);
	if (r == 0 && l->on_sync)
		note_synced(l, fd);
	return r;
}

static int lab_io_fdatasync(struct io *io, int fd)
{
	return lab_sync(io, fd, true);
}

static int lab_io_fsync(struct io *io, int fd)
{
	return lab_sync(io, fd, false);
}

static int lab_io_fallocate(struct io *io, int fd, int mode, uint64_t off,
			    uint64_t len)
{
	struct labio *l = lab_of(io);

	if (l->room_bytes < len)
		return -ENOSPC;
	return real()->fallocate(io, fd, mode, off, len);
}

/* Giving up the reserve makes room. */
static int lab_io_ftruncate(struct io *io, int fd, uint64_t size)
{
	struct labio *l = lab_of(io);
	uint64_t before = 0;

	(void)real()->size(io, fd, &before);
	if (l->room_bytes != UINT64_MAX && before > size)
		l->room_bytes += before - size;
	return real()->ftruncate(io, fd, size);
}

void labio_init(struct labio *l)
{
	static struct io_ops ops;

	ops = *real();
	ops.open = lab_io_open;
	ops.pwritev = lab_io_pwritev;
	ops.fdatasync = lab_io_fdatasync;
	ops.fsync = lab_io_fsync;
	ops.fallocate = lab_io_fallocate;
	ops.ftruncate = lab_io_ftruncate;
	*l = (struct labio){ .io.ops = &ops, .error = -EIO,
			     .room_bytes = UINT64_MAX };
}

/* ---- files ---- */

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	printf("# lab: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

#define LAB_TMP_MAX 46			/* leaves room for our own part */

void lab_make_dir(char out[64])
{
	const char *tmp = getenv("TMPDIR");

	/* In memory where there is such a place: the catalog's own syncs are
	 * most of the time of a small test. */
	if (!tmp || strlen(tmp) > LAB_TMP_MAX)
		tmp = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	(void)snprintf(out, 64, "%.*s/us-store-XXXXXX", LAB_TMP_MAX, tmp);
	must(mkdtemp(out) != NULL, "mkdtemp");
}

static void each_entry(const char *dir,
		       void (*cb)(const char *path, const char *name,
				  bool is_dir, void *arg), void *arg)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *de;

	while (d && (de = readdir(d))) {
		char path[512];
		struct stat st;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		if (lstat(path, &st) == 0)
			cb(path, de->d_name, S_ISDIR(st.st_mode), arg);
	}
}

static void remove_entry(const char *path, const char *name, bool is_dir,
			 void *arg)
{
	(void)name;
	if (is_dir) {
		each_entry(path, remove_entry, arg);
		(void)rmdir(path);
	} else {
		(void)unlink(path);
	}
}

void lab_remove(const char *dir)
{
	each_entry(dir, remove_entry, NULL);
	(void)rmdir(dir);
}

static void copy_file(const char *from, const char *to)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int out = open(to, O_WRONLY | O_CREAT | O_TRUNC |
					       O_CLOEXEC, 0600);
	char buf[65536];
	ssize_t n;

	must(in >= 0 && out >= 0, "copy");
	while ((n = read(in, buf, sizeof(buf))) > 0)
		must(write(out, buf, (size_t)n) == n, "copy: write");
	must(n == 0, "copy: read");
}

static void copy_entry(const char *path, const char *name, bool is_dir,
		       void *arg)
{
	char to[512];

	(void)snprintf(to, sizeof(to), "%s/%s", (const char *)arg, name);
	if (is_dir)
		lab_copy(path, to);
	else if (strcmp(name, "reserve"))
		copy_file(path, to);
}

void lab_copy(const char *from, const char *to)
{
	must(mkdir(to, 0700) == 0 || errno == EEXIST, "copy: mkdir");
	each_entry(from, copy_entry, (void *)to);
}

struct newest {
	unsigned int nth;
	uint64_t below;			/* numbers */
	uint64_t number, size;
	char path[256];
};

static void look_at_segment(const char *path, const char *name, bool is_dir,
			    void *arg)
{
	struct newest *n = arg;
	uint8_t bytes[SEG_HEADER_BYTES];
	struct seg_header h;
	struct stat st;
	int fd;

	(void)name;
	if (is_dir) {
		each_entry(path, look_at_segment, arg);
		return;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, bytes, sizeof(bytes)) == sizeof(bytes) &&
	    seg_header_decode(bytes, &h) == 0 && h.number < n->below &&
	    h.number > n->number && fstat(fd, &st) == 0) {
		n->number = h.number;
		n->size = (uint64_t)st.st_size;
		(void)snprintf(n->path, sizeof(n->path), "%s", path);
	}
	if (fd >= 0)
		(void)close(fd);
}

uint64_t lab_segment(const char *dir, unsigned int nth, char out[256])
{
	struct newest n = { .below = UINT64_MAX };
	char volumes[128];
	unsigned int i;

	(void)snprintf(volumes, sizeof(volumes), "%s/volumes", dir);
	for (i = 0; i <= nth; i++) {
		n.below = i ? n.number : UINT64_MAX;
		n.number = 0;
		n.size = 0;
		n.path[0] = 0;
		each_entry(volumes, look_at_segment, &n);
	}
	memcpy(out, n.path, sizeof(n.path));
	return n.size;
}

struct segment_walk {
	void (*cb)(void *arg, const char *path, const char *name);
	void *arg;
};

static void on_segment(const char *path, const char *name, bool is_dir,
		       void *arg)
{
	const struct segment_walk *w = arg;

	if (is_dir)
		each_entry(path, on_segment, arg);
	else
		w->cb(w->arg, path, name);
}

void lab_each_segment(const char *dir,
		      void (*cb)(void *arg, const char *path,
				 const char *name), void *arg)
{
	struct segment_walk w = { cb, arg };
	char volumes[128];

	(void)snprintf(volumes, sizeof(volumes), "%s/volumes", dir);
	each_entry(volumes, on_segment, &w);
}

void lab_drop_catalog(const char *dir)
{
	static const char *const names[] = { "", "-wal", "-shm" };
	char path[128];
	size_t i;

	for (i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/catalog.db%s", dir,
			       names[i]);
		(void)unlink(path);
	}
}

/* ---- content ---- */

void lab_fill(uint64_t version, uint8_t block[US_BLOCK_BYTES])
{
	uint64_t x = version * 0x9e3779b97f4a7c15ULL;
	size_t i;

	memset(block, 0, US_BLOCK_BYTES);
	if (!version)
		return;
	/* Half of it random: some units compress, and some do not. */
	for (i = 0; i < US_BLOCK_BYTES / (version % 3 ? 8 : 2); i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		put_le64(block + i, x);
	}
}

struct lab_image lab_image_new(uint64_t n_blocks)
{
	struct lab_image im = { calloc(n_blocks, sizeof(uint64_t)), n_blocks };

	must(im.versions != NULL, "memory");
	return im;
}

struct lab_image lab_image_copy(const struct lab_image *im)
{
	struct lab_image c = lab_image_new(im->n_blocks);

	memcpy(c.versions, im->versions, im->n_blocks * sizeof(uint64_t));
	return c;
}

void lab_image_free(struct lab_image *im)
{
	free(TAKE_PTR(im->versions));
}

/* ---- a volume under test ---- */

static void init(struct lab *l, uint64_t seed, uint64_t n_blocks)
{
	labio_init(&l->io);
	rnd_seeded_init(&l->rnd, seed);
	must(uuid_new(&l->rnd.rnd, &l->spec.uuid) == 0, "uuid");
	l->spec.source = "web1";
	l->spec.name = "db1";
	l->spec.size_bytes = n_blocks * US_BLOCK_BYTES;
	l->spec.epoch = 1;
	must(volume_key_new(&l->rnd.rnd, 1, &l->key) == 0, "key");
	l->opener = opener_new(&l->key);
	l->fps = fp_ctx_new(&l->key, &l->spec.uuid);
	must(l->opener && l->fps, "memory");
	l->now = lab_image_new(n_blocks);
	l->next_version = 1;
}

void lab_init(struct lab *l, uint64_t seed, uint64_t n_blocks)
{
	memset(l, 0, sizeof(*l));
	lab_make_dir(l->dir);
	l->made_dir = true;
	init(l, seed, n_blocks);
}

void lab_init_on(struct lab *l, uint64_t seed, uint64_t n_blocks,
		 struct io *other_io, const char *dir)
{
	memset(l, 0, sizeof(*l));
	(void)snprintf(l->dir, sizeof(l->dir), "%s", dir);
	l->other_io = other_io;
	init(l, seed, n_blocks);
}

void lab_free(struct lab *l)
{
	lab_close(l);
	sealer_free(l->sealer);
	opener_free(l->opener);
	fp_ctx_free(l->fps);
	lab_image_free(&l->now);
	buf_free(&l->units);
	if (l->made_dir)
		lab_remove(l->dir);
}

int lab_open(struct lab *l, bool read_only, struct err *err)
{
	const struct store_config cfg = {
		.path = l->dir,
		.segment_bytes = l->segment_bytes,
		.reserve_bytes = l->other_io ? 4096 : 1 << 20,
		.io = l->other_io ? l->other_io : &l->io.io,
		.clock = l->clock ? l->clock : clock_real(),
		.rnd = &l->rnd.rnd,
		.read_only = read_only,
	};

	return store_open(&cfg, &l->store, err);
}

void lab_close(struct lab *l)
{
	store_writer_close(l->writer);
	l->writer = NULL;
	store_close(l->store);
	l->store = NULL;
}

int lab_writer(struct lab *l, struct err *err)
{
	store_writer_close(l->writer);
	l->writer = NULL;
	return store_writer_open(l->store, &l->spec, &l->writer, err);
}

int lab_begin(struct lab *l, struct err *err)
{
	static const struct comp_config comp = { .mode = COMP_AUTO };

	sealer_free(l->sealer);
	l->sealer = sealer_new(&l->key, &l->spec.uuid, l->spec.epoch,
			       l->seq + 1, &comp, &l->rnd.rnd);
	must(l->sealer != NULL, "sealer");
	buf_reset(&l->units);
	return store_writer_begin(l->writer, sealer_delta(l->sealer),
				  &l->delta, err);
}

struct fp lab_fp(struct lab *l, uint64_t block, uint64_t version)
{
	uint8_t data[US_BLOCK_BYTES];
	struct fp fp = fp_zero_block;

	if (version) {
		lab_fill(version, data);
		must(fp_compute(l->fps, block, data, &fp) == 0, "fingerprint");
	}
	return fp;
}

void lab_again(struct lab *l, uint64_t first, uint32_t count)
{
	uint8_t data[UNIT_MAX_PLAIN_BYTES];
	struct fp fps[UNIT_MAX_BLOCKS];
	bool zero = true;
	uint32_t i;

	for (i = 0; i < count; i++)
		zero &= !l->now.versions[first + i];
	if (zero) {
		must(sealer_zero(l->sealer, first, count, &l->units) == 0,
		     "seal");
		return;
	}
	for (i = 0; i < count; i++) {
		lab_fill(l->now.versions[first + i],
			 data + i * US_BLOCK_BYTES);
		fps[i] = lab_fp(l, first + i, l->now.versions[first + i]);
	}
	must(sealer_data(l->sealer, first, count, data, fps, &l->units) == 0,
	     "seal");
}

void lab_data(struct lab *l, uint64_t first, uint32_t count)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		l->now.versions[first + i] = l->next_version++;
	lab_again(l, first, count);
}

void lab_zero(struct lab *l, uint64_t first, uint32_t count)
{
	memset(l->now.versions + first, 0, count * sizeof(uint64_t));
	must(sealer_zero(l->sealer, first, count, &l->units) == 0, "seal");
}

int lab_stage(struct lab *l, struct err *err)
{
	int r = store_writer_units(l->writer, l->delta, l->units.data,
				   l->units.len, err);

	buf_reset(&l->units);
	return r;
}

int lab_commit(struct lab *l, struct point_info *out, struct err *err)
{
	const struct point_meta meta = {
		.epoch = l->spec.epoch,
		.seq = l->seq + 1,
		.flip_wall_ns = (int64_t)(l->seq + 1) * 1000,
		.size_bytes = l->spec.size_bytes,
	};
	struct point_info info;
	int r = store_writer_commit(l->writer, &meta, &l->head, &info, err);

	if (r == 0) {
		l->head = info.head;
		l->seq = meta.seq;
		if (out)
			*out = info;
	}
	return r;
}

int lab_compare(struct lab *l, uint64_t seq, const struct lab_image *want,
		uint64_t *block, struct err *err)
{
	_cleanup_free_ uint8_t *got = NULL;
	uint8_t data[US_BLOCK_BYTES];
	struct view *v;
	uint64_t i;
	int r;

	r = view_open(l->store, &l->spec.uuid, 0, seq, &v, err);
	if (r < 0)
		return r;
	got = malloc(want->n_blocks * US_BLOCK_BYTES);
	must(got != NULL, "memory");
	r = view_read(v, l->opener, 0, want->n_blocks, got, err);
	view_close(v);
	for (i = 0; r == 0 && i < want->n_blocks; i++) {
		lab_fill(want->versions[i], data);
		if (memcmp(got + i * US_BLOCK_BYTES, data, sizeof(data))) {
			*block = i;
			r = 1;
		}
	}
	return r;
}
