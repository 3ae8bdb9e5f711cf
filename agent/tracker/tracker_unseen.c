// SPDX-License-Identifier: Apache-2.0
/*
 * What became of the tracker's programs: are they attached still, and how many
 * events has none of them seen?
 *
 * The kernel counts for each program how often it left it out. With one copy of
 * a kind that is the answer. With several it is what the first was left out
 * for, less what another copy has caught, plus what may only look caught
 * (bpf/tracker_pair.bpf.h). Read in this order:
 *
 *   caught, then the kernel's count, then unsure
 *
 * the result is never less than what was unseen when it began: the first is
 * left out before another one catches, and a stamp is overwritten before
 * somebody misses it. It may be more by events that are between two copies at
 * that moment; they are gone when it is read once more.
 *
 * Any thread, under the host's lock.
 */
#include <errno.h>

#include <bpf/bpf.h>

#include "base/log.h"
#include "tracker/tracker_host_internal.h"

static int read_pair(int pairs_fd, int kind, struct us_pair *out)
{
	__u32 key = (__u32)kind;

	*out = (struct us_pair){ 0 };
	if (pairs_fd < 0)
		return 0;
	return bpf_map_lookup_elem(pairs_fd, &key, out) ? -errno : 0;
}

int hook_unseen(int prog_fd, int pairs_fd, int kind, uint64_t *out)
{
	struct us_pair before, after;
	uint64_t left_out = 0;
	int r = read_pair(pairs_fd, kind, &before);

	if (!r && !hook_prog_id(prog_fd, &left_out, NULL))
		r = -errno;
	if (!r)
		r = read_pair(pairs_fd, kind, &after);
	if (r)
		return r;
	/* More caught than there was to catch cannot be: nothing is believed
	 * of it. */
	*out = before.caught > left_out + after.unsure
		       ? left_out
		       : left_out + after.unsure - before.caught;
	return 0;
}

uint64_t hooks_caught(struct tracker_host *h, int kind)
{
	struct us_pair p;

	return read_pair(h->pairs_fd[hook_family(kind)], kind, &p) ? 0
								   : p.caught;
}

/*
 * A link stays attached as long as we have its descriptor; its pin is for the
 * time when we are gone. One that somebody has removed, or exchanged for
 * another link, is put back, and nothing was lost. Where that cannot be, a
 * later process finds a hole and compares.
 */
static void keep_pinned(struct tracker_host *h, int hook)
{
	bool was_removed = false;

	if (hook_pin_again(h, hook, &was_removed) <= 0)
		return;
	h->pins_restored++;
	log_warn("%s: the pin of link %d was %s, and is put back: nothing is "
		 "lost", h->dir, hook, was_removed ? "removed" : "exchanged");
}

/* Is what we attached still attached, and runs what we loaded? */
static bool hook_is_ours(struct tracker_host *h, int hook)
{
	const struct hook *k = &h->hooks[hook];
	uint32_t id = 0, prog = 0;

	if (k->link_fd < 0 || hook_link_ids(k->link_fd, &id, &prog) ||
	    prog != hook_prog_id(k->prog_fd, NULL, NULL))
		return false;
	keep_pinned(h, hook);
	return true;
}

bool hooks_are_several(const struct tracker_host *h)
{
	return h->hooks[US_HOOK_COPY(US_HOOK_ISSUE, 1)].link_fd >= 0;
}

int hooks_examine(struct tracker_host *h, uint64_t unseen[US_HOOK_KINDS],
		  uint32_t *detached)
{
	int i, r;

	for (i = 0; i < US_HOOK_KINDS; i++) {
		unseen[i] = 0;
		if (h->hooks[i].prog_fd < 0)
			continue;
		r = hook_unseen(h->hooks[i].prog_fd, h->pairs_fd[hook_family(i)],
				i, &unseen[i]);
		if (r)
			return r;
	}
	*detached = 0;
	for (i = 0; i < US_HOOKS; i++)
		if (!hook_is_ours(h, i))
			*detached |= HOOK_BIT(i);
	return 0;
}
