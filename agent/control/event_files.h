/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_EVENT_FILES_H
#define CONTROL_EVENT_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/io.h"

/*
 * The files of the event log: <dir>/<id of its first event, 20 digits>.jsonl,
 * one JSON object a line, 0600. The newest is appended to; when it is full
 * another is begun, and the oldest is removed when there are too many.
 */
#define EVENT_FILE_BYTES (1ULL << 20)
#define EVENT_FILES_MAX 8

struct event_files {
	struct io *io;
	char dir[560];
	uint64_t file_bytes;		/* an event more is the most over it */
	unsigned int max_files;
	bool open;			/* what follows is known */
	int fd;				/* of the newest; -1: none yet */
	uint64_t size;
	bool torn;			/* it does not end in a newline */
};

void event_files_init(struct event_files *f, struct io *io,
		      const char *state_dir);
/* The newest event; id 0: there is none. */
struct event_last {
	uint64_t id;
	int64_t wall_ns;
	char slug[32];
};

/* Looks what is there; changes nothing. 0, or what reading the directory gave. */
int event_files_look(struct event_files *f, struct event_last *out);
/* Whole lines, the first of them event first_id; on the disk on return.
 * After a failure the same, or more, is to be given again. */
int event_files_append(struct event_files *f, uint64_t first_id,
		       const void *lines, size_t n);
void event_files_close(struct event_files *f);
/*
 * Every event from id first on, oldest first; id is that of event. Lines that
 * are no events are left out. A non-zero result of cb ends it and is returned.
 * Any thread, also while another appends.
 */
int event_files_walk(const struct event_files *f, uint64_t first,
		     int (*cb)(void *arg, uint64_t id, const json_t *event),
		     void *arg);

#endif
