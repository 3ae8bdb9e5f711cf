// SPDX-License-Identifier: Apache-2.0
/* Sentences about volumes: what is said, and what is not. */
#include "tap.h"

#include "base/clock.h"
#include "control/why.h"

static struct why why;

/* The text of the sentence with this slug, or "". */
static const char *said(const char *slug)
{
	size_t i;

	for (i = 0; i < why.n; i++)
		if (!strcmp(why.s[i].slug, slug))
			return why.s[i].text;
	return "";
}

static bool is_silent_on(const char *slug)
{
	return !*said(slug);
}

static struct volume_status a_volume(enum volume_state state)
{
	struct volume_status s = {
		.name = "vol", .replica = "dr1", .state = state,
		.replica_state = "connected", .has_lag = true,
		.lag_ns = 3 * NSEC_PER_SEC, .rpo_ns = 10 * NSEC_PER_SEC,
		.interval_ns = NSEC_PER_SEC,
	};

	return s;
}

static void ask(const struct volume_status *s)
{
	const struct why_source w = { .now = s };

	why_source(&w, &why);
}

TEST(a_protected_volume_waits_for_nothing)
{
	struct volume_status s = a_volume(VOLUME_PROTECTED);

	ask(&s);
	ASSERT_U64(why.n, 2);
	EXPECT_STR_HAS(said("protected"), "3.0 s ago");
	EXPECT_STR_HAS(said("protected"), "objective is 10.0 s");
	EXPECT_STR_HAS(said("next-cut"), "1.0 s");
}

TEST(a_lagging_volume_names_its_objective)
{
	struct volume_status s = a_volume(VOLUME_LAGGING);

	s.lag_ns = 60 * NSEC_PER_SEC;
	ask(&s);
	EXPECT_STR_HAS(said("lagging"), "objective of 10.0 s");
	EXPECT_TRUE(is_silent_on("next-cut"));
}

TEST(a_link_that_is_down_is_told_with_its_cause)
{
	struct volume_status s = a_volume(VOLUME_LAGGING);

	strcpy(s.replica_state, "disconnected");
	strcpy(s.replica_reason, "unreachable");
	strcpy(s.reason, "unreachable");
	strcpy(s.message, "dr1: connect: Connection refused");
	strcpy(s.remedy, "see that it runs");
	s.backlog_bytes = 1 << 20;
	ask(&s);
	EXPECT_STR_HAS(said("link-down"), "Connection refused");
	EXPECT_STR_HAS(said("remedy"), "see that it runs");
	/* No speed is claimed. */
	EXPECT_STR_HAS(said("backlog"), "not known");
	/* A message that is about something else is not made the cause. */
	strcpy(s.reason, "read-error");
	ask(&s);
	EXPECT_STR_HAS(said("link-down"), "no cause was told");
}

TEST(a_full_replica_is_named)
{
	struct volume_status s = a_volume(VOLUME_LAGGING);

	strcpy(s.replica_state, "disconnected");
	strcpy(s.replica_reason, "store-full");
	strcpy(s.reason, "store-full");
	strcpy(s.message, "no space left");
	ask(&s);
	EXPECT_STR_HAS(said("replica-full"), "no space left");
	EXPECT_TRUE(is_silent_on("link-down"));
}

TEST(a_paused_volume_is_not_blamed_on_its_link)
{
	struct volume_status s = a_volume(VOLUME_PAUSED);

	strcpy(s.replica_state, "disconnected");
	s.backlog_bytes = 4096;
	ask(&s);
	EXPECT_STR_HAS(said("paused"), "understudyctl resume vol");
	EXPECT_STR_HAS(said("lag"), "3.0 s ago");
	EXPECT_TRUE(is_silent_on("link-down"));
	EXPECT_TRUE(is_silent_on("next-cut"));
}

TEST(refusals_and_failures_quote_reason_and_remedy)
{
	struct volume_status s = a_volume(VOLUME_REFUSED);

	strcpy(s.reason, "device-changed");
	strcpy(s.message, "/dev/x: not the device of this volume");
	strcpy(s.remedy, "understudyctl resync vol --yes vol");
	ask(&s);
	EXPECT_STR_HAS(said("refused"), "(device-changed)");
	EXPECT_STR_HAS(said("refused"), "not the device");
	EXPECT_STR_HAS(said("remedy"), "resync");
	s.state = VOLUME_FAILED;
	s.has_lag = false;
	ask(&s);
	EXPECT_STR_HAS(said("failed"), "tried again");
	EXPECT_STR_HAS(said("no-point"), "nothing of it can be restored");
}

TEST(speed_and_time_left_are_those_measured)
{
	struct volume_status before = a_volume(VOLUME_COMPARING);
	struct volume_status now = before;
	struct why_source w = {
		.now = &now, .before = &before,
		.between_ns = 2 * NSEC_PER_SEC,
	};

	before.backlog_bytes = 300ULL << 20;
	now.backlog_bytes = 200ULL << 20;
	now.bytes_read = 100ULL << 20;
	why_source(&w, &why);
	EXPECT_STR_HAS(said("backlog-shrinks"), "50 MiB/s");
	EXPECT_STR_HAS(said("backlog-shrinks"), "4.0 s are left");
	EXPECT_TRUE(is_silent_on("read-limit"));
	w.read_limit_bytes = 51ULL << 20;
	why_source(&w, &why);
	EXPECT_STR_HAS(said("read-limit"), "51 MiB/s");
	/* It grows: no time is foretold. */
	now.backlog_bytes = 400ULL << 20;
	why_source(&w, &why);
	EXPECT_TRUE(is_silent_on("backlog-shrinks"));
	EXPECT_STR_HAS(said("backlog-stands"), "not become less");
}

TEST(contention_gives_cuts_and_rounds)
{
	struct volume_status s = a_volume(VOLUME_LAGGING);

	strcpy(s.limited_by, "contention");
	s.cuts = 10;
	s.cuts_converged = 4;
	s.rounds = 155;
	ask(&s);
	EXPECT_STR_HAS(said("contention"), "of 10 cuts");
	EXPECT_STR_HAS(said("contention"), "15.5 rounds a cut");
	s.cuts = 0;
	s.limited_by[0] = 0;
	ask(&s);
	EXPECT_TRUE(is_silent_on("contention"));
}

TEST(a_key_that_nobody_else_has_is_a_remark)
{
	struct volume_status s = a_volume(VOLUME_PROTECTED);

	strcpy(s.reason, "key-unsaved");
	strcpy(s.message, "volume vol: key: only this host has it");
	strcpy(s.remedy, "understudyctl key export vol");
	ask(&s);
	EXPECT_STR_HAS(said("key-unsaved"), "only this host");
	EXPECT_STR_HAS(said("remedy"), "key export");
}

TEST(the_longest_texts_fit)
{
	struct volume_status s = a_volume(VOLUME_REFUSED);

	memset(s.message, 'x', sizeof(s.message) - 1);
	memset(s.remedy, 'y', sizeof(s.remedy) - 1);
	memset(s.reason, 'z', sizeof(s.reason) - 1);
	memset(s.name, 'n', sizeof(s.name) - 1);
	ask(&s);
	EXPECT_TRUE(strlen(said("refused")) > sizeof(s.message));
}

TEST(a_stored_volume_says_who_is_away_and_since_when)
{
	struct replica_volume_status s = {
		.info = { .source = "web1", .name = "vol",
			  .newest = { .meta = { .epoch = 1, .seq = 12 } } },
		.state = "disconnected", .reason = "no-session",
		.since_wall_ns = 1700000000LL * (int64_t)NSEC_PER_SEC,
		.has_lag = true, .lag_ns = 90 * NSEC_PER_SEC,
		.has_key = true,
	};

	why_replica(&s, &why);
	EXPECT_STR_HAS(said("disconnected"), "since this daemon started");
	EXPECT_STR_HAS(said("lag"), "1:12");
	EXPECT_TRUE(is_silent_on("no-key"));
	s.was_heard = true;
	s.has_key = false;
	strcpy(s.reason, "revoked");
	strcpy(s.message, "certificate is revoked");
	why_replica(&s, &why);
	EXPECT_STR_HAS(said("disconnected"), "since 2023-11-14T22:13:20");
	EXPECT_STR_HAS(said("revoked"), "certificate is revoked");
	EXPECT_STR_HAS(said("no-key"), "--key FILE");
	s.state = "full";
	why_replica(&s, &why);
	EXPECT_STR_HAS(said("store-full"), "no room");
	s.state = "damaged";
	why_replica(&s, &why);
	EXPECT_STR_HAS(said("damaged"), "web1/vol is damaged");
	s.state = "following";
	s.info.open_bytes = 2048;
	why_replica(&s, &why);
	EXPECT_STR_HAS(said("staged"), "2 KiB");
}
