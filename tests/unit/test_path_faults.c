// SPDX-License-Identifier: Apache-2.0
/*
 * The whole way of a write in one process: marks, cut engine, reader, sealing,
 * session, replica, store, what the source remembers. The n-th allocation of
 * all of it fails, or the n-th file operation, or a read of the device: the
 * next attempts get through, no acknowledged point is lost, and every point is
 * what the device was.
 *
 * Each life runs in a child; what it was promised is in memory that it shares.
 * TEST_AT=n repeats one.
 *
 * test-timeout: 2000
 */
#include <sys/mman.h>

#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>

#include "lib/own_dir.h"
#include "lib/tap.h"

#include "net/conn.h"
#include "replica/replica.h"
#include "source/cut.h"
#include "source/link.h"
#include "source/reader_mem.h"
#include "source/ship.h"
#include "tracker/tracker_mem.h"
#include "source/volstate.h"
#include "store/store.h"

#include "unit/nth_alloc.h"
#include "unit/nth_io.h"

#define BLOCKS 48U
#define SIZE (BLOCKS * US_BLOCK_BYTES)
#define TARGETS 3U			/* points that the life wants */
#define SEQS 24U			/* and may need, failures counted */
#define TRIES 6U

/* ---- the life ---- */

enum fault { ALLOC, FILES, DEVICE };

static struct shared {
	bool known, adopted;
	struct uuid volume;
	struct volume_key key;
	uint64_t acked, begun;
	bool hit;
	uint64_t calls;
	uint8_t device[SIZE];
	uint8_t images[SEQS][SIZE];
} *sh;

struct life {
	char state[200], store[200];
	struct io io;
	struct replica *replica;
	struct tracker_mem_words *words;
	struct volstate vs;
	bool has_vs;
	struct tracker *tracker;
	struct reader *reader;
	struct cut *cut;
	struct link *link;
	struct ship *ship;
	struct link_handler handler;
	struct source_env source_env;
	struct replica_config replica_config;
	bool ack_came, escrowed;
	struct wire_ack ack;
	uint64_t base_seq;
	struct wire_head base_head;
	enum fault fault;
	uint64_t at, reads;
};

static struct err err;

static void on_fps(void *arg, uint64_t first, uint32_t count,
		   const uint8_t *fps)
{
	struct life *l = arg;

	if (l->ship)
		ship_on_fps(l->ship, first, count, fps);
}

static void on_ack(void *arg, const struct wire_ack *ack)
{
	struct life *l = arg;

	l->ack = *ack;
	l->ack_came = true;
}

static int device_fault(void *arg, const struct read_req *req)
{
	struct life *l = arg;

	(void)req;
	l->reads++;
	if (l->fault != DEVICE || l->reads != l->at)
		return 0;
	sh->hit = true;
	return -EIO;
}

static int replica_open(struct life *l)
{
	struct replica_role_config cfg = { 0 };
	struct replica_env env = {
		.state_dir = l->state,
		.node = { { 1 } },
		.boot = { { 2 } },
		.clock = clock_real(),
		.rnd = rnd_system(),
		.io = &l->io,
	};

	if (l->replica)
		return 0;
	(void)snprintf(cfg.store_path, sizeof(cfg.store_path), "%s", l->store);
	return replica_start(&cfg, &env, &l->replica, &err);
}

static void engine_close(struct life *l)
{
	cut_free(l->cut);
	if (l->reader)
		l->reader->ops->close(l->reader);
	if (l->tracker)
		l->tracker->ops->close(l->tracker, false);
	if (l->has_vs)
		volstate_close(&l->vs);
	l->cut = NULL;
	l->reader = NULL;
	l->tracker = NULL;
	l->has_vs = false;
}

static int engine_parts(struct life *l)
{
	const struct reader_mem_config rc = {
		.data = sh->device,
		.size_bytes = SIZE,
		.seed = 3,
		.fault = device_fault,
		.arg = l,
	};
	struct cut_config cc = { .clock = clock_real() };
	int r;

	r = volstate_open(&l->io, rnd_system(), l->state, "vol", &l->vs, &err);
	if (r < 0)
		return r;
	l->has_vs = true;
	sh->volume = l->vs.uuid;
	sh->key = l->vs.key;
	sh->known = true;
	r = tracker_mem_open(l->words, US_BLOCK_SHIFT, sh->adopted,
			     &l->tracker);
	if (r == 0)
		r = reader_open_mem(&rc, &l->reader);
	cc.tracker = l->tracker;
	cc.reader = l->reader;
	if (r == 0)
		r = cut_new(&cc, &l->cut, &err);
	if (r == 0)
		r = sh->adopted ? cut_adopt(l->cut, &err) :
				  cut_all_dirty(l->cut, &err);
	if (r == 0)
		sh->adopted = true;
	return r;
}

static int engine_open(struct life *l)
{
	int r;

	if (l->cut)
		return 0;
	r = engine_parts(l);
	if (r < 0)
		engine_close(l);
	return r;
}

static void session_close(struct life *l)
{
	if (l->cut)
		cut_session_lost(l->cut);
	ship_free(l->ship);
	link_close(l->link, false);
	l->ship = NULL;
	l->link = NULL;
}

/* What volume_session.c makes of it. */
static int adopt_history(struct life *l, const struct wire_volume_state *s)
{
	const struct acked *known = &l->vs.acked;
	const struct acked a = {
		.valid = true,
		.epoch = s->epoch,
		.seq = s->seq,
		.head = s->head,
		.flip_wall_ns = s->flip_wall_ns,
	};

	l->base_seq = s->has_point ? s->seq : 0;
	l->base_head = s->head;
	ASSERT_MSG(l->base_seq >= sh->acked, "  the replica went back");
	ASSERT_MSG(l->base_seq <= sh->begun, "  a point that nobody made");
	if (!s->has_point || (known->valid && known->seq == s->seq))
		return 0;
	ASSERT_MSG(l->vs.intent_seq == s->seq, "  newest %" PRIu64 ", sent last %"
		   PRIu64, s->seq, l->vs.intent_seq);
	return volstate_save_acked(&l->vs, &a, &err);
}

static int escrow(struct life *l)
{
	char text[KEY_TEXT_MAX];
	int n, r;

	if (l->escrowed)
		return 0;
	n = volume_key_to_text(&l->vs.key, "vol", &l->vs.uuid, text,
			       sizeof(text));
	if (n < 0)
		return n;
	r = dial_escrow(link_dial(l->link), text, (size_t)n);
	if (r == 0)
		r = link_wait_done(l->link, WIRE_REQ_ESCROW, &err);
	l->escrowed = r == 0;
	return r;
}

static int link_up(struct life *l)
{
	const struct link_config lc = {
		.replica = &l->replica_config,
		.env = &l->source_env,
		.handler = &l->handler,
		.wake_fd = -1,
		.stop_fd = -1,
		.role = WIRE_ROLE_SENDER,
	};
	struct conn *mine, *theirs;
	int r;

	r = conn_pair(&mine, &theirs);
	if (r < 0)
		return r;
	(void)snprintf(theirs->peer_name, sizeof(theirs->peer_name), "web1");
	(void)snprintf(theirs->peer_volumes, sizeof(theirs->peer_volumes),
		       "*");
	(void)snprintf(theirs->peer_address, sizeof(theirs->peer_address),
		       "test");
	theirs->peer_rights = WIRE_RIGHT_PUSH | WIRE_RIGHT_READ;
	r = replica_serve(l->replica, theirs);
	if (r < 0) {
		conn_close(mine, false);
		return r;
	}
	return link_open_conn(&lc, mine, &l->link, &err);
}

static int session_open(struct life *l)
{
	struct wire_volume_open vo = {
		.name = "vol",
		.size_bytes = SIZE,
		.block_bytes = US_BLOCK_BYTES,
	};
	struct ship_config sc = {
		.epoch = 1,
		.compression = { .mode = COMP_AUTO },
		.rnd = rnd_system(),
		.cache_log2_slots = 6,
	};
	struct wire_volume_state state;
	int r;

	if (l->ship)
		return 0;
	r = link_up(l);
	if (r < 0)
		return r;
	vo.uuid = l->vs.uuid;
	vo.epoch = l->vs.epoch;
	vo.has_acked = l->vs.acked.valid;
	vo.acked_epoch = l->vs.acked.epoch;
	vo.acked_seq = l->vs.acked.seq;
	vo.acked_head = l->vs.acked.head;
	r = link_volume_open(l->link, &vo, &state, &err);
	if (r == 0)
		r = adopt_history(l, &state);
	if (r == 0)
		r = escrow(l);
	if (r < 0)
		return r;
	sc.link = l->link;
	sc.volume = l->vs.uuid;
	sc.key = &l->vs.key;
	r = ship_new(&sc, &l->ship, &err);
	if (r == 0)
		cut_set_sink(l->cut, ship_sink(l->ship));
	return r;
}

static int converge(struct life *l)
{
	struct cut_round round = { 0 };
	int i, r = 0;

	for (i = 0; r == 0 && i < 4; i++) {
		ship_round(l->ship, l->base_seq + 1, true);
		r = cut_round(l->cut, &round, &err);
		if (r == 0 && round.read_errors)
			return -EIO;
		if (r == 0 && round.converged)
			return 0;
	}
	return r < 0 ? r : -EBUSY;
}

static int commit(struct life *l)
{
	struct wire_commit c = {
		.epoch = 1,
		.seq = l->base_seq + 1,
		.flip_wall_ns = (int64_t)(l->base_seq + 1) * 100,
		.kind = POINT_CRASH,
		.size_bytes = SIZE,
		.prev_head = l->base_head,
	};
	struct acked a = { .valid = true, .epoch = 1, .seq = c.seq,
			   .flip_wall_ns = c.flip_wall_ns };
	int r;

	ASSERT_LT(c.seq, SEQS);
	r = volstate_save_intent(&l->vs, c.seq, c.flip_wall_ns, POINT_CRASH,
				 &err);
	if (r < 0)
		return r;
	memcpy(sh->images[c.seq], sh->device, SIZE);
	sh->begun = MAX(sh->begun, c.seq);
	l->ack_came = false;
	r = ship_commit(l->ship, &c, &err);
	if (r < 0)
		return r;
	cut_committed(l->cut);
	while (r == 0 && !l->ack_came)
		r = link_pump(l->link, 1000, &err);
	if (r < 0)
		return r;
	ASSERT_U64(l->ack.seq, c.seq);
	/* From here on it is a promise. */
	sh->acked = c.seq;
	a.head = l->ack.head;
	r = volstate_save_acked(&l->vs, &a, &err);
	if (r == 0)
		r = volstate_save_intent(&l->vs, 0, 0, POINT_CRASH, &err);
	if (r < 0)
		return r;
	cut_acked(l->cut);
	l->base_seq = c.seq;
	l->base_head = a.head;
	return 0;
}

static int try_point(struct life *l)
{
	int r = replica_open(l);

	if (r == 0)
		r = engine_open(l);
	if (r == 0)
		r = session_open(l);
	if (r == 0)
		r = converge(l);
	return r == 0 ? commit(l) : r;
}

static void change(struct life *l, unsigned int target)
{
	struct mark k = { .slot = 0, .first = target * 5, .count = 12 };
	uint32_t i;

	while (mark_step(l->words, &k))
		;
	for (i = 0; i < 12 * US_BLOCK_BYTES; i++)
		sh->device[k.first * US_BLOCK_BYTES + i] =
			(uint8_t)(i * target + i / 700 + target * (i >> 13));
	memset(sh->device + k.first * US_BLOCK_BYTES, 0, US_BLOCK_BYTES);
	mark_complete(l->words, 0);
}

/* Every point that there is, in a store that somebody has open. */
static int read_points(struct store *s)
{
	struct opener *o = opener_new(&sh->key);
	uint8_t *got = malloc(SIZE);
	struct view *v;
	uint64_t seq;
	int r = o && got ? 0 : -ENOMEM;

	for (seq = 1; r == 0 && seq <= sh->begun; seq++) {
		r = view_open(s, &sh->volume, 1, seq, &v, &err);
		if (r == -ENOENT && seq > sh->acked) {
			r = 0;
			continue;
		}
		if (r < 0)
			break;
		r = view_read(v, o, 0, BLOCKS, got, &err);
		view_close(v);
		if (r == 0)
			ASSERT_MSG(!memcmp(got, sh->images[seq], SIZE),
				   "  point %" PRIu64 " is wrong", seq);
	}
	free(got);
	opener_free(o);
	return r;
}

static void arm(struct life *l, enum fault fault, uint64_t at)
{
	l->fault = fault;
	l->at = at;
	if (fault == FILES) {
		nth_over(&l->io);
		nth.at = at;
	}
	if (fault == ALLOC)
		nth_alloc_arm(at);
}

static void disarm(struct life *l)
{
	nth_alloc_disarm();
	sh->hit |= nth_alloc.has_hit || nth.has_hit;
	sh->calls = l->fault == ALLOC ? nth_alloc.calls :
		    l->fault == FILES ? nth.calls : l->reads;
	nth_heal();
}

static void until_done(int (*what)(struct life *l), struct life *l)
{
	unsigned int tries;
	int r = -1;

	for (tries = 0; r < 0; tries++) {
		err_clear(&err);
		r = what(l);
		if (r == 0)
			return;
		ASSERT_MSG(tries < TRIES, "  again and again: %d %s: %s", r,
			   err.code, err.message);
		session_close(l);
	}
}

static int read_all(struct life *l)
{
	return read_points(replica_store(l->replica));
}

static void life_init(struct life *l)
{
	memset(l, 0, sizeof(*l));
	(void)snprintf(l->state, sizeof(l->state), "%s/state", own_dir);
	(void)snprintf(l->store, sizeof(l->store), "%s/store", own_dir);
	(void)mkdir(l->state, 0700);
	l->io.ops = io_posix()->ops;
	l->words = tracker_mem_words_new(BLOCKS, 4);
	ASSERT_NOT_NULL(l->words);
	l->handler = (struct link_handler){ .on_fps = on_fps,
					    .on_ack = on_ack, .arg = l };
	l->source_env.clock = clock_real();
	l->source_env.rnd = rnd_system();
	(void)snprintf(l->replica_config.name, sizeof(l->replica_config.name),
		       "dr1");
}

static void life_end(struct life *l)
{
	session_close(l);
	engine_close(l);
	if (l->replica)
		replica_stop(l->replica);
	l->replica = NULL;
	tracker_mem_words_free(l->words);
}

static void live(enum fault fault, uint64_t at)
{
	struct life l;
	unsigned int i;

	life_init(&l);
	arm(&l, fault, at);
	for (i = 1; i <= TARGETS; i++) {
		change(&l, i);
		until_done(try_point, &l);
		/* The replica starts anew in between. */
		if (i == 2) {
			session_close(&l);
			replica_stop(l.replica);
			l.replica = NULL;
		}
	}
	until_done(read_all, &l);
	disarm(&l);
	life_end(&l);
}

/* ---- around it ---- */

/*
 * What libcrypto makes of itself when it is first used: when memory is out at
 * that moment, some versions of it follow a null pointer. A daemon is past it
 * before it has a volume.
 */
static void settle_libcrypto(void)
{
	static bool settled;
	uint8_t out[EVP_MAX_MD_SIZE];
	EVP_CIPHER *cipher;
	unsigned int n;
	EVP_MAC *mac;
	EVP_KDF *kdf;

	if (settled)
		return;
	settled = true;
	ASSERT_INT(EVP_Digest("", 0, out, &n, EVP_sha256(), NULL), 1);
	ASSERT_INT(RAND_bytes(out, 1), 1);
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	ASSERT_TRUE(cipher && mac && kdf);
	EVP_CIPHER_free(cipher);
	EVP_MAC_free(mac);
	EVP_KDF_free(kdf);
}

static void begin(void)
{
	settle_libcrypto();
	own_dir_in_memory("path");
	if (!sh)
		sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(sh != MAP_FAILED);
	memset(sh, 0, sizeof(*sh));
}

/* By somebody who has only the files. */
static void judge(void)
{
	char path[200];
	const struct store_config cfg = {
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = rnd_system(),
		.path = path,
		.read_only = true,
	};
	struct point_info p;
	struct store *s;

	(void)snprintf(path, sizeof(path), "%s/store", own_dir);
	err_clear(&err);
	ASSERT_MSG(store_open(&cfg, &s, &err) == 0, "  %s", err.message);
	ASSERT_OK(store_point_at(s, &sh->volume, INT64_MAX, &p));
	ASSERT_GE(p.meta.seq, sh->acked);
	ASSERT_MSG(read_points(s) == 0, "  %s", err.message);
	store_close(s);
}

/* False when the fault did not come any more. */
static bool fail_at(enum fault fault, uint64_t n)
{
	int status = 0;
	pid_t pid;

	begin();
	(void)fflush(NULL);
	pid = fork();
	if (!pid) {
		(void)alarm(60);
		live(fault, n);
		(void)fflush(NULL);
		_exit(tap.failed);
	}
	ASSERT_INT(waitpid(pid, &status, 0), pid);
	ASSERT_MSG(WIFEXITED(status) && !WEXITSTATUS(status),
		   "  at %" PRIu64 ": %s %d", n,
		   WIFSIGNALED(status) ? "signal" : "exit",
		   WIFSIGNALED(status) ? WTERMSIG(status) :
					 WEXITSTATUS(status));
	ASSERT_GE(sh->acked, TARGETS);
	judge();
	own_dir_remove();
	return sh->hit;
}

/* All (of libraries' allocations a tenth) when there is time; else one of so
 * many, another set each time. */
static void fail_each(enum fault fault, uint64_t one_of, uint64_t least)
{
	const uint64_t in_long = fault == ALLOC && nth_alloc.everywhere ? 10 : 1;
	const char *seed = getenv("TEST_SEED");
	uint64_t n = 1, done = 0;

	if (getenv("TEST_LONG"))
		one_of = MIN(one_of, in_long);
	if (getenv("TEST_AT")) {
		(void)fail_at(fault, strtoull(getenv("TEST_AT"), NULL, 10));
		return;
	}
	n += (seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL)) % one_of;
	tap_note("seed %" PRIu64, n - 1);
	for (; fail_at(fault, n); n += one_of)
		done++;
	tap_note("%" PRIu64 " of %" PRIu64 " failed in turn", done, n);
	EXPECT_GT(done * one_of, least);
}

TEST_WITH_TIMEOUT(each_allocation_of_ours_failing_loses_no_point, 800)
{
	fail_each(ALLOC, 11, 200);
}

TEST_WITH_TIMEOUT(each_allocation_of_a_library_failing_loses_no_point, 800)
{
	nth_alloc.everywhere = true;
	fail_each(ALLOC, 251, 1000);
}

TEST_WITH_TIMEOUT(each_file_operation_failing_loses_no_point, 800)
{
	fail_each(FILES, 9, 150);
}

TEST(each_read_of_the_device_failing_loses_no_point)
{
	fail_each(DEVICE, 1, 2);
}
