// SPDX-License-Identifier: Apache-2.0
/*
 * The tables that the programs go by: which volumes a disk has, and each
 * volume's entry. A disk's entry is exchanged as a whole, so that a program
 * sees all of the old one or all of the new one.
 *
 * Under the host's lock.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "tracker/tracker_grow.h"
#include "tracker/tracker_host_internal.h"

int host_find_entry(const struct tracker_host *h, const struct uuid *volume)
{
	int i;

	for (i = 0; i < US_MAX_VOLUMES; i++)
		if (h->volumes[i].used == VOLUME_USED &&
		    !memcmp(h->volumes[i].uuid, volume->b, 16))
			return i;
	return -ENOENT;
}

int host_free_entry(const struct tracker_host *h)
{
	int i;

	for (i = 0; i < US_MAX_VOLUMES; i++)
		if (!h->volumes[i].used)
			return i;
	return -ENOSPC;
}

static bool group_has_volumes(const struct tracker_host *h, uint32_t group)
{
	int i;

	for (i = 0; i < US_MAX_VOLUMES; i++)
		if (h->volumes[i].used && h->volumes[i].group == group)
			return true;
	return false;
}

int host_find_group(struct tracker_host *h, const struct uuid *group)
{
	uint32_t i;

	for (i = US_MAX_VOLUMES; i < US_MAX_GROUPS; i++)
		if (!memcmp(h->groups[i].uuid, group->b, 16))
			return (int)i;
	for (i = US_MAX_VOLUMES; i < US_MAX_GROUPS; i++) {
		if (group_has_volumes(h, i))
			continue;
		/* Its count of flips may begin anywhere. */
		memcpy(h->groups[i].uuid, group->b, 16);
		return (int)i;
	}
	return -ENOSPC;
}

static int disk_remove(struct tracker_host *h, uint64_t key, uint32_t index)
{
	struct us_disk d;
	uint32_t i;

	if (bpf_map_lookup_elem(h->fds.disks, &key, &d))
		return 0;
	for (i = 0; i < d.n_volumes && d.volume[i] != index; i++)
		;
	if (i == d.n_volumes)
		return 0;
	d.volume[i] = d.volume[--d.n_volumes];
	if (d.n_volumes)
		return bpf_map_update_elem(h->fds.disks, &key, &d, BPF_ANY)
			       ? -errno : 0;
	return bpf_map_delete_elem(h->fds.disks, &key) ? -errno : 0;
}

int host_disk_add(struct tracker_host *h, const struct us_volume *v,
		    uint32_t index)
{
	struct us_disk d;

	if (bpf_map_lookup_elem(h->fds.disks, &v->disk_key, &d))
		memset(&d, 0, sizeof(d));
	/* Volumes of a former disk under this number are dead already; their
	 * owners see it by the sequence number of the disk. */
	if (d.diskseq != v->diskseq)
		memset(&d, 0, sizeof(d));
	if (d.n_volumes == US_VOLUMES_PER_DISK)
		return -EMLINK;
	d.diskseq = v->diskseq;
	d.by_bio = v->by_bio;
	d.volume[d.n_volumes++] = index;
	return bpf_map_update_elem(h->fds.disks, &v->disk_key, &d, BPF_ANY)
		       ? -errno : 0;
}

/* A process that died between the two tables left an entry without it. */
bool host_disk_names(struct tracker_host *h, uint32_t index)
{
	const struct us_volume *v = &h->volumes[index];
	struct us_disk d;
	uint32_t i;

	if (bpf_map_lookup_elem(h->fds.disks, &v->disk_key, &d) ||
	    d.diskseq != v->diskseq)
		return false;
	for (i = 0; i < d.n_volumes; i++)
		if (d.volume[i] == index)
			return true;
	return false;
}

void host_forget_entry(struct tracker_host *h, uint32_t index)
{
	struct us_volume *v = &h->volumes[index];

	(void)disk_remove(h, v->disk_key, index);
	v->used = 0;
	(void)bpf_map_delete_elem(h->fds.pages, &index);
}

static void entry_drop(struct tracker_host *h, uint32_t index)
{
	struct us_volume *v = &h->volumes[index];
	char text[UUID_TEXT_SIZE], name[64];
	struct uuid u;

	host_forget_entry(h, index);
	memcpy(u.b, v->uuid, sizeof(u.b));
	uuid_format(&u, text);
	(void)snprintf(name, sizeof(name), "pages-%s", text);
	(void)pins_remove(h->dir, name);
	(void)snprintf(name, sizeof(name), "pending-%s", text);
	(void)pins_remove(h->dir, name);
}

void host_drop_entry(struct tracker_host *h, uint32_t index)
{
	if (h->volumes[index].used)
		entry_drop(h, index);
}

/* A process that died while the volume grew. */
void host_forget_widened(struct tracker_host *h, const struct uuid *volume)
{
	uint32_t i;

	for (i = 0; i < US_MAX_VOLUMES; i++)
		if (h->volumes[i].used == VOLUME_WIDENED &&
		    !memcmp(h->volumes[i].uuid, volume->b, 16))
			host_forget_entry(h, i);
}
