// SPDX-License-Identifier: Apache-2.0
/*
 * Which reader a volume gets: io_uring, or pread where a ring cannot be had.
 * The change is said in the log and shown by reader->kind.
 */
#include "source/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Does this mean that the machine has no io_uring for us? */
static bool is_without_uring(const struct err *why)
{
	if (strcmp(why->code, "no-io-uring"))
		return false;
	return why->num == -ENOSYS || why->num == -EPERM ||
	       why->num == -EACCES || why->num == -ENOMEM ||
	       why->num == -EOPNOTSUPP || why->num == -EINVAL;
}

int reader_open(const struct reader_config *cfg, struct reader **out,
		struct err *err)
{
	const char *env = getenv("UNDERSTUDY_NO_URING");
	struct err why = ERR_INIT;
	int r;

	if (cfg->force_pread || (env && !strcmp(env, "1")))
		return reader_open_pread(cfg, out, err);
	r = reader_open_uring(cfg, out, &why);
	if (r == 0)
		return 0;
	if (!is_without_uring(&why)) {
		err_copy(err, &why);
		return r;
	}
	log_warn("%s: reading with pread instead, one extent at a time",
		 why.message);
	return reader_open_pread(cfg, out, err);
}
