// SPDX-License-Identifier: Apache-2.0
/*
 * SQLite on a simfs. It syncs here what it syncs on Linux: files as it asks
 * for it, and the directory of a journal or write-ahead log with the first
 * sync after its creation. Locks are of no use with one connection; the shared
 * index of the log lives with the connection, since the next one that finds
 * itself alone makes it anew.
 */
#include "simfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sqlite3.h>

#define SHM_MAX_REGIONS 8

struct vfs_file {
	sqlite3_file base;
	struct simfs *fs;
	struct sim_node *node;
	char path[128];
	bool delete_on_close;
	bool sync_dir;
	void *shm[SHM_MAX_REGIONS];
};

static struct simfs *current;

static struct vfs_file *file_of(sqlite3_file *f)
{
	return (struct vfs_file *)f;
}

static int vfs_close(sqlite3_file *f)
{
	struct vfs_file *v = file_of(f);

	if (v->delete_on_close && v->path[0])
		(void)simfs_unlink(v->fs, v->path);
	return SQLITE_OK;
}

static int vfs_read(sqlite3_file *f, void *p, int n, sqlite3_int64 off)
{
	struct vfs_file *v = file_of(f);
	int r;

	if (v->fs->dead)
		return SQLITE_IOERR_READ;
	r = simfs_read(v->node, p, (size_t)n, (uint64_t)off);
	if (r == n)
		return SQLITE_OK;
	memset((char *)p + r, 0, (size_t)(n - r));
	return SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 off)
{
	struct vfs_file *v = file_of(f);

	return simfs_write(v->fs, v->node, p, (size_t)n, (uint64_t)off) ?
		       SQLITE_IOERR_WRITE : SQLITE_OK;
}

static int vfs_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	struct vfs_file *v = file_of(f);

	return simfs_resize(v->fs, v->node, (uint64_t)size) ?
		       SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int vfs_sync(sqlite3_file *f, int flags)
{
	struct vfs_file *v = file_of(f);
	int r = simfs_sync(v->fs, v->node, "sqlite", v->path);

	(void)flags;
	if (r == 0 && v->sync_dir) {
		r = simfs_sync_parent(v->fs, v->path, "sqlite");
		v->sync_dir = false;
	}
	return r ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int vfs_file_size(sqlite3_file *f, sqlite3_int64 *size)
{
	*size = (sqlite3_int64)simfs_size(file_of(f)->node);
	return file_of(f)->fs->dead ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

static int vfs_lock(sqlite3_file *f, int how)
{
	(void)how;
	return file_of(f)->fs->dead ? SQLITE_IOERR_LOCK : SQLITE_OK;
}

static int vfs_unlock(sqlite3_file *f, int how)
{
	(void)f;
	(void)how;
	return SQLITE_OK;
}

static int vfs_reserved(sqlite3_file *f, int *out)
{
	(void)f;
	*out = 0;
	return SQLITE_OK;
}

static int vfs_control(sqlite3_file *f, int op, void *arg)
{
	(void)f;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int vfs_sector_size(sqlite3_file *f)
{
	(void)f;
	return 4096;
}

static int vfs_characteristics(sqlite3_file *f)
{
	(void)f;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int vfs_shm_map(sqlite3_file *f, int region, int size, int extend,
		       void volatile **out)
{
	struct vfs_file *v = file_of(f);

	*out = NULL;
	if (region >= SHM_MAX_REGIONS)
		return SQLITE_IOERR_SHMSIZE;
	if (!v->shm[region] && extend) {
		v->shm[region] = calloc(1, (size_t)size);
		if (!v->shm[region])
			return SQLITE_NOMEM;
	}
	*out = v->shm[region];
	return SQLITE_OK;
}

static int vfs_shm_lock(sqlite3_file *f, int first, int n, int flags)
{
	(void)f;
	(void)first;
	(void)n;
	(void)flags;
	return SQLITE_OK;
}

static void vfs_shm_barrier(sqlite3_file *f)
{
	(void)f;
}

static int vfs_shm_unmap(sqlite3_file *f, int drop)
{
	struct vfs_file *v = file_of(f);
	int i;

	(void)drop;
	for (i = 0; i < SHM_MAX_REGIONS; i++) {
		free(v->shm[i]);
		v->shm[i] = NULL;
	}
	return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = vfs_close,
	.xRead = vfs_read,
	.xWrite = vfs_write,
	.xTruncate = vfs_truncate,
	.xSync = vfs_sync,
	.xFileSize = vfs_file_size,
	.xLock = vfs_lock,
	.xUnlock = vfs_unlock,
	.xCheckReservedLock = vfs_reserved,
	.xFileControl = vfs_control,
	.xSectorSize = vfs_sector_size,
	.xDeviceCharacteristics = vfs_characteristics,
	.xShmMap = vfs_shm_map,
	.xShmLock = vfs_shm_lock,
	.xShmBarrier = vfs_shm_barrier,
	.xShmUnmap = vfs_shm_unmap,
};

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f,
		    int flags, int *out_flags)
{
	static unsigned int temporary;
	struct vfs_file *v = file_of(f);
	bool created = false;

	(void)vfs;
	memset(v, 0, sizeof(*v));
	v->fs = current;
	if (!current || current->dead)
		return SQLITE_CANTOPEN;
	if (name)
		(void)snprintf(v->path, sizeof(v->path), "%s", name);
	else
		(void)snprintf(v->path, sizeof(v->path), "/sqlite-%u",
			       temporary++);
	v->node = simfs_lookup(current, v->path);
	if (!v->node && (flags & SQLITE_OPEN_CREATE)) {
		v->node = simfs_create(current, v->path);
		created = true;
	}
	if (!v->node)
		return SQLITE_CANTOPEN;
	v->delete_on_close = flags & SQLITE_OPEN_DELETEONCLOSE;
	v->sync_dir = created && (flags & (SQLITE_OPEN_MAIN_JOURNAL |
					   SQLITE_OPEN_SUPER_JOURNAL |
					   SQLITE_OPEN_WAL));
	f->pMethods = &methods;
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	(void)vfs;
	if (current->dead)
		return SQLITE_IOERR_DELETE;
	if (!simfs_lookup(current, name))
		return SQLITE_IOERR_DELETE_NOENT;
	if (simfs_unlink(current, name))
		return SQLITE_IOERR_DELETE;
	if (sync_dir && simfs_sync_parent(current, name, "sqlite"))
		return SQLITE_IOERR_DIR_FSYNC;
	return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	struct sim_node *n = current ? simfs_lookup(current, name) : NULL;

	(void)vfs;
	/* As on Linux: an empty file is not taken for a journal. */
	*out = n && (flags != SQLITE_ACCESS_EXISTS || simfs_size(n) > 0);
	return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
	(void)vfs;
	(void)snprintf(out, (size_t)n, "%s", name);
	return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	/* Salts of logs must differ from each other; runs must not. */
	static unsigned int seed = 1;
	int i;

	for (i = 0; i < n; i++) {
		seed = seed * 1664525U + 1013904223U;
		out[i] = (char)(seed >> 24);
	}
	return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *days)
{
	(void)vfs;
	*days = 2460000.5;
	return SQLITE_OK;
}

static sqlite3_vfs sim_vfs = {
	.iVersion = 1,
	.szOsFile = sizeof(struct vfs_file),
	.mxPathname = 120,
	.zName = "simfs",
	.xOpen = vfs_open,
	.xDelete = vfs_delete,
	.xAccess = vfs_access,
	.xFullPathname = vfs_full_path,
	.xRandomness = vfs_randomness,
	.xSleep = vfs_sleep,
	.xCurrentTime = vfs_time,
};

struct simfs *simfs_for_sqlite(struct simfs *fs)
{
	static bool registered;
	struct simfs *former = current;

	if (!registered && sqlite3_vfs_register(&sim_vfs, 1) != SQLITE_OK)
		abort();
	registered = true;
	current = fs;
	return former;
}
