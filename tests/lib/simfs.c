// SPDX-License-Identifier: Apache-2.0
/*
 * The file system of simfs.h: nodes, names, and the io table. Nodes are kept
 * until the end, so that an unlinked file that is open stays what it was.
 *
 * A node has its content twice: as programs see it, and as last synced; and
 * between the two every content that each sector had, with the time of it.
 * Directories have the same for names.
 */
#include "simfs_node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/checked.h"

void sim_must(bool ok, const char *what)
{
	if (ok)
		return;
	printf("# simfs: %s\n", what);
	fflush(stdout);
	exit(1);
}

void *sim_grow(void *p, size_t n, size_t size)
{
	if (n & (n - 1))
		return p;
	p = realloc(p, (n ? 2 * n : 1) * size);
	sim_must(p != NULL, "memory");
	return p;
}

static struct simfs *fs_of(struct io *io)
{
	return (struct simfs *)((char *)io - offsetof(struct simfs, io));
}

/* ---- nodes ---- */

struct sim_node *sim_node_add(struct simfs *fs, bool is_dir)
{
	struct sim_node *n = calloc(1, sizeof(*n));

	sim_must(n != NULL, "memory");
	n->is_dir = is_dir;
	n->id = (uint32_t)fs->n_nodes;
	fs->nodes = sim_grow(fs->nodes, fs->n_nodes, sizeof(*fs->nodes));
	fs->nodes[fs->n_nodes++] = n;
	return n;
}

void sim_bytes_resize(struct sim_bytes *b, uint64_t size)
{
	if (size > b->cap) {
		b->cap = MAX(size, 2 * b->cap);
		b->p = realloc(b->p, b->cap);
		sim_must(b->p != NULL, "memory");
	}
	if (size > b->size)
		memset(b->p + b->size, 0, size - b->size);
	b->size = size;
}

void sim_bytes_copy(struct sim_bytes *to, const struct sim_bytes *from)
{
	sim_bytes_resize(to, from->size);
	if (from->size)
		memcpy(to->p, from->p, from->size);
}

static void names_copy(struct sim_names *to, const struct sim_names *from)
{
	size_t i;

	to->n = 0;
	for (i = 0; i < from->n; i++) {
		to->v = sim_grow(to->v, to->n, sizeof(*to->v));
		to->v[to->n++] = from->v[i];
	}
}

struct sim_name *sim_name_find(const struct sim_names *names,
			       const char *name)
{
	size_t i;

	for (i = 0; i < names->n; i++)
		if (!strcmp(names->v[i].name, name))
			return &names->v[i];
	return NULL;
}

void sim_name_set(struct sim_names *names, const char *name, uint32_t node)
{
	struct sim_name *e = sim_name_find(names, name);

	if (!e && !node)
		return;
	if (!e) {
		names->v = sim_grow(names->v, names->n, sizeof(*names->v));
		e = &names->v[names->n++];
		*e = (struct sim_name){ 0 };
		(void)snprintf(e->name, sizeof(e->name), "%s", name);
	}
	e->node = node;
	if (!node)
		*e = names->v[--names->n];
}

/* ---- changes ---- */

/* Whether a sync is to be passed over; negative errno when dead. */
static int announce(struct simfs *fs, enum sim_op op, const char *what)
{
	struct sim_event e = { .op = op, .is_sync = op == SIM_SYNC };
	bool skip = false;

	if (fs->dead)
		return -EIO;
	fs->calls++;
	if (fs->before && !fs->in_hook) {
		(void)snprintf(e.what, sizeof(e.what), "%s", what);
		fs->in_hook = true;
		skip = fs->before(fs, &e, fs->arg);
		fs->in_hook = false;
	}
	return fs->dead ? -EIO : skip;
}

static void note_sector(struct simfs *fs, struct sim_node *n, uint64_t sector)
{
	uint64_t off = sector * SIM_SECTOR;
	struct sim_version *v;

	n->versions = sim_grow(n->versions, n->n_versions,
			       sizeof(*n->versions));
	v = &n->versions[n->n_versions++];
	*v = (struct sim_version){ .sector = sector, .time = fs->time };
	if (off < n->now.size)
		memcpy(v->bytes, n->now.p + off,
		       MIN((uint64_t)SIM_SECTOR, n->now.size - off));
}

static void note_size(struct simfs *fs, struct sim_node *n)
{
	n->sizes = sim_grow(n->sizes, n->n_sizes, sizeof(*n->sizes));
	n->sizes[n->n_sizes++] = (struct sim_size){ n->now.size, fs->time };
}

int simfs_write(struct simfs *fs, struct sim_node *n, const void *p,
		size_t len, uint64_t off)
{
	int r = announce(fs, SIM_WRITE, "write");
	uint64_t s;

	if (r < 0)
		return r;
	fs->time++;
	if (off + len > n->now.size) {
		sim_bytes_resize(&n->now, off + len);
		note_size(fs, n);
	}
	memcpy(n->now.p + off, p, len);
	for (s = off / SIM_SECTOR; len && s <= (off + len - 1) / SIM_SECTOR; s++)
		note_sector(fs, n, s);
	return 0;
}

int simfs_resize(struct simfs *fs, struct sim_node *n, uint64_t size)
{
	int r = announce(fs, SIM_SIZE, "size");

	if (r < 0 || size == n->now.size)
		return r < 0 ? r : 0;
	fs->time++;
	sim_bytes_resize(&n->now, size);
	note_size(fs, n);
	/* What was cut off does not come back when the file grows again. */
	if (size % SIM_SECTOR)
		note_sector(fs, n, size / SIM_SECTOR);
	return 0;
}

uint64_t simfs_size(const struct sim_node *n)
{
	return n->now.size;
}

static int change_name(struct simfs *fs, struct sim_node *dir,
		       const char *name, uint32_t node)
{
	struct sim_change *c;

	sim_must(strlen(name) < SIM_NAME_MAX, "name too long");
	sim_name_set(&dir->names, name, node);
	dir->changes = sim_grow(dir->changes, dir->n_changes,
				sizeof(*dir->changes));
	c = &dir->changes[dir->n_changes++];
	*c = (struct sim_change){ .node = node, .time = fs->time };
	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	return 0;
}

/* ---- syncs ---- */

static const char *last_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static bool ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

/* The kind of file, for the table of syncs. */
static void name_kind(const struct sim_node *n, const char *path, char *out,
		      size_t size)
{
	const char *last = last_of(path);
	const char *state = n->ever_synced ? "" : " (new)";

	bool uuid = strlen(last) >= 36 && last[8] == '-' && last[13] == '-';

	if (ends_in(path, ".seg"))
		(void)snprintf(out, size, "segment%s", state);
	else
		(void)snprintf(out, size, "%s%s%s%s",
			       n->is_dir ? "directory " : "",
			       uuid ? "UUID" : "", uuid ? last + 36 : last,
			       n->is_dir ? "" : state);
}

static void make_durable(struct sim_node *n)
{
	if (n->is_dir) {
		names_copy(&n->synced_names, &n->names);
		n->n_changes = 0;
	} else {
		sim_bytes_copy(&n->synced, &n->now);
		n->n_versions = 0;
		n->n_sizes = 0;
	}
	n->ever_synced = true;
}

int simfs_sync(struct simfs *fs, struct sim_node *n, const char *call,
	       const char *path)
{
	char kind[64], what[96];
	int r;

	name_kind(n, path, kind, sizeof(kind));
	(void)snprintf(what, sizeof(what), "%s %s", call, kind);
	r = announce(fs, SIM_SYNC, what);
	if (r)
		return r < 0 ? r : 0;
	make_durable(n);
	return 0;
}

/* ---- paths ---- */

/* dir: where a relative path begins; the node, or NULL. */
static struct sim_node *walk(const struct simfs *fs, struct sim_node *dir,
			     const char *path)
{
	char part[SIM_NAME_MAX];
	const struct sim_name *e;
	size_t n;

	for (; *path; path += n) {
		n = strcspn(path, "/");
		if (!n || (n == 1 && *path == '.')) {
			n += !n;
			continue;
		}
		sim_must(n < sizeof(part), "name too long");
		memcpy(part, path, n);
		part[n] = 0;
		e = dir->is_dir ? sim_name_find(&dir->names, part) : NULL;
		if (!e)
			return NULL;
		dir = fs->nodes[e->node];
	}
	return dir;
}

static struct sim_node *base_of(struct simfs *fs, int dirfd, const char *path)
{
	if (path[0] == '/' || dirfd == AT_FDCWD)
		return fs->nodes[0];
	return fs->fds[dirfd].node;
}

static struct sim_node *parent_of(struct simfs *fs, struct sim_node *base,
				  const char *path)
{
	char dir[256];
	const char *slash = strrchr(path, '/');

	if (!slash)
		return base;
	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	return walk(fs, base, dir);
}

struct sim_node *simfs_lookup(struct simfs *fs, const char *path)
{
	return walk(fs, fs->nodes[0], path);
}

static struct sim_node *create_at(struct simfs *fs, struct sim_node *base,
				  const char *path, bool is_dir)
{
	struct sim_node *dir = parent_of(fs, base, path), *n;

	if (!dir || announce(fs, SIM_NAME, "create") < 0)
		return NULL;
	fs->time++;
	n = sim_node_add(fs, is_dir);
	(void)change_name(fs, dir, last_of(path), n->id);
	return n;
}

struct sim_node *simfs_create(struct simfs *fs, const char *path)
{
	return create_at(fs, fs->nodes[0], path, false);
}

static int unlink_at(struct simfs *fs, struct sim_node *base, const char *path)
{
	struct sim_node *dir = parent_of(fs, base, path);
	int r;

	if (!walk(fs, base, path))
		return -ENOENT;
	r = announce(fs, SIM_NAME, "unlink");
	if (r < 0)
		return r;
	fs->time++;
	return change_name(fs, dir, last_of(path), 0);
}

int simfs_unlink(struct simfs *fs, const char *path)
{
	return unlink_at(fs, fs->nodes[0], path);
}

int simfs_sync_parent(struct simfs *fs, const char *path, const char *call)
{
	struct sim_node *dir = parent_of(fs, fs->nodes[0], path);
	char name[256];
	const char *slash = strrchr(path, '/');

	(void)snprintf(name, sizeof(name), "%.*s",
		       slash ? (int)(slash - path) : 0, path);
	return dir ? simfs_sync(fs, dir, call, name) : -ENOENT;
}

/* ---- the io table ---- */

static int new_fd(struct simfs *fs, struct sim_node *n, int dirfd,
		  const char *path)
{
	int fd;

	for (fd = 0; fd < (int)SIM_MAX_FDS; fd++)
		if (!fs->fds[fd].node)
			break;
	sim_must(fd < (int)SIM_MAX_FDS, "descriptors");
	fs->fds[fd].node = n;
	if (!strcmp(path, ".") && dirfd >= 0)
		path = fs->fds[dirfd].path;
	(void)snprintf(fs->fds[fd].path, sizeof(fs->fds[fd].path), "%s", path);
	return fd;
}

static int sim_open(struct io *io, int dirfd, const char *path, int flags,
		    mode_t mode)
{
	struct simfs *fs = fs_of(io);
	struct sim_node *base = base_of(fs, dirfd, path);
	struct sim_node *n = walk(fs, base, path);

	(void)mode;
	if (fs->dead)
		return -EIO;
	if (n && (flags & O_EXCL))
		return -EEXIST;
	if (!n && !(flags & O_CREAT))
		return -ENOENT;
	if (n && (flags & O_DIRECTORY) && !n->is_dir)
		return -ENOTDIR;
	if (!n)
		n = create_at(fs, base, path, false);
	if (!n)
		return fs->dead ? -EIO : -ENOENT;
	return new_fd(fs, n, dirfd, path);
}

static int sim_close(struct io *io, int fd)
{
	fs_of(io)->fds[fd].node = NULL;
	return 0;
}

int simfs_read(const struct sim_node *n, void *p, size_t len, uint64_t off)
{
	if (off >= n->now.size)
		return 0;
	len = MIN(len, n->now.size - off);
	memcpy(p, n->now.p + off, len);
	return (int)len;
}

static ssize_t sim_pread(struct io *io, int fd, void *p, size_t n,
			 uint64_t off)
{
	struct simfs *fs = fs_of(io);

	return fs->dead ? -EIO : simfs_read(fs->fds[fd].node, p, n, off);
}

static ssize_t sim_pwritev(struct io *io, int fd, const struct iovec *iov,
			   int n_iov, uint64_t off)
{
	struct simfs *fs = fs_of(io);
	ssize_t done = 0;
	int i, r;

	for (i = 0; i < n_iov; i++) {
		r = simfs_write(fs, fs->fds[fd].node, iov[i].iov_base,
				iov[i].iov_len, off + (uint64_t)done);
		if (r < 0)
			return r;
		done += (ssize_t)iov[i].iov_len;
	}
	return done;
}

static int sim_fdatasync(struct io *io, int fd)
{
	struct simfs *fs = fs_of(io);

	return simfs_sync(fs, fs->fds[fd].node, "fdatasync",
			  fs->fds[fd].path);
}

static int sim_fsync(struct io *io, int fd)
{
	struct simfs *fs = fs_of(io);

	return simfs_sync(fs, fs->fds[fd].node, "fsync", fs->fds[fd].path);
}

static int sim_ftruncate(struct io *io, int fd, uint64_t size)
{
	return simfs_resize(fs_of(io), fs_of(io)->fds[fd].node, size);
}

static int sim_fallocate(struct io *io, int fd, int mode, uint64_t off,
			 uint64_t len)
{
	struct sim_node *n = fs_of(io)->fds[fd].node;

	(void)mode;
	if (off + len <= n->now.size)
		return 0;
	return simfs_resize(fs_of(io), n, off + len);
}

static int sim_size(struct io *io, int fd, uint64_t *size)
{
	*size = fs_of(io)->fds[fd].node->now.size;
	return fs_of(io)->dead ? -EIO : 0;
}

static int sim_mkdirat(struct io *io, int dirfd, const char *path, mode_t mode)
{
	struct simfs *fs = fs_of(io);
	struct sim_node *base = base_of(fs, dirfd, path);

	(void)mode;
	if (fs->dead)
		return -EIO;
	if (walk(fs, base, path))
		return -EEXIST;
	if (create_at(fs, base, path, true))
		return 0;
	return fs->dead ? -EIO : -ENOENT;
}

static int sim_renameat(struct io *io, int fromfd, const char *from, int tofd,
			const char *to)
{
	struct simfs *fs = fs_of(io);
	struct sim_node *a = base_of(fs, fromfd, from);
	struct sim_node *b = base_of(fs, tofd, to);
	struct sim_node *n = walk(fs, a, from);
	int r;

	if (!n)
		return -ENOENT;
	r = announce(fs, SIM_NAME, "rename");
	if (r < 0)
		return r;
	fs->time++;
	(void)change_name(fs, parent_of(fs, b, to), last_of(to), n->id);
	return change_name(fs, parent_of(fs, a, from), last_of(from), 0);
}

static int sim_unlinkat(struct io *io, int dirfd, const char *path, int flags)
{
	struct simfs *fs = fs_of(io);

	(void)flags;
	return fs->dead ? -EIO :
			  unlink_at(fs, base_of(fs, dirfd, path), path);
}

static int sim_listdir(struct io *io, int dirfd, const char *path,
		       int (*cb)(void *arg, const char *name), void *arg)
{
	struct simfs *fs = fs_of(io);
	struct sim_node *n = walk(fs, base_of(fs, dirfd, path), path);
	struct sim_names names = { 0 };
	size_t i;
	int r = 0;

	if (fs->dead || !n)
		return fs->dead ? -EIO : -ENOENT;
	names_copy(&names, &n->names);
	for (i = 0; r == 0 && i < names.n; i++)
		r = cb(arg, names.v[i].name);
	free(names.v);
	return r;
}

static int sim_lock(struct io *io, int fd)
{
	(void)fd;
	return fs_of(io)->dead ? -EIO : 0;
}

static int sim_drop_cache(struct io *io, int fd)
{
	(void)io;
	(void)fd;
	return 0;
}

static const struct io_ops sim_ops = {
	.open = sim_open,
	.close = sim_close,
	.pread = sim_pread,
	.pwritev = sim_pwritev,
	.fdatasync = sim_fdatasync,
	.fsync = sim_fsync,
	.ftruncate = sim_ftruncate,
	.fallocate = sim_fallocate,
	.size = sim_size,
	.mkdirat = sim_mkdirat,
	.renameat = sim_renameat,
	.unlinkat = sim_unlinkat,
	.listdir = sim_listdir,
	.lock = sim_lock,
	.drop_cache = sim_drop_cache,
};

/* ---- the whole ---- */

void simfs_init(struct simfs *fs)
{
	memset(fs, 0, sizeof(*fs));
	fs->io.ops = &sim_ops;
	(void)sim_node_add(fs, true);
}

void simfs_free(struct simfs *fs)
{
	size_t i;

	for (i = 0; i < fs->n_nodes; i++) {
		struct sim_node *n = fs->nodes[i];

		free(n->now.p);
		free(n->synced.p);
		free(n->versions);
		free(n->sizes);
		free(n->names.v);
		free(n->synced_names.v);
		free(n->changes);
		free(n);
	}
	free(fs->nodes);
	memset(fs, 0, sizeof(*fs));
}

static void *copied(const void *p, size_t n, size_t size)
{
	size_t room = 1;
	void *to;

	if (!n)
		return NULL;
	while (room < n)
		room *= 2;
	to = malloc(room * size);
	sim_must(to != NULL, "memory");
	memcpy(to, p, n * size);
	return to;
}

void simfs_copy(struct simfs *to, const struct simfs *from)
{
	size_t i;

	memset(to, 0, sizeof(*to));
	to->io.ops = &sim_ops;
	to->time = from->time;
	for (i = 0; i < from->n_nodes; i++) {
		const struct sim_node *f = from->nodes[i];
		struct sim_node *n = sim_node_add(to, f->is_dir);

		n->ever_synced = f->ever_synced;
		sim_bytes_copy(&n->now, &f->now);
		sim_bytes_copy(&n->synced, &f->synced);
		names_copy(&n->names, &f->names);
		names_copy(&n->synced_names, &f->synced_names);
		n->n_versions = f->n_versions;
		n->versions = copied(f->versions, f->n_versions,
				     sizeof(*f->versions));
		n->n_sizes = f->n_sizes;
		n->sizes = copied(f->sizes, f->n_sizes, sizeof(*f->sizes));
		n->n_changes = f->n_changes;
		n->changes = copied(f->changes, f->n_changes,
				    sizeof(*f->changes));
	}
}

static uint64_t hash_node(const struct simfs *fs, const struct sim_node *n)
{
	uint64_t h = 0;
	size_t i;

	if (!n->is_dir)
		return XXH3_64bits_withSeed(n->now.p ? (void *)n->now.p : "",
					    n->now.size, n->now.size);
	for (i = 0; i < n->names.n; i++) {
		const struct sim_name *e = &n->names.v[i];

		/* Whatever the order of the names. */
		h += XXH3_64bits_withSeed(e->name, strlen(e->name),
					  hash_node(fs, fs->nodes[e->node]));
	}
	return h + 1;
}

uint64_t simfs_hash(const struct simfs *fs)
{
	return hash_node(fs, fs->nodes[0]);
}
