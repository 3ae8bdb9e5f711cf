// SPDX-License-Identifier: Apache-2.0
/* Telling a sink what happened. Any thread; keeps nothing. */
#include "base/event.h"

#include <stdarg.h>
#include <stdio.h>

void event_vtell(struct event_sink *s, const struct event *e, const char *fmt,
		 va_list ap)
{
	char message[EVENT_MESSAGE_MAX];

	if (!s)
		return;
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	s->report(s, e, message);
}

void event_tell(struct event_sink *s, const struct event *e, const char *fmt,
		...)
{
	va_list ap;

	va_start(ap, fmt);
	event_vtell(s, e, fmt, ap);
	va_end(ap);
}
