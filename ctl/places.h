/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_PLACES_H
#define CTL_PLACES_H

#include "ctl.h"

/*
 * Where the daemon's socket and state are: --socket, else the configuration,
 * else the defaults. Only [daemon] of the configuration is looked at: the rest
 * is the daemon's affair.
 */
struct places {
	char socket[108];
	char state[512];
};

/* 0, or negative errno with err told. */
int places_find(const struct ctl *ctl, struct places *out, struct err *err);

#endif
