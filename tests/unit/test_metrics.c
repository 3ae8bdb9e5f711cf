// SPDX-License-Identifier: Apache-2.0
/* Metrics, health and page, made of snapshots. */
#include "tap.h"

#include <jansson.h>

#include "base/checked.h"
#include "base/clock.h"
#include "control/metrics.h"

static char *text_of(struct buf *b)
{
	buf_put_u8(b, 0);
	return (char *)b->data;
}

static char *formatted(const struct metrics_snapshot *m, struct buf *b)
{
	ASSERT_OK(metrics_format(m, b));
	return text_of(b);
}

static struct volume_status a_volume(void)
{
	struct volume_status s = {
		.name = "vol", .source = "web1", .replica = "dr1",
		.state = VOLUME_LAGGING, .has_lag = true,
		.lag_ns = 1234567890, .rpo_ns = 10 * NSEC_PER_SEC,
		.audit_laps = 2, .proven_wall_ns = 1700000000250000000LL,
		.points = 7, .bytes_read = 1ULL << 40,
		.replica_state = "connected", .has_point = true,
		.flip_wall_ns = 1700000000500000000LL,
		.losses = { .passthrough = 3, .detached = true },
	};

	return s;
}

#define LABELS "{volume=\"vol\",source=\"web1\",role=\"source\",replica=\"dr1\""

TEST(label_values_are_escaped)
{
	_cleanup_buf_ struct buf b = { 0 };

	metrics_put_value(&b, "a\"b\\c\nd\xc3\xa9");
	EXPECT_STR(text_of(&b), "\"a\\\"b\\\\c\\nd??\"");
}

TEST(a_volume_is_in_every_family_with_its_labels)
{
	struct volume_status s = a_volume();
	const struct metrics_snapshot m = {
		.version = "1", .volumes = &s, .n_volumes = 1,
	};
	_cleanup_buf_ struct buf b = { 0 };
	const char *t = formatted(&m, &b);

	EXPECT_STR_HAS(t, "\nunderstudy_volume_state" LABELS
			  ",state=\"lagging\"} 1\n");
	EXPECT_STR_HAS(t, "\nunderstudy_volume_state" LABELS
			  ",state=\"protected\"} 0\n");
	EXPECT_STR_HAS(t, "\nunderstudy_rpo_lag_seconds" LABELS "} 1.234\n");
	EXPECT_STR_HAS(t, "\nunderstudy_rpo_seconds" LABELS "} 10.000\n");
	EXPECT_STR_HAS(t, "\nunderstudy_points_total" LABELS "} 7\n");
	EXPECT_STR_HAS(t, "\nunderstudy_bytes_read_total" LABELS
			  "} 1099511627776\n");
	EXPECT_STR_HAS(t, "\nunderstudy_last_point_time_seconds" LABELS
			  "} 1700000000.500\n");
	EXPECT_STR_HAS(t, "\nunderstudy_proven_time_seconds" LABELS
			  "} 1700000000.250\n");
	EXPECT_STR_HAS(t, "\nunderstudy_audit_laps_total" LABELS "} 2\n");
	EXPECT_STR_HAS(t, "\nunderstudy_connected" LABELS "} 1\n");
	EXPECT_STR_HAS(t, "\nunderstudy_tracker_losses_total" LABELS
			  ",kind=\"passthrough\"} 3\n");
	EXPECT_STR_HAS(t, "\nunderstudy_tracker_detached" LABELS "} 1\n");
	EXPECT_NULL(strstr(t, "understudy_store_"));
}

TEST(what_is_not_known_has_no_sample)
{
	struct volume_status s = { .name = "vol", .replica = "dr1" };
	const struct metrics_snapshot m = {
		.version = "1", .volumes = &s, .n_volumes = 1,
	};
	_cleanup_buf_ struct buf b = { 0 };
	const char *t = formatted(&m, &b);

	EXPECT_NULL(strstr(t, "understudy_rpo_lag_seconds{"));
	EXPECT_NULL(strstr(t, "understudy_rpo_seconds{"));
	EXPECT_NULL(strstr(t, "understudy_last_point_time_seconds{"));
	EXPECT_NULL(strstr(t, "understudy_proven_time_seconds{"));
	EXPECT_STR_HAS(t, "understudy_connected{");
}

TEST(one_state_of_a_volume_is_one)
{
	struct volume_status s[VOLUME_FAILED + 1] = { 0 };
	const struct metrics_snapshot m = {
		.version = "1", .volumes = s, .n_volumes = ARRAY_SIZE(s),
	};
	_cleanup_buf_ struct buf b = { 0 };
	size_t i, ones = 0;
	const char *t;

	for (i = 0; i < ARRAY_SIZE(s); i++) {
		s[i].state = (enum volume_state)i;
		(void)snprintf(s[i].name, sizeof(s[i].name), "v%zu", i);
	}
	t = formatted(&m, &b);
	while ((t = strstr(t, "\nunderstudy_volume_state{"))) {
		t++;
		ones += !strncmp(strchr(t, '}'), "} 1\n", 4);
	}
	EXPECT_U64(ones, ARRAY_SIZE(s));
}

TEST(a_store_and_its_volumes_are_shown)
{
	struct metrics_stored v = {
		.s = {
			.info = { .source = "web1", .name = "vol",
				  .n_points = 12, .size_bytes = 4096 },
			.state = "following",
		},
		.stored_bytes = 777,
	};
	const struct metrics_snapshot m = {
		.version = "1", .is_replica = true, .stored = &v,
		.n_stored = 1, .store_size_bytes = 100,
		.store_free_bytes = 40, .sessions = { 3, 1, 2 },
	};
	_cleanup_buf_ struct buf b = { 0 };
	const char *t = formatted(&m, &b);

	EXPECT_STR_HAS(t, "understudy_store_points{volume=\"vol\",source="
			  "\"web1\",role=\"replica\",replica=\"\"} 12\n");
	EXPECT_STR_HAS(t, "role=\"replica\",replica=\"\"} 777\n");
	EXPECT_STR_HAS(t, "\nunderstudy_store_up 1\n");
	EXPECT_STR_HAS(t, "\nunderstudy_store_filesystem_free_bytes 40\n");
	EXPECT_STR_HAS(t, "\nunderstudy_connections 3\n");
	EXPECT_STR_HAS(t, "\nunderstudy_sessions 2\n");
}

TEST(events_are_counted_by_what_happened)
{
	const struct metrics_snapshot m = {
		.version = "1\"", .n_slugs = 1,
		.slugs = { { "session-began", 5 } },
		.events = { .lost = 2, .unsaved = 3 },
	};
	_cleanup_buf_ struct buf b = { 0 };
	const char *t = formatted(&m, &b);

	EXPECT_STR_HAS(t, "\nunderstudy_build_info{version=\"1\\\"\"} 1\n");
	EXPECT_STR_HAS(t, "\nunderstudy_events_total{slug=\"session-began\"} "
			  "5\n");
	EXPECT_STR_HAS(t, "\nunderstudy_events_lost_total 2\n");
	EXPECT_STR_HAS(t, "\nunderstudy_events_unsaved 3\n");
}

/* "ok", or the slug of the first reason. */
static const char *health_of(const struct metrics_snapshot *m)
{
	static char slug[40];
	bool failing = false;
	json_t *j = metrics_health(m, &failing);
	const char *first = json_string_value(json_object_get(
		json_array_get(json_object_get(j, "reasons"), 0), "slug"));

	ASSERT_NOT_NULL(j);
	EXPECT_STR(json_string_value(json_object_get(j, "status")),
		   failing ? "failing" : "ok");
	(void)snprintf(slug, sizeof(slug), "%s", first ? first : "ok");
	json_decref(j);
	return slug;
}

TEST(health_is_about_the_daemon_and_not_about_its_volumes)
{
	struct volume_status s = a_volume();
	struct metrics_stored v = { .s = { .state = "disconnected" } };
	struct metrics_snapshot m = {
		.volumes = &s, .n_volumes = 1, .stored = &v, .n_stored = 1,
	};

	EXPECT_STR(health_of(&m), "ok");
	s.state = VOLUME_FAILED;
	strcpy(s.reason, "device-absent");
	EXPECT_STR(health_of(&m), "ok");
	s.state = VOLUME_REFUSED;
	EXPECT_STR(health_of(&m), "ok");
	s.state = VOLUME_FAILED;
	strcpy(s.reason, "state-unwritable");
	EXPECT_STR(health_of(&m), "state-unwritable");
	s.state = VOLUME_PROTECTED;
	m.store_failure = -EIO;
	EXPECT_STR(health_of(&m), "store-failed");
	m.store_failure = 0;
	v.s.state = "full";
	EXPECT_STR(health_of(&m), "store-full");
}

TEST(the_page_escapes_what_it_shows)
{
	struct volume_status s = a_volume();
	const struct metrics_snapshot m = {
		.version = "1", .volumes = &s, .n_volumes = 1,
	};
	_cleanup_buf_ struct buf b = { 0 };
	const char *t;

	strcpy(s.message, "<script>alert('&\"\x1b')</script>");
	ASSERT_OK(metrics_page(&m, &b));
	t = text_of(&b);
	EXPECT_STR_HAS(t, "&lt;script&gt;alert(&#39;&amp;&quot;?&#39;)"
			  "&lt;/script&gt;");
	EXPECT_NULL(strstr(t, "<script"));
	EXPECT_NULL(strstr(t, "src="));
	EXPECT_STR_HAS(t, "<td>web1/vol</td><td>source</td><td>lagging</td>");
}
