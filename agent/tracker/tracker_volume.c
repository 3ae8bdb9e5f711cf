// SPDX-License-Identifier: Apache-2.0
/*
 * One tracked volume of a tracker host: its slot in the tables, its pinned
 * words, and the table of functions that the cut engine uses.
 *
 * Invariants:
 * - The entry in `volumes` is complete before the disk entry names it, and the
 *   disk entry stops naming it before the entry is cleared.
 * - Losses are what the counters say beyond `seen`; pending_set_all raises
 *   `seen` to what it read before it set the first bit, so a loss that comes
 *   meanwhile is reported again.
 *
 * add and close: any thread, under the host's lock. The operations: the one
 * thread that owns the volume's cuts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "tracker/tracker_grow.h"
#include "tracker/tracker_host.h"
#include "tracker/tracker_helper.h"
#include "tracker/tracker_host_internal.h"
#include "tracker/tracker_volume.h"

#define SECTOR_BYTES_SHIFT 9
#define SELF_TEST_READS 64

static struct volume_tracker *self(struct tracker *t)
{
	return (struct volume_tracker *)(void *)t;
}

static uint64_t page_words(uint64_t words)
{
	return host_page_align(words * sizeof(uint64_t)) / sizeof(uint64_t);
}

static uint64_t slot_words(const struct us_volume *v)
{
	return v->by_bio ? (uint64_t)US_BIO_SETS * US_BIO_SET_WORDS
			 : (uint64_t)v->n_queues * v->n_tags;
}

uint64_t tracked_lay_out(struct us_volume *v)
{
	uint64_t leaf = page_words(words_leaf_count(v->n_blocks));
	uint64_t summary = page_words(words_summary_count(v->n_blocks));

	v->slot_word = 0;
	v->leaf_word[0] = page_words(slot_words(v));
	v->leaf_word[1] = v->leaf_word[0] + leaf;
	v->summary_word[0] = v->leaf_word[1] + leaf;
	v->summary_word[1] = v->summary_word[0] + summary;
	return v->summary_word[1] + summary;
}

/* Of an entry that is there, and of one that is wanted. */
static bool same_group(const struct us_volume *a, const struct us_volume *b)
{
	return b->group == GROUP_OWN ? a->group < US_MAX_VOLUMES
				     : a->group == b->group;
}

static bool same_place(const struct us_volume *a, const struct us_volume *b)
{
	return a->disk_key == b->disk_key && a->diskseq == b->diskseq &&
	       a->start_sector == b->start_sector &&
	       a->n_sectors == b->n_sectors &&
	       a->block_shift == b->block_shift &&
	       a->n_queues == b->n_queues && a->n_tags == b->n_tags &&
	       a->by_bio == b->by_bio;
}

static bool same_shape(const struct us_volume *a, const struct us_volume *b)
{
	return same_place(a, b) && same_group(a, b);
}

/* ---- entries and their words ---- */

static uint64_t *map_words(int fd, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

void tracked_pin_names(const struct uuid *volume, char pages[64],
		     char pending[64])
{
	char text[UUID_TEXT_SIZE];

	uuid_format(volume, text);
	(void)snprintf(pages, 64, "pages-%s", text);
	(void)snprintf(pending, 64, "pending-%s", text);
}

static int words_map(const char *name, uint32_t flags, uint32_t n_pages)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(__u32),
				US_PAGE_BYTES, n_pages, &opts);

	return fd < 0 ? -errno : fd;
}

int host_words_maps(uint32_t n_pages, uint32_t n_pending, int *pages_fd,
		    int *pending_fd, struct err *err)
{
	_cleanup_close_ int pages = -1;
	int pending;

	if (tracker_helper_is_there())
		return tracker_helper_maps(n_pages, n_pending, pages_fd,
					   pending_fd, err);
	pages = words_map("us_pages", BPF_F_MMAPABLE | BPF_F_INNER_MAP,
			  n_pages);
	if (pages < 0)
		return pages;
	pending = words_map("us_pending", BPF_F_MMAPABLE, n_pending);
	if (pending < 0)
		return pending;
	*pages_fd = TAKE_FD(pages);
	*pending_fd = pending;
	return 0;
}

static int create_maps(struct volume_tracker *vt, int *pages_fd,
		       int *pending_fd, struct err *err)
{
	char pages[64], pending[64];
	int r;

	tracked_pin_names(&vt->volume, pages, pending);
	r = host_words_maps((uint32_t)(vt->pages_bytes / US_PAGE_BYTES),
			    (uint32_t)(vt->pending_bytes / US_PAGE_BYTES),
			    pages_fd, pending_fd, err);
	if (!r)
		r = pins_put(vt->h->dir, pages, *pages_fd);
	if (!r)
		r = pins_put(vt->h->dir, pending, *pending_fd);
	if (!r && bpf_map_update_elem(vt->h->fds.pages, &vt->index, pages_fd,
				      BPF_ANY))
		r = -errno;
	return r;
}

static int open_maps(struct volume_tracker *vt, int *pages_fd, int *pending_fd)
{
	char pages[64], pending[64];

	tracked_pin_names(&vt->volume, pages, pending);
	*pages_fd = pins_get(vt->h->dir, pages);
	if (*pages_fd < 0)
		return *pages_fd;
	*pending_fd = pins_get(vt->h->dir, pending);
	return *pending_fd < 0 ? *pending_fd : 0;
}

int tracked_map(struct volume_tracker *vt, const struct us_volume *v,
		      int pages_fd, int pending_fd)
{
	struct tracker_words *w = &vt->words;

	vt->pages = map_words(pages_fd, vt->pages_bytes);
	if (!vt->pages)
		return -errno;
	w->pending = map_words(pending_fd, vt->pending_bytes);
	if (!w->pending)
		return -errno;
	w->flips = (uint64_t *)&vt->h->groups[v->group].flips;
	w->slots = vt->pages + v->slot_word;
	w->leaf[0] = vt->pages + v->leaf_word[0];
	w->leaf[1] = vt->pages + v->leaf_word[1];
	w->summary[0] = vt->pages + v->summary_word[0];
	w->summary[1] = vt->pages + v->summary_word[1];
	w->n_blocks = v->n_blocks;
	w->n_leaf_words = words_leaf_count(v->n_blocks);
	w->n_summary_words = words_summary_count(v->n_blocks);
	w->n_slots = slot_words(v);
	w->bio_sets = v->by_bio;
	return 0;
}

void tracked_choose_group(struct volume_tracker *vt, struct us_volume *want)
{
	if (want->group != GROUP_OWN)
		return;
	want->group = vt->index;
	vt->h->groups[vt->index].flips = 0;
}

/* What the tables hold no more of, by what enter() came back with. */
static int too_many(const struct blkdev *dev, int r, struct err *err)
{
	if (r == -EMLINK) {
		err_set(err, -ENOSPC, "too-many-volumes", dev->path,
			"cannot be tracked: %d volumes on disk %s are, as many "
			"as one disk can have", US_VOLUMES_PER_DISK,
			dev->disk_name);
		return err_remedy(err, "protect the disk as one volume, or "
				  "fewer parts of it");
	}
	err_set(err, -ENOSPC, "too-many-volumes", dev->path,
		"cannot be tracked: %d volumes are, as many as one daemon can "
		"have", US_MAX_VOLUMES);
	return err_remedy(err, "protect fewer volumes, or several devices "
			  "as one (LVM, md)");
}

static int enter_new(struct volume_tracker *vt, struct us_volume *want,
		     struct err *err)
{
	_cleanup_close_ int pages_fd = -1;
	_cleanup_close_ int pending_fd = -1;
	struct tracker_host *h = vt->h;
	int r;

	r = host_free_entry(h);
	if (r < 0)
		return r;
	vt->index = (uint32_t)r;
	tracked_choose_group(vt, want);
	memset(&h->counters[vt->index], 0, sizeof(h->counters[0]));
	memset(&h->seen[vt->index], 0, sizeof(h->seen[0]));
	r = create_maps(vt, &pages_fd, &pending_fd, err);
	if (!r)
		r = tracked_map(vt, want, pages_fd, pending_fd);
	if (r)
		return r;
	/* From here on a later process may adopt it, however far this one
	 * comes: nothing of the volume is anywhere yet. */
	words_pending_set_all(&vt->words);
	want->used = VOLUME_USED;
	h->volumes[vt->index] = *want;
	/* A system call: the entry is there before it is named. */
	r = host_disk_add(h, want, vt->index);
	if (r)
		host_drop_entry(h, vt->index);
	return r;
}

int tracked_enter_adopted(struct volume_tracker *vt, uint32_t index)
{
	_cleanup_close_ int pages_fd = -1;
	_cleanup_close_ int pending_fd = -1;
	int r;

	vt->index = index;
	r = open_maps(vt, &pages_fd, &pending_fd);
	if (!r)
		r = tracked_map(vt, &vt->h->volumes[index], pages_fd,
			       pending_fd);
	return r;
}

void tracked_unmap(struct volume_tracker *vt)
{
	if (vt->pages)
		munmap(vt->pages, vt->pages_bytes);
	if (vt->words.pending)
		munmap(vt->words.pending, vt->pending_bytes);
	vt->pages = vt->words.pending = NULL;
}

void tracked_free(struct volume_tracker *vt)
{
	tracked_unmap(vt);
	free(vt);
}

/* ---- operations ---- */

static int op_flip(struct tracker *t, struct err *err)
{
	(void)err;
	words_flip(&self(t)->words);
	return 0;
}

static int op_collect(struct tracker *t, struct bitmap *fresh,
		      struct bitmap *carried, struct err *err)
{
	(void)err;
	words_collect(&self(t)->words, fresh, carried);
	return 0;
}

static bool op_is_redirtied(struct tracker *t, uint64_t block)
{
	return words_is_redirtied(&self(t)->words, block);
}

static int op_adopt(struct tracker *t, struct bitmap *out, struct err *err)
{
	(void)err;
	words_adopt(&self(t)->words, out);
	return 0;
}

static void op_pending_clear(struct tracker *t, uint64_t w, uint64_t bits)
{
	words_pending_clear(&self(t)->words, w, bits);
}

/* What the kernel and the programs have counted, as of now. */
struct counted {
	struct us_counters c;
	uint64_t unseen[US_HOOK_KINDS];
	uint32_t detached;
	uint64_t pins_restored;
	bool dropped;			/* the entry is not ours any more, or
					 * its disk does not name it */
};

static int read_losses(struct volume_tracker *vt, struct counted *now)
{
	LOCK_SCOPE(&vt->h->lock);
	const struct us_volume *v = &vt->h->volumes[vt->index];

	now->dropped = !v->used || memcmp(v->uuid, vt->volume.b, 16) ||
		       !host_disk_names(vt->h, vt->index);
	now->pins_restored = vt->h->pins_restored;
	memcpy(&now->c, &vt->h->counters[vt->index], sizeof(now->c));
	return hooks_examine(vt->h, now->unseen, &now->detached);
}

/* Events that are between two copies just now do not stay unseen. (Of ends not
 * seen nothing follows, and they are not waited for.) */
#define BETWEEN_NS (1000 * 1000)
#define BETWEEN_TURNS 20

static bool more_unseen(const struct volume_tracker *vt,
			const struct counted *now)
{
	int begin = vt->by_bio ? US_HOOK_BIO_QUEUE : US_HOOK_ISSUE;

	return now->unseen[begin] != vt->h->seen[vt->index].unseen[begin];
}

/*
 * As read_losses; where there are copies the smallest of some readings counts.
 * Each is no less than the truth when it began.
 */
static int read_losses_well(struct volume_tracker *vt, struct counted *now)
{
	const struct timespec pause = { .tv_nsec = BETWEEN_NS };
	struct counted again;
	int i, k, r;

	r = read_losses(vt, now);
	if (!hooks_are_several(vt->h))
		return r;
	for (i = 0; !r && i < BETWEEN_TURNS && more_unseen(vt, now); i++) {
		(void)nanosleep(&pause, NULL);
		r = read_losses(vt, &again);
		for (k = 0; k < US_HOOK_KINDS; k++)
			now->unseen[k] = MIN(now->unseen[k], again.unseen[k]);
	}
	return r;
}

/*
 * What had its consequence may have been read while an event was between two
 * copies. The first reading that is smaller shows it; were it left, as many as
 * that would go unnoticed later.
 */
static void believe_the_smaller(struct us_seen *s, const struct counted *now)
{
	int k;

	for (k = 0; k < US_HOOK_KINDS; k++)
		if ((int64_t)(now->unseen[k] - s->unseen[k]) < 0)
			s->unseen[k] = now->unseen[k];
}

static int op_pending_set_all(struct tracker *t, struct err *err)
{
	struct volume_tracker *vt = self(t);
	struct us_seen *seen = &vt->h->seen[vt->index];
	struct counted now;
	int r;

	r = read_losses_well(vt, &now);
	if (r)
		return err_sys(err, r, "bpf-gone", "tracker", "read counters");
	/* Its stores are sequentially consistent: after what was read above,
	 * before what is written below. */
	words_pending_set_all(&vt->words);
	seen->counters = now.c;
	memcpy(seen->unseen, now.unseen, sizeof(seen->unseen));
	return 0;
}

static int add_stats(struct volume_tracker *vt, struct tracker_losses *out)
{
	_cleanup_free_ struct us_stats *per_cpu =
		calloc((size_t)vt->n_cpus, sizeof(*per_cpu));
	int i;

	if (!per_cpu)
		return -ENOMEM;
	if (bpf_map_lookup_elem(vt->h->fds.stats, &vt->index, per_cpu))
		return -errno;
	for (i = 0; i < vt->n_cpus; i++) {
		out->issues += per_cpu[i].issues;
		out->sectors += per_cpu[i].sectors;
		out->failed_sectors += per_cpu[i].failed;
	}
	return 0;
}

static void unseen_losses(const struct volume_tracker *vt,
			  const struct counted *now, struct tracker_losses *out)
{
	struct us_seen *s = &vt->h->seen[vt->index];
	int begin = vt->by_bio ? US_HOOK_BIO_QUEUE : US_HOOK_ISSUE;
	int end = vt->by_bio ? US_HOOK_BIO_COMPLETE : US_HOOK_COMPLETE;

	believe_the_smaller(s, now);
	out->issue_misses = now->unseen[begin] - s->unseen[begin];
	out->complete_misses = now->unseen[end] - s->unseen[end];
	out->skipped = now->unseen[begin] + now->unseen[end];
	out->pins_restored = now->pins_restored;
	out->detached = now->dropped || now->detached & HOOK_BIT(begin);
}

static int op_losses(struct tracker *t, struct tracker_losses *out,
		     struct err *err)
{
	struct volume_tracker *vt = self(t);
	const struct us_counters *s = &vt->h->seen[vt->index].counters;
	struct counted now;
	int r;

	memset(out, 0, sizeof(*out));
	r = read_losses_well(vt, &now);
	if (r)
		return err_sys(err, r, "bpf-gone", "tracker", "read counters");
	unseen_losses(vt, &now, out);
	out->lost_completions = now.c.lost_completions - s->lost_completions;
	out->slot_overflows = now.c.slot_overflows - s->slot_overflows;
	out->walk_overflows = now.c.walk_overflows - s->walk_overflows;
	out->passthrough = now.c.passthrough - s->passthrough;
	out->other_disk = now.c.other_disk - s->other_disk;
	out->map_errors = now.c.map_errors - s->map_errors;
	out->error_completions =
		now.c.error_completions - s->error_completions;
	out->unknown_ends = now.c.unknown_ends - s->unknown_ends;
	return 0;
}

static int op_stats(struct tracker *t, struct tracker_losses *out)
{
	struct volume_tracker *vt = self(t);

	out->caught = hooks_caught(vt->h, vt->by_bio ? US_HOOK_BIO_QUEUE
						     : US_HOOK_ISSUE);
	return add_stats(vt, out);
}

static void op_close(struct tracker *t, bool untrack)
{
	struct volume_tracker *vt = self(t);

	if (untrack) {
		LOCK_SCOPE(&vt->h->lock);
		host_drop_entry(vt->h, vt->index);
	}
	tracked_free(vt);
}

static const struct tracker_ops volume_tracker_ops = {
	.flip = op_flip,
	.collect = op_collect,
	.is_redirtied = op_is_redirtied,
	.adopt = op_adopt,
	.pending_clear = op_pending_clear,
	.pending_set_all = op_pending_set_all,
	.losses = op_losses,
	.stats = op_stats,
	.close = op_close,
};

/* ---- self-test ---- */

/*
 * The programs must see a read that this process makes. A single completion
 * may go unseen (the kernel may skip the program), all of them may not.
 */
static int self_test(struct volume_tracker *vt, const struct blkdev *dev,
		     struct err *err)
{
	struct us_volume *v = &vt->h->volumes[vt->index];
	struct us_counters *c = &vt->h->counters[vt->index];
	uint64_t issues = __atomic_load_n(&c->probe_issues, __ATOMIC_SEQ_CST);
	uint64_t done = __atomic_load_n(&c->probe_completions,
					__ATOMIC_SEQ_CST);
	bool saw_issue = false, saw_done = false;
	_cleanup_free_ void *buf = NULL;
	ssize_t n = 0;
	int i;

	if (posix_memalign(&buf, US_PAGE_BYTES, US_PAGE_BYTES))
		return err_sys(err, -ENOMEM, "no-memory", dev->path,
			       "self-test");
	__atomic_store_n(&v->probing, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < SELF_TEST_READS && !(saw_issue && saw_done); i++) {
		n = pread(dev->fd, buf, dev->lbs_bytes,
			  (off_t)(dev->start_sector << SECTOR_BYTES_SHIFT));
		if (n < 0)
			break;
		saw_issue = __atomic_load_n(&c->probe_issues,
					    __ATOMIC_SEQ_CST) != issues;
		saw_done = __atomic_load_n(&c->probe_completions,
					   __ATOMIC_SEQ_CST) != done;
	}
	__atomic_store_n(&v->probing, 0, __ATOMIC_SEQ_CST);
	if (n < 0)
		return err_sys(err, -EIO, "read-error", dev->path,
			       "self-test: read first sector");
	if (!saw_issue || !saw_done) {
		err_set(err, -EOPNOTSUPP, "self-test-failed", dev->path,
			"self-test: a read of this process was not seen: "
			"issue=%d complete=%d", saw_issue, saw_done);
		return err_remedy(err, "run `understudyctl doctor %s`",
				  dev->path);
	}
	return 0;
}

void tracker_host_forget(struct tracker_host *h, const struct uuid *volume)
{
	LOCK_SCOPE(&h->lock);
	int found;

	host_forget_widened(h, volume);
	found = host_find_entry(h, volume);
	if (found >= 0)
		host_drop_entry(h, (uint32_t)found);
}

void tracker_host_retain(struct tracker_host *h, const struct uuid *keep,
			 int n)
{
	LOCK_SCOPE(&h->lock);
	uint32_t i;
	int k;

	for (i = 0; i < US_MAX_VOLUMES; i++) {
		if (!h->volumes[i].used)
			continue;
		for (k = 0; k < n; k++)
			if (!memcmp(h->volumes[i].uuid, keep[k].b, 16))
				break;
		if (k == n)
			host_drop_entry(h, i);
	}
}

/* Finds the volume's entry, or makes one. */
static int enter(struct volume_tracker *vt, struct us_volume *want,
		 const struct uuid *group, struct err *err)
{
	LOCK_SCOPE(&vt->h->lock);
	int found, r;

	want->group = GROUP_OWN;
	if (group) {
		r = host_find_group(vt->h, group);
		if (r < 0)
			return r;
		want->group = (uint32_t)r;
	}
	host_forget_widened(vt->h, &vt->volume);
	found = host_find_entry(vt->h, &vt->volume);
	if (found >= 0 && same_shape(&vt->h->volumes[found], want) &&
	    host_disk_names(vt->h, (uint32_t)found)) {
		r = tracked_enter_adopted(vt, (uint32_t)found);
		vt->t.adopted = !r;
		if (!r)
			return 0;
		tracked_unmap(vt);
	}
	if (found >= 0 && grow_is_possible(&vt->h->volumes[found], want) &&
	    same_group(&vt->h->volumes[found], want) &&
	    host_disk_names(vt->h, (uint32_t)found)) {
		r = tracked_enter_grown(vt, (uint32_t)found, want, err);
		vt->t.adopted = !r;
		if (!r)
			return 0;
		err_clear(err);
		found = host_find_entry(vt->h, &vt->volume);
	}
	if (found >= 0) {
		vt->t.regrouped = same_place(&vt->h->volumes[found], want) &&
				  !same_group(&vt->h->volumes[found], want) &&
				  host_disk_names(vt->h, (uint32_t)found);
		host_drop_entry(vt->h, (uint32_t)found);
	}
	return enter_new(vt, want, err);
}

int tracker_host_enter(struct tracker_host *h, const struct tracker_want *w,
		       struct tracker **out, struct err *err)
{
	const struct blkdev *dev = w->dev;
	struct volume_tracker *vt = calloc(1, sizeof(*vt));
	struct us_volume want;
	int r;

	if (!vt)
		return err_sys(err, -ENOMEM, "no-memory", dev->path, "track");
	tracked_describe(&want, w->volume, dev, w->block_shift);
	vt->h = h;
	vt->by_bio = want.by_bio;
	vt->volume = *w->volume;
	vt->pages_bytes = tracked_lay_out(&want) * sizeof(uint64_t);
	vt->pending_bytes = tracked_pending_bytes(&want);
	vt->n_cpus = libbpf_num_possible_cpus();
	/* Its driver is there by now, whenever the programs were loaded. */
	host_tell_commands(h);
	vt->t.ops = &volume_tracker_ops;
	vt->t.n_blocks = want.n_blocks;
	vt->t.block_shift = w->block_shift;
	r = tracker_admit(dev, err);
	if (!r && want.by_bio)
		r = host_want_bios(h, err);
	if (!r)
		r = enter(vt, &want, w->group, err);
	if (r == -ENOSPC || r == -EMLINK)
		r = too_many(dev, r, err);
	else if (r && !err->num)
		err_sys(err, r, "tracker", dev->path, "set up tracking");
	else if (!r)
		/* Reads the device, which may hang: not under the lock that
		 * every other volume needs for its points. */
		r = self_test(vt, dev, err);
	if (r) {
		tracked_free(vt);
		return r;
	}
	*out = &vt->t;
	return 0;
}

int tracker_host_add(struct tracker_host *h, const struct uuid *volume,
		     const struct blkdev *dev, uint32_t block_shift,
		     struct tracker **out, struct err *err)
{
	const struct tracker_want w = { .volume = volume, .dev = dev,
					.block_shift = block_shift };

	return tracker_host_enter(h, &w, out, err);
}
