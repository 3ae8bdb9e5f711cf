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
 * - A program that marks in other maps than those that are pinned has marked
 *   nothing that counts.
 * - Copies of a kind are called in the order of their attaching, and count
 *   together (tracker_unseen.c): those that follow requests are adopted all or
 *   replaced all, and so are those that follow bios.
 * - What the replaced ones had not seen, and nobody had acted upon, is a hole.
 *
 * Any thread, under the host's lock. Pins survive the process, not the boot.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "tracker/tracker_helper.h"
#include "tracker/tracker_host.h"
#include "tracker/tracker_host_internal.h"

#include "tracker.skel.h"

#define NAME_MAX_HERE 32
/* More than any of ours uses. */
#define PROGRAM_MAPS_MAX 32

static const char *const kinds[US_HOOK_KINDS] = {
	[US_HOOK_ISSUE] = "issue",
	[US_HOOK_COMPLETE] = "complete",
	[US_HOOK_BIO_QUEUE] = "bio_queue",
	[US_HOOK_BIO_COMPLETE] = "bio_complete",
};

/*
 * A pin's name. A program lies beside its link, because a descriptor of it
 * tells what it has missed, and to get one from the link takes CAP_SYS_ADMIN.
 */
static const char *pin_of(const char *what, int hook, char out[NAME_MAX_HERE])
{
	int copy = hook / US_HOOK_KINDS;

	(void)snprintf(out, NAME_MAX_HERE, copy ? "%s_%s_%d" : "%s_%s", what,
		       kinds[hook % US_HOOK_KINDS], copy);
	return out;
}

static struct bpf_program *program_in(const struct tracker_bpf *skel, int hook)
{
	char name[NAME_MAX_HERE];

	(void)snprintf(name, sizeof(name), "on_%s_%d",
		       kinds[hook % US_HOOK_KINDS], hook / US_HOOK_KINDS);
	return bpf_object__find_program_by_name(skel->obj, name);
}

/* Where the programs of a family are loaded. */
static struct tracker_bpf *skel_of(const struct tracker_host *h, uint32_t mask)
{
	return mask & HOOKS_OF_BIOS && h->bios_skel ? h->bios_skel : h->skel;
}

static struct bpf_program *program(const struct tracker_host *h, int hook)
{
	return program_in(skel_of(h, HOOK_BIT(hook)), hook);
}

void hooks_choose(struct tracker_bpf *skel, uint32_t want)
{
	int i;

	for (i = 0; i < US_HOOKS; i++)
		(void)bpf_program__set_autoload(program_in(skel, i),
						want & HOOK_BIT(i));
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

uint32_t hook_prog_id(int fd, uint64_t *misses, uint8_t tag[8])
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

int hook_link_ids(int fd, uint32_t *link_id, uint32_t *prog)
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
	char name[NAME_MAX_HERE];
	_cleanup_close_ int fd = pins_get(h->dir, pin_of("prog", hook, name));
	int r;

	if (fd >= 0 && hook_prog_id(fd, NULL, NULL) == id)
		return TAKE_FD(fd);
	r = bpf_prog_get_fd_by_id(id);
	if (r < 0)
		return -errno;
	(void)pins_put(h->dir, name, r);
	return r;
}

static uint32_t map_id(int fd)
{
	struct bpf_map_info info;
	__u32 len = sizeof(info);

	memset(&info, 0, sizeof(info));
	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

/* Does the program use this map? Its tag does not say. */
static bool uses_map(int prog_fd, int map_fd)
{
	__u32 ids[PROGRAM_MAPS_MAX] = { 0 }, want = map_id(map_fd), i;
	struct bpf_prog_info info;
	__u32 len = sizeof(info);

	memset(&info, 0, sizeof(info));
	info.nr_map_ids = PROGRAM_MAPS_MAX;
	info.map_ids = (__u64)(uintptr_t)ids;
	if (!want || bpf_obj_get_info_by_fd(prog_fd, &info, &len))
		return false;
	for (i = 0; i < info.nr_map_ids && i < PROGRAM_MAPS_MAX; i++)
		if (ids[i] == want)
			return true;
	return false;
}

/* Does what it marks reach us? */
static bool marks_in_ours(const struct tracker_host *h, int prog_fd)
{
	return uses_map(prog_fd, h->fds.disks) &&
	       uses_map(prog_fd, h->fds.volumes) &&
	       uses_map(prog_fd, h->fds.groups) &&
	       uses_map(prog_fd, h->fds.counters) &&
	       uses_map(prog_fd, h->fds.pages);
}

/* The link an earlier process pinned, when it is the one info speaks of. */
static int hook_find_old(struct tracker_host *h, struct hook *old, int hook,
			 const struct us_info *info)
{
	char name[NAME_MAX_HERE];
	uint32_t id = 0, prog_now = 0;
	int r;

	old->link_fd = pins_get(h->dir, pin_of("link", hook, name));
	if (old->link_fd < 0)
		return old->link_fd;
	r = hook_link_ids(old->link_fd, &id, &prog_now);
	if (!r && (id != info->hooks[hook].link_id ||
		   prog_now != info->hooks[hook].prog_id))
		r = -ESTALE;
	if (!r) {
		old->prog_fd = program_of(h, hook, prog_now);
		r = old->prog_fd < 0 ? old->prog_fd : 0;
	}
	if (!r && !marks_in_ours(h, old->prog_fd))
		r = -ESTALE;
	if (r)
		hook_drop(old);
	return r;
}

/* Entries whose writes the link that is gone should have seen begin; another
 * copy only makes up for the first. */
static void drop_unseen(struct tracker_host *h, uint32_t mask, uint32_t found)
{
	uint32_t i;

	for (i = 0; i < US_MAX_VOLUMES; i++) {
		uint32_t need = HOOK_BIT(volume_begin(&h->volumes[i]));

		if (mask & need & ~found)
			host_drop_entry(h, i);
	}
}

/* ---- attaching ---- */

static int hook_attach(struct tracker_host *h, int hook, struct err *err)
{
	struct bpf_program *prog = program(h, hook);
	struct bpf_link *link = bpf_program__attach(prog);
	struct hook *k = &h->hooks[hook];
	char name[NAME_MAX_HERE];
	int r;

	(void)pin_of("link", hook, name);
	if (!link)
		return err_sys(err, -errno, "bpf-attach", name,
			       "attach tracing program");
	k->link_fd = dup(bpf_link__fd(link));
	k->prog_fd = dup(bpf_program__fd(prog));
	(void)bpf_link__destroy(link);
	if (k->link_fd < 0 || k->prog_fd < 0)
		return err_sys(err, -EMFILE, "bpf-attach", name, "keep link");
	r = pins_put(h->dir, pin_of("prog", hook, name), k->prog_fd);
	if (!r)
		r = pins_put(h->dir, pin_of("link", hook, name), k->link_fd);
	if (r)
		return err_sys(err, r, "bpf-pin", name, "pin link");
	return 0;
}

static bool same_program(int a, int b)
{
	uint8_t ta[8] = { 0 }, tb[8] = { 1 };

	return hook_prog_id(a, NULL, ta) && hook_prog_id(b, NULL, tb) &&
	       !memcmp(ta, tb, sizeof(ta));
}

/* Those that are called for one sort of device. */
static const struct family {
	uint32_t mask;
	const char *pairs;		/* the pin of what its copies count */
} families[FAMILIES] = {
	[FAMILY_REQUESTS] = { HOOKS_OF_REQUESTS, "pairs_requests" },
	[FAMILY_BIOS] = { HOOKS_OF_BIOS, "pairs_bios" },
};

/* Is each one wanted there, and this very program, and no other there? */
static bool are_the_same(const struct tracker_host *h, uint32_t mask,
			 uint32_t want, const struct hook *old)
{
	int i;

	for (i = 0; i < US_HOOKS; i++) {
		if (!(mask & HOOK_BIT(i)))
			continue;
		if (!(want & HOOK_BIT(i)) != (old[i].link_fd < 0))
			return false;
		if (want & HOOK_BIT(i) &&
		    !same_program(old[i].prog_fd,
				  bpf_program__fd(program(h, i))))
			return false;
	}
	return true;
}

/* What counts for the copies that are adopted must be what they count in. */
static bool adopt_pairs(struct tracker_host *h, enum family_no no,
			uint32_t want, const struct hook *old)
{
	int first = no == FAMILY_BIOS ? US_HOOK_BIO_QUEUE : US_HOOK_ISSUE;
	int fd;

	if (!(want & HOOKS_FURTHER))
		return true;
	fd = pins_get(h->dir, families[no].pairs);
	if (fd < 0 || !uses_map(old[first].prog_fd, fd)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	h->pairs_fd[no] = fd;
	return true;
}

/* What the old ones had not seen, and nobody acted upon, is a hole. */
static void note_unseen(struct tracker_host *h, int kind, int old_fd,
			int pairs_fd)
{
	uint64_t unseen = 0;
	bool is_known = !hook_unseen(old_fd, uses_map(old_fd, pairs_fd)
						     ? pairs_fd : -1,
				     kind, &unseen);
	uint32_t i;

	for (i = 0; i < US_MAX_VOLUMES; i++)
		if (volume_begin(&h->volumes[i]) == kind &&
		    (!is_known ||
		     (int64_t)(unseen - h->seen[i].unseen[kind]) > 0))
			host_drop_entry(h, i);
}

static void note_replaced(struct tracker_host *h, enum family_no no,
			  const struct hook *old, int pairs_fd)
{
	uint32_t i;
	int kind;

	for (kind = 0; kind < US_HOOK_KINDS; kind++) {
		if (!(families[no].mask & HOOK_BIT(kind)))
			continue;
		if (old[kind].prog_fd >= 0)
			note_unseen(h, kind, old[kind].prog_fd, pairs_fd);
		for (i = 0; i < US_MAX_VOLUMES; i++)
			h->seen[i].unseen[kind] = 0;
	}
}

/* In their order; the old ones go on meanwhile. What they count is pinned
 * before, so that who dies in between leaves none that seem to have caught. */
static int replace(struct tracker_host *h, enum family_no no, uint32_t want,
		   const struct hook *old, struct err *err)
{
	const char *pin = families[no].pairs;
	_cleanup_close_ int old_pairs = pins_get(h->dir, pin);
	int i, r;

	h->pairs_fd[no] = dup(bpf_map__fd(
		skel_of(h, families[no].mask)->maps.pairs));
	r = h->pairs_fd[no] < 0 ? -errno
				: pins_put(h->dir, pin, h->pairs_fd[no]);
	if (r)
		return err_sys(err, r, "bpf-pin", h->dir, "pin %s", pin);
	for (i = 0; !r && i < US_HOOKS; i++)
		if (want & HOOK_BIT(i))
			r = hook_attach(h, i, err);
	if (!r)
		note_replaced(h, no, old, old_pairs);
	return r;
}

static void let_go(struct tracker_host *h, uint32_t mask)
{
	char name[NAME_MAX_HERE];
	int i;

	for (i = 0; i < US_HOOKS; i++) {
		if (!(mask & HOOK_BIT(i)))
			continue;
		(void)pins_remove(h->dir, pin_of("link", i, name));
		(void)pins_remove(h->dir, pin_of("prog", i, name));
	}
}

/* Keep the old ones when they run these very programs; else attach ours, then
 * let the old ones go. */
static int family_attach(struct tracker_host *h, enum family_no no,
			 uint32_t want, struct hook *old, struct err *err)
{
	uint32_t mask = families[no].mask;
	int i, r = 0;

	want &= mask;
	if (want && are_the_same(h, mask, want, old) &&
	    adopt_pairs(h, no, want, old)) {
		for (i = 0; i < US_HOOKS; i++) {
			if (!(want & HOOK_BIT(i)))
				continue;
			h->hooks[i] = old[i];
			old[i] = (struct hook){ -1, -1 };
		}
		return 0;
	}
	if (want)
		r = replace(h, no, want, old, err);
	else
		(void)pins_remove(h->dir, families[no].pairs);
	if (!r)
		let_go(h, mask & ~want);
	return r;
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
			r = hook_link_ids(h->hooks[i].link_fd,
					  &info->hooks[i].link_id,
					  &info->hooks[i].prog_id);
	}
	if (!r && bpf_map_update_elem(h->fds.info, &zero, info, BPF_ANY))
		r = -errno;
	if (r)
		return err_sys(err, r, "bpf-pin", h->dir, "write info");
	return 0;
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
	for (k = 0; !r && k < FAMILIES; k++)
		if (mask & families[k].mask)
			r = family_attach(h, (enum family_no)k, want, old, err);
	hooks_drop(old);
	return r ? r : write_info(h, &info, mask, err);
}

int hooks_open_pinned(struct tracker_host *h, uint32_t mask, struct err *err)
{
	char name[NAME_MAX_HERE];
	int i;

	for (i = 0; i < US_HOOKS; i++) {
		struct hook *k = &h->hooks[i];

		if (!(mask & HOOK_BIT(i)) ||
		    !pins_exist(h->dir, pin_of("link", i, name)))
			continue;
		k->link_fd = pins_get(h->dir, name);
		k->prog_fd = pins_get(h->dir, pin_of("prog", i, name));
		if (k->link_fd < 0 || k->prog_fd < 0)
			return err_sys(err, MIN(k->link_fd, k->prog_fd),
				       "bpf-pin", h->dir, "open %s", name);
	}
	for (i = 0; i < FAMILIES; i++) {
		if (!(mask & families[i].mask) ||
		    !pins_exist(h->dir, families[i].pairs))
			continue;
		h->pairs_fd[i] = pins_get(h->dir, families[i].pairs);
		if (h->pairs_fd[i] < 0)
			return err_sys(err, h->pairs_fd[i], "bpf-pin", h->dir,
				       "open %s", families[i].pairs);
	}
	return 0;
}

int hook_pin_again(struct tracker_host *h, int hook, bool *was_removed)
{
	char name[NAME_MAX_HERE];
	_cleanup_close_ int fd = pins_get(h->dir, pin_of("link", hook, name));
	uint32_t ours = 0, there = 0, prog = 0;
	int r = hook_link_ids(h->hooks[hook].link_fd, &ours, &prog);

	if (r)
		return r;
	if (fd >= 0 && !hook_link_ids(fd, &there, &prog) && there == ours)
		return 0;
	*was_removed = fd < 0;
	r = pins_put(h->dir, name, h->hooks[hook].link_fd);
	return r ? r : 1;
}

/* ---- later, and for tests ---- */

#define COMPLETIONS (HOOK_BIT(US_HOOK_COMPLETE) * COPIES_OF_ONE)
#define BIO_COMPLETIONS (HOOK_BIT(US_HOOK_BIO_COMPLETE) * COPIES_OF_ONE)

static int detach(struct tracker_host *h, uint32_t mask)
{
	LOCK_SCOPE(&h->lock);
	int i;

	let_go(h, mask);
	for (i = 0; i < US_HOOKS; i++)
		if (mask & HOOK_BIT(i))
			hook_drop(&h->hooks[i]);
	return 0;
}

int tracker_host_detach_complete(struct tracker_host *h)
{
	return detach(h, COMPLETIONS | BIO_COMPLETIONS);
}

int tracker_host_detach_copy(struct tracker_host *h, int copy)
{
	return detach(h, (HOOK_BIT(US_HOOK_KINDS) - 1U)
				 << copy * US_HOOK_KINDS);
}

int tracker_host_attach_complete(struct tracker_host *h, struct err *err)
{
	LOCK_SCOPE(&h->lock);
	uint32_t mask = COMPLETIONS;
	struct us_info info;
	__u32 zero = 0;
	int i, r = 0;

	if (!h->skel)
		return err_set(err, -EOPNOTSUPP, "bpf-attach", h->dir,
			       "programs are attached by the helper");
	if (h->hooks[US_HOOK_BIO_QUEUE].link_fd >= 0)
		mask |= BIO_COMPLETIONS;
	for (i = 0; !r && i < US_HOOKS; i++)
		if (mask & HOOK_BIT(i) &&
		    bpf_program__fd(program(h, i)) >= 0)
			r = hook_attach(h, i, err);
	if (r)
		return r;
	if (bpf_map_lookup_elem(h->fds.info, &zero, &info))
		return err_sys(err, -errno, "bpf-pin", h->dir, "read info");
	return write_info(h, &info, mask, err);
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
	if (!h->ways.interrupts_programs)
		want &= ~HOOKS_FURTHER;
	if (h->skel) {
		r = h->bios_skel ? 0 : host_load(h, want, &h->bios_skel, err);
		return r ? r : hooks_attach(h, HOOKS_OF_BIOS, want, err);
	}
	r = tracker_helper_attach(&cfg, err);
	return r ? r : hooks_open_pinned(h, HOOKS_OF_BIOS, err);
}
