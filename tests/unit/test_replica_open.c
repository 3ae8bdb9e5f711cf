// SPDX-License-Identifier: Apache-2.0
/*
 * Who may open what at a replica, by its certificate, the replica's rules, and
 * what the volume is and was: each refusal with its code.
 */
#include "replica_fixture.h"
#include "replica_steps.h"

TEST(a_session_needs_the_right_of_its_role)
{
	struct fixture f;
	struct sender s;

	fx_init(&f);
	EXPECT_INT(sender_begin(&s, fx_connect_as(&f, "web1", WIRE_RIGHT_READ,
						  "*"), WIRE_ROLE_SENDER),
		   DIAL_REJECTED);
	EXPECT_STR(s.why.code, "not-permitted");
	EXPECT_STR_HAS(s.why.message, "push");
	EXPECT_TRUE(s.why.remedy[0]);
	sender_close(&s);
	EXPECT_INT(sender_begin(&s, fx_connect_as(&f, "web1", WIRE_RIGHT_PUSH,
						  "*"), WIRE_ROLE_READER),
		   DIAL_REJECTED);
	EXPECT_STR(s.why.code, "not-permitted");
	sender_close(&s);
	EXPECT_INT(sender_begin(&s, fx_connect(&f), WIRE_ROLE_RECEIVER),
		   DIAL_REJECTED);
	EXPECT_STR(s.why.code, "unsupported");
	sender_close(&s);
	EXPECT_INT(sender_begin(&s, fx_connect_as(&f, "../x", ALL_RIGHTS, "*"),
				WIRE_ROLE_SENDER), DIAL_REJECTED);
	EXPECT_STR(s.why.code, "bad-name");
	sender_close(&s);
	replica_stop(f.replica);
}

static void expect_refused(struct fixture *f, struct conn *conn,
			   struct history *h, const char *code)
{
	struct sender s;

	(void)f;
	ASSERT_INT(sender_begin(&s, conn, WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	EXPECT_INT(history_open(h, &s), DIAL_REFUSED);
	EXPECT_STR(s.why.code, code);
	sender_close(&s);
}

TEST(the_certificates_pattern_bounds_what_is_pushed)
{
	struct rnd_seeded r;
	struct fixture f;
	struct history h;

	fx_init(&f);
	a_history(&h, &r);
	expect_refused(&f, fx_connect_as(&f, "web1", ALL_RIGHTS, "wal*"), &h,
		       "not-permitted");
	expect_refused(&f, fx_connect_as(&f, "web1", ALL_RIGHTS, "web2/*"), &h,
		       "not-permitted");
	EXPECT_INT(count_points(&f, &h), 0);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(accept_rules_bound_what_is_taken_and_can_change)
{
	struct accept_rule rules[] = { { "web1/wal*" }, { "web1/db1" } };
	struct err err = ERR_INIT;
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_prepare(&f);
	f.cfg.accept = rules;
	f.cfg.n_accept = 1;
	fx_start(&f);
	a_history(&h, &r);
	expect_refused(&f, fx_connect(&f), &h, "not-accepted");
	f.cfg.n_accept = 2;
	ASSERT_OK(replica_reload(f.replica, &f.cfg, &err));
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	/* the session of a volume that is no longer accepted is ended */
	f.cfg.n_accept = 1;
	ASSERT_OK(replica_reload(f.replica, &f.cfg, &err));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_BYE);
	EXPECT_STR(s.why.code, "not-accepted");
	sender_close(&s);
	snprintf(f.cfg.store_path, sizeof(f.cfg.store_path), "/elsewhere");
	EXPECT_INT(replica_reload(f.replica, &f.cfg, &err), -EINVAL);
	EXPECT_STR(err.code, "needs-restart");
	replica_stop(f.replica);
	history_free(&h);
}

TEST(a_name_belongs_to_one_uuid_and_a_uuid_to_one_source)
{
	struct history h, other;
	struct rnd_seeded r;
	struct fixture f;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	sender_close(&s);
	history_init(&other, "db1", SMALL);
	expect_refused(&f, fx_connect(&f), &other, "name-taken");
	expect_refused(&f, fx_connect_as(&f, "web2", ALL_RIGHTS, "*"), &h,
		       "not-permitted");
	/* the same short name of another source is another volume */
	ASSERT_INT(sender_begin(&s, fx_connect_as(&f, "web2", ALL_RIGHTS, "*"),
				WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	EXPECT_INT(history_open(&other, &s), 0);
	sender_close(&s);
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	replica_stop(f.replica);
	history_free(&h);
	history_free(&other);
}

TEST(an_old_epoch_is_refused)
{
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	h.epoch = 5;
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	sender_close(&s);
	h.epoch = 4;
	h.has_acked = false;
	expect_refused(&f, fx_connect(&f), &h, "old-epoch");
	replica_stop(f.replica);
	history_free(&h);
}

static char asked_dir[256];
static uint32_t asked_disk;

static int holds_disk_8(uint32_t disk_major, uint32_t disk_minor,
			uint32_t part_major, uint32_t part_minor,
			const char *dir)
{
	(void)disk_minor, (void)part_major, (void)part_minor;
	snprintf(asked_dir, sizeof(asked_dir), "%s", dir);
	asked_disk = disk_major;
	return disk_major == 8;
}

TEST(a_store_on_the_volume_itself_is_refused)
{
	struct wire_hello hello = a_hello(WIRE_ROLE_SENDER);
	struct wire_volume_open o;
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_prepare(&f);
	f.env.holds_path = holds_disk_8;
	fx_start(&f);
	a_history(&h, &r);
	o = history_spec(&h);
	o.disk_major = 8;
	hello.boot = f.env.boot;
	sender_hello(&s, fx_connect(&f), &hello);
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ACCEPTED);
	ASSERT_OK(dial_volume_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_REFUSED);
	EXPECT_STR(s.why.code, "store-on-volume");
	EXPECT_STR(asked_dir, f.store);
	o.disk_major = 9;
	ASSERT_OK(dial_volume_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_VOLUME);
	EXPECT_INT(asked_disk, 9);
	sender_close(&s);
	/* of another boot the numbers say nothing */
	ASSERT_OK(uuid_new(rnd_system(), &hello.boot));
	o.disk_major = 8;
	sender_hello(&s, fx_connect(&f), &hello);
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ACCEPTED);
	ASSERT_OK(dial_volume_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_VOLUME);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(another_history_is_refused_and_an_older_one_told_truthfully)
{
	struct wire_volume_open o;
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	history_write(&h, &r, 2);
	ASSERT_INT(history_point(&h, &s), 0);
	sender_close(&s);
	o = history_spec(&h);
	o.acked_head.b[3] ^= 1;
	sender_connect(&s, &f);
	ASSERT_OK(dial_volume_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_REFUSED);
	EXPECT_STR(s.why.code, "head-mismatch");
	EXPECT_STR_HAS(s.why.remedy, "resync db1 --yes db1");
	/* acknowledged, says the source, and not here: the replica has gone
	 * back, and the source must see it */
	o = history_spec(&h);
	o.acked_seq = 9;
	ASSERT_OK(dial_volume_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_VOLUME);
	EXPECT_U64(ev.volume.seq, 2);
	EXPECT_MEM(ev.volume.head.b, h.snaps[1].head.b, WIRE_HEAD_BYTES);
	EXPECT_MEM(ev.volume.prev_head.b, h.snaps[0].head.b, WIRE_HEAD_BYTES);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}
