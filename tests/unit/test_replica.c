// SPDX-License-Identifier: Apache-2.0
/*
 * What a replica lets in, what it answers, and how a session ends: against the
 * real store and the real protocol, over a pair of connected ends.
 */
#include "replica_fixture.h"

#define SMALL (64 * (uint64_t)B)

static void a_history(struct history *h, struct rnd_seeded *r)
{
	rnd_seeded_init(r, 7);
	history_init(h, "db1", SMALL);
	history_write(h, r, 4);
}

/* A session with the volume open. */
static void open_session(struct fixture *f, struct history *h,
			 struct sender *s)
{
	sender_connect(s, f);
	ASSERT_INT(history_open(h, s), 0);
}

static void wait_until(bool (*cond)(void *arg), void *arg)
{
	int i;

	for (i = 0; i < 1000; i++) {
		if (cond(arg))
			return;
		(void)poll(NULL, 0, 10);
	}
	ASSERT_MSG(false, "what was waited for did not happen");
}

TEST(a_point_is_acknowledged_once_it_can_be_restored)
{
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	/* the judge objects when it should */
	h.snaps[0].bytes[5000] ^= 1;
	EXPECT_FALSE(local_point_is(&f, &h, &h.snaps[0]));
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

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

TEST(a_newer_session_supersedes_the_older)
{
	struct dial_event ev;
	struct sender old, new;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &old);
	ASSERT_INT(history_point(&h, &old), 0);
	history_write(&h, &r, 3);
	ASSERT_INT(history_stage(&h, &old, false), 0);
	open_session(&f, &h, &new);
	EXPECT_INT(sender_wait(&old, &ev), DIAL_BYE);
	EXPECT_STR(old.why.code, "superseded");
	EXPECT_INT(sender_wait(&old, &ev), -ECONNRESET);
	sender_close(&old);
	ASSERT_INT(history_stage(&h, &new, true), 0);
	ASSERT_INT(history_commit(&h, &new, NULL), 0);
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[1]));
	sender_close(&new);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(a_superseded_session_cannot_commit_what_is_on_its_way)
{
	struct sender old, new;
	struct wire_commit c;
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	int type;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &old);
	ASSERT_INT(history_stage(&h, &old, false), 0);
	open_session(&f, &h, &new);
	c = history_commit_of(&h);
	ASSERT_OK(dial_commit(old.dial, &c));
	do {
		type = sender_wait(&old, &ev);
		EXPECT_NE(type, DIAL_ACK);
	} while (type >= 0);
	EXPECT_STR(old.why.code, "superseded");
	EXPECT_INT(count_points(&f, &h), 0);
	sender_close(&old);
	sender_close(&new);
	replica_stop(f.replica);
	history_free(&h);
}

/* A point fails under a fault; what was acknowledged before is untouched. */
static void fail_a_point(struct fixture *f, struct history *h, struct sender *s)
{
	unsigned int before = count_points(f, h);
	struct dial_event ev;
	int r;

	r = history_stage(h, s, false);
	if (r == 0)
		r = history_commit(h, s, NULL);
	while (r != DIAL_BYE && r != -ECONNRESET) {
		ASSERT_NE(r, 0);
		r = sender_wait(s, &ev);
	}
	if (!s->gone && r != DIAL_BYE)
		(void)sender_wait(s, &ev);
	EXPECT_INT(count_points(f, h), before);
	sender_close(s);
}

static int remember_row(void *arg, const struct replica_volume_status *row)
{
	*(struct replica_volume_status *)arg = *row;
	return 0;
}

static struct replica_volume_status status_of(struct fixture *f)
{
	struct replica_volume_status row = { 0 };

	ASSERT_OK(replica_status(f->replica, remember_row, &row));
	return row;
}

TEST(a_full_store_ends_the_session_and_loses_nothing)
{
	struct replica_volume_status row;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	history_write(&h, &r, 6);
	f.faulty.write_errno = ENOSPC;
	f.faulty.write_in = 1;
	fail_a_point(&f, &h, &s);
	EXPECT_INT(s.why.num, -ENOSPC);
	row = status_of(&f);
	EXPECT_STR(row.state, "full");
	EXPECT_TRUE(row.reason[0] && row.message[0]);
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	/* room again: the next session goes on and the state is over */
	f.faulty.write_in = 0;
	open_session(&f, &h, &s);
	ASSERT_INT(history_stage(&h, &s, true), 0);
	ASSERT_INT(history_commit(&h, &s, NULL), 0);
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[1]));
	EXPECT_STR(status_of(&f).state, "following");
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(a_failed_sync_is_never_acknowledged)
{
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	history_write(&h, &r, 6);
	ASSERT_INT(history_stage(&h, &s, true), 0);
	f.faulty.sync_errno = EIO;
	f.faulty.sync_in = 1;
	EXPECT_NE(history_commit(&h, &s, NULL), 0);
	EXPECT_INT(s.why.num, -EIO);
	EXPECT_TRUE(s.why.message[0]);
	sender_close(&s);
	f.faulty.sync_in = 0;
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	/* a restart reads the disk; whatever the failed sync left there, the
	 * source settles it from the head it is told */
	fx_restart(&f);
	open_session(&f, &h, &s);
	if (h.n_snaps == 1) {
		ASSERT_INT(history_stage(&h, &s, true), 0);
		ASSERT_INT(history_commit(&h, &s, NULL), 0);
	}
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[1]));
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(every_failing_write_or_sync_in_turn_loses_no_acknowledged_point)
{
	int nth, kind;

	for (kind = 0; kind < 2; kind++) {
		for (nth = 1; nth < 40; nth++) {
			struct rnd_seeded r;
			struct fixture f;
			struct history h;
			struct sender s;
			size_t i;
			int res;

			fx_init(&f);
			a_history(&h, &r);
			open_session(&f, &h, &s);
			ASSERT_INT(history_point(&h, &s), 0);
			f.faulty.write_errno = f.faulty.sync_errno = EIO;
			*(kind ? &f.faulty.sync_in : &f.faulty.write_in) = nth;
			do {
				history_write(&h, &r, 3);
				res = history_stage(&h, &s, false);
				if (!res)
					res = history_commit(&h, &s, NULL);
			} while (!res && h.n_snaps < 6);
			f.faulty.sync_in = f.faulty.write_in = 0;
			sender_close(&s);
			for (i = 0; i < h.n_snaps; i++)
				ASSERT_TRUE(local_point_is(&f, &h,
							   &h.snaps[i]));
			fx_restart(&f);
			for (i = 0; i < h.n_snaps; i++)
				ASSERT_TRUE(local_point_is(&f, &h,
							   &h.snaps[i]));
			replica_stop(f.replica);
			i = h.n_snaps;
			history_free(&h);
			fx_remove_root();
			fx_root[0] = 0;
			if (i >= 6 && !res)
				break;	/* it went through: all were tried */
		}
	}
}

/* ---- keys ---- */

static int escrow(struct sender *s, const struct volume_key *key,
		  const char *name, const struct uuid *volume)
{
	char text[KEY_TEXT_MAX];
	struct dial_event ev;
	int n;

	n = volume_key_to_text(key, name, volume, text, sizeof(text));
	ASSERT_GT(n, 0);
	ASSERT_OK(dial_escrow(s->dial, text, (size_t)n));
	return sender_wait(s, &ev);
}

TEST(an_escrowed_key_is_kept_outside_the_store_and_never_replaced)
{
	char uuid[UUID_TEXT_SIZE], path[300];
	struct volume_key key, other;
	struct err err = ERR_INIT;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;
	struct stat st;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	EXPECT_INT(replica_key(f.replica, &h.volume, &key, &err), -ENOKEY);
	EXPECT_STR(err.code, "no-key");
	EXPECT_INT(escrow(&s, &h.key, "db1", &h.volume), DIAL_DONE);
	err_clear(&err);
	ASSERT_OK(replica_key(f.replica, &h.volume, &key, &err));
	EXPECT_INT(key.id, h.key.id);
	EXPECT_MEM(key.bytes, h.key.bytes, VOLUME_KEY_BYTES);
	uuid_format(&h.volume, uuid);
	snprintf(path, sizeof(path), "%s/keys/%s.key", f.state, uuid);
	ASSERT_OK(stat(path, &st));
	EXPECT_INT(st.st_mode & 0777, 0600);
	/* again the same: fine. Another of the same generation: no. */
	EXPECT_INT(escrow(&s, &h.key, "db1", &h.volume), DIAL_DONE);
	ASSERT_OK(volume_key_new(rnd_system(), 1, &other));
	EXPECT_INT(escrow(&s, &other, "db1", &h.volume), DIAL_ERROR);
	EXPECT_STR(s.why.code, "key-conflict");
	/* another volume's: no. */
	EXPECT_INT(escrow(&s, &h.key, "db1", &f.env.node), DIAL_ERROR);
	ASSERT_OK(replica_key(f.replica, &h.volume, &key, &err));
	EXPECT_MEM(key.bytes, h.key.bytes, VOLUME_KEY_BYTES);
	/* another generation: the former ones stay, whoever has forgotten them */
	other.id = 2;
	EXPECT_INT(escrow(&s, &other, "db1", &h.volume), DIAL_DONE);
	ASSERT_OK(replica_key(f.replica, &h.volume, &key, &err));
	EXPECT_INT(key.id, 2);
	EXPECT_MEM(key.bytes, other.bytes, VOLUME_KEY_BYTES);
	EXPECT_MEM(volume_key_find(&key, 1), h.key.bytes, VOLUME_KEY_BYTES);
	EXPECT_INT(escrow(&s, &h.key, "db1", &h.volume), DIAL_DONE);
	/* a key that is right in one generation and wrong in another: no */
	ASSERT_OK(volume_key_rotate(&other, rnd_system()));
	ASSERT_INT(volume_key_merge(&other, &h.key), 1);
	other.former[0].bytes[5] ^= 1;
	EXPECT_INT(escrow(&s, &other, "db1", &h.volume), DIAL_ERROR);
	EXPECT_STR(s.why.code, "key-conflict");
	ASSERT_OK(replica_key(f.replica, &h.volume, &other, &err));
	EXPECT_MEM(&other, &key, sizeof(key));
	/* the session went on through all of it */
	ASSERT_INT(history_point(&h, &s), 0);
	EXPECT_TRUE(status_of(&f).has_key);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(a_store_that_would_hold_the_keys_is_refused)
{
	struct err err = ERR_INIT;
	struct fixture f;

	fx_prepare(&f);
	snprintf(f.cfg.store_path, sizeof(f.cfg.store_path), "%s", f.state);
	EXPECT_INT(replica_start(&f.cfg, &f.env, &f.replica, &err), -EINVAL);
	EXPECT_STR(err.code, "keys-in-store");
	EXPECT_TRUE(err.remedy[0]);
}

/* ---- status ---- */

static bool is_disconnected(void *arg)
{
	return !strcmp(status_of(arg).state, "disconnected");
}

TEST(status_tells_the_states_of_a_volume)
{
	struct replica_volume_status row;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	row = status_of(&f);
	EXPECT_STR(row.state, "initializing");
	EXPECT_STR(row.info.source, "web1");
	EXPECT_STR(row.info.name, "db1");
	EXPECT_TRUE(row.connected && !row.has_lag && !row.has_key);
	EXPECT_TRUE(row.since_wall_ns > 0);
	ASSERT_INT(history_point(&h, &s), 0);
	row = status_of(&f);
	EXPECT_STR(row.state, "following");
	EXPECT_TRUE(row.has_lag && row.lag_ns < 20 * NSEC_PER_SEC);
	sender_close(&s);
	wait_until(is_disconnected, &f);
	row = status_of(&f);
	EXPECT_FALSE(row.connected);
	EXPECT_TRUE(row.has_lag);
	EXPECT_STR(row.reason, "no-session");
	/* after a restart lag goes on from what the store knows */
	fx_restart(&f);
	row = status_of(&f);
	EXPECT_STR(row.state, "disconnected");
	EXPECT_TRUE(row.has_lag && row.lag_ns < 20 * NSEC_PER_SEC);
	replica_stop(f.replica);
	history_free(&h);
}

/* A point that flipped ago_ns ago, by a clock that is off by skew_ns. */
static void skewed_point(struct fixture *f, struct history *h, int64_t skew_ns,
			 int64_t ago_ns)
{
	struct wire_hello hello = a_hello(WIRE_ROLE_SENDER);
	struct dial_event ev;
	struct wire_commit c;
	struct sender s;

	hello.wall_ns += skew_ns;
	sender_hello(&s, fx_connect(f), &hello);
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ACCEPTED);
	s.accept = ev.accept;
	ASSERT_INT(history_open(h, &s), 0);
	ASSERT_INT(history_stage(h, &s, false), 0);
	c = history_commit_of(h);
	c.flip_wall_ns += skew_ns - ago_ns;
	snapshot_take(h, h->next_seq);
	ASSERT_OK(dial_commit(s.dial, &c));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ACK);
	history_acked(h, ev.ack.seq, &ev.ack.head);
	sender_close(&s);
}

TEST(skewed_clocks_make_lag_neither_negative_nor_wrong)
{
	static const int64_t skews[] = { 0, 3600, -3600, 86400 * 365 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(skews); i++) {
		struct replica_volume_status row;
		struct rnd_seeded r;
		struct fixture f;
		struct history h;

		fx_init(&f);
		a_history(&h, &r);
		skewed_point(&f, &h, skews[i] * (int64_t)NSEC_PER_SEC,
			     40 * (int64_t)NSEC_PER_SEC);
		row = status_of(&f);
		EXPECT_TRUE(row.has_lag);
		EXPECT_GE(row.lag_ns, 39 * NSEC_PER_SEC);
		EXPECT_LE(row.lag_ns, 60 * NSEC_PER_SEC);
		replica_stop(f.replica);
		history_free(&h);
		fx_remove_root();
		fx_root[0] = 0;
	}
}

TEST(a_confirmation_keeps_the_lag_true_without_a_point)
{
	struct replica_volume_status row;
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	skewed_point(&f, &h, 0, 50 * (int64_t)NSEC_PER_SEC);
	open_session(&f, &h, &s);
	EXPECT_GE(status_of(&f).lag_ns, 49 * NSEC_PER_SEC);
	ASSERT_OK(dial_confirm(s.dial, h.epoch, h.acked_seq,
			       clock_wall_ns(clock_real())));
	ASSERT_OK(dial_ping(s.dial));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_PONG);
	row = status_of(&f);
	EXPECT_LT(row.lag_ns, 20 * NSEC_PER_SEC);
	EXPECT_INT(count_points(&f, &h), 1);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

/* ---- staging ---- */

TEST(discard_throws_away_what_was_staged_and_nothing_else)
{
	struct fp fps[64];
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	ASSERT_INT(history_stage(&h, &s, false), 0);
	ASSERT_OK(history_ask_fps(&h, &s, fps));
	EXPECT_FALSE(fp_equal(&fps[0], &fp_unknown));
	ASSERT_OK(dial_discard(s.dial));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_DONE);
	ASSERT_OK(history_ask_fps(&h, &s, fps));
	EXPECT_TRUE(fp_equal(&fps[0], &fp_unknown));
	ASSERT_INT(history_point(&h, &s), 0);
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

/* ---- readers ---- */

static int a_reader(struct sender *s, struct fixture *f, const char *volumes)
{
	return sender_begin(s, fx_connect_as(f, "web1", WIRE_RIGHT_READ,
					     volumes), WIRE_ROLE_READER);
}

TEST(a_reader_lists_the_points_it_may_see)
{
	struct history h, other;
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct sender s;
	uint64_t seq;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	for (seq = 1; seq <= 5; seq++) {
		history_write(&h, &r, 1);
		ASSERT_INT(history_stage(&h, &s, false), 0);
		ASSERT_INT(history_commit(&h, &s, seq == 3 ? "three" : NULL),
			   0);
	}
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_points_query(s.dial, "web1", "db1"));
	for (seq = 1; seq <= 5; seq++) {
		ASSERT_INT(sender_wait(&s, &ev), DIAL_POINT);
		EXPECT_U64(ev.point.seq, seq);
		EXPECT_STR(ev.point.label, seq == 3 ? "three" : "");
		EXPECT_U64(ev.point.size_bytes, SMALL);
	}
	ASSERT_INT(sender_wait(&s, &ev), DIAL_POINTS_END);
	ASSERT_OK(dial_points_query(s.dial, "", "nosuch"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "no-volume");
	ASSERT_OK(dial_points_query(s.dial, "web2", "db1"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "not-permitted");
	sender_close(&s);
	/* a second volume of that name: whoever may see both must choose */
	history_init(&other, "db1", SMALL);
	ASSERT_INT(sender_begin(&s, fx_connect_as(&f, "web2", ALL_RIGHTS, "*"),
				WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	ASSERT_INT(history_open(&other, &s), 0);
	ASSERT_INT(history_point(&other, &s), 0);
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*/*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_points_query(s.dial, "", "db1"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "ambiguous");
	EXPECT_STR_HAS(s.why.message, "web1/db1");
	EXPECT_STR_HAS(s.why.message, "web2/db1");
	sender_close(&s);
	/* whoever may see one only is not asked */
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_points_query(s.dial, "", "db1"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_POINT);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
	history_free(&other);
}

TEST(a_view_that_does_not_exist_is_an_error_and_the_session_goes_on)
{
	struct wire_view_open o = { .source = "web1", .name = "db1",
				    .select = WIRE_SELECT_LATEST };
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "no-point");
	sender_close(&s);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	o.select = WIRE_SELECT_SEQ;
	o.seq = 77;
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "no-point");
	o.select = WIRE_SELECT_LABEL;
	snprintf(o.label, sizeof(o.label), "before-upgrade");
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR_HAS(s.why.message, "before-upgrade");
	o.select = WIRE_SELECT_TIME;
	o.wall_ns = 1;
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	o.wall_ns = clock_wall_ns(clock_real());
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_VIEW);
	EXPECT_U64(ev.view.point.seq, 1);
	ASSERT_OK(dial_view_close(s.dial, ev.view.handle));
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

/* ---- bounds ---- */

static bool closed_by_now(struct conn *c)
{
	uint8_t b[256];
	int64_t n;

	do {
		n = conn_read(c, b, sizeof(b), PEER_MS);
	} while (n > 0);
	return n != -EAGAIN;
}

TEST(strangers_are_bounded_in_number_and_time)
{
	struct conn *conns[5], *ours, *theirs;
	struct fixture f;
	struct sender s;
	size_t i;

	fx_prepare(&f);
	f.env.limits.strangers_per_address = 4;
	f.env.limits.handshake_ms = 300;
	fx_start(&f);
	for (i = 0; i < 4; i++)
		conns[i] = fx_connect(&f);
	ASSERT_OK(conn_pair(&ours, &theirs));
	snprintf(theirs->peer_address, sizeof(theirs->peer_address),
		 "test:web1");
	EXPECT_INT(replica_serve(f.replica, theirs), -EMFILE);
	EXPECT_TRUE(closed_by_now(ours));
	conn_close(ours, false);
	/* another address is let in meanwhile */
	ASSERT_OK(conn_pair(&ours, &theirs));
	snprintf(theirs->peer_address, sizeof(theirs->peer_address),
		 "other:web1");
	EXPECT_OK(replica_serve(f.replica, theirs));
	conn_close(ours, false);
	/* those who say nothing are out after the time allowed */
	for (i = 0; i < 4; i++) {
		EXPECT_TRUE(closed_by_now(conns[i]));
		conn_close(conns[i], false);
	}
	sender_connect(&s, &f);
	sender_close(&s);
	replica_stop(f.replica);
}

TEST(a_silent_session_ends_and_pings_keep_it)
{
	struct dial_event ev;
	struct fixture f;
	struct sender s;
	int i;

	fx_prepare(&f);
	f.env.limits.idle_ms = 400;
	fx_start(&f);
	sender_connect(&s, &f);
	for (i = 0; i < 6; i++) {
		(void)poll(NULL, 0, 100);
		ASSERT_OK(dial_ping(s.dial));
		ASSERT_INT(sender_wait(&s, &ev), DIAL_PONG);
	}
	EXPECT_INT(sender_wait(&s, &ev), DIAL_BYE);
	EXPECT_STR(s.why.code, "idle");
	sender_close(&s);
	replica_stop(f.replica);
}

TEST(a_reader_that_takes_nothing_is_cut_off)
{
	struct wire_view_open o = { .name = "db1" };
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;
	uint32_t handle;
	int i;

	fx_prepare(&f);
	f.env.limits.stall_ms = 300;
	fx_start(&f);
	rnd_seeded_init(&r, 3);
	history_init(&h, "db1", 2048 * (uint64_t)B);
	history_write(&h, &r, 300);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_view_open(s.dial, &o));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_VIEW);
	handle = ev.view.handle;
	for (i = 0; i < 20; i++)
		ASSERT_OK(dial_view_read(s.dial, handle, 0, 2048));
	ASSERT_OK(sender_flush(&s));
	/* The replica gives up by itself: its end is closed while we read
	 * nothing, so that what can still be read ends. */
	(void)poll(NULL, 0, 1000);
	while (sender_wait(&s, &ev) >= 0)
		;
	EXPECT_TRUE(s.gone);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(stop_tells_every_session_and_waits_for_it)
{
	struct sender s[8], silent;
	struct dial_event ev;
	struct fixture f;
	size_t i;

	fx_init(&f);
	for (i = 0; i < ARRAY_SIZE(s); i++)
		sender_connect(&s[i], &f);
	memset(&silent, 0, sizeof(silent));
	silent.conn = fx_connect(&f);
	replica_stop(f.replica);
	for (i = 0; i < ARRAY_SIZE(s); i++) {
		EXPECT_INT(sender_wait(&s[i], &ev), DIAL_BYE);
		EXPECT_STR(s[i].why.code, "shutdown");
		sender_close(&s[i]);
	}
	EXPECT_TRUE(closed_by_now(silent.conn));
	conn_close(silent.conn, false);
}

/* ---- hostile peers ---- */

/* Bytes that a session would send, with some of them changed. */
static void hostile_session(struct fixture *f, struct rnd_seeded *r)
{
	struct history h;
	struct sender s;
	struct buf *out;
	uint64_t flips;
	char name[40];
	int res;

	snprintf(name, sizeof(name), "evil%" PRIu64, rnd_seeded_next(r));
	history_init(&h, name, 16 * (uint64_t)B);
	history_write(&h, r, 2);
	sender_connect(&s, f);
	if (rnd_seeded_below(r, 4) && history_open(&h, &s) == 0) {
		const struct comp_config comp = { .mode = COMP_NONE };
		struct sealer *sealer = sealer_new(&h.key, &h.volume, 1, 1,
						   &comp, rnd_system());
		struct wire_commit c = history_commit_of(&h);

		ASSERT_NOT_NULL(sealer);
		ASSERT_OK(dial_point_begin(s.dial, sealer_delta(sealer)));
		if (!rnd_seeded_below(r, 2)) {
			struct buf units = { 0 };

			(void)seal_run(&h, sealer, NULL, 0, &units);
			ASSERT_OK(dial_units(s.dial, units.data, units.len));
			buf_free(&units);
		}
		if (!rnd_seeded_below(r, 2))
			ASSERT_OK(dial_fp_query(s.dial, 0, 16));
		ASSERT_OK(dial_commit(s.dial, &c));
		sealer_free(sealer);
	} else {
		ASSERT_OK(dial_ping(s.dial));
	}
	out = dial_out(s.dial);
	for (flips = 1 + rnd_seeded_below(r, 4); flips && out->len; flips--)
		out->data[rnd_seeded_below(r, out->len)] ^=
			(uint8_t)(1 + rnd_seeded_below(r, 255));
	if (!rnd_seeded_below(r, 4)) {
		uint64_t i;

		for (i = 0; i < out->len; i++)
			out->data[i] = (uint8_t)rnd_seeded_next(r);
	}
	res = sender_flush(&s);
	if (res == 0 && !rnd_seeded_below(r, 2))
		(void)poll(NULL, 0, 2);
	sender_cut(&s);
	sender_close(&s);
	history_free(&h);
}

TEST(hostile_bytes_end_their_session_and_nothing_else)
{
	struct rnd_seeded r, quiet;
	struct fixture f;
	struct history h;
	struct sender s;
	int i;

	rnd_seeded_init(&r, tap_seed());
	fx_init(&f);
	a_history(&h, &quiet);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	for (i = 0; i < 60; i++)
		hostile_session(&f, &r);
	history_write(&h, &quiet, 2);
	ASSERT_INT(history_point(&h, &s), 0);
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[1]));
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(a_broken_protocol_is_told_before_the_end)
{
	struct dial_event ev;
	struct fixture f;
	struct sender s;
	struct buf *out;

	fx_init(&f);
	sender_connect(&s, &f);
	ASSERT_OK(dial_ping(s.dial));
	out = dial_out(s.dial);
	out->data[out->len - 1] ^= 0xff;
	ASSERT_OK(sender_flush(&s));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_BYE);
	EXPECT_INT(s.why.num, -EPROTO);
	sender_close(&s);
	replica_stop(f.replica);
}
