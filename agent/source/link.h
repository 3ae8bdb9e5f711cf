/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_LINK_H
#define SOURCE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "net/conn.h"
#include "source/volume.h"
#include "wire/session.h"

/*
 * A session with a replica, and the moving of its bytes: the dialling end's
 * step machine over a connection. One thread. Nothing is queued without bound:
 * link_room waits until the replica has taken enough.
 */
struct link;

struct link_handler {
	/* Called from within link_* calls. */
	void (*on_fps)(void *arg, uint64_t first, uint32_t count,
		       const uint8_t *fps);
	void (*on_ack)(void *arg, const struct wire_ack *ack);
	void (*on_held)(void *arg, uint64_t epoch, uint64_t seq, uint32_t count,
			const uint8_t *held);
	/* True: give up what is being waited for (stop, pause). */
	bool (*cancelled)(void *arg);
	void *arg;
};

struct link_config {
	const struct replica_config *replica;
	const struct source_env *env;
	const struct link_handler *handler;
	int wake_fd;			/* readable: look at cancelled; or -1 */
	int stop_fd;			/* readable: dialling is called off; or -1 */
	enum wire_role role;
	/* Set to true when the replica answered, and its answer was no. */
	bool *refused;
};

/*
 * Dials the replica's addresses in turn and waits for its ACCEPT. 0, or
 * negative errno: err has the slug of the last address tried, or of the
 * refusal.
 */
int link_open(const struct link_config *cfg, struct link **out,
	      struct err *err);
/* For tests: over a connection that is there already (taken). */
int link_open_conn(const struct link_config *cfg, struct conn *c,
		   struct link **out, struct err *err);
/* orderly says BYE first. NULL is fine. */
void link_close(struct link *l, bool orderly);

const struct wire_accept *link_accept(const struct link *l);
struct dial *link_dial(struct link *l);
uint64_t link_bytes_sent(const struct link *l);
/*
 * Asks for a sign of life; link_answered says whether one came to the last
 * asking (answers come in the order of what was sent).
 */
int link_ask_alive(struct link *l);
bool link_answered(const struct link *l);

/* Opens the volume: state in *out, or the replica's refusal in err. */
int link_volume_open(struct link *l, const struct wire_volume_open *v,
		     struct wire_volume_state *out, struct err *err);
/* Waits until a discard or an escrow is done. */
int link_wait_done(struct link *l, enum wire_request what, struct err *err);

/*
 * Move what can be moved now; then wait for more up to timeout_ms. 0 also on
 * time-out; -ECANCELED; anything else means that the session is over.
 */
int link_pump(struct link *l, int timeout_ms, struct err *err);
/* One bounded wait in the middle of work: orders do not end it, a
 * cancellation does (-ECANCELED). */
int link_wait(struct link *l, struct err *err);
/* Pump until at most low_bytes wait to be sent. */
int link_room(struct link *l, size_t low_bytes, struct err *err);

#endif
