/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NTH_SITE_H
#define TESTS_UNIT_NTH_SITE_H

/*
 * Calls of libraries that fail when told: memory, SQLite, OpenSSL, zstd, LZ4,
 * xxHash and some of the C library. The functions below take the place of the
 * libraries' and count, for each place in this program that calls them, how
 * often it did; then the n-th call of one place fails, once. Only what is
 * called between site_begin() and site_end() counts, and only from this
 * program's own code.
 *
 * One thread. Include it once, in the test that is the program.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lz4.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <sqlite3.h>
#include <xxhash.h>
#include <zstd.h>

#define SITES_MAX 2048U

static struct {
	bool counts;
	struct site {
		const void *at;
		const char *what;
		uint64_t calls;
	} list[SITES_MAX];
	size_t n;
	const char *fail_name;		/* every call of it fails */
	const void *fail_at;		/* NULL: none */
	uint64_t fail_in;
	const char *hit;		/* what failed, once it has */
	int sqlite_error;
} sites = { .sqlite_error = SQLITE_IOERR };

extern char __executable_start, etext;

static void site_begin(void)
{
	sites.counts = true;
}

static void site_end(void)
{
	sites.counts = false;
}

static struct site *site_of(const void *at, const char *what)
{
	size_t i;

	for (i = 0; i < sites.n; i++)
		if (sites.list[i].at == at)
			return &sites.list[i];
	if (sites.n == SITES_MAX)
		abort();
	sites.list[i] = (struct site){ .at = at, .what = what };
	sites.n++;
	return &sites.list[i];
}

static bool site_due(const char *what, const void *at)
{
	if (!sites.counts || (const char *)at < &__executable_start ||
	    (const char *)at >= &etext)
		return false;
	if (sites.fail_name)
		return strcmp(what, sites.fail_name) == 0;
	if (!sites.fail_at) {
		site_of(at, what)->calls++;
		return false;
	}
	if (at != sites.fail_at || sites.hit || --sites.fail_in)
		return false;
	sites.hit = what;
	errno = ENOMEM;
	return true;
}

#define SITE_DUE site_due(__func__, __builtin_return_address(0))

/* ---- memory ---- */

#define ALLOC_FAILS(what, caller) site_due(what, caller)
#include "unit/alloc_hooks.h"

/* The function of the library itself. */
#define SITE_NEXT(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

/* name(parameters), called with args, or what it gives when it fails. */
#define SITE(type, name, parameters, args, failure) \
	type name parameters \
	{ \
		static __typeof__(&(name)) next; \
		if (!next) \
			next = SITE_NEXT(name); \
		return SITE_DUE ? (failure) : next args; \
	}

SITE(int, posix_memalign, (void **p, size_t align, size_t n), (p, align, n),
     ENOMEM)

SITE(void *, aligned_alloc, (size_t align, size_t n), (align, n), NULL)

static char *site_strdup(const char *s)
{
	size_t n = strlen(s) + 1;
	char *p = malloc(n);

	return p ? memcpy(p, s, n) : NULL;
}

char *strdup(const char *s)
{
	return SITE_DUE ? NULL : site_strdup(s);
}

int __asprintf_chk(char **out, int flag, const char *format, ...);
int __asprintf_chk(char **out, int flag, const char *format, ...)
{
	va_list ap;
	int n;

	(void)flag;
	if (SITE_DUE)
		return -1;
	va_start(ap, format);
	n = vasprintf(out, format, ap);
	va_end(ap);
	return n;
}

#if !defined(__USE_FORTIFY_LEVEL) || __USE_FORTIFY_LEVEL == 0
int asprintf(char **out, const char *format, ...)
{
	va_list ap;
	int n;

	if (SITE_DUE)
		return -1;
	va_start(ap, format);
	n = vasprintf(out, format, ap);
	va_end(ap);
	return n;
}
#endif

/* ---- files, where they are not reached through base/io.h ---- */

SITE(int, fstat, (int fd, struct stat *st), (fd, st), (errno = EIO, -1))
SITE(off_t, lseek, (int fd, off_t off, int whence), (fd, off, whence),
     (errno = EIO, -1))

/* ---- SQLite ---- */

SITE(int, sqlite3_open_v2, (const char *name, sqlite3 **db, int flags,
     const char *vfs), (name, db, flags, vfs), (*db = NULL, SQLITE_CANTOPEN))
SITE(int, sqlite3_exec, (sqlite3 *db, const char *sql,
     int (*cb)(void *, int, char **, char **), void *arg, char **msg),
     (db, sql, cb, arg, msg), sites.sqlite_error)
SITE(int, sqlite3_prepare_v2, (sqlite3 *db, const char *sql, int n,
     sqlite3_stmt **stmt, const char **tail), (db, sql, n, stmt, tail),
     (*stmt = NULL, sites.sqlite_error))
SITE(int, sqlite3_prepare_v3, (sqlite3 *db, const char *sql, int n,
     unsigned int flags, sqlite3_stmt **stmt, const char **tail),
     (db, sql, n, flags, stmt, tail), (*stmt = NULL, sites.sqlite_error))
SITE(int, sqlite3_step, (sqlite3_stmt *stmt), (stmt), sites.sqlite_error)
SITE(int, sqlite3_busy_timeout, (sqlite3 *db, int ms), (db, ms), SQLITE_MISUSE)
SITE(int, sqlite3_bind_int64, (sqlite3_stmt *stmt, int i, sqlite3_int64 v),
     (stmt, i, v), SQLITE_NOMEM)
SITE(int, sqlite3_bind_blob, (sqlite3_stmt *stmt, int i, const void *p, int n,
     void (*del)(void *)), (stmt, i, p, n, del), SQLITE_NOMEM)
SITE(int, sqlite3_bind_text, (sqlite3_stmt *stmt, int i, const char *p, int n,
     void (*del)(void *)), (stmt, i, p, n, del), SQLITE_NOMEM)
SITE(int, sqlite3_column_type, (sqlite3_stmt *stmt, int i), (stmt, i),
     SQLITE_NULL)
SITE(const void *, sqlite3_column_blob, (sqlite3_stmt *stmt, int i), (stmt, i),
     NULL)
SITE(const unsigned char *, sqlite3_column_text, (sqlite3_stmt *stmt, int i),
     (stmt, i), NULL)
SITE(int, sqlite3_column_bytes, (sqlite3_stmt *stmt, int i), (stmt, i), 1 << 20)
SITE(sqlite3_backup *, sqlite3_backup_init, (sqlite3 *to, const char *to_name,
     sqlite3 *from, const char *from_name), (to, to_name, from, from_name),
     NULL)
SITE(int, sqlite3_backup_step, (sqlite3_backup *b, int n), (b, n),
     sites.sqlite_error)

/* ---- OpenSSL ---- */

SITE(EVP_MD *, EVP_MD_fetch, (OSSL_LIB_CTX *ctx, const char *name,
     const char *q), (ctx, name, q), NULL)
SITE(EVP_CIPHER *, EVP_CIPHER_fetch, (OSSL_LIB_CTX *ctx, const char *name,
     const char *q), (ctx, name, q), NULL)
SITE(EVP_MAC *, EVP_MAC_fetch, (OSSL_LIB_CTX *ctx, const char *name,
     const char *q), (ctx, name, q), NULL)
SITE(EVP_KDF *, EVP_KDF_fetch, (OSSL_LIB_CTX *ctx, const char *name,
     const char *q), (ctx, name, q), NULL)
SITE(EVP_MD_CTX *, EVP_MD_CTX_new, (void), (), NULL)
SITE(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_new, (void), (), NULL)
SITE(EVP_MAC_CTX *, EVP_MAC_CTX_new, (EVP_MAC *mac), (mac), NULL)
SITE(EVP_KDF_CTX *, EVP_KDF_CTX_new, (EVP_KDF *kdf), (kdf), NULL)
SITE(int, EVP_DigestInit_ex2, (EVP_MD_CTX *ctx, const EVP_MD *md,
     const OSSL_PARAM *p), (ctx, md, p), 0)
SITE(int, EVP_DigestUpdate, (EVP_MD_CTX *ctx, const void *p, size_t n),
     (ctx, p, n), 0)
SITE(int, EVP_DigestFinal_ex, (EVP_MD_CTX *ctx, unsigned char *out,
     unsigned int *n), (ctx, out, n), 0)
SITE(int, EVP_Digest, (const void *p, size_t n, unsigned char *out,
     unsigned int *out_n, const EVP_MD *md, ENGINE *e),
     (p, n, out, out_n, md, e), 0)
SITE(int, EVP_CipherInit_ex2, (EVP_CIPHER_CTX *ctx, const EVP_CIPHER *c,
     const unsigned char *key, const unsigned char *iv, int enc,
     const OSSL_PARAM *p), (ctx, c, key, iv, enc, p), 0)
SITE(int, EVP_CipherUpdate, (EVP_CIPHER_CTX *ctx, unsigned char *out, int *out_n,
     const unsigned char *in, int n), (ctx, out, out_n, in, n), 0)
SITE(int, EVP_CipherFinal_ex, (EVP_CIPHER_CTX *ctx, unsigned char *out,
     int *n), (ctx, out, n), 0)
SITE(int, EVP_CIPHER_CTX_ctrl, (EVP_CIPHER_CTX *ctx, int type, int arg,
     void *p), (ctx, type, arg, p), 0)
SITE(int, EVP_MAC_init, (EVP_MAC_CTX *ctx, const unsigned char *key, size_t n,
     const OSSL_PARAM *p), (ctx, key, n, p), 0)
SITE(int, EVP_MAC_update, (EVP_MAC_CTX *ctx, const unsigned char *p, size_t n),
     (ctx, p, n), 0)
SITE(int, EVP_MAC_final, (EVP_MAC_CTX *ctx, unsigned char *out, size_t *n,
     size_t room), (ctx, out, n, room), 0)
SITE(int, EVP_KDF_derive, (EVP_KDF_CTX *ctx, unsigned char *key, size_t n,
     const OSSL_PARAM *p), (ctx, key, n, p), 0)

/* ---- compression, checksums ---- */

SITE(ZSTD_CCtx *, ZSTD_createCCtx, (void), (), NULL)
SITE(ZSTD_DCtx *, ZSTD_createDCtx, (void), (), NULL)
SITE(size_t, ZSTD_compressCCtx, (ZSTD_CCtx *c, void *out, size_t cap,
     const void *in, size_t n, int level), (c, out, cap, in, n, level),
     (size_t)-1)
SITE(size_t, ZSTD_decompressDCtx, (ZSTD_DCtx *c, void *out, size_t cap,
     const void *in, size_t n), (c, out, cap, in, n), (size_t)-1)
SITE(int, LZ4_compress_fast_extState, (void *state, const char *in, char *out,
     int n, int cap, int a), (state, in, out, n, cap, a), 0)
SITE(XXH3_state_t *, XXH3_createState, (void), (), NULL)
SITE(XXH_errorcode, XXH3_128bits_reset, (XXH3_state_t *s), (s), XXH_ERROR)
SITE(XXH_errorcode, XXH3_128bits_update, (XXH3_state_t *s, const void *p,
     size_t n), (s, p, n), XXH_ERROR)

/* ---- each in turn ---- */

/* One life in which the n-th call of this site fails; did it? */
static inline uint64_t site_fails(const struct site *s, uint64_t n,
				  void (*life)(void *arg), void *arg)
{
	sites.fail_at = s->at;
	sites.fail_in = n;
	sites.hit = NULL;
	life(arg);
	sites.fail_at = NULL;
	return sites.hit != NULL;
}

/* Runs life with nothing failing, which finds the sites. */
static inline void sites_find(void (*life)(void *arg), void *arg)
{
	sites.n = 0;
	sites.fail_at = NULL;
	sites.hit = NULL;
	life(arg);
}

/*
 * Runs life with one call of each site failing: its first, and one by lot of
 * those after. All sites when TEST_LONG or TEST_SITES is set, else one of
 * one_of, another set each time. The number of lives in which something failed.
 */
static inline uint64_t sites_fail_each(void (*life)(void *arg), void *arg,
				       unsigned int one_of)
{
	const char *seed = getenv("TEST_SEED");
	uint64_t lot = seed ? strtoull(seed, NULL, 10) :
			      (uint64_t)time(NULL) + (uint64_t)getpid();
	uint64_t hits = 0;
	size_t i, n;

	if (getenv("TEST_LONG") || getenv("TEST_SITES"))
		one_of = 1;
	tap_note("seed %" PRIu64, lot);
	sites_find(life, arg);
	n = sites.n;
	for (i = lot % one_of; i < n; i += one_of) {
		const struct site *s = &sites.list[i];

		hits += site_fails(s, 1, life, arg);
		if (s->calls > 1)
			hits += site_fails(s, 2 + lot % (s->calls - 1), life,
					   arg);
		lot = lot * 6364136223846793005ULL + 1442695040888963407ULL;
	}
	tap_note("%zu sites, %" PRIu64 " lives with a failure", n, hits);
	return hits;
}

/* With every call of each site failing, one after the other. */
static inline uint64_t sites_fail_every(void (*life)(void *arg), void *arg)
{
	uint64_t hits = 0, k;
	size_t i, n;

	sites_find(life, arg);
	n = sites.n;
	for (i = 0; i < n; i++)
		for (k = 1; k <= sites.list[i].calls; k++)
			hits += site_fails(&sites.list[i], k, life, arg);
	tap_note("%zu sites, %" PRIu64 " lives with a failure", n, hits);
	return hits;
}

#endif
