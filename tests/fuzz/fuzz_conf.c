// SPDX-License-Identifier: Apache-2.0
/*
 * A configuration file of any bytes: an answer or an error that is told, and
 * the typed readers over whatever came out.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_as_everything(struct conf *c, struct conf_item *it)
{
	static const char *const names[] = { "none", "lz4", NULL };
	char word[20];
	const char *path;
	size_t pos = 0;
	uint64_t v;
	bool yes;
	int i;

	(void)conf_bool(c, it, &yes, NULL);
	(void)conf_u64(c, it, 1, 1000, &v, NULL);
	(void)conf_size(c, it, &v, NULL);
	(void)conf_rate(c, it, &v, NULL);
	(void)conf_duration(c, it, &v, NULL);
	(void)conf_choice(c, it, names, &i, NULL);
	(void)conf_path(c, it, &path, NULL);
	while (conf_word(c, it, &pos, word, sizeof(word), NULL) == 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct conf *c = NULL;
	size_t i, j;
	int r;

	r = conf_parse_text("x.conf", (const char *)data, size, &c, &err);
	if ((r == 0) != (c != NULL) || (r < 0 && !err.message[0]))
		abort();
	for (i = 0; c && i < c->n_sections; i++) {
		(void)conf_check_unique(c, &c->sections[i], NULL);
		for (j = 0; j < c->sections[i].n_items; j++)
			read_as_everything(c, &c->sections[i].items[j]);
		(void)conf_check_used(c, &c->sections[i], NULL);
	}
	conf_free(c);
	return 0;
}
