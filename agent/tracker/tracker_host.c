// SPDX-License-Identifier: Apache-2.0
/*
 * Loading, attaching, pinning and adopting the tracker's programs.
 *
 * Invariants:
 * - Links are replaced by attaching the new program first: between the two,
 *   every event is marked twice, which is harmless; never not at all.
 * - What was tracked by an earlier process counts as continuous only when its
 *   links are still pinned and are the very ones that its info map names.
 *   Anything else is a hole, and a hole means: all dirty. The entries of the
 *   volumes go before the info map is written: whatever entry there is while
 *   the links are those of the info map has missed nothing.
 * - The programs' skipped runs are counted by the kernel per program; what a
 *   replaced program had missed and nobody had acted upon is a hole too.
 *
 * Any thread, under the host's lock. Pins survive the process, not the boot.
 */
#include "tracker/tracker_host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "tracker/tracker_helper.h"
#include "tracker/tracker_host_internal.h"
#include "tracker/tracker_pins.h"

#include "tracker.skel.h"

#define DEFAULT_BPFFS "/sys/fs/bpf"

__attribute__((format(printf, 2, 0)))
static int print_libbpf(enum libbpf_print_level level, const char *fmt,
			va_list ap)
{
	char line[512];
	size_t n;

	if (level == LIBBPF_DEBUG || !log_enabled(LOG_LEVEL_DEBUG))
		return 0;
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	n = strlen(line);
	if (n && line[n - 1] == '\n')
		line[n - 1] = '\0';
	log_debug("libbpf: %s", line);
	return 0;
}

static const char *bpffs_of(const struct tracker_host_config *cfg)
{
	return cfg->bpffs ? cfg->bpffs : DEFAULT_BPFFS;
}

static void *map_memory(int fd, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

size_t host_page_align(size_t n)
{
	return (n + US_PAGE_BYTES - 1) & ~(size_t)(US_PAGE_BYTES - 1);
}

/* Every map but the volumes' own is pinned under its name. */
static int set_pin_paths(struct tracker_host *h)
{
	struct bpf_map *maps[] = {
		h->skel->maps.disks, h->skel->maps.volumes,
		h->skel->maps.groups, h->skel->maps.counters,
		h->skel->maps.stats, h->skel->maps.seen,
		h->skel->maps.info, h->skel->maps.pages,
	};
	char path[PINS_PATH_MAX];
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(maps); i++) {
		pins_path(h->dir, bpf_map__name(maps[i]), path);
		r = bpf_map__set_pin_path(maps[i], path);
		if (r)
			return r;
	}
	return 0;
}

static int read_info(int fd, struct us_info *info)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(fd, &zero, info) ? -errno : 0;
}

/* Pins of another layout cannot be read: what they tracked is lost. */
static int drop_foreign_layout(struct tracker_host *h, struct err *err)
{
	_cleanup_close_ int fd = pins_get(h->dir, "info");
	struct us_info info;
	int r;

	if (fd >= 0 && !read_info(fd, &info) &&
	    info.layout == US_TRACKER_LAYOUT)
		return 0;
	r = pins_remove_all(h->dir, err);
	if (r == -ENOENT)
		return 0;
	if (!r && fd >= 0)
		log_warn("%s: pins of another layout removed: what they "
			 "tracked is treated as lost", h->dir);
	return r;
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

static void hook_drop(struct hook *k)
{
	if (k->link_fd >= 0)
		close(k->link_fd);
	if (k->prog_fd >= 0)
		close(k->prog_fd);
	k->link_fd = k->prog_fd = -1;
}

/*
 * A program lies beside its link, because a descriptor of it tells what it has
 * missed, and to get one from the link takes CAP_SYS_ADMIN.
 */
static const char *program_pin(const char *pin)
{
	return strcmp(pin, "link_issue") ? "prog_complete" : "prog_issue";
}

static int program_of(struct tracker_host *h, const char *pin, uint32_t id)
{
	_cleanup_close_ int fd = pins_get(h->dir, program_pin(pin));
	int r;

	if (fd >= 0 && prog_id(fd, NULL, NULL) == id)
		return TAKE_FD(fd);
	r = bpf_prog_get_fd_by_id(id);
	if (r < 0)
		return -errno;
	(void)pins_put(h->dir, program_pin(pin), r);
	return r;
}

/* The link an earlier process pinned, when it is the one info speaks of. */
static int hook_find_old(struct tracker_host *h, struct hook *old,
			 const char *pin, uint32_t link_id, uint32_t prog)
{
	uint32_t id = 0, prog_now = 0;

	old->link_fd = pins_get(h->dir, pin);
	if (old->link_fd < 0)
		return old->link_fd;
	if (link_ids(old->link_fd, &id, &prog_now) || id != link_id ||
	    prog_now != prog) {
		hook_drop(old);
		return -ESTALE;
	}
	old->prog_fd = program_of(h, pin, prog_now);
	if (old->prog_fd < 0) {
		int r = old->prog_fd;

		hook_drop(old);
		return r;
	}
	return 0;
}

static int hook_attach(struct tracker_host *h, struct hook *k,
		       const struct bpf_program *prog, const char *pin,
		       struct err *err)
{
	struct bpf_link *link = bpf_program__attach(prog);
	int r;

	if (!link)
		return err_sys(err, -errno, "bpf-attach", pin,
			       "attach tracing program");
	k->link_fd = dup(bpf_link__fd(link));
	k->prog_fd = dup(bpf_program__fd(prog));
	(void)bpf_link__destroy(link);
	if (k->link_fd < 0 || k->prog_fd < 0)
		return err_sys(err, -EMFILE, "bpf-attach", pin, "keep link");
	r = pins_put(h->dir, program_pin(pin), k->prog_fd);
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

/*
 * Keep the old link when it runs this very program; else attach ours, then let
 * the old one go. *missed gets what the old program had skipped in its life.
 */
static int hook_adopt(struct tracker_host *h, struct hook *k, struct hook *old,
		      const struct bpf_program *prog, const char *pin,
		      struct err *err)
{
	int r;

	if (old->link_fd >= 0 &&
	    same_program(old->prog_fd, bpf_program__fd(prog))) {
		*k = *old;
		old->link_fd = old->prog_fd = -1;
		return 0;
	}
	r = hook_attach(h, k, prog, pin, err);
	if (r)
		return r;
	if (old->link_fd >= 0) {
		close(old->link_fd);
		old->link_fd = -1;
		h->replaced = true;
	}
	return 0;
}

static void note_replaced(struct tracker_host *h, const struct hook *issue,
			  const struct hook *complete)
{
	uint64_t issue_misses = 0, complete_misses = 0;
	unsigned int i;

	if (issue->prog_fd >= 0)
		(void)prog_id(issue->prog_fd, &issue_misses, NULL);
	if (complete->prog_fd >= 0)
		(void)prog_id(complete->prog_fd, &complete_misses, NULL);
	for (i = 0; i < US_MAX_VOLUMES; i++) {
		struct us_seen *s = &h->seen[i];

		/* What the old program missed and nobody acted upon. */
		if (issue->prog_fd >= 0) {
			if (issue_misses > s->issue_misses)
				host_drop_entry(h, i);
			s->issue_misses = 0;
		}
		if (complete->prog_fd >= 0)
			s->complete_misses = 0;
	}
}

static int write_info(struct tracker_host *h, struct err *err)
{
	struct us_info info;
	__u32 zero = 0;
	int r;

	memset(&info, 0, sizeof(info));
	info.layout = US_TRACKER_LAYOUT;
	memcpy(info.node, h->node.b, sizeof(info.node));
	(void)snprintf(info.state_dir, sizeof(info.state_dir), "%s",
		       h->state_dir);
	r = link_ids(h->issue.link_fd, &info.issue_link_id,
		     &info.issue_prog_id);
	if (!r)
		r = link_ids(h->complete.link_fd, &info.complete_link_id,
			     &info.complete_prog_id);
	if (!r && bpf_map_update_elem(h->fds.info, &zero, &info, BPF_ANY))
		r = -errno;
	if (r)
		return err_sys(err, r, "bpf-pin", h->dir, "write info");
	return 0;
}

static int attach_all(struct tracker_host *h, struct err *err)
{
	struct hook old_issue = { -1, -1 }, old_complete = { -1, -1 };
	struct us_info info;
	int r, r_issue = -ENOENT;
	uint32_t i;

	memset(&info, 0, sizeof(info));
	r = read_info(h->fds.info, &info);
	if (!r && info.layout == US_TRACKER_LAYOUT) {
		r_issue = hook_find_old(h, &old_issue, "link_issue",
					info.issue_link_id,
					info.issue_prog_id);
		(void)hook_find_old(h, &old_complete, "link_complete",
				    info.complete_link_id,
				    info.complete_prog_id);
	}
	/* Before info names our link: a process that dies after that leaves
	 * what the next one takes for continuous. */
	for (i = 0; r_issue && i < US_MAX_VOLUMES; i++)
		host_drop_entry(h, i);
	/* Completions may be lost harmlessly, so only the issue link counts. */
	r = hook_adopt(h, &h->issue, &old_issue, h->skel->progs.on_issue,
		       "link_issue", err);
	if (!r)
		r = hook_adopt(h, &h->complete, &old_complete,
			       h->skel->progs.on_complete, "link_complete",
			       err);
	if (!r)
		note_replaced(h, &old_issue, &old_complete);
	hook_drop(&old_issue);
	hook_drop(&old_complete);
	return r ? r : write_info(h, err);
}

static int map_tables(struct tracker_host *h, struct err *err)
{
	h->volumes_bytes =
		host_page_align(sizeof(*h->volumes) * US_MAX_VOLUMES);
	h->groups_bytes = host_page_align(sizeof(*h->groups) * US_MAX_VOLUMES);
	h->counters_bytes =
		host_page_align(sizeof(*h->counters) * US_MAX_VOLUMES);
	h->seen_bytes = host_page_align(sizeof(*h->seen) * US_MAX_VOLUMES);
	h->volumes = map_memory(h->fds.volumes, h->volumes_bytes);
	h->groups = map_memory(h->fds.groups, h->groups_bytes);
	h->counters = map_memory(h->fds.counters, h->counters_bytes);
	h->seen = map_memory(h->fds.seen, h->seen_bytes);
	if (!h->volumes || !h->groups || !h->counters || !h->seen)
		return err_sys(err, -ENOMEM, "no-memory", h->dir,
			       "map tracker tables");
	return 0;
}

static int load(struct tracker_host *h, const struct tracker_host_config *cfg,
		struct err *err)
{
	int r;

	libbpf_set_print(print_libbpf);
	h->skel = tracker_bpf__open();
	if (!h->skel)
		return err_sys(err, -errno, "bpf-load", h->dir,
			       "open tracker programs");
	h->skel->rodata->without_reread = cfg->without_reread;
	h->skel->rodata->without_issue_mark = cfg->without_issue_mark;
	h->skel->rodata->window_turns = cfg->window_turns;
	r = set_pin_paths(h);
	if (!r)
		r = tracker_bpf__load(h->skel);
	if (r) {
		err_sys(err, r, "bpf-load", h->dir, "load tracker programs");
		return err_remedy(err, "run `understudyctl doctor`");
	}
	h->fds = (struct host_fds){
		.disks = bpf_map__fd(h->skel->maps.disks),
		.volumes = bpf_map__fd(h->skel->maps.volumes),
		.groups = bpf_map__fd(h->skel->maps.groups),
		.counters = bpf_map__fd(h->skel->maps.counters),
		.stats = bpf_map__fd(h->skel->maps.stats),
		.seen = bpf_map__fd(h->skel->maps.seen),
		.info = bpf_map__fd(h->skel->maps.info),
		.pages = bpf_map__fd(h->skel->maps.pages),
	};
	return 0;
}

/* All that takes capabilities. */
static int open_here(struct tracker_host *h,
		     const struct tracker_host_config *cfg, struct err *err)
{
	const char *bpffs = bpffs_of(cfg);
	int r;

	r = pins_mount(bpffs, err);
	if (!r)
		r = drop_foreign_layout(h, err);
	if (!r)
		r = pins_make_dir(bpffs, &cfg->node, h->dir, err);
	if (!r)
		r = load(h, cfg, err);
	if (!r)
		r = map_tables(h, err);
	return r ? r : attach_all(h, err);
}

int tracker_host_prepare(struct err *err)
{
	return pins_mount(DEFAULT_BPFFS, err);
}

int tracker_host_open(const struct tracker_host_config *cfg,
		      struct tracker_host **out, struct err *err)
{
	struct tracker_host *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return err_sys(err, -ENOMEM, "no-memory", "tracker", "start");
	pthread_mutex_init(&h->lock, NULL);
	h->node = cfg->node;
	h->issue = h->complete = (struct hook){ -1, -1 };
	h->fds = (struct host_fds){ -1, -1, -1, -1, -1, -1, -1, -1 };
	(void)snprintf(h->state_dir, sizeof(h->state_dir), "%s",
		       cfg->state_dir);
	pins_dir(bpffs_of(cfg), &cfg->node, h->dir);
	if (tracker_helper_is_there()) {
		r = host_open_pinned(h, cfg, err);
		if (!r)
			r = map_tables(h, err);
	} else {
		r = open_here(h, cfg, err);
	}
	if (r) {
		tracker_host_close(h, false);
		return r;
	}
	*out = h;
	return 0;
}

static void close_fds(const struct host_fds *f)
{
	const int all[] = { f->disks, f->volumes, f->groups, f->counters,
			    f->stats, f->seen, f->info, f->pages };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i] >= 0)
			close(all[i]);
}

void tracker_host_close(struct tracker_host *h, bool untrack)
{
	struct err err = ERR_INIT;

	if (!h)
		return;
	if (untrack && pins_remove_all(h->dir, &err))
		log_failure(LOG_LEVEL_ERR, &err);
	if (h->volumes)
		munmap(h->volumes, h->volumes_bytes);
	if (h->groups)
		munmap(h->groups, h->groups_bytes);
	if (h->counters)
		munmap(h->counters, h->counters_bytes);
	if (h->seen)
		munmap(h->seen, h->seen_bytes);
	hook_drop(&h->issue);
	hook_drop(&h->complete);
	if (h->owns_fds)
		close_fds(&h->fds);
	tracker_bpf__destroy(h->skel);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

int tracker_host_unpin(const struct uuid *node, const char *bpffs,
		       struct err *err)
{
	char dir[PINS_PATH_MAX];

	pins_dir(bpffs ? bpffs : DEFAULT_BPFFS, node, dir);
	return pins_remove_all(dir, err);
}

/* Both programs still ours and attached? Their skipped runs? */
int host_examine(struct tracker_host *h, uint64_t *issue_misses,
		 uint64_t *complete_misses, bool *detached)
{
	uint32_t id, prog;

	*detached = false;
	if (!prog_id(h->issue.prog_fd, issue_misses, NULL))
		return -errno;
	if (h->complete.prog_fd >= 0 &&
	    !prog_id(h->complete.prog_fd, complete_misses, NULL))
		return -errno;
	if (link_ids(h->issue.link_fd, &id, &prog))
		*detached = true;
	return 0;
}

int tracker_host_detach_complete(struct tracker_host *h)
{
	LOCK_SCOPE(&h->lock);
	int r = pins_remove(h->dir, "link_complete");

	hook_drop(&h->complete);
	return r;
}

int tracker_host_attach_complete(struct tracker_host *h, struct err *err)
{
	LOCK_SCOPE(&h->lock);
	unsigned int i;
	int r;

	if (!h->skel)
		return err_set(err, -EOPNOTSUPP, "bpf-attach", h->dir,
			       "programs are attached by the helper");
	r = hook_attach(h, &h->complete, h->skel->progs.on_complete,
			"link_complete", err);
	if (r)
		return r;
	for (i = 0; i < US_MAX_VOLUMES; i++)
		h->seen[i].complete_misses = 0;
	return write_info(h, err);
}
