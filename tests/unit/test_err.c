// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include "lib/tap.h"

TEST(the_message_begins_with_the_object)
{
	struct err err = ERR_INIT;

	EXPECT_INT(err_set(&err, -EBADMSG, "damaged", "segment 41",
			   "checksum mismatch at offset=%d", 8192),
		   -EBADMSG);
	EXPECT_INT(err.num, -EBADMSG);
	EXPECT_STR(err.code, "damaged");
	EXPECT_STR(err.object, "segment 41");
	EXPECT_STR(err.message,
		   "segment 41: checksum mismatch at offset=8192");
	EXPECT_STR(err.remedy, "");
}

TEST(the_first_frame_wins_and_the_number_still_returns)
{
	struct err err = ERR_INIT;

	EXPECT_INT(err_set(&err, -ENOENT, "no-volume", "db1", "unknown"),
		   -ENOENT);
	EXPECT_INT(err_set(&err, -EIO, "other", "x", "y"), -EIO);
	EXPECT_INT(err.num, -ENOENT);
	EXPECT_STR(err.code, "no-volume");
}

TEST(a_system_error_is_spelt_out)
{
	struct err err = ERR_INIT;

	err_sys(&err, -ENOSPC, "full", "/srv/store", "write");
	EXPECT_STR(err.message, "/srv/store: write: No space left on device");
	err_clear(&err);
	err_sys(&err, -4000, "odd", "x", "y");
	EXPECT_STR(err.message, "x: y: unknown error");
}

TEST(remedy_and_what_was_done_are_added)
{
	struct err err = ERR_INIT;

	EXPECT_INT(err_remedy(&err, "nothing recorded"), 0);
	EXPECT_INT(err_done(&err, "nothing recorded"), 0);
	EXPECT_STR(err.remedy, "");
	EXPECT_STR(err.message, "");

	err_set(&err, -EIO, "c", "segment 41", "bad");
	EXPECT_INT(err_done(&err, "point %d marked damaged", 17), -EIO);
	EXPECT_INT(err_remedy(&err, "run scrub"), -EIO);
	EXPECT_INT(err_remedy(&err, "run `scrub %s`", "db1"), -EIO);
	EXPECT_STR(err.message, "segment 41: bad: point 17 marked damaged");
	EXPECT_STR(err.remedy, "run `scrub db1`");
}

TEST(nobody_has_to_listen)
{
	EXPECT_INT(err_set(NULL, -EIO, "c", "o", "t"), -EIO);
	EXPECT_INT(err_sys(NULL, -EIO, "c", "o", "t"), -EIO);
	EXPECT_INT(err_remedy(NULL, "r"), 0);
	EXPECT_INT(err_done(NULL, "d"), 0);
	err_clear(NULL);
	err_copy(NULL, NULL);
}

TEST(text_that_does_not_fit_is_cut)
{
	struct err err = ERR_INIT;
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	err_sys(&err, -EIO, text, text, "%s", text);
	err_done(&err, "%s", text);
	err_remedy(&err, "%s", text);
	EXPECT_U64(strlen(err.code), sizeof(err.code) - 1);
	EXPECT_U64(strlen(err.object), sizeof(err.object) - 1);
	EXPECT_U64(strlen(err.message), sizeof(err.message) - 1);
	EXPECT_U64(strlen(err.remedy), sizeof(err.remedy) - 1);
}

TEST(a_failure_never_becomes_a_success)
{
	struct err err = ERR_INIT;
	struct err copy = ERR_INIT;

	err_set(&err, 0, NULL, NULL, "odd");
	EXPECT_LT(err.num, 0);
	EXPECT_STR(err.message, "odd");
	err_copy(&copy, &err);
	EXPECT_STR(copy.message, "odd");
	err_clear(&err);
	EXPECT_INT(err.num, 0);
	EXPECT_STR(err.message, "");
}
