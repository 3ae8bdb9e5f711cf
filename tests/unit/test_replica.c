// SPDX-License-Identifier: Apache-2.0
/*
 * What a replica takes and keeps: points, once each, of the session that is the
 * volume's now; keys, outside the store. What fails in between loses nothing.
 * Against the real store and the real protocol, over a pair of connected ends.
 */
#include "replica_fixture.h"
#include "replica_steps.h"

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

/* ---- one session after another ---- */

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

/* ---- what fails ---- */

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
			own_dir_remove();
			if (i >= 6 && !res)
				break;	/* it went through: all were tried */
		}
		EXPECT_GT(nth, 3);
		EXPECT_LT(nth, 40);
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
