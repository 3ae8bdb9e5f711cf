// SPDX-License-Identifier: Apache-2.0
/*
 * `pki init|renew|issue|list|revoke`: work on the files of a replica's state; a
 * daemon need not run. One that does reads what has changed on SIGHUP.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/units.h"
#include "control/state.h"
#include "output.h"
#include "pki/pki.h"
#include "places.h"

static int find_state(const struct ctl *ctl, struct places *out,
		      struct err *err)
{
	/* What is made here holds keys. */
	(void)umask(077);
	return places_find(ctl, out, err);
}

/* Tells of ret < 0; otherwise prints text, or j (taken). */
static int finish(const struct ctl *ctl, int ret, const struct err *err,
		  const char *text, json_t *j)
{
	if (ret < 0)
		ret = output_failure(ctl->json, err);
	else if (ctl->json)
		ret = j ? output_json(j) : CTL_EXIT_FAILED;
	else
		ret = puts(text) < 0 ? CTL_EXIT_FAILED : CTL_EXIT_DONE;
	json_decref(j);
	return ret;
}

/* ---- init ---- */

struct init_args {
	struct opt_list sans;
};

const struct opt pki_init_opts[] = {
	{ "--san", OPT_LIST, offsetof(struct init_args, sans), "NAME",
	  "a name or address that sources know this replica by" },
	{ 0 },
};

int cmd_pki_init(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct init_args *a = o;
	struct err err = ERR_INIT;
	struct places places;
	char text[700] = "";
	int ret;

	(void)args, (void)n_args;
	ret = find_state(ctl, &places, &err);
	if (!ret)
		ret = state_make_dir(places.state, &err);
	if (!ret)
		ret = pki_init(places.state, a->sans.items, a->sans.n, &err);
	if (ret == -EEXIST && !*err.remedy)
		err_remedy(&err, "keep it: sources trust it");
	if (ret >= 0)
		(void)snprintf(text, sizeof(text),
			       "authority and server certificate made in "
			       "%s/pki", places.state);
	return finish(ctl, ret, &err, text,
		      ret < 0 ? NULL :
				json_pack("{s:o}", "state",
					  ctl_text_json(places.state)));
}

/* ---- renew ---- */

int cmd_pki_renew(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct init_args *a = o;
	struct err err = ERR_INIT;
	struct places places;
	int ret;

	(void)args, (void)n_args;
	ret = find_state(ctl, &places, &err);
	if (!ret)
		ret = pki_server_renew(places.state, a->sans.items, a->sans.n,
				       &err);
	return finish(ctl, ret, &err,
		      "server certificate made anew; a replica that runs takes "
		      "it up on SIGHUP",
		      ret < 0 ? NULL :
				json_pack("{s:o}", "state",
					  ctl_text_json(places.state)));
}

/* ---- issue ---- */

struct issue_args {
	const char *rights, *volumes, *out;
};

const struct opt pki_issue_opts[] = {
	{ "--rights", OPT_TEXT, offsetof(struct issue_args, rights), "LIST",
	  "of push, read, promote, admin" },
	{ "--volumes", OPT_TEXT, offsetof(struct issue_args, volumes),
	  "PATTERN", "NAME pattern of its own, or SOURCE/NAME pattern" },
	{ "--out", OPT_TEXT, offsetof(struct issue_args, out), "DIR",
	  "where ca.pem, cert.pem and key.pem go" },
	{ 0 },
};

static int usage(struct err *err, const char *what, const char *text)
{
	err_set(err, -EINVAL, "usage", what, "%s", text);
	err_remedy(err, "usage: understudyctl pki issue NAME --rights "
		   "push,read --volumes PATTERN --out DIR");
	return -EINVAL;
}

static int make_subject(const char *name, const struct issue_args *a,
			struct pki_subject *s, struct err *err)
{
	memset(s, 0, sizeof(*s));
	if (!a->rights || !a->volumes || !a->out)
		return usage(err,
			     !a->rights  ? "--rights" :
			     !a->volumes ? "--volumes" :
					   "--out",
			     "is missing");
	if (!name_is_valid(name))
		return usage(err, name, "is no name: 1 to 64 of A-Z a-z 0-9 . "
			     "_ -, not starting with . or -");
	if (!pki_pattern_is_valid(a->volumes))
		return usage(err, a->volumes, "is no pattern of volumes");
	s->rights = pki_rights_parse(a->rights);
	if (!s->rights)
		return usage(err, a->rights,
			     "is no list of push, read, promote, admin");
	strcpy(s->name, name);
	(void)snprintf(s->volumes, sizeof(s->volumes), "%s", a->volumes);
	return 0;
}

int cmd_pki_issue(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct issue_args *a = o;
	struct err err = ERR_INIT;
	struct pki_subject subject;
	struct places places;
	char text[700] = "";
	int ret;

	(void)n_args;
	ret = make_subject(args[0], a, &subject, &err);
	if (!ret)
		ret = find_state(ctl, &places, &err);
	if (!ret)
		ret = pki_issue(places.state, &subject, a->out, &err);
	if (ret < 0)
		return output_failure(ctl->json, &err);
	(void)snprintf(text, sizeof(text),
		       "certificate of %s written to %s; take the directory to "
		       "that host", subject.name, a->out);
	return finish(ctl, 0, &err, text,
		      json_pack("{s:s,s:o}", "name", subject.name, "out",
				ctl_text_json(a->out)));
}

/* ---- list ---- */

struct listing {
	struct output_table *table;	/* NULL: JSON */
	json_t *rows;
};

static json_t *rights_json(uint32_t rights)
{
	json_t *list = json_array();
	char text[48], *word, *rest = text;

	pki_rights_format(rights, text);
	while (list && rights && (word = strsep(&rest, ",")))
		json_array_append_new(list, json_string(word));
	return list;
}

static int add_json(json_t *rows, const struct pki_cert *c)
{
	const int64_t s = (int64_t)NSEC_PER_SEC;
	json_t *row = json_pack(
		"{s:s,s:s,s:o,s:o,s:o,s:o,s:b,s:o,s:b}", "serial", c->serial,
		"name", c->subject.name, "rights",
		rights_json(c->subject.rights), "volumes",
		ctl_text_json(c->subject.volumes), "not_before",
		ctl_time_json(c->not_before_s * s), "not_after",
		ctl_time_json(c->not_after_s * s), "revoked", c->revoked,
		"revoked_at",
		c->revoked_s ? ctl_time_json(c->revoked_s * s) : json_null(),
		"server", c->server);

	return json_array_append_new(rows, row) ? -ENOMEM : 0;
}

static int add_cert(void *arg, const struct pki_cert *c)
{
	struct listing *l = arg;
	char text[48];

	if (!l->table)
		return add_json(l->rows, c);
	output_table_row(l->table);
	output_table_cell(l->table, c->subject.name);
	output_table_cell(l->table, c->server ? "server" : "client");
	pki_rights_format(c->subject.rights, text);
	output_table_cell(l->table, c->server ? "-" : text);
	output_table_cell(l->table, c->server ? "-" : c->subject.volumes);
	time_format_utc(c->not_after_s * (int64_t)NSEC_PER_SEC, text);
	/* A certificate's time has no fraction. */
	(void)strcpy(text + 19, "Z");
	output_table_cell(l->table, text);
	output_table_cell(l->table, c->revoked ? "revoked" : "valid");
	output_table_cell(l->table, c->serial);
	return 0;
}

int cmd_pki_list(struct ctl *ctl, void *o, char **args, int n_args)
{
	static const struct output_column columns[] = {
		{ "NAME", false },   { "USE", false },	 { "RIGHTS", false },
		{ "VOLUMES", false }, { "UNTIL", false }, { "STATE", false },
		{ "SERIAL", false },
	};
	struct err err = ERR_INIT;
	struct places places;
	struct listing l = { 0 };
	json_t *j;
	int ret;

	(void)o, (void)args, (void)n_args;
	l.rows = json_array();
	j = json_pack("{s:o}", "certificates", l.rows);
	if (!ctl->json)
		l.table = output_table_new(columns, 7);
	ret = find_state(ctl, &places, &err);
	if (!ret)
		ret = pki_list(places.state, add_cert, &l, &err);
	if (ret < 0) {
		err_sys(&err, ret, "failed", places.state,
			"list the certificates");
		output_table_free(l.table);
		json_decref(j);
		return output_failure(ctl->json, &err);
	}
	ret = ctl->json ? output_json(j) : output_table_end(l.table);
	json_decref(j);
	return ret;
}

/* ---- revoke ---- */

int cmd_pki_revoke(struct ctl *ctl, void *o, char **args, int n_args)
{
	struct err err = ERR_INIT;
	struct places places;
	char text[200];
	int ret;

	(void)o, (void)n_args;
	ret = find_state(ctl, &places, &err);
	if (!ret)
		ret = pki_revoke(places.state, args[0], &err);
	(void)snprintf(text, sizeof(text),
		       "certificates of %.64s revoked; a replica that runs "
		       "ends their sessions at once", args[0]);
	return finish(ctl, ret, &err, text,
		      ret < 0 ? NULL :
				json_pack("{s:o}", "name",
					  ctl_text_json(args[0])));
}
