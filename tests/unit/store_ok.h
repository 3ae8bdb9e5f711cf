/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_STORE_OK_H
#define TESTS_UNIT_STORE_OK_H

/*
 * Calls that must work, or be refused, and the err that all of a test's calls
 * may use: OK(store_open(&cfg, &s, &err)).
 */
#include "lib/tap.h"

#include "base/err.h"

static struct err err;

/* Ends the test when the call does not give 0, saying what it says. */
#define OK(call)                                                     \
	do {                                                         \
		int ok_r;                                            \
		err_clear(&err);                                     \
		ok_r = (call);                                       \
		ASSERT_MSG(ok_r == 0, "  %d %s: %s", ok_r, err.code, \
			   err.message);                             \
	} while (0)

/* The call fails with this number and this code. */
#define REFUSED(call, number, slug)         \
	do {                                \
		err_clear(&err);            \
		EXPECT_INT((call), number); \
		EXPECT_STR(err.code, slug); \
	} while (0)

#endif
