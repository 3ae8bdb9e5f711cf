/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_PLACES_H
#define CTL_PLACES_H

#include "ctl.h"

/*
 * Where the daemon's socket and state are: --socket, else the configuration,
 * else the defaults. Of the configuration only what is asked for is looked at:
 * the rest is the daemon's affair.
 */
struct places {
	char socket[108];
	char state[512];
};

/* 0, or negative errno with err told. */
int places_find(const struct ctl *ctl, struct places *out, struct err *err);

/*
 * Directory of the store that the configuration speaks of, for work on its
 * files. -EINVAL "usage": it speaks of none.
 */
#define PLACE_STORE_SIZE 520
int place_of_store(const struct ctl *ctl, char out[PLACE_STORE_SIZE],
		   struct err *err);

#endif
