// SPDX-License-Identifier: Apache-2.0
/*
 *	grouppush PORT IDENTITY KEYS <SCRIPT
 *
 * is a source of made-up volumes that makes points of groups as it is told. It
 * speaks to a replica on 127.0.0.1 as a daemon would, and writes the key of
 * each volume to KEYS/NAME.key. Every volume has 1 MiB; one command a line:
 *
 *	open NAME		a session of its own; its key is escrowed
 *	fill NAME C		every byte becomes the character C
 *	commit NAME TIME [GROUP NUMBER MEMBERS [LABEL]]
 *				a point, flipped at so many seconds
 *	name GROUP NAME		what the group is called from now on
 *	close NAME
 *
 * A group is a letter; its UUID follows from it.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/rnd.h"
#include "control/key_fd.h"
#include "net/conn.h"
#include "wire/seal.h"
#include "wire/session.h"

#define BLOCKS 256U
#define WAIT_MS 20000

struct pushed {
	char name[32];
	struct uuid uuid;
	struct volume_key key;
	struct conn *conn;
	struct dial *dial;
	uint64_t seq;
	struct wire_head head;
};

static struct pushed volumes[16];
static size_t n_volumes;
static char group_names[128][32];
static struct tls_identity *identity;
static uint16_t port;
static const char *keys;

static void must(bool ok, const char *what, const char *why)
{
	if (ok)
		return;
	(void)fprintf(stderr, "grouppush: %s: %s\n", what, why);
	exit(1);
}

/* Waits for this event; whatever else comes ends it. */
static void expect(struct pushed *v, enum dial_event_type type,
		   struct dial_event *ev)
{
	struct buf *out = dial_out(v->dial);
	struct err err = ERR_INIT;
	uint8_t in[65536];
	int64_t n;

	while (out->len) {
		n = conn_write(v->conn, out->data, out->len, WAIT_MS);
		must(n > 0, v->name, "send");
		buf_consume(out, (size_t)n);
	}
	while (dial_next(v->dial, ev, &err) == 1) {
		n = conn_read(v->conn, in, sizeof(in), WAIT_MS);
		must(n > 0, v->name, "receive");
		must(!dial_feed(v->dial, in, (size_t)n, &err), v->name,
		     err.message);
	}
	must(!err.num && ev->type == type, v->name,
	     err.num ? err.message : ev->error.message);
}

static void send_key(struct pushed *v)
{
	char text[KEY_TEXT_MAX];
	struct dial_event ev;
	int n = volume_key_to_text(&v->key, v->name, &v->uuid, text,
				   sizeof(text));

	must(n > 0 && !dial_escrow(v->dial, text, (size_t)n), v->name, "key");
	expect(v, DIAL_DONE, &ev);
}

static void make_volume(struct pushed *v, const char *name)
{
	struct err err = ERR_INIT;
	char path[512];
	int fd;

	(void)snprintf(v->name, sizeof(v->name), "%s", name);
	must(!rnd_fill(rnd_system(), v->uuid.b, sizeof(v->uuid.b)) &&
		     !volume_key_new(rnd_system(), 1, &v->key), name, "key");
	v->uuid.b[6] = (uint8_t)((v->uuid.b[6] & 0xf) | 0x40);
	v->uuid.b[8] = (uint8_t)((v->uuid.b[8] & 0x3f) | 0x80);
	(void)snprintf(path, sizeof(path), "%s/%s.key", keys, name);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(fd >= 0 && !key_fd_write(fd, &v->key, name, &v->uuid, &err), path,
	     err.message);
	(void)close(fd);
}

static struct pushed *volume(const char *name, bool make)
{
	size_t i;

	for (i = 0; i < n_volumes; i++)
		if (!strcmp(volumes[i].name, name))
			return &volumes[i];
	must(make && n_volumes < 16, name, "is not open");
	make_volume(&volumes[n_volumes], name);
	return &volumes[n_volumes++];
}

static void open_session(struct pushed *v)
{
	const struct wire_hello hello = { .role = WIRE_ROLE_SENDER,
					  .node = { { 1 } }, .boot = { { 2 } },
					  .wall_ns = clock_wall_ns(clock_real()),
					  .software = "grouppush" };
	struct wire_volume_open o = { .uuid = v->uuid, .epoch = 1,
				      .size_bytes = BLOCKS * US_BLOCK_BYTES,
				      .block_bytes = US_BLOCK_BYTES };
	struct err err = ERR_INIT;
	struct dial_event ev;

	(void)snprintf(o.name, sizeof(o.name), "%s", v->name);
	must(!tls_dial(identity, "127.0.0.1", port, WAIT_MS, &v->conn, &err),
	     v->name, err.message);
	v->dial = dial_new(&hello);
	must(v->dial != NULL, v->name, "memory");
	expect(v, DIAL_ACCEPTED, &ev);
	must(dial_knows(v->dial, WIRE_FEATURE_GROUPS), v->name,
	     "the replica does not know groups");
	must(!dial_volume_open(v->dial, &o), v->name, "open");
	expect(v, DIAL_VOLUME, &ev);
	send_key(v);
}

static void close_session(struct pushed *v)
{
	dial_free(v->dial);
	conn_close(v->conn, false);
	v->dial = NULL;
	v->conn = NULL;
}

static void fill(struct pushed *v, char c)
{
	const struct comp_config comp = { .mode = COMP_AUTO };
	struct fp_ctx *ctx = fp_ctx_new(&v->key, &v->uuid);
	struct sealer *sealer = sealer_new(&v->key, &v->uuid, 1, v->seq + 1,
					   &comp, rnd_system());
	uint8_t plain[UNIT_MAX_BLOCKS * US_BLOCK_BYTES];
	struct fp fps[UNIT_MAX_BLOCKS];
	struct buf units = { 0 };
	uint32_t b, i;

	must(ctx && sealer, v->name, "memory");
	memset(plain, c, sizeof(plain));
	for (b = 0; b < BLOCKS; b += UNIT_MAX_BLOCKS) {
		for (i = 0; i < UNIT_MAX_BLOCKS; i++)
			must(!fp_compute(ctx, b + i, plain, &fps[i]), v->name,
			     "fingerprint");
		must(!sealer_data(sealer, b, UNIT_MAX_BLOCKS, plain, fps,
				  &units), v->name, "seal");
	}
	must(!dial_point_begin(v->dial, sealer_delta(sealer)) &&
		     !dial_units(v->dial, units.data, units.len), v->name,
	     "units");
	buf_free(&units);
	sealer_free(sealer);
	fp_ctx_free(ctx);
}

static void commit(struct pushed *v, const char *line)
{
	struct wire_commit c = { .epoch = 1, .seq = v->seq + 1,
				 .size_bytes = BLOCKS * US_BLOCK_BYTES,
				 .prev_head = v->head };
	int64_t seconds = 0;
	struct dial_event ev;
	char group = 0;
	int n;

	n = sscanf(line, "%*s %*s %" SCNd64 " %c %" SCNu64 " %" SCNu32 " %64s",
		   &seconds, &group, &c.group.seq, &c.group.n_members, c.label);
	must(n == 1 || n >= 4, line, "is no commit");
	c.flip_wall_ns = seconds * INT64_C(1000000000);
	if (group) {
		c.group.uuid.b[0] = 0x77;
		c.group.uuid.b[15] = (uint8_t)group;
		(void)snprintf(c.group.name, sizeof(c.group.name), "%s",
			       group_names[group & 0x7f]);
	}
	must(!dial_commit(v->dial, &c), v->name, "commit");
	expect(v, DIAL_ACK, &ev);
	v->seq = c.seq;
	v->head = ev.ack.head;
}

static void act(const char *line)
{
	char word[16] = "", name[32] = "", text[32] = "";

	if (sscanf(line, "%15s %31s %31s", word, name, text) < 2)
		return;
	if (!strcmp(word, "open"))
		open_session(volume(name, true));
	else if (!strcmp(word, "fill"))
		fill(volume(name, false), *text);
	else if (!strcmp(word, "commit"))
		commit(volume(name, false), line);
	else if (!strcmp(word, "name"))
		strcpy(group_names[*name & 0x7f], text);
	else if (!strcmp(word, "close"))
		close_session(volume(name, false));
	else
		must(false, word, "is no command");
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	char line[256];
	size_t i;

	must(argc == 4, "usage", "see its source");
	port = (uint16_t)atoi(argv[1]);
	keys = argv[3];
	must(!tls_identity_load(argv[2], &identity, &err), argv[2],
	     err.message);
	while (fgets(line, sizeof(line), stdin))
		act(line);
	for (i = 0; i < n_volumes; i++) {
		if (volumes[i].conn)
			close_session(&volumes[i]);
		volume_key_wipe(&volumes[i].key);
	}
	tls_identity_free(identity);
	return 0;
}
