// SPDX-License-Identifier: Apache-2.0
/*
 * A filesystem kept busy, and what must be found in any image of it:
 *
 *	fsfacts run DIR LOG SEED
 *		two threads create, append, overwrite, truncate, preallocate,
 *		punch, rename and unlink files in directories of their own and
 *		trim the filesystem, until SIGTERM. Each change is made durable
 *		(fsync of file or directory) before the next one begins, and is
 *		then written to LOG.0 or LOG.1 with the times of its begin and
 *		end.
 *	fsfacts judge DIR LOG TIME
 *		is DIR the filesystem as of TIME (RFC 3339)? What had ended by
 *		then must be there exactly; what had not begun must not; what
 *		was under way may be there whole, partly or not at all. Prints
 *		"facts N, under way N".
 *
 * A file is made of records of 64 bytes which name thread, file, record and
 * the change that wrote them; a record of zeros was preallocated or punched.
 *
 * Exit: 0 legal, 1 the oracle objects, 2 it could not look.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/rnd.h"

#define THREADS 2U
#define FILES 32U
#define RECORD 64U
#define PAGE 4096U
#define RECORDS_MAX 2048U		/* 128 KiB a file */
/* The time of a point is taken just before its flip, and is shown with
 * milliseconds: what began soon after it may be in it. */
#define AFTER_NS (25 * (int64_t)NSEC_PER_MSEC)

enum op { CREATE, APPEND, OVERWRITE, TRUNCATE, ALLOCATE, PUNCH, RENAME, UNLINK,
	  TRIM, OPS };
static const char *const op_names[OPS] = {
	"create", "append", "overwrite", "truncate", "allocate", "punch",
	"rename", "unlink", "trim",
};

struct file {
	bool exists;
	uint32_t name;			/* one of two */
	uint32_t n;			/* records */
	uint32_t version[RECORDS_MAX];	/* the change that wrote each; 0 */
};

struct change {
	int64_t begin_ns, end_ns;
	enum op op;
	uint32_t file, version, first, count;
};

/* ---- the model of a file ---- */

static void apply(struct file *f, const struct change *c)
{
	bool data = c->op == CREATE || c->op == APPEND || c->op == OVERWRITE;
	uint32_t i;

	switch (c->op) {
	case CREATE:
		f->exists = true;
		f->name = 0;
		f->n = 0;
		break;
	case TRUNCATE:
		f->n = c->first;
		break;
	case RENAME:
		f->name ^= 1;
		break;
	case UNLINK:
		f->exists = false;
		break;
	default:
		break;
	}
	if (!data && c->op != ALLOCATE && c->op != PUNCH)
		return;
	for (i = c->first; i < c->first + c->count; i++)
		f->version[i] = data ? c->version : 0;
	f->n = MAX(f->n, c->first + c->count);
}

static void file_path(char *out, size_t cap, unsigned int file, uint32_t name)
{
	(void)snprintf(out, cap, "f%u%c", file, name ? 'b' : 'a');
}

struct record {
	uint64_t magic, thread, file, index, version, rest[3];
};

#define MAGIC 0x7374636166736655ULL

static void make_records(uint8_t *out, unsigned int thread,
			 const struct change *c)
{
	uint32_t i;

	for (i = 0; i < c->count; i++) {
		struct record r = { MAGIC, thread, c->file, c->first + i,
				    c->version, { 0 } };

		memset(r.rest, (int)(c->version + i), sizeof(r.rest));
		memcpy(out + (size_t)i * RECORD, &r, sizeof(r));
	}
}

/* ---- making changes ---- */

struct worker {
	pthread_t thread;
	unsigned int number;
	int dir_fd, log_fd;
	struct rnd_seeded rnd;
	uint32_t version;
	struct file files[FILES];
	uint8_t buf[RECORDS_MAX * RECORD];
	uint64_t made;
};

static atomic_bool stop;

static int64_t now_ns(void)
{
	return clock_wall_ns(clock_real());
}

static void die(const char *what)
{
	(void)fprintf(stderr, "fsfacts: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint32_t below(struct worker *w, uint32_t n)
{
	return (uint32_t)rnd_seeded_below(&w->rnd, n);
}

/* A change that the model allows. */
static void choose(struct worker *w, struct change *c)
{
	struct file *f;

	memset(c, 0, sizeof(*c));
	c->file = below(w, FILES);
	c->version = ++w->version;
	f = &w->files[c->file];
	c->op = f->exists ? APPEND + below(w, OPS - APPEND) : CREATE;
	if (c->op == TRIM && below(w, 20))
		c->op = OVERWRITE;
	c->count = 1 + below(w, 256);
	if (c->op == APPEND || c->op == ALLOCATE) {
		c->first = f->n;
		if (c->first + c->count > RECORDS_MAX)
			c->op = TRUNCATE;
	}
	if (c->op == OVERWRITE || c->op == PUNCH) {
		if (!f->n) {
			c->op = RENAME;
		} else {
			c->first = below(w, f->n);
			c->count = MIN(c->count, f->n - c->first);
		}
	}
	if (c->op == TRUNCATE)
		c->first = f->n / 2;
	if (c->op > PUNCH || c->op == TRUNCATE)
		c->count = 0;
}

static void change_content(struct worker *w, const struct change *c,
			   const char *path)
{
	off_t off = (off_t)c->first * RECORD;
	size_t len = (size_t)c->count * RECORD;
	int flags = O_WRONLY | O_CLOEXEC, mode = 0, fd, r = 0;

	if (c->op == CREATE)
		flags |= O_CREAT | O_EXCL;
	if (c->op == PUNCH)
		mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	fd = openat(w->dir_fd, path, flags, 0600);
	if (fd < 0)
		die(path);
	if (c->op == TRUNCATE) {
		r = ftruncate(fd, off);
	} else if (c->op == ALLOCATE || c->op == PUNCH) {
		r = fallocate(fd, mode, off, (off_t)len);
	} else {
		make_records(w->buf, w->number, c);
		r = pwrite(fd, w->buf, len, off) == (ssize_t)len ? 0 : -1;
	}
	if (r || fsync(fd) || close(fd))
		die(op_names[c->op]);
}

static void trim(struct worker *w)
{
	struct fstrim_range all = { .len = UINT64_MAX };

	if (ioctl(w->dir_fd, FITRIM, &all) && errno != EOPNOTSUPP)
		die("trim");
}

static void make(struct worker *w, const struct change *c)
{
	char path[32], other[32];
	uint32_t name = c->op == CREATE ? 0 : w->files[c->file].name;

	file_path(path, sizeof(path), c->file, name);
	file_path(other, sizeof(other), c->file, !name);
	if (c->op == TRIM)
		trim(w);
	else if (c->op == RENAME && renameat(w->dir_fd, path, w->dir_fd, other))
		die("rename");
	else if (c->op == UNLINK && unlinkat(w->dir_fd, path, 0))
		die("unlink");
	else if (c->op < RENAME)
		change_content(w, c, path);
	if ((c->op == CREATE || c->op == RENAME || c->op == UNLINK) &&
	    fsync(w->dir_fd))
		die("fsync of directory");
}

static void tell(struct worker *w, const struct change *c)
{
	char line[200];
	int n = snprintf(line, sizeof(line),
			 "%" PRId64 " %" PRId64 " %u %u %u %u %u %s\n",
			 c->begin_ns, c->end_ns, (unsigned int)c->op, c->file,
			 c->version, c->first, c->count, op_names[c->op]);

	if (write(w->log_fd, line, (size_t)n) != n)
		die("log");
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct change c;

	while (!atomic_load(&stop)) {
		choose(w, &c);
		c.begin_ns = now_ns();
		make(w, &c);
		c.end_ns = now_ns();
		tell(w, &c);
		if (c.op != TRIM)
			apply(&w->files[c.file], &c);
		w->made++;
	}
	return NULL;
}

static void start_worker(struct worker *w, unsigned int number,
			 const char *dir, const char *log, uint64_t seed)
{
	char path[4096];

	w->number = number;
	rnd_seeded_init(&w->rnd, seed + number);
	(void)snprintf(path, sizeof(path), "%s/t%u", dir, number);
	if (mkdir(path, 0700))
		die(path);
	w->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "%s.%u", log, number);
	w->log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (w->dir_fd < 0 || w->log_fd < 0)
		die(path);
}

static int run(const char *dir, const char *log, uint64_t seed)
{
	static struct worker workers[THREADS];
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned int i;
	sigset_t end;
	int sig;

	(void)sigemptyset(&end);
	(void)sigaddset(&end, SIGTERM);
	(void)sigaddset(&end, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &end, NULL);
	for (i = 0; i < THREADS; i++)
		start_worker(&workers[i], i, dir, log, seed);
	/* The directories are the first fact. */
	if (fd < 0 || syncfs(fd))
		die(dir);
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			die("thread");
	(void)sigwait(&end, &sig);
	atomic_store(&stop, true);
	for (i = 0; i < THREADS; i++)
		(void)pthread_join(workers[i].thread, NULL);
	(void)printf("%" PRIu64 "\n", workers[0].made + workers[1].made);
	return 0;
}

/* ---- judging ---- */

#define UNDER_WAY_MAX 64U

/* A file as it may be: how it was, then after each change under way. */
struct legal {
	struct file base;
	struct change under_way[UNDER_WAY_MAX];
	uint32_t n;
};

struct judge {
	const char *dir;
	unsigned int thread;
	uint32_t file;
	unsigned int facts, under_way, bad;
};

static void object(struct judge *j, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void object(struct judge *j, const char *fmt, ...)
{
	va_list ap;

	if (j->bad++ >= 10)
		return;
	(void)printf("# t%u/f%u: ", j->thread, j->file);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)printf("\n");
}

/* May record i carry this version? */
static bool version_is_legal(const struct legal *l, uint32_t i,
			     uint32_t version, struct file *scratch)
{
	uint32_t k;

	if (i < l->base.n && l->base.version[i] == version)
		return true;
	if (!l->n)
		return false;
	*scratch = l->base;
	for (k = 0; k < l->n; k++) {
		const struct change *c = &l->under_way[k];

		apply(scratch, c);
		if (i < scratch->n && scratch->version[i] == version)
			return true;
		/* A change that is not whole may show zeros where it grows;
		 * where it cuts, the end of the last block is zeroed first. */
		if (!version && i >= c->first &&
		    c->op != OVERWRITE && c->op < RENAME)
			return true;
	}
	return false;
}

static void judge_content(struct judge *j, const struct legal *l, int fd,
			  uint32_t n)
{
	static struct file scratch;
	struct record r, zero = { 0 };
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (pread(fd, &r, RECORD, (off_t)i * RECORD) != RECORD) {
			object(j, "record %u cannot be read", i);
			return;
		}
		if (memcmp(&r, &zero, sizeof(r)) != 0 &&
		    (r.magic != MAGIC || r.thread != j->thread ||
		     r.file != j->file || r.index != i)) {
			object(j, "record %u is of another place", i);
			return;
		}
		if (!version_is_legal(l, i, (uint32_t)r.version, &scratch)) {
			object(j, "record %u is of change %" PRIu64
			       ", should be of %u (%u under way)", i,
			       r.version, i < l->base.n ? l->base.version[i] :
							  0, l->n);
			return;
		}
	}
}

static bool size_is_legal(const struct legal *l, uint64_t size)
{
	static struct file f;
	uint32_t k;

	f = l->base;
	if (f.exists && size == (uint64_t)f.n * RECORD)
		return true;
	for (k = 0; k < l->n; k++) {
		uint64_t before = (uint64_t)f.n * RECORD;

		apply(&f, &l->under_way[k]);
		if (f.exists && size == (uint64_t)f.n * RECORD)
			return true;
		/* A write makes a file longer page by page, and some of them
		 * may have been written back in between. */
		if (f.exists && !(size % PAGE) && size > before &&
		    size < (uint64_t)f.n * RECORD)
			return true;
		/* A new file may still be empty. */
		if (l->under_way[k].op == CREATE && !size)
			return true;
	}
	return false;
}

/* Bit 0: may have the first name; bit 1: the other; bit 2: may be absent. */
static unsigned int legal_names(const struct legal *l)
{
	static struct file f;
	unsigned int names;
	uint32_t k;

	f = l->base;
	names = f.exists ? 1U << f.name : 4;
	for (k = 0; k < l->n; k++) {
		apply(&f, &l->under_way[k]);
		names |= f.exists ? 1U << f.name : 4;
	}
	return names;
}

static void judge_file(struct judge *j, const struct legal *l)
{
	unsigned int names = legal_names(l), found = 0;
	char name[32], path[4096];
	uint32_t k;

	for (k = 0; k < 2; k++) {
		struct stat st;
		int fd;

		file_path(name, sizeof(name), j->file, k);
		(void)snprintf(path, sizeof(path), "%s/t%u/%s", j->dir,
			       j->thread, name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0 || fstat(fd, &st)) {
			object(j, "%s: %s", name, strerror(errno));
			return;
		}
		found++;
		if (!(names & (1U << k)))
			object(j, "%s must not be there", name);
		else if (!size_is_legal(l, (uint64_t)st.st_size))
			object(j, "%s has %lld bytes, should have %u", name,
			       (long long)st.st_size, l->base.n * RECORD);
		else
			judge_content(j, l, fd,
				      (uint32_t)(st.st_size / RECORD));
		(void)close(fd);
	}
	if (found > 1)
		object(j, "has two names");
	if (!found && !(names & 4))
		object(j, "is not there");
}

static int take_change(struct judge *j, struct legal *files,
		       const struct change *c, int64_t at_ns)
{
	struct legal *l = &files[c->file];

	if (c->begin_ns >= at_ns + AFTER_NS)
		return 0;
	if (c->end_ns <= at_ns) {
		j->facts++;
		if (c->op != TRIM)
			apply(&l->base, c);
		return 0;
	}
	j->under_way++;
	if (c->op == TRIM)
		return 0;
	if (l->n == UNDER_WAY_MAX)
		return -1;
	l->under_way[l->n++] = *c;
	return 0;
}

static int read_log(struct judge *j, const char *log, struct legal *files,
		    int64_t at_ns)
{
	char path[4096], line[256];
	FILE *f;
	int r = 0;

	(void)snprintf(path, sizeof(path), "%s.%u", log, j->thread);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (!r && fgets(line, sizeof(line), f)) {
		struct change c;
		unsigned int op;

		if (sscanf(line, "%" SCNd64 " %" SCNd64 " %u %u %u %u %u",
			   &c.begin_ns, &c.end_ns, &op, &c.file, &c.version,
			   &c.first, &c.count) != 7 ||
		    op >= OPS || c.file >= FILES ||
		    c.first + c.count > RECORDS_MAX)
			r = -1;
		c.op = (enum op)op;
		if (!r)
			r = take_change(j, files, &c, at_ns);
	}
	(void)fclose(f);
	return r;
}

static int judge(const char *dir, const char *log, int64_t at_ns)
{
	static struct legal files[FILES];
	struct judge j = { .dir = dir };

	for (j.thread = 0; j.thread < THREADS; j.thread++) {
		memset(files, 0, sizeof(files));
		if (read_log(&j, log, files, at_ns)) {
			(void)fprintf(stderr, "fsfacts: %s.%u is no log\n",
				      log, j.thread);
			return 2;
		}
		for (j.file = 0; j.file < FILES; j.file++)
			judge_file(&j, &files[j.file]);
	}
	(void)printf("facts %u, under way %u, objections %u\n", j.facts,
		     j.under_way, j.bad);
	return j.bad != 0;
}

int main(int argc, char **argv)
{
	int64_t at_ns;

	if (argc == 5 && !strcmp(argv[1], "run"))
		return run(argv[2], argv[3], strtoull(argv[4], NULL, 10));
	if (argc == 5 && !strcmp(argv[1], "judge") &&
	    !time_parse(argv[4], now_ns(), &at_ns))
		return judge(argv[2], argv[3], at_ns);
	(void)fprintf(stderr, "fsfacts: see its source for the usage\n");
	return 2;
}
