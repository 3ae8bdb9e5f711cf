/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_EVENT_H
#define BASE_EVENT_H

#include <stdarg.h>
#include <stdint.h>

/*
 * What happened, for those who look later. Whoever knows tells a sink, which
 * his owner gave him in his environment; what becomes of it is the sink's
 * affair. Texts must never hold a secret: they are kept on disk and shown.
 */
struct event {
	const char *slug;		/* stable: "session-ended" */
	const char *role;		/* "source", "replica", "daemon" */
	const char *object;		/* a volume as this daemon calls it, a
					 * certificate, an address ... */
	const char *reason;		/* stable slug; NULL or "": none */
	int64_t since_wall_ns;		/* when what it ends, or tells of, began;
					 * 0: means nothing here */
};

struct event_sink {
	/*
	 * From any thread, also under a lock: takes no lock but its own, and
	 * never waits for a disk or a peer. Copies what it keeps.
	 */
	void (*report)(struct event_sink *s, const struct event *e,
		       const char *message);
};

#define EVENT_MESSAGE_MAX 384

/* To nobody when s is NULL. Longer messages are cut. */
void event_tell(struct event_sink *s, const struct event *e, const char *fmt,
		...) __attribute__((format(printf, 3, 4)));
void event_vtell(struct event_sink *s, const struct event *e, const char *fmt,
		 va_list ap) __attribute__((format(printf, 3, 0)));

#endif
