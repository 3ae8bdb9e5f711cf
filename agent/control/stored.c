// SPDX-License-Identifier: Apache-2.0
/* Finding volumes and points of a store; restores as JSON. Any thread. */
#include "control/stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "control/ctlproto.h"

struct candidates {
	const char *name;
	char list[256];
};

static int add_candidate(void *arg, const struct volume_info *v)
{
	struct candidates *c = arg;
	size_t n = strlen(c->list);

	if (!strcmp(v->name, c->name))
		(void)snprintf(c->list + n, sizeof(c->list) - n, "%s%s/%s",
			       n ? ", " : "", v->source, v->name);
	return 0;
}

int stored_find_volume(struct store *s, const struct volume_name *name,
		       struct volume_info *out, struct err *err)
{
	struct candidates c = { .name = name->name };
	const char *source = *name->source ? name->source : NULL;
	int ret = store_volume_by_name(s, source, name->name, out);
	struct uuid uuid;

	/* What is no name here may be a UUID, which is one for ever. */
	if (ret == -ENOENT && !source && !uuid_parse(name->name, &uuid))
		ret = store_volume_by_uuid(s, &uuid, out);
	if (ret == -ENOENT) {
		err_set(err, ret, "no-volume", name->name,
			"there is no volume %s%s%s here", name->source,
			source ? "/" : "", name->name);
		err_remedy(err, "`understudyctl status` lists the volumes");
		return ret;
	}
	if (ret == -ENOTUNIQ) {
		(void)store_volumes(s, add_candidate, &c);
		err_set(err, ret, "ambiguous", name->name,
			"several volumes have that name: %s", c.list);
		err_remedy(err, "name one of them in full");
		return ret;
	}
	return ret < 0 ? err_sys(err, ret, "store", name->name,
				 "look it up in the store") :
			 0;
}

int stored_find_point(struct store *s, const struct volume_info *v,
		      const struct selector *sel, struct point_info *out,
		      struct err *err)
{
	char full[SELECTOR_VOLUME_SIZE];
	int ret = -ENOENT;

	switch (sel->kind) {
	case SELECTOR_LATEST:
		ret = store_point_at(s, &v->uuid, INT64_MAX, out);
		break;
	case SELECTOR_SEQ:
		ret = store_point_find(s, &v->uuid, sel->epoch, sel->seq, out);
		break;
	case SELECTOR_LABEL:
		ret = store_point_labelled(s, &v->uuid, sel->label, out);
		break;
	case SELECTOR_TIME:
		ret = store_point_at(s, &v->uuid, sel->wall_ns, out);
		break;
	}
	if (ret >= 0)
		return 0;
	(void)snprintf(full, sizeof(full), "%s/%s", v->source, v->name);
	if (ret != -ENOENT)
		return err_sys(err, ret, "store", full, "find the point");
	err_set(err, ret, "no-point", full, "there is no such point");
	err_remedy(err, "`understudyctl points %s` lists them", full);
	return ret;
}

json_t *restore_progress_json(const struct restore_progress *p)
{
	return json_pack("{s:s,s:I,s:I,s:I,s:I}", "phase",
			 p->verified_bytes ? "verify" : "write", "done_bytes",
			 (json_int_t)p->done_bytes, "total_bytes",
			 (json_int_t)p->total_bytes, "written_bytes",
			 (json_int_t)p->written_bytes, "verified_bytes",
			 (json_int_t)p->verified_bytes);
}

json_t *restore_result_json(const struct image *im,
			    const struct restore_result *rr, uint64_t took_ns)
{
	const struct point_meta *m = &im->point.meta;
	const char *kind = point_kind_name(m->kind);

	return json_pack("{s:o,s:I,s:I,s:o,s:s,s:o,s:I,s:I,s:I,s:I,s:o}",
			 "volume", ctl_text_json(im->name), "seq",
			 (json_int_t)m->seq, "epoch", (json_int_t)m->epoch,
			 "time", ctl_time_json(m->flip_wall_ns), "kind",
			 kind ? kind : "unknown", "label",
			 ctl_text_json(m->label), "image_bytes",
			 (json_int_t)rr->image_bytes, "written_bytes",
			 (json_int_t)rr->written_bytes, "zero_bytes",
			 (json_int_t)rr->zero_bytes, "verified_bytes",
			 (json_int_t)rr->verified_bytes, "seconds",
			 ctl_seconds_json(took_ns));
}

bool restore_was_untouched(const struct restore_result *rr,
			   const struct err *err)
{
	/* What restore_run finds out before it touches anything. */
	static const char *const before[] = { "wrong-key", "key-generation",
					      "bad-range",
					      "bad-target",
					      "target-too-small" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(before); i++)
		if (!strcmp(err->code, before[i]))
			return !rr->written_bytes && !rr->zero_bytes;
	return false;
}

const char *scrub_finding_what(const struct damage *d)
{
	if (d->seal)
		return "seal";
	switch (d->kind) {
	case DAMAGE_POINT:
		return "point";
	case DAMAGE_PART:
		return "index";
	case DAMAGE_UNIT:
		break;
	}
	return "data";
}

static json_t *findings_json(const struct scrub_report *rep)
{
	json_t *list = json_array();
	char segment[UUID_TEXT_SIZE];
	size_t i;

	for (i = 0; list && i < rep->n_findings && i < SCRUB_FINDINGS_MAX;
	     i++) {
		const struct scrub_finding *f = &rep->findings[i];
		const struct damage *d = &f->d;

		uuid_format(&d->segment, segment);
		(void)json_array_append_new(
			list,
			json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "what",
				  scrub_finding_what(d), "segment", segment,
				  "segment_offset", (json_int_t)d->off,
				  "segment_bytes", (json_int_t)d->bytes,
				  "offset_bytes",
				  (json_int_t)(d->first << US_BLOCK_SHIFT),
				  "length_bytes",
				  (json_int_t)(d->count << US_BLOCK_SHIFT),
				  "first_seq", (json_int_t)f->first_seq,
				  "last_seq", (json_int_t)f->last_seq));
	}
	return list;
}

json_t *scrub_report_json(const char *volume, const struct scrub_report *rep,
			  bool with_key, uint64_t took_ns)
{
	return json_pack(
		"{s:s,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:o,s:o}", "volume",
		volume, "with_key", with_key, "points",
		(json_int_t)rep->points, "damaged_points",
		(json_int_t)rep->damaged_points, "segments",
		(json_int_t)rep->segments, "read_bytes",
		(json_int_t)rep->read_bytes, "opened_units",
		(json_int_t)rep->units, "unopened_units",
		(json_int_t)rep->unopened_units, "loose_bytes",
		(json_int_t)rep->loose_bytes, "truncated",
		rep->n_findings > SCRUB_FINDINGS_MAX, "findings",
		findings_json(rep), "seconds", ctl_seconds_json(took_ns));
}
