/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_STORELAB_H
#define TESTS_LIB_STORELAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/io.h"
#include "base/rnd.h"
#include "store/store.h"
#include "wire/seal.h"

/*
 * What tests of the store share: a directory of its own, I/O that skips syncs
 * and fails when told, sealed units of made-up content, and an image that
 * knows what the volume should hold.
 */

/* ---- I/O that can fail ---- */

enum lab_op { LAB_WRITE, LAB_SYNC, LAB_CREATE, LAB_N_OPS };

struct labio {
	struct io io;
	bool real_sync;
	/* The n-th call from now of the kind fails with error (0: never). */
	uint64_t fail_in[LAB_N_OPS];
	int error;
	bool sticky;			/* and all after it */
	uint64_t calls[LAB_N_OPS];
	uint64_t room_bytes;		/* writes past it: -ENOSPC */
	/* Before each sync, with what was synced so far. */
	void (*on_sync)(struct labio *l, void *arg);
	void *arg;
	struct lab_synced {
		char name[64];		/* of the file */
		uint64_t bytes;		/* of it that were synced */
	} synced[512];
	size_t n_synced;
};

void labio_init(struct labio *l);
uint64_t labio_synced(const struct labio *l, const char *name);

/* ---- files ---- */

/* A fresh directory; removed by lab_remove. */
void lab_make_dir(char out[64]);
void lab_remove(const char *dir);
/* Plain copy of a tree, as a crash at this moment would leave it. */
void lab_copy(const char *from, const char *to);
/* Path of the n-th newest (0 = newest) segment of the only volume; its size. */
uint64_t lab_segment(const char *dir, unsigned int nth, char out[256]);
void lab_drop_catalog(const char *dir);
void lab_each_segment(const char *dir,
		      void (*cb)(void *arg, const char *path,
				 const char *name), void *arg);

/* ---- content ---- */

/*
 * Block contents are told by a number: 0 is zeros, others are made from it.
 */
void lab_fill(uint64_t version, uint8_t block[US_BLOCK_BYTES]);

struct lab_image {
	uint64_t *versions;		/* per block */
	uint64_t n_blocks;
};

struct lab_image lab_image_new(uint64_t n_blocks);
struct lab_image lab_image_copy(const struct lab_image *im);
void lab_image_free(struct lab_image *im);

/* ---- a volume under test ---- */

struct lab {
	char dir[64];
	bool made_dir;			/* in the real file system */
	struct labio io;
	struct rnd_seeded rnd;
	uint64_t segment_bytes;
	struct io *other_io;		/* instead of io, when there is one */
	struct clock *clock;		/* NULL: the real one */
	struct store *store;
	struct store_volume_spec spec;
	struct store_writer *writer;
	struct volume_key key;
	struct sealer *sealer;
	struct opener *opener;
	struct fp_ctx *fps;
	uint32_t delta;
	struct head head;		/* of the newest point */
	uint64_t seq;			/* of it */
	struct lab_image now;		/* staged so far */
	uint64_t next_version;
	struct buf units;
	uint64_t units_blocks;
};

/* Exits the test when something that must work does not. */
void lab_init(struct lab *l, uint64_t seed, uint64_t n_blocks);
/* In a file system of the test's own: nothing is made in the real one. */
void lab_init_on(struct lab *l, uint64_t seed, uint64_t n_blocks,
		 struct io *other_io, const char *dir);
void lab_free(struct lab *l);		/* and removes the directory */
int lab_open(struct lab *l, bool read_only, struct err *err);
void lab_close(struct lab *l);
int lab_writer(struct lab *l, struct err *err);
/* New sealer and delta. */
int lab_begin(struct lab *l, struct err *err);
/* Put new content into l->now and a unit for it into l->units. */
void lab_data(struct lab *l, uint64_t first, uint32_t count);
void lab_zero(struct lab *l, uint64_t first, uint32_t count);
/* A unit of what l->now says already. */
void lab_again(struct lab *l, uint64_t first, uint32_t count);
/* Stage l->units. */
int lab_stage(struct lab *l, struct err *err);
int lab_commit(struct lab *l, struct point_info *out, struct err *err);
/*
 * Read point seq (whole image) and compare: 0 equal, 1 different (*block is
 * the first), negative errno.
 */
int lab_compare(struct lab *l, uint64_t seq, const struct lab_image *want,
		uint64_t *block, struct err *err);
/* The fingerprint that the content of a block should have. */
struct fp lab_fp(struct lab *l, uint64_t block, uint64_t version);

#endif
