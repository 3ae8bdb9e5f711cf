// SPDX-License-Identifier: Apache-2.0
/* `why`: what limits a volume and what it waits for, a sentence a line. */
#include <ctype.h>
#include <stdio.h>

#include "client.h"
#include "output.h"

/* Some of the words are a peer's: nothing for the terminal to obey. */
static void print_clean(const char *s)
{
	for (; *s; s++)
		(void)putchar(iscntrl((unsigned char)*s) ? '?' : *s);
	(void)putchar('\n');
}

int cmd_why(struct ctl *ctl, void *o, char **args, int n_args)
{
	const json_t *s;
	json_t *result;
	size_t i;
	int ret;

	(void)o, (void)n_args;
	result = client_result(ctl, "why", json_pack("{s:s}", "volume",
						     args[0]), &ret);
	if (!result)
		return ret;
	if (ctl->json)
		ret = output_json(result);
	else
		json_array_foreach(json_object_get(result, "sentences"), i, s)
			print_clean(output_text(s, "text"));
	json_decref(result);
	return ret;
}
