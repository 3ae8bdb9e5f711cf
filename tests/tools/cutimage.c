// SPDX-License-Identifier: Apache-2.0
/*
 * Judges what power cuts leave of a store on a real file system.
 *
 *	cutimage LOG SIZE FS KEY ACKS COUNT SEED FSCK-EVERY
 *
 * LOG is what tests/powercut/writelog.c wrote of a disk of SIZE bytes with the
 * file system FS, the store in its directory "store". ACKS has a line for each
 * point: "SEQ BEGIN END SHA256": lengths of the log before it was ordered and
 * when it was acknowledged, and the hash of the whole volume then.
 *
 * COUNT disks are made, each cut at a place after the first acknowledgement:
 * all writes before the last flush, and of those after it some, in part or
 * whole. Each is mounted, which replays the journal, its store is opened, and
 * then: what was acknowledged before the cut is there and reads as it should;
 * nothing is there that was not under way; and, in every fourth, another point
 * can be committed.
 *
 * Exit 0 when all are right; 1 when a promise was broken (lines "broken: ...");
 * 2 when nothing can be said. Everything is in memory and in a mount namespace
 * of its own: nothing remains, however it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/fs.h>
#include <openssl/sha.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/rnd.h"
#include "control/key_fd.h"
#include "store/store.h"
#include "wire/seal.h"

#define CHUNK 65536U
#define RECORD_BYTES 24U
#define MAX_ACKS 4096U
/* It is mostly waiting for the disk, and all much alike. */
#define GO_ON_EVERY 4U

struct write {
	uint64_t off, len;
	const uint8_t *bytes;		/* NULL: a flush */
	uint64_t end;			/* of the record in the log */
};

struct ack {
	uint64_t seq, begin, end;
	uint8_t sha[SHA256_DIGEST_LENGTH];
};

struct bench {
	struct write *w;
	size_t n;
	struct ack acks[MAX_ACKS];
	size_t n_acks;
	uint64_t size;
	const char *fs;
	uint8_t *durable;		/* the disk as of applied */
	uint8_t *used;			/* chunks of it that are not zeros */
	size_t applied;			/* writes before this one */
	int disk_fd;			/* what is mounted */
	char loop[32];
	int loop_fd;
	char dir[32];
	struct opener *opener;
	struct rnd_seeded rnd;
	uint64_t cut;			/* length of the log at the cut */
	unsigned int state, broken;
	uint64_t points_read, under_way;
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* ---- the log ---- */

static const uint8_t *map_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0 || !st.st_size)
		die(path);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		die(path);
	(void)close(fd);
	*size = (size_t)st.st_size;
	return p;
}

static void read_log(struct bench *b, const char *path)
{
	size_t size, at = 0;
	const uint8_t *p = map_file(path, &size);

	while (size - at >= RECORD_BYTES && !memcmp(p + at, "wlog", 4)) {
		struct write w = {
			.off = get_le64(p + at + 8),
			.len = get_le64(p + at + 16),
		};

		if (w.len > size - at - RECORD_BYTES ||
		    w.off + w.len > b->size)
			break;
		if (get_le32(p + at + 4) == 1)
			w.bytes = p + at + RECORD_BYTES;
		at += RECORD_BYTES + w.len;
		w.end = at;
		b->w = reallocarray(b->w, b->n + 1, sizeof(*b->w));
		if (!b->w)
			die("memory");
		b->w[b->n++] = w;
	}
}

static bool parse_sha(const char *text, uint8_t out[SHA256_DIGEST_LENGTH])
{
	unsigned int i;

	for (i = 0; i < SHA256_DIGEST_LENGTH; i++)
		if (sscanf(text + (size_t)2 * i, "%2hhx", &out[i]) != 1)
			return false;
	return true;
}

static void read_acks(struct bench *b, const char *path)
{
	FILE *f = fopen(path, "re");
	char sha[80];

	if (!f)
		die(path);
	while (b->n_acks < MAX_ACKS) {
		struct ack *a = &b->acks[b->n_acks];

		if (fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %79s",
			   &a->seq, &a->begin, &a->end, sha) != 4)
			break;
		if (!parse_sha(sha, a->sha))
			die("hash");
		b->n_acks++;
	}
	(void)fclose(f);
	if (b->n_acks < 2)
		die("acknowledgements");
}

/* ---- the disk after a cut ---- */

static bool is_zero(const uint8_t *p, uint64_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

static void apply_durably(struct bench *b, const struct write *w)
{
	uint64_t c;

	if (!w->bytes || !w->len)
		return;
	for (c = w->off / CHUNK; c <= (w->off + w->len - 1) / CHUNK; c++)
		if (!b->used[c] && !is_zero(w->bytes, w->len))
			b->used[c] = 1;
	memcpy(b->durable + w->off, w->bytes, w->len);
}

static void put(struct bench *b, const uint8_t *p, uint64_t n, uint64_t off)
{
	if (n && pwrite(b->disk_fd, p, n, (off_t)off) != (ssize_t)n)
		die("disk");
}

static void put_durable(struct bench *b)
{
	uint64_t c;

	if (fallocate(b->disk_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      0, (off_t)b->size) < 0)
		die("disk");
	for (c = 0; c * CHUNK < b->size; c++)
		if (b->used[c])
			put(b, b->durable + c * CHUNK,
			    MIN((uint64_t)CHUNK, b->size - c * CHUNK),
			    c * CHUNK);
}

/*
 * The writes since the last flush: all, none, or each with some likelihood,
 * and of one that a disk was busy with, its beginning or its end.
 */
static void put_some(struct bench *b, size_t from, size_t to)
{
	uint64_t likely = rnd_seeded_below(&b->rnd, 5), part;
	size_t i;

	for (i = from; i < to; i++) {
		const struct write *w = &b->w[i];

		if (!w->bytes || rnd_seeded_below(&b->rnd, 4) >= likely)
			continue;
		part = 0;
		if (w->len > 4096 && rnd_seeded_below(&b->rnd, 4) == 0)
			part = rnd_seeded_below(&b->rnd, w->len / 4096) * 4096;
		if (!part)
			put(b, w->bytes, w->len, w->off);
		else if (rnd_seeded_below(&b->rnd, 2))
			put(b, w->bytes, part, w->off);
		else
			put(b, w->bytes + part, w->len - part, w->off + part);
	}
}

/* The log ends with write n - 1. */
static void make_disk(struct bench *b, size_t n)
{
	size_t flush = n;

	while (flush && b->w[flush - 1].bytes)
		flush--;
	for (; b->applied < flush; b->applied++)
		apply_durably(b, &b->w[b->applied]);
	put_durable(b);
	put_some(b, flush, n);
	b->cut = n ? b->w[n - 1].end : 0;
	/* What the device had of the disk before. */
	if (ioctl(b->loop_fd, BLKFLSBUF, 0) < 0)
		die("BLKFLSBUF");
}

static void attach(struct bench *b)
{
	struct loop_config cfg = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control, n, tries;

	b->disk_fd = memfd_create("cutimage", MFD_CLOEXEC);
	if (b->disk_fd < 0 || ftruncate(b->disk_fd, (off_t)b->size) < 0)
		die("disk");
	cfg.fd = (uint32_t)b->disk_fd;
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		die("/dev/loop-control");
	for (tries = 0; tries < 20; tries++) {
		n = ioctl(control, LOOP_CTL_GET_FREE);
		(void)snprintf(b->loop, sizeof(b->loop), "/dev/loop%d", n);
		b->loop_fd = open(b->loop, O_RDWR | O_CLOEXEC);
		if (b->loop_fd >= 0 &&
		    ioctl(b->loop_fd, LOOP_CONFIGURE, &cfg) == 0)
			break;
		/* Somebody else was faster. */
		if (b->loop_fd >= 0)
			(void)close(b->loop_fd);
	}
	if (tries == 20)
		die(b->loop);
	(void)close(control);
}

/* ---- the judgement ---- */

static bool broken(struct bench *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static bool broken(struct bench *b, const char *fmt, ...)
{
	va_list ap;

	b->broken++;
	printf("broken: state %u, cut at %" PRIu64 ": ", b->state, b->cut);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	return false;
}

static const struct ack *ack_of(const struct bench *b, uint64_t seq)
{
	size_t i;

	for (i = 0; i < b->n_acks; i++)
		if (b->acks[i].seq == seq)
			return &b->acks[i];
	return NULL;
}

struct look {
	struct bench *b;
	struct store *store;
	struct volume_info volume;
	struct head head;
	uint64_t seq;
	struct err err;
	bool ok;
};

static bool hash_of(struct look *l, const struct point_info *p,
		    uint8_t sha[SHA256_DIGEST_LENGTH])
{
	uint64_t n = p->meta.size_bytes / US_BLOCK_BYTES;
	uint8_t *bytes = malloc(p->meta.size_bytes);
	struct view *v = NULL;
	int r;

	if (!bytes)
		die("memory");
	r = view_open(l->store, &l->volume.uuid, p->meta.epoch, p->meta.seq,
		      &v, &l->err);
	if (r == 0)
		r = view_read(v, l->b->opener, 0, n, bytes, &l->err);
	if (r == 0)
		(void)SHA256(bytes, p->meta.size_bytes, sha);
	if (v)
		view_close(v);
	free(bytes);
	l->b->points_read++;
	return r == 0;
}

static int on_point(void *arg, const struct point_info *p)
{
	uint8_t sha[SHA256_DIGEST_LENGTH];
	struct look *l = arg;
	struct bench *b = l->b;
	const struct ack *a = ack_of(b, p->meta.seq);

	if (p->damaged || memcmp(&p->prev_head, &l->head, HEAD_BYTES)) {
		l->ok = broken(b, "point %" PRIu64 " %s", p->meta.seq,
			       p->damaged ? "is called damaged" :
					    "does not follow the one before");
		return 1;
	}
	l->head = p->head;
	l->seq = p->meta.seq;
	if (a && b->cut < a->begin) {
		l->ok = broken(b, "point %" PRIu64 " was not even ordered",
			       p->meta.seq);
		return 1;
	}
	b->under_way += a && b->cut < a->end;
	if (!hash_of(l, p, sha) ||
	    (a && memcmp(sha, a->sha, sizeof(sha)) != 0)) {
		l->ok = broken(b, "point %" PRIu64 " reads wrong: %s",
			       p->meta.seq, l->err.message);
		return 1;
	}
	return 0;
}

static bool look_at_points(struct look *l)
{
	struct bench *b = l->b;
	size_t i;

	l->head = (struct head){ 0 };
	l->seq = 0;
	if (store_points(l->store, &l->volume.uuid, false, on_point, l) < 0)
		return broken(b, "points cannot be listed");
	for (i = 0; l->ok && i < b->n_acks; i++)
		if (b->acks[i].end <= b->cut && b->acks[i].seq > l->seq)
			return broken(b, "point %" PRIu64 " is lost",
				      b->acks[i].seq);
	return l->ok;
}

/* An empty point on top, which must look like the one below. */
static bool go_on(struct look *l)
{
	const struct store_volume_spec spec = {
		.uuid = l->volume.uuid,
		.source = l->volume.source,
		.name = l->volume.name,
		.size_bytes = l->volume.size_bytes,
		.epoch = l->volume.epoch,
	};
	struct point_meta meta = { .epoch = l->volume.epoch,
				   .seq = l->seq + 1,
				   .size_bytes = l->volume.size_bytes };
	const struct ack *a = ack_of(l->b, l->seq);
	uint8_t sha[SHA256_DIGEST_LENGTH];
	struct store_writer *w = NULL;
	struct point_info p;
	int r;

	r = store_writer_open(l->store, &spec, &w, &l->err);
	if (r == 0)
		r = store_writer_discard(w, &l->err);
	if (r == 0)
		r = store_writer_commit(w, &meta, &l->head, &p, &l->err);
	store_writer_close(w);
	if (r < 0)
		return broken(l->b, "cannot go on: %s", l->err.message);
	if (!hash_of(l, &p, sha) || (a && memcmp(sha, a->sha, sizeof(sha))))
		return broken(l->b, "the point after it reads wrong: %s",
			      l->err.message);
	return true;
}

static int take_volume(void *arg, const struct volume_info *v)
{
	((struct look *)arg)->volume = *v;
	return 1;
}

static bool judge_store(struct bench *b)
{
	char path[64];
	const struct store_config cfg = {
		.path = path,
		.reserve_bytes = 1 << 20,
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = rnd_system(),
	};
	struct look l = { .b = b, .ok = true };
	bool ok;

	(void)snprintf(path, sizeof(path), "%s/store", b->dir);
	if (access(path, F_OK) < 0)
		return broken(b, "there is no store");
	if (store_open(&cfg, &l.store, &l.err) < 0)
		return broken(b, "it does not open: %s", l.err.message);
	if (store_volumes(l.store, take_volume, &l) != 1)
		ok = broken(b, "the volume is not there");
	else
		ok = look_at_points(&l) &&
		     (b->state % GO_ON_EVERY || go_on(&l));
	store_close(l.store);
	return ok;
}

static void fsck(struct bench *b)
{
	char *const ext4[] = { "e2fsck", "-fn", b->loop, NULL };
	char *const xfs[] = { "xfs_repair", "-n", b->loop, NULL };
	char *const btrfs[] = { "btrfs", "check", "--readonly", b->loop, NULL };
	char *const *argv = !strcmp(b->fs, "ext4") ? ext4 :
			    !strcmp(b->fs, "xfs")  ? xfs :
						     btrfs;
	int status = 0, null;
	pid_t pid = fork();

	if (pid == 0) {
		null = open("/dev/null", O_WRONLY);
		if (null >= 0 && dup2(null, 1) >= 0 && dup2(null, 2) >= 0)
			(void)execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		die("fork");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		(void)broken(b, "%s objects: %d", argv[0], status);
}

static void judge(struct bench *b, bool check)
{
	int tries;

	if (mount(b->loop, b->dir, b->fs, 0,
		  strcmp(b->fs, "xfs") ? "" : "nouuid") < 0) {
		(void)broken(b, "%s does not mount: %s", b->fs,
			     strerror(errno));
		return;
	}
	(void)judge_store(b);
	for (tries = 0; umount(b->dir) < 0; tries++) {
		if (tries == 100)
			die("umount");
		(void)usleep(10000);
	}
	if (check)
		fsck(b);
}

static int by_value(const void *x, const void *y)
{
	size_t a = *(const size_t *)x, c = *(const size_t *)y;

	return a < c ? -1 : a > c;
}

/* Where the log is cut, its end among the places; rising, since the disk behind
 * only goes forward. */
static size_t *choose_cuts(struct bench *b, unsigned int count)
{
	size_t *cuts = calloc(count, sizeof(*cuts)), first = 0;
	unsigned int i;

	if (!cuts)
		die("memory");
	while (first < b->n && b->w[first].end < b->acks[0].end)
		first++;
	if (first == b->n)
		die("nothing after the first acknowledgement");
	for (i = 0; i < count; i++)
		cuts[i] = first + 1 + rnd_seeded_below(&b->rnd, b->n - first);
	/* Where all that was acknowledged must be there. */
	if (count)
		cuts[0] = b->n;
	qsort(cuts, count, sizeof(*cuts), by_value);
	return cuts;
}

static void read_key(struct bench *b, const char *path)
{
	struct key_file key = { 0 };
	struct err err = ERR_INIT;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || key_fd_read(fd, &key, &err) < 0)
		die(path);
	(void)close(fd);
	b->opener = opener_new(&key.key);
	if (!b->opener)
		die("key");
}

static void own_mounts(struct bench *b)
{
	(void)snprintf(b->dir, sizeof(b->dir), "/tmp");
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("mount namespace");
}

int main(int argc, char **argv)
{
	static struct bench b;
	unsigned int count, every;
	size_t *cuts;

	if (argc != 9) {
		fprintf(stderr, "cutimage LOG SIZE FS KEY ACKS COUNT SEED "
				"FSCK-EVERY\n");
		return 2;
	}
	log_init("cutimage", LOG_LEVEL_ERR);
	b.size = strtoull(argv[2], NULL, 0);
	b.fs = argv[3];
	count = (unsigned int)strtoul(argv[6], NULL, 0);
	every = (unsigned int)strtoul(argv[8], NULL, 0);
	rnd_seeded_init(&b.rnd, strtoull(argv[7], NULL, 0));
	read_log(&b, argv[1]);
	read_acks(&b, argv[5]);
	read_key(&b, argv[4]);
	b.used = calloc(b.size / CHUNK + 1, 1);
	b.durable = mmap(NULL, b.size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!b.used || b.durable == MAP_FAILED)
		die("memory");
	attach(&b);
	own_mounts(&b);
	cuts = choose_cuts(&b, count);
	for (b.state = 0; b.state < count; b.state++) {
		make_disk(&b, cuts[b.state]);
		judge(&b, every && b.state % every == 0);
	}
	printf("%s: log=%zu acknowledged=%zu states=%u points_read=%" PRIu64
	       " under_way=%" PRIu64 " broken=%u\n", b.fs, b.n, b.n_acks, count,
	       b.points_read, b.under_way, b.broken);
	return b.broken != 0;
}
