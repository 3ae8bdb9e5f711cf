// SPDX-License-Identifier: Apache-2.0
/* Progress on standard error. One thread. */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/units.h"
#include "output.h"

#define BAR_MAX 50
#define DRAW_NS (100 * NSEC_PER_MSEC)

void progress_init(struct progress *p, const struct ctl *ctl, const char *verb)
{
	memset(p, 0, sizeof(*p));
	p->verb = verb;
	p->mode = ctl->progress;
	p->start_ns = clock_mono_ns(clock_real());
	if (p->mode == PROGRESS_AUTO)
		p->mode = isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_NONE;
}

static int terminal_columns(void)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col < 20)
		return 80;
	return w.ws_col;
}

/* "restore [=====     ]  42%  1.2 GiB / 2.9 GiB  210 MiB/s  8.1 s left" */
static void draw(struct progress *p, const json_t *body, uint64_t now_ns)
{
	bool verify = !strcmp("verify", json_string_value(json_object_get(
						body, "phase")) ?:
						"");
	uint64_t total = output_number(body, "total_bytes");
	uint64_t done = output_number(body, verify ? "verified_bytes" : "done_bytes");
	double part = total ? (double)MIN(done, total) / (double)total : 0;
	double seconds = (double)(now_ns - p->start_ns) / 1e9;
	char bar[BAR_MAX + 1], at[24], of[24], left[24], line[256];
	int width = MIN(MAX(terminal_columns() - 60, 5), BAR_MAX);
	int full = (int)(part * width), i;

	for (i = 0; i < width; i++)
		bar[i] = i < full ? '=' : ' ';
	bar[width] = 0;
	size_format(done, at);
	size_format(total, of);
	strcpy(left, "-");
	if (part > 0.001 && !verify)
		duration_format((uint64_t)(seconds / part * (1 - part) * 10) *
					(NSEC_PER_SEC / 10),
				left);
	(void)snprintf(line, sizeof(line), "%s%s [%s] %3d%%  %s / %s  %s left",
		       p->verb, verify ? ", verify" : "", bar,
		       (int)(part * 100), at, of, left);
	(void)fprintf(stderr, "\r\033[K%.*s", terminal_columns() - 1, line);
	(void)fflush(stderr);
	p->drawn = true;
}

void progress_show(struct progress *p, const json_t *body)
{
	uint64_t now_ns = clock_mono_ns(clock_real());
	char *line;

	if (p->mode == PROGRESS_JSON) {
		line = ctl_json_line(body);
		if (line)
			(void)fprintf(stderr, "%s\n", line);
		free(line);
		return;
	}
	if (p->mode != PROGRESS_BAR || now_ns - p->drawn_ns < DRAW_NS)
		return;
	p->drawn_ns = now_ns;
	draw(p, body, now_ns);
}

void progress_body(void *progress, const json_t *body)
{
	progress_show(progress, body);
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		(void)fputs("\r\033[K", stderr);
	p->drawn = false;
}
