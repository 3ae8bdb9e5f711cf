// SPDX-License-Identifier: Apache-2.0
/*
 * A new authority, and the certificate of its replica's listener.
 *
 * The authority is built under <state>/pki.new and becomes <state>/pki by one
 * rename, so that there is a whole one or none. What a crash left of an
 * earlier attempt is removed first; flock(2) on the state directory keeps two
 * attempts apart.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/units.h"
#include "pki/pki_dir.h"

#define NEW_DIR "pki.new"
#define MAX_SANS 64

/* ---- the listener's certificate ---- */

struct san_list {
	const char *names[MAX_SANS];
	int n;
	char host[256];
	char *kept[MAX_SANS];		/* of the former certificate; ours */
	int n_kept;
};

static void san_list_free(struct san_list *l)
{
	while (l->n_kept)
		free(l->kept[--l->n_kept]);
}

static int san_add(struct san_list *l, const char *san, struct err *err)
{
	int i;

	for (i = 0; i < l->n; i++)
		if (!strcasecmp(l->names[i], san))
			return 0;
	if (l->n == MAX_SANS)
		return err_set(err, -E2BIG, "bad-san", san,
			       "add the name to the certificate: more than %d "
			       "names", MAX_SANS);
	l->names[l->n++] = san;
	return 0;
}

static int sans_collect(struct san_list *l, const char *const *sans, int n,
			struct err *err)
{
	static const char *const always[] = { "localhost", "127.0.0.1", "::1" };
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < (size_t)MAX(n, 0); i++) {
		r = pki_san_check(sans[i], err);
		if (r == 0)
			r = san_add(l, sans[i], err);
	}
	/* A host may be called what no certificate can say. */
	if (r == 0 && gethostname(l->host, sizeof(l->host) - 1) == 0 &&
	    pki_san_check(l->host, NULL) == 0)
		r = san_add(l, l->host, err);
	for (i = 0; r == 0 && i < ARRAY_SIZE(always); i++)
		r = san_add(l, always[i], err);
	return r;
}

/* A name of the former certificate; too many are refused by san_add. */
static int san_keep(void *arg, const char *san)
{
	struct san_list *l = arg;
	char *copy;

	if (l->n_kept == MAX_SANS)
		return 0;
	copy = strdup(san);
	if (!copy)
		return -ENOMEM;
	l->kept[l->n_kept++] = copy;
	return 0;
}

static int sans_of_former(const struct pki_dir *d, struct san_list *l,
			  struct err *err)
{
	_cleanup_(x509_freep) X509 *cert = NULL;
	int i, r = pki_load_cert(d, "server/cert.pem", &cert, err);

	if (r < 0)
		return r;
	r = pki_sans_of(cert, san_keep, l);
	if (r < 0)
		return err_set(err, r, "no-memory", d->path,
			       "read the former certificate: out of memory");
	for (i = 0; r == 0 && i < l->n_kept; i++)
		r = san_add(l, l->kept[i], err);
	return r;
}

/* It names the replica to people; what is checked is the SANs. No rights. */
static struct pki_subject server_subject(const struct san_list *l)
{
	struct pki_subject s = { 0 };
	int n = (int)strcspn(l->host, ".");

	if (n > 0 && n < (int)sizeof(s.name))
		(void)snprintf(s.name, sizeof(s.name), "%.*s", n, l->host);
	if (!name_is_valid(s.name))
		(void)snprintf(s.name, sizeof(s.name), "replica");
	return s;
}

static X509 *server_sign(struct pki_dir *d, const struct san_list *l,
			 EVP_PKEY *key, struct err *err)
{
	const struct pki_signer by = pki_dir_signer(d);
	_cleanup_(x509_freep) X509 *cert = NULL;
	struct pki_leaf leaf = {
		.subject = server_subject(l),
		.sans = l->names,
		.n_sans = l->n,
	};
	struct pki_cert c;

	if (pki_leaf_plan(d, &leaf, true, &c, err))
		return NULL;
	cert = pki_leaf_new(&leaf, key, &by, err);
	if (!cert)
		return NULL;
	if (pki_index_add(&d->index, &c)) {
		(void)err_set(err, -ENOMEM, "no-memory", d->path,
			      "extend the index: out of memory");
		return NULL;
	}
	if (pki_save_issued(d, c.serial, cert, err) || pki_save_index(d, err))
		return NULL;
	return TAKE_PTR(cert);
}

/*
 * The key that is there, or a new one when it was lost or thrown away: then
 * nothing that was signed for the former is good any more.
 */
static int server_key(struct pki_dir *d, EVP_PKEY **key, bool *is_new,
		      struct err *err)
{
	int64_t now_s = clock_wall_ns(d->env->clock) / (int64_t)NSEC_PER_SEC;
	struct err absent = ERR_INIT;
	size_t i;
	int r = pki_load_key(d, "server/key.pem", key, &absent);

	*is_new = r == -ENOENT;
	if (!*is_new) {
		if (r < 0 && err && !err->num)
			err_copy(err, &absent);
		return r;
	}
	*key = pki_key_new(err);
	if (!*key)
		return -EIO;
	for (i = 0; i < d->index.n; i++) {
		struct pki_cert *c = &d->index.certs[i];

		if (!c->server || c->revoked)
			continue;
		c->revoked = true;
		c->revoked_s = now_s;
	}
	return 0;
}

/* Lists before the key: after a crash in between the key is still lost. */
static int renew(struct pki_dir *d, const struct san_list *l, struct err *err)
{
	const struct pki_file cert_file = { d->fd, d->path, "server/cert.pem",
					    0644 };
	const struct pki_file key_file = { d->fd, d->path, "server/key.pem",
					   0600 };
	_cleanup_(evp_pkey_freep) EVP_PKEY *key = NULL;
	_cleanup_(x509_freep) X509 *cert = NULL;
	bool is_new;
	int r = server_key(d, &key, &is_new, err);

	if (r < 0)
		return r;
	cert = server_sign(d, l, key, err);
	if (!cert)
		return err && err->num ? err->num : -EIO;
	r = pki_save_crl(d, err);
	if (r == 0 && is_new)
		r = pki_write_key(d->env, &key_file, key, err);
	return r < 0 ? r : pki_write_cert(d->env, &cert_file, cert, err);
}

int pki_server_renew_in(const struct pki_env *env, const char *state_dir,
			const char *const *sans, int n_sans, struct err *err)
{
	_cleanup_(pki_dir_close) struct pki_dir d = { .env = env, .fd = -1 };
	_cleanup_(san_list_free) struct san_list list = { 0 };
	int r;

	r = pki_dir_open(env, state_dir, &d, err);
	if (r == 0)
		r = sans_of_former(&d, &list, err);
	if (r == 0)
		r = sans_collect(&list, sans, n_sans, err);
	return r < 0 ? r : renew(&d, &list, err);
}

/* ---- the authority ---- */

static int ca_make(struct pki_dir *d, struct err *err)
{
	int64_t now_s = clock_wall_ns(d->env->clock) / (int64_t)NSEC_PER_SEC;
	const struct pki_file cert = { d->fd, d->path, "ca.pem", 0644 };
	const struct pki_file key = { d->fd, d->path, "ca.key", 0600 };
	uint8_t serial[PKI_SERIAL_BYTES];
	char cn[65];
	int r;

	r = rnd_fill(d->env->rnd, serial, sizeof(serial));
	if (r < 0)
		return err_sys(err, r, "no-randomness", d->path,
			       "choose a serial number");
	/* Different names keep two authorities apart in people's eyes; the
	 * verification goes by keys. */
	(void)snprintf(cn, sizeof(cn), "Understudy CA %02x%02x%02x%02x",
		       serial[0], serial[1], serial[2], serial[3]);
	d->ca_key = pki_key_new(err);
	if (d->ca_key)
		d->ca = pki_ca_new(serial, cn, now_s - PKI_BACKDATE_S,
				   d->ca_key, err);
	if (!d->ca)
		return -EIO;
	r = pki_write_key(d->env, &key, d->ca_key, err);
	return r < 0 ? r : pki_write_cert(d->env, &cert, d->ca, err);
}

static int server_make(struct pki_dir *d, const struct san_list *l,
		       struct err *err)
{
	const struct pki_file key_file = { d->fd, d->path, "server/key.pem",
					   0600 };
	const struct pki_file cert_file = { d->fd, d->path, "server/cert.pem",
					    0644 };
	const struct pki_file ca_file = { d->fd, d->path, "server/ca.pem",
					  0644 };
	_cleanup_(evp_pkey_freep) EVP_PKEY *key = pki_key_new(err);
	_cleanup_(x509_freep) X509 *cert = NULL;
	int r;

	cert = key ? server_sign(d, l, key, err) : NULL;
	if (!cert)
		return err && err->num ? err->num : -EIO;
	r = pki_write_key(d->env, &key_file, key, err);
	if (r == 0)
		r = pki_write_cert(d->env, &ca_file, d->ca, err);
	if (r == 0)
		r = pki_write_cert(d->env, &cert_file, cert, err);
	return r;
}

static int make_subdirs(struct pki_dir *d, struct err *err)
{
	static const char *const names[] = { "issued", "server" };
	struct io *io = d->env->io;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		r = io->ops->mkdirat(io, d->fd, names[i], 0700);
		if (r < 0)
			return err_sys(err, r, "cannot-write", d->path,
				       "make the directory %s", names[i]);
	}
	return 0;
}

/* Everything inside the new directory, durable. */
static int fill(struct pki_dir *d, const struct san_list *l, struct err *err)
{
	int r = make_subdirs(d, err);

	if (r == 0)
		r = ca_make(d, err);
	if (r == 0)
		r = server_make(d, l, err);
	if (r == 0)
		r = pki_save_crl(d, err);
	return r;
}

struct removal {
	struct io *io;
	int dirfd;
};

static int remove_entry(void *arg, const char *name)
{
	const struct removal *r = arg;

	(void)r->io->ops->unlinkat(r->io, r->dirfd, name, 0);
	return 0;
}

/* A directory of plain files, below dirfd. */
static void remove_flat(struct io *io, int dirfd, const char *name)
{
	struct removal in = { .io = io };

	in.dirfd = io->ops->open(io, dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	if (in.dirfd < 0)
		return;
	(void)io->ops->listdir(io, in.dirfd, ".", remove_entry, &in);
	(void)io->ops->close(io, in.dirfd);
	(void)io->ops->unlinkat(io, dirfd, name, AT_REMOVEDIR);
}

static void remove_new(struct io *io, int state_fd)
{
	remove_flat(io, state_fd, NEW_DIR "/issued");
	remove_flat(io, state_fd, NEW_DIR "/server");
	remove_flat(io, state_fd, NEW_DIR);
}

static int refuse_existing(struct io *io, int state_fd, const char *state_dir,
			   struct err *err)
{
	int fd = io->ops->open(io, state_fd, "pki", O_PATH | O_NOFOLLOW, 0);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(err, fd, "cannot-read", state_dir, "look at pki");
	(void)io->ops->close(io, fd);
	(void)err_set(err, -EEXIST, "pki-exists", state_dir,
		      "make an authority: there is one already");
	(void)err_remedy(err, "use it (`understudyctl pki list`); to start "
			 "over, move %s/pki away: every certificate it issued "
			 "is then worthless", state_dir);
	return -EEXIST;
}

/* Build, then rename. The lock on state_fd is held. */
static int build(struct pki_dir *d, int state_fd, const struct san_list *l,
		 struct err *err)
{
	struct io *io = d->env->io;
	int r;

	remove_new(io, state_fd);
	r = io->ops->mkdirat(io, state_fd, NEW_DIR, 0700);
	if (r < 0)
		return err_sys(err, r, "cannot-write", d->path,
			       "make the directory");
	d->fd = io->ops->open(io, state_fd, NEW_DIR, O_RDONLY | O_DIRECTORY, 0);
	r = d->fd < 0 ? err_sys(err, d->fd, "cannot-write", d->path,
				"open the directory") : fill(d, l, err);
	if (r == 0) {
		r = io->ops->renameat(io, state_fd, NEW_DIR, state_fd, "pki");
		if (r < 0)
			(void)err_sys(err, r, "cannot-write", d->path,
				      "rename it into place");
	}
	if (r == 0) {
		r = io->ops->fsync(io, state_fd);
		if (r < 0) {
			(void)err_sys(err, r, "cannot-write", d->path,
				      "make the directory durable");
			(void)io->ops->renameat(io, state_fd, "pki", state_fd,
						NEW_DIR);
		}
	}
	if (r < 0)
		remove_new(io, state_fd);
	return r;
}

static int state_open(const struct pki_env *env, const char *state_dir,
		      struct err *err)
{
	int fd, r;

	r = io_make_dir(env->io, state_dir, 0700, err);
	if (r < 0)
		return r;
	fd = env->io->ops->open(env->io, AT_FDCWD, state_dir,
				O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return err_sys(err, fd, "cannot-read", state_dir, "open");
	while (flock(fd, LOCK_EX) < 0) {
		if (errno == EINTR)
			continue;
		r = err_sys(err, -errno, "cannot-lock", state_dir, "lock");
		(void)env->io->ops->close(env->io, fd);
		return r;
	}
	return fd;
}

int pki_init_in(const struct pki_env *env, const char *state_dir,
		const char *const *sans, int n_sans, struct err *err)
{
	_cleanup_(pki_dir_close) struct pki_dir d = { .env = env, .fd = -1 };
	struct san_list list = { 0 };
	int state_fd, r;

	r = sans_collect(&list, sans, n_sans, err);
	if (r < 0)
		return r;
	(void)snprintf(d.path, sizeof(d.path), "%s/pki", state_dir);
	state_fd = state_open(env, state_dir, err);
	if (state_fd < 0)
		return state_fd;
	r = refuse_existing(env->io, state_fd, state_dir, err);
	if (r == 0)
		r = build(&d, state_fd, &list, err);
	(void)env->io->ops->close(env->io, state_fd);
	return r;
}

int pki_init(const char *state_dir, const char *const *sans, int n_sans,
	     struct err *err)
{
	const struct pki_env env = pki_env_system();

	return pki_init_in(&env, state_dir, sans, n_sans, err);
}

int pki_server_renew(const char *state_dir, const char *const *sans,
		     int n_sans, struct err *err)
{
	const struct pki_env env = pki_env_system();

	return pki_server_renew_in(&env, state_dir, sans, n_sans, err);
}
