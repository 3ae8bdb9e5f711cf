// SPDX-License-Identifier: Apache-2.0
/* Finding socket, state and store. One thread (base/conf.h has globals). */
#include "places.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"

static int take_path(const struct conf *conf, struct conf_section *s,
		     const char *key, char *out, size_t cap, struct err *err)
{
	struct conf_item *it = s ? conf_item_find(s, key) : NULL;
	const char *path;
	int ret;

	if (!it)
		return 0;
	ret = conf_path(conf, it, &path, err);
	if (ret < 0)
		return ret;
	if (strlen(path) >= cap)
		return conf_error(conf, it->line, err, "%s: too long", key);
	strcpy(out, path);
	return 0;
}

int places_find(const struct ctl *ctl, struct places *out, struct err *err)
{
	const char *path = ctl->config ? ctl->config : CTL_DEFAULT_CONFIG;
	_cleanup_(conf_freep) struct conf *conf = NULL;
	struct conf_section *s;
	int ret;

	strcpy(out->socket, CTL_DEFAULT_SOCKET);
	strcpy(out->state, CTL_DEFAULT_STATE);
	if (ctl->config || !ctl->socket) {
		/* The default file need not be there, nor be ours to read. */
		if (!ctl->config && access(path, R_OK) < 0)
			return 0;
		ret = conf_parse_file(path, &conf, err);
		if (ret < 0)
			return ret;
		s = conf_section_find(conf, "daemon", NULL);
		ret = take_path(conf, s, "control", out->socket,
				sizeof(out->socket), err);
		if (!ret)
			ret = take_path(conf, s, "state", out->state,
					sizeof(out->state), err);
		if (ret < 0)
			return ret;
	}
	if (!ctl->socket)
		return 0;
	if (strlen(ctl->socket) >= sizeof(out->socket))
		return err_set(err, -ENAMETOOLONG, "usage", "--socket",
			       "longer than a socket's name can be");
	strcpy(out->socket, ctl->socket);
	return 0;
}

static int no_store(const char *path, struct err *err)
{
	err_set(err, -EINVAL, "usage", path, "speaks of no store");
	return err_remedy(err, "name its directory: --store DIR");
}

int place_of_store(const struct ctl *ctl, char out[PLACE_STORE_SIZE],
		   struct err *err)
{
	const char *path = ctl->config ? ctl->config : CTL_DEFAULT_CONFIG;
	_cleanup_(conf_freep) struct conf *conf = NULL;
	char state[sizeof(((struct places *)0)->state)] = CTL_DEFAULT_STATE;
	struct conf_section *s;
	int ret;

	if (!ctl->config && access(path, R_OK) < 0)
		return no_store(path, err);
	ret = conf_parse_file(path, &conf, err);
	if (ret < 0)
		return ret;
	s = conf_section_find(conf, "store", NULL);
	if (!s)
		return no_store(path, err);
	ret = take_path(conf, conf_section_find(conf, "daemon", NULL), "state",
			state, sizeof(state), err);
	if (ret < 0)
		return ret;
	(void)snprintf(out, PLACE_STORE_SIZE, "%s/store", state);
	return take_path(conf, s, "path", out, PLACE_STORE_SIZE, err);
}
