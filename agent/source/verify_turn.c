// SPDX-License-Identifier: Apache-2.0
/*
 * Who compares: a verification that was ordered, and the audit, on one session.
 *
 * Invariants:
 * - Answers are held against what asked. They come in the order of the
 *   questions and say nothing else of where they belong, so one asks at a
 *   time, and the other begins when all of those answers have come; also when
 *   the first is no more.
 * - What is staged, acknowledged and lost is told to both, in turn or not: what
 *   they know must not be older than what was shipped.
 *
 * The volume's worker.
 */
#include "base/err.h"
#include "source/volume_internal.h"

/* The audit stands back behind what was ordered. */
static struct verify *in_turn(const struct volume *v)
{
	return v->verify ? v->verify : audit_window(v->audit);
}

bool volume_turn_may_ask(const struct volume *v, const struct verify *who)
{
	return !v->answers_due || (who && v->asker == who);
}

void volume_turn_leave(struct volume *v, const struct verify *who)
{
	if (v->asker == who)
		v->asker = NULL;
}

int volume_turn_ask(void *arg, bool fresh, const struct wire_extent *e,
		    uint32_t n, struct err *err)
{
	struct volume *v = arg;
	int r = dial_verify(link_dial(v->link), fresh, e, n);

	v->asker = in_turn(v);
	v->verify_ask_failed = true;
	if (r)
		return err_sys(err, r, "protocol", v->cfg.name, "verify");
	v->answers_due++;
	r = link_pump(v->link, 0, err);
	v->verify_ask_failed = r < 0;
	return r;
}

void volume_turn_on_held(struct volume *v, uint64_t epoch, uint64_t seq,
			 uint32_t count, const uint8_t *held)
{
	if (!v->answers_due)
		return;
	v->answers_due--;
	if (v->asker)
		verify_on_held(v->asker, epoch, seq, count, held);
}

void volume_turn_on_stage(struct volume *v, uint64_t first, uint32_t count,
			  const uint8_t *data)
{
	struct verify *window = audit_window(v->audit);

	if (v->verify)
		verify_on_stage(v->verify, first, count, data);
	if (window)
		verify_on_stage(window, first, count, data);
}

/* The one that waits has its turn with another point. */
int volume_turn_on_commit(struct volume *v, uint64_t seq, struct err *err)
{
	struct verify *who = in_turn(v);

	return who && volume_turn_may_ask(v, who) ?
		       verify_on_commit(who, seq, err) : 0;
}

void volume_turn_on_settled(struct volume *v)
{
	struct verify *window = audit_window(v->audit);

	if (v->verify)
		verify_on_settled(v->verify);
	if (window)
		verify_on_settled(window);
}

void volume_turn_on_session_lost(struct volume *v)
{
	struct verify *window = audit_window(v->audit);

	v->answers_due = 0;
	if (v->verify)
		verify_on_session_lost(v->verify);
	if (window)
		verify_on_session_lost(window);
}

void volume_turn_on_all_dirty(struct volume *v)
{
	struct verify *window = audit_window(v->audit);

	if (v->verify)
		verify_on_all_dirty(v->verify);
	if (window)
		verify_on_all_dirty(window);
}
