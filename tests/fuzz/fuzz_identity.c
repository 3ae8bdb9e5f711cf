// SPDX-License-Identifier: Apache-2.0
/*
 * The files of an identity directory. The first byte chooses which of them is
 * the rest of the input; the others are good. An identity, or an error that is
 * told.
 */
#include "fuzz_input.h"

#include "net/tls.h"
#include "pki/pki.h"

SCRATCH_DIR_HERE

static char dir[300];
static const char *const names[] = { "ca.pem", "cert.pem", "key.pem",
				     "crl.pem" };
static struct kept {
	uint8_t bytes[8192];
	size_t n;
} good[4];

static void file_path(unsigned int i, char out[PATH_MAX])
{
	(void)snprintf(out, PATH_MAX, "%s/%s", dir, names[i]);
}

static void keep(unsigned int i)
{
	char path[PATH_MAX];
	int fd;
	ssize_t n;

	file_path(i, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	n = read(fd, good[i].bytes, sizeof(good[i].bytes));
	must(n > 0 && !close(fd));
	good[i].n = (size_t)n;
}

static void prepare(void)
{
	struct tls_identity *id = NULL;
	unsigned int i;

	if (dir[0])
		return;
	must(!pki_init(scratch_dir(), NULL, 0, NULL));
	(void)snprintf(dir, sizeof(dir), "%s/pki/server", scratch_dir());
	for (i = 0; i < 4; i++)
		keep(i);
	must(!tls_identity_load(dir, &id, NULL));
	tls_identity_free(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tls_identity *id = NULL;
	struct err err = ERR_INIT;
	char path[PATH_MAX];
	unsigned int which;

	prepare();
	if (!size || size > 1 << 16)
		return 0;
	which = data[0] & 3;
	file_path(which, path);
	scratch_write(path, data + 1, size - 1);
	if (tls_identity_load(dir, &id, &err))
		must(err.code[0] && err.message[0] && !id);
	else
		must(id && tls_identity_not_after_s(id) != 0);
	tls_identity_free(id);
	scratch_write(path, good[which].bytes, good[which].n);
	return 0;
}
