// SPDX-License-Identifier: Apache-2.0
/*
 * Certificates for peers: issue and revoke.
 *
 * Order of issue: lists signed anew; key.pem and ca.pem in the directory that
 * goes to the peer; issued/<serial>.pem; the index; last the directory's
 * cert.pem. So a certificate that somebody holds is in the index, and an error
 * at any step takes back the steps before it. After a crash there may be a
 * directory without cert.pem, which is no identity, or a name in the index
 * that nobody holds, which `pki revoke` frees.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/units.h"
#include "pki/pki_dir.h"

static const char *const out_names[] = { "key.pem", "ca.pem", "cert.pem" };

/* ---- the directory that goes to the peer ---- */

struct out_dir {
	const struct pki_env *env;
	const char *path;
	int fd;
	bool made;			/* by us */
	size_t written;			/* of out_names, in this order */
};

static int out_is_free(const struct out_dir *o, struct err *err)
{
	struct io *io = o->env->io;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(out_names); i++) {
		int fd = io->ops->open(io, o->fd, out_names[i],
				       O_PATH | O_NOFOLLOW, 0);

		if (fd == -ENOENT)
			continue;
		if (fd < 0)
			return err_sys(err, fd, "cannot-read", o->path,
				       "look at %s", out_names[i]);
		(void)io->ops->close(io, fd);
		(void)err_set(err, -EEXIST, "out-exists", o->path,
			      "write the identity: %s is there already",
			      out_names[i]);
		(void)err_remedy(err, "choose another directory, or move what "
				 "is in this one away");
		return -EEXIST;
	}
	return 0;
}

static void out_undo(struct out_dir *o)
{
	struct io *io = o->env->io;

	while (o->written)
		(void)io->ops->unlinkat(io, o->fd, out_names[--o->written], 0);
	if (o->fd >= 0)
		(void)io->ops->close(io, o->fd);
	o->fd = -1;
	if (o->made)
		(void)io->ops->unlinkat(io, AT_FDCWD, o->path, AT_REMOVEDIR);
	o->made = false;
}

static int out_open(struct out_dir *o, struct err *err)
{
	struct io *io = o->env->io;
	int r;

	r = io->ops->mkdirat(io, AT_FDCWD, o->path, 0700);
	if (r < 0 && r != -EEXIST)
		return err_sys(err, r, "cannot-create", o->path,
			       "create the directory");
	o->made = r == 0;
	/* Makes its entry durable; told apart here, since we undo our own. */
	r = io_make_dir(io, o->path, 0700, err);
	if (r < 0)
		return r;
	o->fd = io->ops->open(io, AT_FDCWD, o->path, O_RDONLY | O_DIRECTORY, 0);
	if (o->fd < 0)
		return err_sys(err, o->fd, "cannot-read", o->path,
			       "open the directory");
	return out_is_free(o, err);
}

/* Counted before it is written: a write that fails last may leave the file. */
static struct pki_file out_next(struct out_dir *o, mode_t mode)
{
	return (struct pki_file){ o->fd, o->path, out_names[o->written++],
				  mode };
}

/* ---- issue ---- */

static int check_subject(const struct pki_subject *s, struct err *err)
{
	if (!name_is_valid(s->name)) {
		(void)err_set(err, -EINVAL, "bad-name", s->name,
			      "issue a certificate: not a name");
		(void)err_remedy(err, "use 1 to 64 letters, digits, '.', '_' "
				 "or '-', not beginning with '.' or '-'");
		return -EINVAL;
	}
	if (!s->rights || s->rights & ~0xfU) {
		(void)err_set(err, -EINVAL, "bad-rights", s->name,
			      "issue a certificate: no such rights");
		(void)err_remedy(err, "give some of push,read,promote,admin");
		return -EINVAL;
	}
	if (!pki_pattern_is_valid(s->volumes)) {
		(void)err_set(err, -EINVAL, "bad-pattern", s->name,
			      "issue a certificate: not a pattern: volumes=%s",
			      s->volumes);
		(void)err_remedy(err, "give a pattern such as 'db*', or '*' "
				 "for all of its own volumes");
		return -EINVAL;
	}
	return 0;
}

static int refuse_issued(const struct pki_dir *d, const char *name,
			 struct err *err)
{
	int64_t now_s = clock_wall_ns(d->env->clock) / (int64_t)NSEC_PER_SEC;
	size_t i;

	for (i = 0; i < d->index.n; i++) {
		const struct pki_cert *c = &d->index.certs[i];

		if (c->server || c->revoked || c->not_after_s < now_s ||
		    strcmp(c->subject.name, name))
			continue;
		(void)err_set(err, -EEXIST, "name-issued", name,
			      "issue a certificate: the name has a valid one: "
			      "serial=%s", c->serial);
		(void)err_remedy(err, "revoke it first (`understudyctl pki "
				 "revoke %s`), or use another name", name);
		return -EEXIST;
	}
	return 0;
}

/* Key and CA, which are of no use to anybody yet. */
static int out_prepare(struct out_dir *o, const struct pki_dir *d,
		       EVP_PKEY *key, struct err *err)
{
	struct pki_file f = out_next(o, 0600);
	int r = pki_write_key(o->env, &f, key, err);

	if (r < 0)
		return r;
	f = out_next(o, 0644);
	return pki_write_cert(o->env, &f, d->ca, err);
}

/* The line that was added last is taken back. */
static void index_undo(struct pki_dir *d, struct err *err)
{
	struct io *io = d->env->io;
	char name[64];
	int r;

	(void)snprintf(name, sizeof(name), "issued/%s.pem",
		       d->index.certs[d->index.n - 1].serial);
	d->index.n--;
	r = pki_save_index(d, NULL);
	if (r == 0)
		(void)io->ops->unlinkat(io, d->fd, name, 0);
	else if (err)
		(void)err_done(err, "the name stays taken until `understudyctl "
			       "pki revoke` frees it");
}

static int record(struct pki_dir *d, const struct pki_cert *c, X509 *cert,
		  struct err *err)
{
	int r = pki_index_add(&d->index, c);

	if (r < 0)
		return err_set(err, r, "no-memory", d->path,
			       "extend the index: out of memory");
	r = pki_save_issued(d, c->serial, cert, err);
	if (r == 0)
		r = pki_save_index(d, err);
	if (r < 0)
		index_undo(d, err);
	return r;
}

static int issue_into(struct pki_dir *d, const struct pki_subject *subject,
		      struct out_dir *o, struct err *err)
{
	const struct pki_signer by = pki_dir_signer(d);
	_cleanup_(evp_pkey_freep) EVP_PKEY *key = pki_key_new(err);
	_cleanup_(x509_freep) X509 *cert = NULL;
	struct pki_leaf leaf = { .subject = *subject };
	struct pki_file f;
	struct pki_cert c;
	int r;

	if (!key)
		return -EIO;
	r = pki_leaf_plan(d, &leaf, false, &c, err);
	if (r < 0)
		return r;
	cert = pki_leaf_new(&leaf, key, &by, err);
	if (!cert)
		return -EIO;
	r = out_prepare(o, d, key, err);
	if (r == 0)
		r = record(d, &c, cert, err);
	if (r < 0)
		return r;
	f = out_next(o, 0644);
	r = pki_write_cert(o->env, &f, cert, err);
	if (r < 0)
		index_undo(d, err);
	return r;
}

int pki_issue_in(const struct pki_env *env, const char *state_dir,
		 const struct pki_subject *subject, const char *out_dir,
		 struct err *err)
{
	struct out_dir o = { .env = env, .path = out_dir, .fd = -1 };
	_cleanup_(pki_dir_close) struct pki_dir d = { .env = env, .fd = -1 };
	int r;

	r = check_subject(subject, err);
	if (r == 0)
		r = pki_dir_open(env, state_dir, &d, err);
	if (r == 0)
		r = refuse_issued(&d, subject->name, err);
	if (r == 0)
		r = pki_save_crl(&d, err);
	if (r < 0)
		return r;
	r = out_open(&o, err);
	if (r == 0)
		r = issue_into(&d, subject, &o, err);
	if (r < 0) {
		out_undo(&o);
		return r;
	}
	(void)env->io->ops->close(env->io, o.fd);
	return 0;
}

int pki_issue(const char *state_dir, const struct pki_subject *subject,
	      const char *out_dir, struct err *err)
{
	const struct pki_env env = pki_env_system();

	return pki_issue_in(&env, state_dir, subject, out_dir, err);
}

/* ---- revoke ---- */

int pki_revoke_in(const struct pki_env *env, const char *state_dir,
		  const char *name, struct err *err)
{
	_cleanup_(pki_dir_close) struct pki_dir d = { .env = env, .fd = -1 };
	size_t i, found = 0;
	int64_t now_s;
	int r;

	r = pki_dir_open(env, state_dir, &d, err);
	if (r < 0)
		return r;
	now_s = clock_wall_ns(env->clock) / (int64_t)NSEC_PER_SEC;
	for (i = 0; i < d.index.n; i++) {
		struct pki_cert *c = &d.index.certs[i];

		if (c->server || strcmp(c->subject.name, name))
			continue;
		found++;
		if (c->revoked)
			continue;
		c->revoked = true;
		c->revoked_s = now_s;
	}
	if (!found) {
		(void)err_set(err, -ENOENT, "no-such-certificate", name,
			      "revoke: no certificate was issued to it");
		(void)err_remedy(err, "see `understudyctl pki list`");
		return -ENOENT;
	}
	r = pki_save_index(&d, err);
	return r < 0 ? r : pki_save_crl(&d, err);
}

int pki_revoke(const char *state_dir, const char *name, struct err *err)
{
	const struct pki_env env = pki_env_system();

	return pki_revoke_in(&env, state_dir, name, err);
}
