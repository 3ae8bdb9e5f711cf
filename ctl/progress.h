/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <stdint.h>

#include "ctl.h"

/*
 * How far long work is, on standard error: a bar on a terminal, JSON lines
 * with --progress=json, nothing otherwise.
 */
struct progress {
	enum progress_mode mode;	/* resolved: never PROGRESS_AUTO */
	const char *verb;
	uint64_t start_ns, drawn_ns;
	bool drawn;			/* a bar stands on the line */
};

void progress_init(struct progress *p, const struct ctl *ctl,
		   const char *verb);
/* body has phase, done_bytes, total_bytes, verified_bytes. */
void progress_show(struct progress *p, const json_t *body);
/* The same, as what client_call() wants. */
void progress_body(void *progress, const json_t *body);
/* Takes the bar away. */
void progress_end(struct progress *p);

#endif
