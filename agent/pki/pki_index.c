// SPDX-License-Identifier: Apache-2.0
/*
 * The index of an authority as text. No I/O; any thread on its own struct.
 *
 * First line "understudy-pki 1". Then one line per certificate, oldest first,
 * nine fields with one space between; no field holds a space, "-" is an empty
 * one:
 *
 *   field       example
 *   serial      5f0c... (32 hex digits)
 *   kind        peer | server
 *   state       valid | revoked
 *   not before  2026-11-21T13:00:05.000Z
 *   not after   2028-11-20T13:00:05.000Z
 *   revoked at  2027-01-02T03:04:05.000Z, or -
 *   rights      push,read, or none
 *   volumes     db*, or -
 *   name        web1
 *
 * The file is replaced as a whole, so a crash leaves the old or the new one.
 * Everything else under pki/ but the keys can be made again from it.
 */
#include "pki/pki_index.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/units.h"
#include "pki/pki_x509.h"

#define INDEX_HEADER "understudy-pki 1"
#define N_FIELDS 9

void pki_index_free(struct pki_index *ix)
{
	free(ix->certs);
	*ix = (struct pki_index){ 0 };
}

int pki_index_add(struct pki_index *ix, const struct pki_cert *c)
{
	if (ix->n == ix->cap) {
		size_t cap = ix->cap ? ix->cap * 2 : 16;
		struct pki_cert *p = reallocarray(ix->certs, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		ix->certs = p;
		ix->cap = cap;
	}
	ix->certs[ix->n++] = *c;
	return 0;
}

static int read_time(const char *s, int64_t *out_s)
{
	int64_t ns;

	if (time_parse(s, 0, &ns))
		return -EBADMSG;
	*out_s = ns / (int64_t)NSEC_PER_SEC;
	return 0;
}

static void format_time(int64_t s, char out[32])
{
	time_format_utc(s * (int64_t)NSEC_PER_SEC, out);
}

/* One of two words. */
static int read_choice(const char *s, const char *no, const char *yes,
		       bool *out)
{
	*out = !strcmp(s, yes);
	return *out || !strcmp(s, no) ? 0 : -EBADMSG;
}

static bool serial_is_valid(const char *s)
{
	return strlen(s) == (size_t)2 * PKI_SERIAL_BYTES &&
	       strspn(s, "0123456789abcdef") == (size_t)2 * PKI_SERIAL_BYTES;
}

static int fields_to_cert(char *const f[N_FIELDS], struct pki_cert *c)
{
	const char *volumes = strcmp(f[7], "-") ? f[7] : "";

	if (!serial_is_valid(f[0]) ||
	    read_choice(f[1], "peer", "server", &c->server) ||
	    read_choice(f[2], "valid", "revoked", &c->revoked) ||
	    read_time(f[3], &c->not_before_s) ||
	    read_time(f[4], &c->not_after_s) ||
	    (c->revoked ? read_time(f[5], &c->revoked_s) :
			  strcmp(f[5], "-") != 0) ||
	    pki_rights_read(f[6], &c->subject.rights) ||
	    (volumes[0] && !pki_pattern_is_valid(volumes)) ||
	    !name_is_valid(f[8]))
		return -EBADMSG;
	(void)snprintf(c->serial, sizeof(c->serial), "%s", f[0]);
	(void)snprintf(c->subject.volumes, sizeof(c->subject.volumes), "%s",
		       volumes);
	(void)snprintf(c->subject.name, sizeof(c->subject.name), "%s", f[8]);
	return 0;
}

/* Cuts line up. */
static int line_to_cert(char *line, struct pki_cert *c)
{
	char *f[N_FIELDS];
	size_t n = 0;

	while (line) {
		if (n == N_FIELDS)
			return -EBADMSG;
		f[n++] = strsep(&line, " ");
	}
	return n == N_FIELDS ? fields_to_cert(f, c) : -EBADMSG;
}

static int damaged(struct err *err, const char *path, unsigned long line)
{
	(void)err_set(err, -EBADMSG, "pki-damaged", path,
		      "read the index: malformed: line=%lu", line);
	(void)err_remedy(err, "restore the file from a backup, or correct the "
			 "line; issued/ holds every certificate");
	return -EBADMSG;
}

int pki_index_parse(const char *text, const char *path, struct pki_index *out,
		    struct err *err)
{
	_cleanup_(pki_index_free) struct pki_index ix = { 0 };
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *line;
	unsigned long number;

	if (!copy)
		return err_set(err, -ENOMEM, "no-memory", path,
			       "read the index: out of memory");
	line = strsep(&rest, "\n");
	if (strcmp(line, INDEX_HEADER))
		return damaged(err, path, 1);
	/* The last line ends too: what follows its newline is empty. */
	for (number = 2; rest && *rest; number++) {
		struct pki_cert c = { 0 };

		line = strsep(&rest, "\n");
		if (!rest || line_to_cert(line, &c))
			return damaged(err, path, number);
		if (pki_index_add(&ix, &c))
			return err_set(err, -ENOMEM, "no-memory", path,
				       "read the index: out of memory");
	}
	if (!rest)
		return damaged(err, path, number);
	*out = ix;
	ix = (struct pki_index){ 0 };
	return 0;
}

static void format_cert(const struct pki_cert *c, struct buf *out)
{
	char from[32], to[32], revoked[32] = "-", rights[48], line[640];
	int n;

	format_time(c->not_before_s, from);
	format_time(c->not_after_s, to);
	if (c->revoked)
		format_time(c->revoked_s, revoked);
	pki_rights_format(c->subject.rights, rights);
	n = snprintf(line, sizeof(line), "%s %s %s %s %s %s %s %s %s\n",
		     c->serial, c->server ? "server" : "peer",
		     c->revoked ? "revoked" : "valid", from, to, revoked,
		     rights, c->subject.volumes[0] ? c->subject.volumes : "-",
		     c->subject.name);
	if (n < 0 || (size_t)n >= sizeof(line))
		out->failed = true;
	else
		buf_put(out, line, (size_t)n);
}

void pki_index_format(const struct pki_index *ix, struct buf *out)
{
	size_t i;

	buf_put(out, INDEX_HEADER "\n", strlen(INDEX_HEADER "\n"));
	for (i = 0; i < ix->n; i++)
		format_cert(&ix->certs[i], out);
}
