// SPDX-License-Identifier: Apache-2.0
/*
 * The links of the tracker's programs: attaching, pinning, adopting, and what
 * the kernel has skipped of them.
 *
 * Invariants:
 * - Links are replaced by attaching the new program first: between the two,
 *   every event is marked twice, which is harmless; never not at all.
 * - What was tracked by an earlier process counts as continuous only when the
 *   link that saw its writes begin is still pinned and is the very one that
 *   the info map names. Anything else is a hole, and a hole means: all dirty.
 *   The entries of the volumes go before the info map is written: whatever
 *   entry there is while the links are those of the info map has missed
 *   nothing.
 * - The programs' skipped runs are counted by the kernel per program; what a
 *   replaced program had missed and nobody had acted upon is a hole too.
 *
 * Any thread, under the host's lock. Pins survive the process, not the boot.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "tracker/tracker_helper.h"
#include "tracker/tracker_host.h"
#include "tracker/tracker_host_internal.h"

#include "tracker.skel.h"

/*
 * A program lies beside its link, because a descriptor of it tells what it has
 * missed, and to get one from the link takes CAP_SYS_ADMIN.
 */
static const struct {
	const char *link, *prog;
} pins[US_HOOKS] = {
	[US_HOOK_ISSUE] = { "link_issue", "prog_issue" },
	[US_HOOK_COMPLETE] = { "link_complete", "prog_complete" },
	[US_HOOK_BIO_QUEUE] = { "link_bio_queue", "prog_bio_queue" },
	[US_HOOK_BIO_COMPLETE] = { "link_bio_complete", "prog_bio_complete" },
	[US_HOOK_ISSUE_AGAIN] = { "link_issue_again", "prog_issue_again" },
	[US_HOOK_BIO_QUEUE_AGAIN] = { "link_bio_queue_again",
				      "prog_bio_queue_again" },
};

static struct bpf_program *program(const struct tracker_host *h, int hook)
{
	switch ((enum us_hook)hook) {
	case US_HOOK_ISSUE:
		return h->skel->progs.on_issue;
	case US_HOOK_COMPLETE:
		return h->skel->progs.on_complete;
	case US_HOOK_BIO_QUEUE:
		return h->skel->progs.on_bio_queue;
	case US_HOOK_BIO_COMPLETE:
		return h->skel->progs.on_bio_complete;
	case US_HOOK_ISSUE_AGAIN:
		return h->skel->progs.on_issue_again;
	case US_HOOK_BIO_QUEUE_AGAIN:
		return h->skel->progs.on_bio_queue_again;
	case US_HOOKS:
		break;
	}
	return NULL;
}

static void hook_drop(struct hook *k)
{
	if (k->link_fd >= 0)
		close(k->link_fd);
	if (k->prog_fd >= 0)
		close(k->prog_fd);
	k->link_fd = k->prog_fd = -1;
}

void hooks_init(struct hook hooks[US_HOOKS])
{
	int i;

	for (i = 0; i < US_HOOKS; i++)
		hooks[i] = (struct hook){ -1, -1 };
}

void hooks_drop(struct hook hooks[US_HOOKS])
{
	int i;

	for (i = 0; i < US_HOOKS; i++)
		hook_drop(&hooks[i]);
}

static uint32_t prog_id(int fd, uint64_t *misses, uint8_t tag[8])
{
	struct bpf_prog_info info;
	__u32 len = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return 0;
	if (misses)
		*misses = info.recursion_misses;
	if (tag)
		memcpy(tag, info.tag, sizeof(info.tag));
	return info.id;
}

static int link_ids(int fd, uint32_t *link_id, uint32_t *prog)
{
	struct bpf_link_info info;
	__u32 len = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*link_id = info.id;
	*prog = info.prog_id;
	return 0;
}

/* ---- what an earlier process left ---- */

static int program_of(struct tracker_host *h, int hook, uint32_t id)
{
	_cleanup_close_ int fd = pins_get(h->dir, pins[hook].prog);
	int r;

	if (fd >= 0 && prog_id(fd, NULL, NULL) == id)
		return TAKE_FD(fd);
	r = bpf_prog_get_fd_by_id(id);
	if (r < 0)
		return -errno;
	(void)pins_put(h->dir, pins[hook].prog, r);
	return r;
}

/* The link an earlier process pinned, when it is the one info speaks of. */
static int hook_find_old(struct tracker_host *h, struct hook *old, int hook,
			 const struct us_info *info)
{
	uint32_t id = 0, prog_now = 0;
	int r;

	old->link_fd = pins_get(h->dir, pins[hook].link);
	if (old->link_fd < 0)
		return old->link_fd;
	r = link_ids(old->link_fd, &id, &prog_now);
	if (!r && (id != info->hooks[hook].link_id ||
		   prog_now != info->hooks[hook].prog_id))
		r = -ESTALE;
	if (!r) {
		old->prog_fd = program_of(h, hook, prog_now);
		r = old->prog_fd < 0 ? old->prog_fd : 0;
	}
	if (r)
		hook_drop(old);
	return r;
}

/*
 * Entries whose writes the link that is gone should have seen begin. A second
 * program of a pair only makes up for the first.
 */
static void drop_unseen(struct tracker_host *h, uint32_t mask, uint32_t found)
{
	uint32_t i;

	for (i = 0; i < US_MAX_VOLUMES; i++) {
		uint32_t need = HOOK_BIT(h->volumes[i].by_bio
						 ? US_HOOK_BIO_QUEUE
						 : US_HOOK_ISSUE);

		if (mask & need & ~found)
			host_drop_entry(h, i);
	}
}

/* ---- attaching ---- */

static int hook_attach(struct tracker_host *h, struct hook *k, int hook,
		       struct err *err)
{
	struct bpf_program *prog = program(h, hook);
	struct bpf_link *link = bpf_program__attach(prog);
	const char *pin = pins[hook].link;
	int r;

	if (!link)
		return err_sys(err, -errno, "bpf-attach", pin,
			       "attach tracing program");
	k->link_fd = dup(bpf_link__fd(link));
	k->prog_fd = dup(bpf_program__fd(prog));
	(void)bpf_link__destroy(link);
	if (k->link_fd < 0 || k->prog_fd < 0)
		return err_sys(err, -EMFILE, "bpf-attach", pin, "keep link");
	r = pins_put(h->dir, pins[hook].prog, k->prog_fd);
	if (!r)
		r = pins_put(h->dir, pin, k->link_fd);
	if (r)
		return err_sys(err, r, "bpf-pin", pin, "pin link");
	return 0;
}

static bool same_program(int a, int b)
{
	uint8_t ta[8] = { 0 }, tb[8] = { 1 };

	return prog_id(a, NULL, ta) && prog_id(b, NULL, tb) &&
	       !memcmp(ta, tb, sizeof(ta));
}

/* What the old program missed, and nobody acted upon. */
static void note_replaced(struct tracker_host *h, int hook,
			  const struct hook *old)
{
	bool begins = hook == US_HOOK_ISSUE || hook == US_HOOK_BIO_QUEUE;
	uint64_t misses = 0;
	uint32_t i;

	(void)prog_id(old->prog_fd, &misses, NULL);
	for (i = 0; i < US_MAX_VOLUMES; i++) {
		if (begins && misses > h->seen[i].misses[hook] &&
		    h->volumes[i].by_bio == (hook == US_HOOK_BIO_QUEUE))
			host_drop_entry(h, i);
		h->seen[i].misses[hook] = 0;
	}
}

/* What the first of a pair has missed while there was no second one. */
static void drop_unpaired(struct tracker_host *h, int again)
{
	int first = again == US_HOOK_ISSUE_AGAIN ? US_HOOK_ISSUE
						 : US_HOOK_BIO_QUEUE;
	uint64_t misses = 0;
	uint32_t i;

	if (h->hooks[first].prog_fd >= 0)
		(void)prog_id(h->hooks[first].prog_fd, &misses, NULL);
	for (i = 0; i < US_MAX_VOLUMES; i++)
		if (misses > h->seen[i].misses[first] &&
		    h->volumes[i].by_bio == (first == US_HOOK_BIO_QUEUE))
			host_drop_entry(h, i);
}

/* Keep the old link when it runs this very program; else attach ours, then
 * let the old one go. */
static int hook_adopt(struct tracker_host *h, struct hook *old, int hook,
		      struct err *err)
{
	struct hook *k = &h->hooks[hook];
	uint32_t i;
	int r;

	if (old->link_fd >= 0 &&
	    same_program(old->prog_fd, bpf_program__fd(program(h, hook)))) {
		*k = *old;
		*old = (struct hook){ -1, -1 };
		return 0;
	}
	r = hook_attach(h, k, hook, err);
	if (r)
		return r;
	if (old->prog_fd >= 0)
		note_replaced(h, hook, old);
	if (hook == US_HOOK_ISSUE_AGAIN || hook == US_HOOK_BIO_QUEUE_AGAIN)
		drop_unpaired(h, hook);
	for (i = 0; i < US_MAX_VOLUMES; i++)
		h->seen[i].misses[hook] = 0;
	hook_drop(old);
	return 0;
}

static int write_info(struct tracker_host *h, struct us_info *info,
		      uint32_t mask, struct err *err)
{
	__u32 zero = 0;
	int i, r = 0;

	info->layout = US_TRACKER_LAYOUT;
	memcpy(info->node, h->node.b, sizeof(info->node));
	memset(info->state_dir, 0, sizeof(info->state_dir));
	memcpy(info->state_dir, h->state_dir,
	       strnlen(h->state_dir, sizeof(info->state_dir) - 1));
	for (i = 0; !r && i < US_HOOKS; i++) {
		if (!(mask & HOOK_BIT(i)))
			continue;
		memset(&info->hooks[i], 0, sizeof(info->hooks[i]));
		if (h->hooks[i].link_fd >= 0)
			r = link_ids(h->hooks[i].link_fd,
				     &info->hooks[i].link_id,
				     &info->hooks[i].prog_id);
	}
	if (!r && bpf_map_update_elem(h->fds.info, &zero, info, BPF_ANY))
		r = -errno;
	if (r)
		return err_sys(err, r, "bpf-pin", h->dir, "write info");
	return 0;
}

static int adopt_or_let_go(struct tracker_host *h, int hook, bool want,
			   struct hook *old, struct err *err)
{
	if (want)
		return hook_adopt(h, old, hook, err);
	(void)pins_remove(h->dir, pins[hook].link);
	(void)pins_remove(h->dir, pins[hook].prog);
	hook_drop(old);
	return 0;
}

static bool any_by_bio(const struct tracker_host *h)
{
	int i;

	for (i = 0; i < US_MAX_VOLUMES; i++)
		if (h->volumes[i].used && h->volumes[i].by_bio)
			return true;
	return false;
}

int hooks_attach(struct tracker_host *h, uint32_t mask, uint32_t want,
		 struct err *err)
{
	struct hook old[US_HOOKS];
	struct us_info info;
	uint32_t found = 0;
	__u32 zero = 0;
	int k, r = 0;

	memset(&info, 0, sizeof(info));
	hooks_init(old);
	if (!bpf_map_lookup_elem(h->fds.info, &zero, &info) &&
	    info.layout == US_TRACKER_LAYOUT)
		for (k = 0; k < US_HOOKS; k++)
			if (mask & HOOK_BIT(k) &&
			    !hook_find_old(h, &old[k], k, &info))
				found |= HOOK_BIT(k);
	/* Before info names our link: a process that dies after that leaves
	 * what the next one takes for continuous. */
	drop_unseen(h, mask, found);
	/* At a start: those for bios only while there is who needs them. */
	if (mask & HOOK_BIT(US_HOOK_ISSUE) && !any_by_bio(h))
		want &= ~HOOKS_OF_BIOS;
	for (k = 0; !r && k < US_HOOKS; k++)
		if (mask & HOOK_BIT(k))
			r = adopt_or_let_go(h, k, want & HOOK_BIT(k), &old[k],
					    err);
	hooks_drop(old);
	return r ? r : write_info(h, &info, mask, err);
}

int hooks_open_pinned(struct tracker_host *h, uint32_t mask, struct err *err)
{
	int i;

	for (i = 0; i < US_HOOKS; i++) {
		struct hook *k = &h->hooks[i];

		if (!(mask & HOOK_BIT(i)) || !pins_exist(h->dir, pins[i].link))
			continue;
		k->link_fd = pins_get(h->dir, pins[i].link);
		k->prog_fd = pins_get(h->dir, pins[i].prog);
		if (k->link_fd < 0 || k->prog_fd < 0)
			return err_sys(err, MIN(k->link_fd, k->prog_fd),
				       "bpf-pin", h->dir, "open %s",
				       pins[i].link);
	}
	return 0;
}

/* ---- what became of them ---- */

/*
 * A link stays attached as long as we have its descriptor; its pin is for the
 * time when we are gone. One that somebody has removed, or exchanged for
 * another link, is put back, and nothing was lost.
 */
static void keep_pinned(struct tracker_host *h, int hook, uint32_t id)
{
	_cleanup_close_ int fd = pins_get(h->dir, pins[hook].link);
	uint32_t there = 0, prog = 0;

	if (fd >= 0 && !link_ids(fd, &there, &prog) && there == id)
		return;
	/* Where that cannot be, a later process finds a hole and compares. */
	if (pins_put(h->dir, pins[hook].link, h->hooks[hook].link_fd))
		return;
	h->pins_restored++;
	log_warn("%s/%s: was %s, and is put back: nothing is lost", h->dir,
		 pins[hook].link, fd < 0 ? "removed" : "exchanged");
}

/* Is what we attached still attached, and runs what we loaded? */
static bool hook_is_ours(struct tracker_host *h, int hook)
{
	const struct hook *k = &h->hooks[hook];
	uint32_t id = 0, prog = 0;

	if (k->link_fd < 0 || link_ids(k->link_fd, &id, &prog) ||
	    prog != prog_id(k->prog_fd, NULL, NULL))
		return false;
	keep_pinned(h, hook, id);
	return true;
}

int hooks_examine(struct tracker_host *h, uint64_t misses[US_HOOKS],
		  uint32_t *detached)
{
	int i;

	*detached = 0;
	for (i = 0; i < US_HOOKS; i++) {
		const struct hook *k = &h->hooks[i];

		misses[i] = 0;
		if (k->prog_fd >= 0 && !prog_id(k->prog_fd, &misses[i], NULL))
			return -errno;
		if (!hook_is_ours(h, i))
			*detached |= HOOK_BIT(i);
	}
	return 0;
}

int tracker_host_detach_complete(struct tracker_host *h)
{
	LOCK_SCOPE(&h->lock);
	int r;

	(void)pins_remove(h->dir, pins[US_HOOK_BIO_COMPLETE].link);
	hook_drop(&h->hooks[US_HOOK_BIO_COMPLETE]);
	r = pins_remove(h->dir, pins[US_HOOK_COMPLETE].link);
	hook_drop(&h->hooks[US_HOOK_COMPLETE]);
	return r;
}

int tracker_host_attach_complete(struct tracker_host *h, struct err *err)
{
	LOCK_SCOPE(&h->lock);
	uint32_t want = HOOK_BIT(US_HOOK_COMPLETE);

	if (!h->skel)
		return err_set(err, -EOPNOTSUPP, "bpf-attach", h->dir,
			       "programs are attached by the helper");
	if (h->hooks[US_HOOK_BIO_QUEUE].link_fd >= 0)
		want |= HOOK_BIT(US_HOOK_BIO_COMPLETE);
	return hooks_attach(h, want, want, err);
}

int host_want_bios(struct tracker_host *h, struct err *err)
{
	struct tracker_host_config cfg = {
		.state_dir = h->state_dir, .node = h->node,
		.bpffs = h->bpffs, .add_bios = true,
	};
	LOCK_SCOPE(&h->lock);
	uint32_t want = HOOKS_OF_BIOS;
	int r;

	if (h->hooks[US_HOOK_BIO_QUEUE].link_fd >= 0)
		return 0;
	if (h->hooks[US_HOOK_ISSUE_AGAIN].link_fd < 0)
		want &= ~HOOKS_AGAIN;
	if (h->skel)
		return hooks_attach(h, HOOKS_OF_BIOS, want, err);
	r = tracker_helper_attach(&cfg, err);
	return r ? r : hooks_open_pinned(h, HOOKS_OF_BIOS, err);
}

/* ---- this kernel ---- */

static void free_btfp(struct btf **btf)
{
	btf__free(*btf);
}

/* The value of an enumerator, wherever it is; def when there is none. */
static uint32_t enumerator(const struct btf *btf, const char *name,
			   uint32_t def)
{
	uint32_t i, n = btf__type_cnt(btf);
	uint16_t e;

	for (i = 1; i < n; i++) {
		const struct btf_type *t = btf__type_by_id(btf, i);
		const struct btf_enum *values;

		if (!btf_is_enum(t))
			continue;
		values = btf_enum(t);
		for (e = 0; e < btf_vlen(t); e++)
			if (!strcmp(btf__name_by_offset(btf,
							values[e].name_off),
				    name))
				return (uint32_t)values[e].val;
	}
	return def;
}

/*
 * Since tracepoints call programs under the fast kind of SRCU (7.0), a program
 * of theirs can be interrupted, and is skipped for whoever comes meanwhile.
 * The function came one version before: on that one the second program is for
 * nothing.
 */
void hooks_learn_kernel(struct kernel_ways *out)
{
	_cleanup_(free_btfp) struct btf *btf = btf__load_vmlinux_btf();

	*out = (struct kernel_ways){ .trace_flag_bit = 64 };
	if (!btf)
		return;
	out->trace_flag_bit = enumerator(btf, "BIO_TRACE_COMPLETION", 64);
	out->interrupts_programs =
		btf__find_by_name_kind(btf, "init_srcu_struct_fast",
				       BTF_KIND_FUNC) > 0 ||
		btf__find_by_name_kind(btf, "__init_srcu_struct_fast",
				       BTF_KIND_FUNC) > 0;
}
