// SPDX-License-Identifier: Apache-2.0
/* Telling a sink what happened. Any thread; keeps nothing. */
#include "base/event.h"

#include <stdarg.h>
#include <stdio.h>

void event_tell(struct event_sink *s, const struct event *e, const char *fmt,
		...)
{
	char message[EVENT_MESSAGE_MAX];
	va_list ap;

	if (!s)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	s->report(s, e, message);
}
