/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CATALOG_ASIDE_H
#define STORE_CATALOG_ASIDE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/io.h"

/*
 * A catalog that is no good gets another name, with what SQLite keeps beside
 * it, and a new one is made where it was. Nothing of it is read or deleted.
 */
#define CATALOG_NAME "catalog.db"
#define CATALOG_ASIDE CATALOG_NAME ".old-"
#define CATALOG_ASIDE_SIZE 48

/*
 * With the store's lock held, and nobody having the catalog open: it is
 * CATALOG_ASIDE "N" from now on, durably; out is that name, "" when there was
 * nothing to put aside. dirfd is the store's directory, path its name.
 */
int catalog_put_aside(struct io *io, int dirfd, const char *path,
		      char out[CATALOG_ASIDE_SIZE], struct err *err);
/*
 * What is left of one that was not finished: files that belong to a catalog
 * which is not there. SQLite would take them for the new one's, or delete
 * them. The same conditions.
 */
int catalog_finish_aside(struct io *io, int dirfd, const char *path,
			 struct err *err);
/* Is it the name of something that was put aside? */
bool catalog_aside_name(const char *name);

#endif
