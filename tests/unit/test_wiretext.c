// SPDX-License-Identifier: Apache-2.0
/*
 * Text of a peer that somebody will read: characters, and errors that travel.
 */
#include "lib/tap.h"

#include <string.h>

#include "wire/session.h"
#include "wire/wiretext.h"

TEST(text_that_would_act_on_a_terminal_is_not_clean)
{
	static const char *const clean[] = { "", "a b", "na\xc3\xafve",
					     "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					     "\xc2\xa0" };
	static const char *const dirty[] = {
		"\n", "a\tb", "\x1b[2J", "\x7f", "\xc2\x85", "\x80", "\xff",
		"\xc3", "\xc3(", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
		"\xf5\x80\x80\x80", "\xf4\x90\x80\x80", "\xe2\x82"
	};
	size_t i;

	for (i = 0; i < sizeof(clean) / sizeof(clean[0]); i++)
		EXPECT_MSG(wiretext_is_clean(clean[i]), "clean %zu", i);
	for (i = 0; i < sizeof(dirty) / sizeof(dirty[0]); i++) {
		char copy[16];

		EXPECT_MSG(!wiretext_is_clean(dirty[i]), "dirty %zu", i);
		(void)snprintf(copy, sizeof(copy), "%s", dirty[i]);
		wiretext_clean(copy);
		EXPECT_MSG(wiretext_is_clean(copy), "cleaned %zu", i);
		EXPECT_U64(strlen(copy), strlen(dirty[i]));
	}
}

TEST(errors_travel_and_come_back_as_errors)
{
	struct err err = ERR_INIT, back = ERR_INIT;
	struct wire_error e;

	(void)err_set(&err, -ENOSPC, "store-full", "store /srv",
		      "write: no space");
	(void)err_remedy(&err, "add space");
	wire_error_from_err(&err, &e);
	EXPECT_INT(wire_error_to_err(&e, "replica dr1", &back), -ENOSPC);
	EXPECT_INT(back.num, -ENOSPC);
	EXPECT_STR(back.code, "store-full");
	EXPECT_STR(back.message, "replica dr1: store /srv: write: no space");
	EXPECT_STR(back.remedy, "add space");

	/* one that was told already keeps its text and remedy */
	e.num = -EIO;
	(void)snprintf(e.remedy, sizeof(e.remedy), "other");
	EXPECT_INT(wire_error_to_err(&e, "replica dr1", &back), -EIO);
	EXPECT_STR(back.remedy, "add space");

	err_clear(&err);
	wire_error_from_err(&err, &e);
	EXPECT_INT(e.num, -EIO);
	EXPECT_STR(e.code, "failed");
}
