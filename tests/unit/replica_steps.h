/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_REPLICA_STEPS_H
#define TESTS_UNIT_REPLICA_STEPS_H

/*
 * What tests of a replica with one small volume begin with and look at.
 * Include after replica_fixture.h.
 */

#define SMALL (64 * (uint64_t)B)

static inline void a_history(struct history *h, struct rnd_seeded *r)
{
	rnd_seeded_init(r, 7);
	history_init(h, "db1", SMALL);
	history_write(h, r, 4);
}

/* A session with the volume open. */
static inline void open_session(struct fixture *f, struct history *h,
				struct sender *s)
{
	sender_connect(s, f);
	ASSERT_INT(history_open(h, s), 0);
}

static inline int remember_row(void *arg,
			       const struct replica_volume_status *row)
{
	*(struct replica_volume_status *)arg = *row;
	return 0;
}

/* Of the only volume. */
static inline struct replica_volume_status status_of(struct fixture *f)
{
	struct replica_volume_status row = { 0 };

	ASSERT_OK(replica_status(f->replica, remember_row, &row));
	return row;
}

#endif
