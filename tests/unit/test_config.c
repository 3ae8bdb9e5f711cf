// SPDX-License-Identifier: Apache-2.0
/* understudy.conf: what is taken, what is refused, and in which line. */
#include "tap.h"

#include "base/checked.h"
#include "base/clock.h"
#include "control/config.h"

#define REPLICA "[replica dr1]\naddress = dr1.example\nidentity = /etc/dr1\n"
#define VOLUME "[volume db1]\ndevice = /dev/vg0/db1\nreplicas = dr1\n"

static struct config *load(const char *text)
{
	struct err err = ERR_INIT;
	struct config *c = NULL;

	ASSERT_MSG(!config_load_text("t.conf", text, strlen(text), &c, &err),
		   "  refused: %s", err.message);
	return c;
}

TEST(an_empty_file_gives_the_defaults)
{
	struct config *c = load("");

	EXPECT_STR(c->daemon.state, "/var/lib/understudy");
	EXPECT_STR(c->daemon.control, "/run/understudy/control.sock");
	EXPECT_U64(c->daemon.tracker_memory_bytes, 128ULL << 20);
	EXPECT_FALSE(c->has_store);
	EXPECT_U64(c->n_replicas, 0);
	EXPECT_U64(c->n_volumes, 0);
	config_free(c);
}

TEST(more_volumes_than_the_tracker_has_room_for_are_an_error)
{
	static char text[64 * (CONFIG_VOLUMES_MAX + 2)];
	struct config *c = NULL;
	struct err err = ERR_INIT;
	size_t n = 0;
	int i;

	n += (size_t)sprintf(text, "[replica r]\naddress = r\n"
				   "identity = /r\n");
	for (i = 1; i <= CONFIG_VOLUMES_MAX; i++)
		n += (size_t)sprintf(text + n, "[volume v%d]\ndevice = /d%d\n"
					       "replicas = r\n", i, i);
	ASSERT_MSG(!config_load_text("many", text, n, &c, &err), "%s",
		   err.message);
	EXPECT_U64(c->n_volumes, CONFIG_VOLUMES_MAX);
	config_free(c);
	n += (size_t)sprintf(text + n, "[volume v%d]\ndevice = /d%d\n"
				       "replicas = r\n", i, i);
	EXPECT_INT(config_load_text("many", text, n, &c, &err), -EINVAL);
	EXPECT_STR_HAS(err.message, "many:772: [volume v257]: a daemon "
				    "protects 256 volumes at most");
}

TEST(an_empty_store_section_makes_a_replica_with_defaults)
{
	struct config *c = load("[daemon]\nstate = /srv/us\n[store]\n");

	EXPECT_TRUE(c->has_store);
	EXPECT_STR(c->store.listen, "0.0.0.0:7420");
	EXPECT_STR(c->store.store_path, "/srv/us/store");
	EXPECT_INT(c->store.n_accept, 0);
	config_free(c);
}

TEST(a_volume_has_documented_defaults)
{
	struct config *c = load(REPLICA VOLUME);
	const struct volume_config *v = config_volume(c, "db1");

	ASSERT_NOT_NULL(v);
	EXPECT_STR(v->device, "/dev/vg0/db1");
	EXPECT_STR(v->replica.name, "dr1");
	EXPECT_U64(v->interval_ns, NSEC_PER_SEC);
	EXPECT_U64(v->rpo_ns, 10 * NSEC_PER_SEC);
	EXPECT_U64(v->block_bytes, 0);
	EXPECT_U64(v->tracker_memory_bytes, 128ULL << 20);
	EXPECT_INT(v->compression.mode, COMP_AUTO);
	EXPECT_TRUE(v->key_escrow);
	EXPECT_U64(v->read_limit_bytes, 0);
	EXPECT_U64(v->audit_ns, 7 * 86400 * NSEC_PER_SEC);
	EXPECT_INT(v->quiesce, QUIESCE_NONE);
	EXPECT_U64(v->quiesce_limit_ns, 500 * NSEC_PER_MSEC);
	EXPECT_FALSE(v->quiesce_contention);
	EXPECT_FALSE(config_quiesces(c));
	EXPECT_U64(v->replica.rate_limit_bytes, 0);
	EXPECT_NULL(config_volume(c, "db2"));
	config_free(c);
}

TEST(the_audit_can_be_switched_off)
{
	struct config *c = load(REPLICA VOLUME "audit = off\n");

	EXPECT_U64(config_volume(c, "db1")->audit_ns, 0);
	config_free(c);
}

TEST(every_supported_key_is_read)
{
	struct config *c = load(
		"[daemon]                   ; identity and keys\n"
		"state = /s   ; comment\n"
		"control = /run/c.sock\n"
		"tracker-memory = 64MiB\n"
		"[store]\n"
		"listen = [::1]:0\n"
		"path = /srv/store\n"
		"[accept web1/*]\n"
		"[accept */db?]\n"
		"[volume db1]               ; before its replica\n"
		"device = /dev/vg0/db1\n"
		"replicas = dr1\n"
		"interval = 50ms\n"
		"rpo = 2s\n"
		"granularity = 64KiB\n"
		"compression = zstd:7\n"
		"on-contention = quiesce\n"
		"quiesce = hook:/etc/understudy/hold\n"
		"quiesce-limit = 2s\n"
		"key-escrow = no\n"
		"read-limit = 500MiB/s\n"
		"audit = 30d\n"
		"[replica dr1]\n"
		"address = dr1.example\n"
		"address = 192.0.2.1:17420\n"
		"address = [2001:db8::1]:7421\n"
		"address = 2001:db8::2\n"
		"identity = /etc/understudy/dr1\n"
		"balance = least-outstanding\n"
		"streams = 1\n"
		"rate-limit = 200MiB/s\n");
	const struct volume_config *v = config_volume(c, "db1");
	const struct replica_config *r = config_replica(c, "dr1");

	ASSERT_NOT_NULL(v);
	ASSERT_NOT_NULL(r);
	EXPECT_STR(c->daemon.state, "/s");
	EXPECT_STR(c->daemon.control, "/run/c.sock");
	EXPECT_STR(c->store.listen, "[::1]:0");
	EXPECT_STR(c->store.store_path, "/srv/store");
	ASSERT_INT(c->store.n_accept, 2);
	EXPECT_STR(c->store.accept[0].pattern, "web1/*");
	EXPECT_STR(c->store.accept[1].pattern, "*/db?");
	EXPECT_U64(v->interval_ns, 50 * NSEC_PER_MSEC);
	EXPECT_U64(v->rpo_ns, 2 * NSEC_PER_SEC);
	EXPECT_U64(v->block_bytes, 65536);
	EXPECT_U64(v->tracker_memory_bytes, 64ULL << 20);
	EXPECT_INT(v->compression.mode, COMP_ZSTD);
	EXPECT_INT(v->compression.level, 7);
	EXPECT_FALSE(v->key_escrow);
	EXPECT_TRUE(v->quiesce_contention);
	EXPECT_INT(v->quiesce, QUIESCE_HOOK);
	EXPECT_STR(v->quiesce_hook, "/etc/understudy/hold");
	EXPECT_U64(v->quiesce_limit_ns, 2 * NSEC_PER_SEC);
	EXPECT_TRUE(config_quiesces(c));
	EXPECT_U64(v->read_limit_bytes, 500ULL << 20);
	EXPECT_U64(v->audit_ns, 30 * 86400 * NSEC_PER_SEC);
	EXPECT_U64(v->replica.rate_limit_bytes, 200ULL << 20);
	EXPECT_STR(v->replica.identity, "/etc/understudy/dr1");
	ASSERT_INT(r->n_addresses, 4);
	EXPECT_STR(r->addresses[0].host, "dr1.example");
	EXPECT_U64(r->addresses[0].port, 7420);
	EXPECT_STR(r->addresses[1].host, "192.0.2.1");
	EXPECT_U64(r->addresses[1].port, 17420);
	EXPECT_STR(r->addresses[2].host, "2001:db8::1");
	EXPECT_U64(r->addresses[2].port, 7421);
	EXPECT_STR(r->addresses[3].host, "2001:db8::2");
	EXPECT_U64(r->addresses[3].port, 7420);
	config_free(c);
}

TEST(without_rpo_a_long_interval_gets_one_that_can_be_met)
{
	struct config *c = load(REPLICA VOLUME "interval = 1m\n");

	EXPECT_U64(c->volumes[0].rpo_ns, 120 * NSEC_PER_SEC);
	config_free(c);
}

struct mistake {
	const char *text;
	unsigned int line;
	const char *says;		/* after "t.conf:LINE: " */
};

static void expect_refused(const struct mistake *m)
{
	struct err err = ERR_INIT;
	struct config *c = NULL;
	char want[300];
	int ret;

	ret = config_load_text("t.conf", m->text, strlen(m->text), &c, &err);
	(void)snprintf(want, sizeof(want), "t.conf:%u: %s", m->line, m->says);
	EXPECT_MSG(ret < 0, "  accepted: %s", m->text);
	EXPECT_NULL(c);
	EXPECT_MSG(!strncmp(err.message, want, strlen(want)),
		   "  says \"%s\"\n  not  \"%s\"", err.message, want);
	config_free(c);
}

#define EXPECT_ALL_REFUSED(table)                                  \
	do {                                                       \
		size_t i_;                                         \
		for (i_ = 0; i_ < ARRAY_SIZE(table); i_++)         \
			expect_refused(&(table)[i_]);              \
	} while (0)

TEST(sections_and_names_that_are_wrong_are_refused_with_their_line)
{
	static const struct mistake table[] = {
		{ "[demon]\n", 1, "[demon]: unknown section" },
		{ "\n[daemon]\n[daemon x]\n", 3, "[daemon] takes no name" },
		{ "[store x]\n", 1, "[store] takes no name" },
		{ "[volume]\n", 1, "[volume] needs a name" },
		{ "[accept]\n", 1, "[accept] needs a name" },
		{ "[store]\n[accept a b]\n", 2, "[accept a b]: no pattern" },
		{ "[volume .db]\n", 1, "[volume .db]: a name is" },
		{ "[volume -db]\n", 1, "[volume -db]: a name is" },
		{ "[replica a/b]\n", 1, "[replica a/b]: a name is" },
		{ "[replica a b]\n", 1, "[replica a b]: a name is" },
		{ "[volume aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		  "aaaaaaaaaaaaaa]\n", 1, "[volume aaa" },
		{ "[daemon]\n[daemon]\n", 2,
		  "[daemon]: given twice, first in line 1" },
		{ REPLICA VOLUME VOLUME, 7,
		  "[volume db1]: given twice, first in line 4" },
		{ REPLICA REPLICA, 4, "[replica dr1]: given twice" },
		{ REPLICA VOLUME "[group db1]\nvolumes = db1\n", 7,
		  "[group db1]: line 4 has a volume of that name" },
		{ "[accept a/*]\n", 1, "[accept a/*] without [store]" },
		{ "[store]\n[accept a/*]\n[accept a/*]\n", 3,
		  "[accept a/*]: given twice, first in line 2" },
		{ "state = /x\n", 1, "\"state\" stands before" },
		{ "[daemon]\nstate\n", 2, "neither a section" },
		{ "[daemon\n", 1, "a section heading is" },
	};

	EXPECT_ALL_REFUSED(table);
}

TEST(keys_that_are_unknown_missing_or_twice_are_refused_with_their_line)
{
	static const struct mistake table[] = {
		{ "[daemon]\nstat = /x\n", 2, "stat: unknown key in [daemon]" },
		{ "[store]\nlisten = 0.0.0.0:1\npaht = /x\n", 3,
		  "paht: unknown key in [store]" },
		{ "[daemon]\nState = /x\n", 2, "State: unknown key" },
		{ "[store]\n[accept a/*]\nkeep = 1h\n", 3,
		  "keep: unknown key in [accept]" },
		{ REPLICA "weight = 2\n", 4, "weight: unknown key" },
		{ REPLICA VOLUME "intervall = 1s\n", 7,
		  "intervall: unknown key in [volume]" },
		{ "[daemon]\nstate = /x\nstate = /y\n", 3,
		  "state: given twice" },
		{ REPLICA VOLUME "replicas = dr1\n", 7,
		  "replicas: given twice" },
		{ "[replica dr1]\nidentity = /x\n", 1,
		  "[replica dr1]: address is missing" },
		{ "\n[replica dr1]\naddress = a\n", 2,
		  "[replica dr1]: identity is missing" },
		{ REPLICA "[volume v]\nreplicas = dr1\n", 4,
		  "[volume v]: device is missing" },
		{ REPLICA "[volume v]\ndevice = /dev/x\n", 4,
		  "[volume v]: replicas is missing" },
	};

	EXPECT_ALL_REFUSED(table);
}

TEST(values_that_are_wrong_are_refused_with_their_line)
{
	static const struct mistake table[] = {
		{ "[daemon]\nstate = var/lib\n", 2, "state: \"var/lib\"" },
		{ "[daemon]\nstate =\n", 2, "state: \"\"" },
		{ "[daemon]\ncontrol = /a234567890123456789012345678901234567"
		  "890123456789012345678901234567890123456789012345678901234"
		  "567890123456789\n", 2,
		  "control: a path here has at most 107 bytes" },
		{ "[daemon]\ntracker-memory = 128MB\n", 2, "tracker-memory:" },
		{ "[daemon]\ntracker-memory = 4KiB\n", 2,
		  "tracker-memory: \"4KiB\" is not 1MiB or more" },
		{ "[daemon]\ntracker-memory = 99999999999TiB\n", 2,
		  "tracker-memory: \"99999999999TiB\" is too large" },
		{ "[store]\nlisten = 7420\n", 2, "listen: \"7420\"" },
		{ "[store]\nlisten = 0.0.0.0:74200\n", 2, "listen:" },
		{ "[store]\nlisten = [::]\n", 2, "listen:" },
		{ "[store]\nlisten = [::1:7420\n", 2, "listen:" },
		{ "[store]\nlisten = :7420\n", 2, "listen:" },
		{ "[store]\npath = store\n", 2, "path: \"store\"" },
		{ "[replica r]\naddress =\n", 2, "address: \"\"" },
		{ "[replica r]\naddress = a:b\n", 2, "address: \"a:b\"" },
		{ "[replica r]\naddress = a:0\n", 2, "address: \"a:0\"" },
		{ "[replica r]\naddress = a b\n", 2, "address: \"a b\"" },
		{ "[replica r]\naddress = a\naddress = a:7420\n", 3,
		  "address: a:7420 is given twice" },
		{ REPLICA "rate-limit = 200MiB\n", 4, "rate-limit:" },
		{ REPLICA "rate-limit = 0MiB/s\n", 4, "rate-limit:" },
		{ REPLICA "streams = 0\n", 4, "streams:" },
		{ REPLICA "streams = many\n", 4, "streams:" },
		{ REPLICA "balance = fair\n", 4, "balance:" },
		{ REPLICA "[volume v]\ndevice = sdb\n", 5, "device:" },
		{ REPLICA "[volume v]\ndevice = /dev/x\nreplicas = dr2\n", 6,
		  "replicas: there is no [replica dr2]" },
		{ REPLICA "[volume v]\ndevice = /dev/x\nreplicas =\n", 6,
		  "replicas: \"\" is not the name of a replica" },
		{ REPLICA "[volume v]\nreplicas = dr1 dr1\n", 5,
		  "replicas: dr1 is given twice" },
		{ REPLICA VOLUME "interval = 10\n", 7, "interval: \"10\"" },
		{ REPLICA VOLUME "interval = 49ms\n", 7,
		  "interval: \"49ms\" is not 50ms or more" },
		{ REPLICA VOLUME "rpo = 0s\n", 7, "rpo: \"0s\"" },
		{ REPLICA VOLUME "interval = 20s\nrpo = 10s\n", 8,
		  "rpo: 10s is shorter than the interval" },
		{ REPLICA VOLUME "granularity = 5KiB\n", 7, "granularity:" },
		{ REPLICA VOLUME "granularity = 2KiB\n", 7, "granularity:" },
		{ REPLICA VOLUME "granularity = 1GiB\n", 7, "granularity:" },
		{ REPLICA VOLUME "compression = gzip\n", 7, "compression:" },
		{ REPLICA VOLUME "compression = zstd:23\n", 7,
		  "compression:" },
		{ REPLICA VOLUME "compression = zstd:\n", 7, "compression:" },
		{ REPLICA VOLUME "key-escrow = maybe\n", 7, "key-escrow:" },
		{ REPLICA VOLUME "read-limit = fast\n", 7, "read-limit:" },
		{ REPLICA VOLUME "audit = never\n", 7, "audit:" },
		{ REPLICA VOLUME "audit = 999ms\n", 7,
		  "audit: \"999ms\" is not off, or 1s or more" },
		{ REPLICA VOLUME "quiesce = stop\n", 7, "quiesce:" },
		{ REPLICA VOLUME "quiesce = hook:x\n", 7, "quiesce:" },
		{ REPLICA VOLUME "quiesce-limit = 9ms\n", 7,
		  "quiesce-limit: \"9ms\" is not from 10ms to 30s" },
		{ REPLICA VOLUME "quiesce-limit = 31s\n", 7,
		  "quiesce-limit:" },
		{ REPLICA VOLUME "on-contention = quiesce\n", 7,
		  "on-contention: quiesce needs a `quiesce`" },
		{ REPLICA VOLUME "quiesce = none\non-contention = quiesce\n",
		  8, "on-contention: quiesce needs" },
		{ REPLICA VOLUME "on-contention = wait\n", 7,
		  "on-contention:" },
		{ REPLICA VOLUME
		  "[volume db2]\ndevice = /dev/vg0/db1\nreplicas = dr1\n", 8,
		  "device: /dev/vg0/db1 is protected as volume db1 already" },
	};

	EXPECT_ALL_REFUSED(table);
}

TEST(documented_keys_this_build_does_not_do_are_refused_in_those_words)
{
	static const char later[] = "not supported by this build yet";
	static const struct mistake table[] = {
		{ "[store]\n[accept a/*]\nretain = 1h:all\n", 3, "retain: " },
		{ "[store]\n[accept a/*]\nquota = 500GiB\n", 3, "quota: " },
		{ "[store]\n[accept a/b]\nstandby = /x\n", 3, "standby: " },
		{ "[replica r]\naddress = a weight=2\n", 2,
		  "address = a weight=2: " },
		{ REPLICA "balance = round-robin\n", 4,
		  "balance = round-robin: " },
		{ REPLICA "streams = 2\n", 4, "streams = 2: " },
		{ REPLICA "[volume v]\ndevice = /dev/x\n"
		  "on-contention = quiesce\n"
		  "[group g]\nvolumes = v\nreplicas = dr1\n", 6,
		  "on-contention: of a member of [group g]: " },
		{ REPLICA "[volume v]\ndevice = /dev/x\n[group g]\n"
		  "volumes = v\nreplicas = dr1\non-contention = quiesce\n", 9,
		  "on-contention = quiesce: " },
		{ REPLICA "[replica dr2]\naddress = b\nidentity = /y\n"
		  "[volume v]\ndevice = /dev/x\nreplicas = dr1 dr2\n", 9,
		  "replicas: several replicas of one volume: " },
	};
	struct mistake full;
	char says[200];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		full = table[i];
		(void)snprintf(says, sizeof(says), "%s%s", full.says, later);
		full.says = says;
		expect_refused(&full);
	}
}

#define MEMBERS "[volume a]\ndevice = /dev/a\n[volume b]\ndevice = /dev/b\n"

TEST(members_of_a_group_have_from_it_what_is_set_for_all)
{
	static const char text[] = REPLICA MEMBERS "quiesce-limit = 3s\n"
		"[volume c]\ndevice = /dev/c\nreplicas = dr1\n"
		"[group g]\nvolumes = b a\nreplicas = dr1\ninterval = 5s\n"
		"rpo = 20s\nquiesce = hook:/hold\nquiesce-limit = 2s\n";
	struct err err = ERR_INIT;
	struct config *c = NULL;
	const struct volume_config *v;

	ASSERT_MSG(!config_load_text("t", text, strlen(text), &c, &err), "%s",
		   err.message);
	ASSERT_U64(c->n_groups, 1);
	v = config_volume(c, "a");
	ASSERT_NOT_NULL(v);
	EXPECT_STR(v->group.name, "g");
	EXPECT_STR(v->group.members, "a b");
	EXPECT_U64(v->group.n_members, 2);
	EXPECT_STR(v->replica.name, "dr1");
	EXPECT_U64(v->interval_ns, 5 * NSEC_PER_SEC);
	EXPECT_U64(v->rpo_ns, 20 * NSEC_PER_SEC);
	EXPECT_INT(v->quiesce, QUIESCE_HOOK);
	EXPECT_STR(v->quiesce_hook, "/hold");
	EXPECT_U64(v->quiesce_limit_ns, 2 * NSEC_PER_SEC);
	EXPECT_U64(config_volume(c, "b")->quiesce_limit_ns, 3 * NSEC_PER_SEC);
	EXPECT_TRUE(config_quiesces(c));
	EXPECT_STR(config_volume(c, "c")->group.name, "");
	EXPECT_INT(config_volume(c, "c")->quiesce, QUIESCE_NONE);
	EXPECT_FALSE(volume_config_equal(v, config_volume(c, "b")));
	config_free(c);
}

TEST(mistakes_in_groups_are_told_where_they_are)
{
	static const struct mistake table[] = {
		{ REPLICA MEMBERS "[group g]\nvolumes = a x\nreplicas = dr1\n",
		  9, "volumes: there is no [volume x]" },
		{ REPLICA MEMBERS "[group g]\nvolumes = a a\nreplicas = dr1\n",
		  9, "volumes: a is given twice" },
		{ REPLICA MEMBERS "[group g]\nvolumes = a\nreplicas = dr1\n"
		  "[group h]\nvolumes = b a\nreplicas = dr1\n", 12,
		  "volumes: a is of [group g] already" },
		{ REPLICA MEMBERS "[group g]\nvolumes = a b\n", 8,
		  "[group g]: replicas is missing" },
		{ REPLICA "[volume a]\ndevice = /dev/a\ninterval = 1s\n"
		  "[group g]\nvolumes = a\nreplicas = dr1\n", 6,
		  "interval: is set in [group g]" },
		{ REPLICA "[volume a]\ndevice = /dev/a\nquiesce = freeze\n"
		  "[group g]\nvolumes = a\nreplicas = dr1\n", 6,
		  "quiesce: is set in [group g]" },
		{ REPLICA MEMBERS "[group g]\nvolumes = a b\nreplicas = dr1\n"
		  "quiesce = stop\n", 11, "quiesce:" },
		{ REPLICA MEMBERS "[group g]\nvolumes = a b\nreplicas = dr1\n"
		  "interval = 1m\nrpo = 1s\n", 12,
		  "rpo: 1s is shorter than the interval" },
	};

	EXPECT_ALL_REFUSED(table);
}

TEST(a_file_that_is_not_there_is_an_error_that_names_it)
{
	struct err err = ERR_INIT;
	struct config *c = NULL;

	EXPECT_INT(config_load("/nonexistent/u.conf", &c, &err), -ENOENT);
	EXPECT_STR_HAS(err.message, "/nonexistent/u.conf");
}

TEST(any_prefix_and_any_flipped_byte_of_a_good_file_is_judged_without_harm)
{
	static const char text[] =
		"[daemon]\nstate = /s\n[store]\nlisten = [::]:1\n[accept a/*]\n"
		REPLICA VOLUME "interval = 1s ; x\ncompression = zstd:3\n";
	char copy[sizeof(text)];
	uint64_t seed = tap_seed();
	size_t i;

	for (i = 0; i < sizeof(text); i++) {
		struct config *c = NULL;

		(void)config_load_text("t.conf", text, i, &c, NULL);
		config_free(c);
	}
	for (i = 0; i < 20000; i++) {
		struct config *c = NULL;

		memcpy(copy, text, sizeof(text));
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		copy[(seed >> 33) % (sizeof(text) - 1)] = (char)(seed >> 24);
		(void)config_load_text("t.conf", copy, sizeof(text) - 1, &c,
				       NULL);
		config_free(c);
	}
}
