// SPDX-License-Identifier: Apache-2.0
/*
 * What reaches a daemon from its own host: the first byte says which. A
 * request line and its arguments, a reply line, a name of a point, or a
 * configuration file.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "control/config.h"
#include "control/ctlproto.h"
#include "control/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct args {
	char volume[SELECTOR_VOLUME_SIZE];
	bool flag;
	uint64_t number;
};

static const struct ctl_arg table[] = {
	CTL_ARG(struct args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct args, flag, CTL_ARG_BOOL, false),
	CTL_ARG(struct args, number, CTL_ARG_U64, false),
};

static void request(const char *line, size_t n)
{
	struct ctl_request r = { 0 };
	struct err err = ERR_INIT;
	struct args a;

	if (ctl_request_decode(line, n, &r, &err) < 0) {
		if (!err.message[0])
			abort();
	} else {
		(void)ctl_args_decode(r.args, table, ARRAY_SIZE(table), &a,
				      NULL);
	}
	ctl_request_free(&r);
}

static void stream(const char *bytes, size_t n)
{
	struct ctl_lines l;
	const char *line;
	size_t len;

	ctl_lines_init(&l, 64);
	if (!ctl_lines_feed(&l, bytes, n))
		while (!ctl_lines_next(&l, &line, &len))
			request(line, len);
	ctl_lines_free(&l);
}

static void reply(const char *line, size_t n)
{
	struct ctl_reply r;

	(void)ctl_reply_decode(line, n, &r, NULL);
	ctl_reply_free(&r);
}

static void names(const char *bytes, size_t n)
{
	char text[256], volume[SELECTOR_VOLUME_SIZE];
	char point[SELECTOR_POINT_SIZE];
	struct volume_name name;
	struct selector sel;
	int64_t at_ns;

	n = MIN(n, sizeof(text) - 1);
	memcpy(text, bytes, n);
	text[n] = 0;
	if (!selector_split(text, volume, point, NULL)) {
		(void)volume_name_parse(volume, &name, NULL);
		(void)selector_parse(point, 0, &sel, NULL);
	}
	(void)selector_parse_time(text, 1795266005123456789, &at_ns, NULL);
}

static void config(const char *text, size_t n)
{
	struct err err = ERR_INIT;
	struct config *c = NULL;
	int ret = config_load_text("x.conf", text, n, &c, &err);

	if ((ret == 0) != (c != NULL) || (ret < 0 && !err.message[0]))
		abort();
	config_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *rest = (const char *)data + 1;

	if (!size)
		return 0;
	switch (*data) {
	case 'q':
		request(rest, size - 1);
		break;
	case 's':
		stream(rest, size - 1);
		break;
	case 'r':
		reply(rest, size - 1);
		break;
	case 'n':
		names(rest, size - 1);
		break;
	default:
		config(rest, size - 1);
	}
	return 0;
}
