// SPDX-License-Identifier: Apache-2.0
/*
 * The tracker of a daemon: loads its programs and makes its maps, or opens
 * what its helper has pinned of them.
 *
 * Invariants:
 * - Pins of another layout are never read; what they tracked is lost.
 * - Everything but the volumes' own words is pinned before a program is
 *   attached (tracker_hooks.c) that could write to it.
 *
 * Any thread. Pins survive the process, not the boot.
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
#include "tracker/tracker_commands.h"
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
static int set_pin_paths(const struct tracker_host *h,
			 struct tracker_bpf *skel)
{
	struct bpf_map *maps[] = {
		skel->maps.disks, skel->maps.volumes, skel->maps.groups,
		skel->maps.counters, skel->maps.stats, skel->maps.seen,
		skel->maps.info, skel->maps.pages, skel->maps.commands,
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

static int map_tables(struct tracker_host *h, struct err *err)
{
	h->volumes_bytes =
		host_page_align(sizeof(*h->volumes) * US_MAX_VOLUMES);
	h->groups_bytes = host_page_align(sizeof(*h->groups) * US_MAX_GROUPS);
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

/* ---- programs ---- */

/* Does an earlier process's volume need the programs that follow bios? */
static bool pinned_by_bio(const struct tracker_host *h)
{
	_cleanup_close_ int fd = pins_get(h->dir, "volumes");
	struct us_volume v;
	__u32 i;

	for (i = 0; fd >= 0 && i < US_MAX_VOLUMES; i++)
		if (!bpf_map_lookup_elem(fd, &i, &v) && v.used && v.by_bio)
			return true;
	return false;
}

static uint32_t managed_hooks(const struct tracker_host_config *cfg)
{
	return cfg->add_bios ? HOOKS_OF_BIOS
			     : HOOKS_OF_BIOS | HOOKS_OF_REQUESTS;
}

/* Each program costs some milliseconds to verify: no more than are needed. */
static uint32_t wanted_hooks(const struct tracker_host *h,
			     const struct tracker_host_config *cfg)
{
	uint32_t want = managed_hooks(cfg);

	if (!h->ways.interrupts_programs)
		want &= ~HOOKS_FURTHER;
	if (!cfg->add_bios && !pinned_by_bio(h))
		want &= ~HOOKS_OF_BIOS;
	return want;
}

int host_load(struct tracker_host *h, uint32_t want, struct tracker_bpf **out,
	      struct err *err)
{
	struct tracker_bpf *skel;
	int r;

	libbpf_set_print(print_libbpf);
	skel = tracker_bpf__open();
	if (!skel)
		return err_sys(err, -errno, "bpf-load", h->dir,
			       "open tracker programs");
	skel->rodata->without_reread = h->switches.without_reread;
	skel->rodata->without_issue_mark = h->switches.without_issue_mark;
	skel->rodata->window_turns = h->switches.window_turns;
	skel->rodata->trace_flag_bit = h->ways.trace_flag_bit;
	skel->rodata->several = h->ways.interrupts_programs;
	hooks_choose(skel, want);
	r = set_pin_paths(h, skel);
	if (!r && !h->ways.interrupts_programs)
		r = bpf_map__set_max_entries(skel->maps.stamps, 1);
	if (!r)
		r = tracker_bpf__load(skel);
	if (!r) {
		*out = skel;
		return 0;
	}
	/* Nothing half loaded is kept: the next time begins anew. */
	tracker_bpf__destroy(skel);
	err_sys(err, r, "bpf-load", h->dir, "load tracker programs");
	return err_remedy(err, "run `understudyctl doctor`");
}

static void use_maps(struct tracker_host *h)
{
	h->fds = (struct host_fds){
		.disks = bpf_map__fd(h->skel->maps.disks),
		.volumes = bpf_map__fd(h->skel->maps.volumes),
		.groups = bpf_map__fd(h->skel->maps.groups),
		.counters = bpf_map__fd(h->skel->maps.counters),
		.stats = bpf_map__fd(h->skel->maps.stats),
		.seen = bpf_map__fd(h->skel->maps.seen),
		.info = bpf_map__fd(h->skel->maps.info),
		.pages = bpf_map__fd(h->skel->maps.pages),
		.commands = bpf_map__fd(h->skel->maps.commands),
	};
}

void host_tell_commands(struct tracker_host *h)
{
	LOCK_SCOPE(&h->lock);
	uint32_t drivers = commands_drivers();
	struct us_commands c;
	__u32 zero = 0;

	if (h->commands_told && h->drivers_told == drivers)
		return;
	commands_locate(&c);
	if (bpf_map_update_elem(h->fds.commands, &zero, &c, BPF_ANY)) {
		log_warn("%s: commands cannot be told apart: %m", h->dir);
		return;
	}
	h->commands_told = true;
	h->drivers_told = drivers;
}

/* All that takes capabilities. */
static int open_here(struct tracker_host *h,
		     const struct tracker_host_config *cfg, struct err *err)
{
	const char *bpffs = bpffs_of(cfg);
	uint32_t want = 0;
	int r;

	hooks_learn_kernel(&h->ways);
	if (cfg->without_trace_flag)
		h->ways.trace_flag_bit = 64;
	h->ways.interrupts_programs |= cfg->several;
	h->switches = *cfg;
	r = pins_mount(bpffs, err);
	if (!r)
		r = drop_foreign_layout(h, err);
	if (!r)
		r = pins_make_dir(bpffs, &cfg->node, h->dir, err);
	if (!r) {
		want = wanted_hooks(h, cfg);
		r = host_load(h, want, &h->skel, err);
	}
	if (r)
		return r;
	use_maps(h);
	r = map_tables(h, err);
	return r ? r : hooks_attach(h, managed_hooks(cfg), want, err);
}

int tracker_host_prepare(struct err *err)
{
	return pins_mount(DEFAULT_BPFFS, err);
}

int tracker_host_open(const struct tracker_host_config *cfg,
		      struct tracker_host **out, struct err *err)
{
	struct tracker_host *h = calloc(1, sizeof(*h));
	int i, r;

	if (!h)
		return err_sys(err, -ENOMEM, "no-memory", "tracker", "start");
	pthread_mutex_init(&h->lock, NULL);
	h->node = cfg->node;
	h->bpffs = cfg->bpffs;
	hooks_init(h->hooks);
	for (i = 0; i < FAMILIES; i++)
		h->pairs_fd[i] = -1;
	h->fds = (struct host_fds){ -1, -1, -1, -1, -1, -1, -1, -1, -1 };
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

static void close_pairs(struct tracker_host *h)
{
	int i;

	for (i = 0; i < FAMILIES; i++)
		if (h->pairs_fd[i] >= 0)
			close(h->pairs_fd[i]);
}

static void close_fds(const struct host_fds *f)
{
	const int all[] = { f->disks, f->volumes, f->groups, f->counters,
			    f->stats, f->seen, f->info, f->pages, f->commands };
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
	hooks_drop(h->hooks);
	close_pairs(h);
	if (h->owns_fds)
		close_fds(&h->fds);
	tracker_bpf__destroy(h->bios_skel);
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
