// SPDX-License-Identifier: Apache-2.0
#include "base/io.h"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/cleanup.h"

#include "lib/tap.h"

/* ---- a directory of its own for each test ---- */

static char dir[PATH_MAX];
static int dirfd_ = -1;

static void enter_dir(void)
{
	const char *base = getenv("TMPDIR");

	(void)snprintf(dir, sizeof(dir), "%s/io-XXXXXX", base ? base : "/tmp");
	ASSERT_NOT_NULL(mkdtemp(dir));
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_GE(dirfd_, 0);
}

static int remove_one(void *arg, const char *name)
{
	(void)arg;
	if (unlinkat(dirfd_, name, 0) < 0)
		(void)unlinkat(dirfd_, name, AT_REMOVEDIR);
	return 0;
}

static void leave_dir(void)
{
	struct io *io = io_posix();

	(void)io->ops->listdir(io, dirfd_, ".", remove_one, NULL);
	(void)close(dirfd_);
	EXPECT_INT(rmdir(dir), 0);
}

#define DIR_TEST(name)                 \
	static void in_dir_##name(void); \
	TEST(name)                     \
	{                              \
		enter_dir();           \
		in_dir_##name();       \
		leave_dir();           \
	}                              \
	static void in_dir_##name(void)

static void put_file(const char *name, const char *text)
{
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);

	ASSERT_INT(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static void expect_file(const char *name, const char *text)
{
	_cleanup_free_ char *got = NULL;
	size_t n;

	ASSERT_OK(io_read_file(io_posix(), dirfd_, name, 1000, &got, &n));
	EXPECT_STR(got, text);
	EXPECT_U64(n, strlen(text));
}

/* ---- an io that gives little, and fails the n-th call ---- */

static struct {
	size_t max;			/* bytes a call moves */
	int calls;
	int fail_at;			/* 0: never */
	int fail_with;
	const char *failed_call;
} weak;

static bool fails(const char *call)
{
	if (++weak.calls != weak.fail_at)
		return false;
	weak.failed_call = call;
	return true;
}

static int weak_open(struct io *io, int fd, const char *path, int flags,
		     mode_t mode)
{
	(void)io;
	return fails("open") ? weak.fail_with :
			       io_posix()->ops->open(io_posix(), fd, path,
						     flags, mode);
}

/* A failed close has closed. */
static int weak_close(struct io *io, int fd)
{
	int r = io_posix()->ops->close(io_posix(), fd);

	(void)io;
	return fails("close") ? weak.fail_with : r;
}

static ssize_t weak_pread(struct io *io, int fd, void *p, size_t n,
			  uint64_t off)
{
	(void)io;
	if (fails("pread"))
		return weak.fail_with;
	return io_posix()->ops->pread(io_posix(), fd, p, MIN(n, weak.max), off);
}

static ssize_t weak_pwritev(struct io *io, int fd, const struct iovec *iov,
			    int n_iov, uint64_t off)
{
	struct iovec one = *iov;

	(void)io;
	(void)n_iov;
	if (fails("pwritev"))
		return weak.fail_with;
	one.iov_len = MIN(one.iov_len, weak.max);
	return io_posix()->ops->pwritev(io_posix(), fd, &one, 1, off);
}

static int weak_sync(struct io *io, int fd)
{
	(void)io;
	(void)fd;
	return fails("sync") ? weak.fail_with : 0;
}

static int weak_renameat(struct io *io, int a, const char *from, int b,
			 const char *to)
{
	(void)io;
	return fails("rename") ? weak.fail_with :
				 io_posix()->ops->renameat(io_posix(), a, from,
							   b, to);
}

static int weak_unlinkat(struct io *io, int fd, const char *path, int flags)
{
	(void)io;
	return fails("unlink") ? weak.fail_with :
				 io_posix()->ops->unlinkat(io_posix(), fd, path,
							   flags);
}

static const struct io_ops weak_ops = {
	.open = weak_open,
	.close = weak_close,
	.pread = weak_pread,
	.pwritev = weak_pwritev,
	.fdatasync = weak_sync,
	.fsync = weak_sync,
	.renameat = weak_renameat,
	.unlinkat = weak_unlinkat,
};

static struct io *weak_io(size_t max, int fail_at, int fail_with)
{
	static struct io io = { .ops = &weak_ops };

	memset(&weak, 0, sizeof(weak));
	weak.max = max;
	weak.fail_at = fail_at;
	weak.fail_with = fail_with;
	return &io;
}

static int open_file(const char *name)
{
	return openat(dirfd_, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* ---- reading and writing ---- */

DIR_TEST(short_counts_are_gone_on_with)
{
	struct io *io = weak_io(3, 0, 0);
	_cleanup_close_ int fd = open_file("f");
	char back[11] = "";

	ASSERT_OK(io_pwrite_all(io, fd, "0123456789", 10, 5));
	EXPECT_INT(weak.calls, 4);
	ASSERT_OK(io_pread_all(io, fd, back, 10, 5));
	EXPECT_STR(back, "0123456789");
}

DIR_TEST(vectors_are_written_whole_and_in_order)
{
	struct io *io = weak_io(2, 0, 0);
	_cleanup_close_ int fd = open_file("f");
	struct iovec iov[] = { { NULL, 0 },
			       { (void *)"abc", 3 },
			       { NULL, 0 },
			       { (void *)"d", 1 },
			       { (void *)"efgh", 4 },
			       { NULL, 0 } };
	struct iovec nothing = { NULL, 0 };

	ASSERT_OK(io_pwritev_all(io, fd, iov, 6, 0));
	ASSERT_OK(io_pwritev_all(io, fd, &nothing, 1, 100));
	ASSERT_OK(io_pwrite_all(io, fd, NULL, 0, 100));
	expect_file("f", "abcdefgh");
}

DIR_TEST(more_vectors_than_one_call_takes)
{
	static struct iovec iov[3 * IOV_MAX];
	_cleanup_free_ char *back = NULL;
	_cleanup_close_ int fd = open_file("f");
	size_t n;
	int i;

	for (i = 0; i < 3 * IOV_MAX; i++)
		iov[i] = (struct iovec){ (void *)"xy", 2 };
	ASSERT_OK(io_pwritev_all(io_posix(), fd, iov, 3 * IOV_MAX, 0));
	ASSERT_OK(io_read_file(io_posix(), dirfd_, "f", 10000, &back, &n));
	EXPECT_U64(n, 6 * IOV_MAX);
}

DIR_TEST(the_end_of_a_file_is_told_from_an_error)
{
	_cleanup_close_ int fd = open_file("f");
	char back[8];

	ASSERT_OK(io_pwrite_all(io_posix(), fd, "1234", 4, 0));
	EXPECT_INT(io_pread_all(io_posix(), fd, back, 5, 0), -ENODATA);
	EXPECT_INT(io_pread_all(io_posix(), fd, back, 1, 100), -ENODATA);
	EXPECT_INT(io_pread_all(weak_io(2, 2, -EIO), fd, back, 4, 0), -EIO);
	EXPECT_INT(io_pwrite_all(weak_io(2, 2, -ENOSPC), fd, "1234", 4, 0),
		   -ENOSPC);
	EXPECT_INT(io_pwrite_all(weak_io(0, 0, 0), fd, "1234", 4, 0), -EIO);
}

DIR_TEST(offsets_beyond_what_the_kernel_takes_are_refused)
{
	_cleanup_close_ int fd = open_file("f");
	struct io *io = io_posix();
	char c = 'x';

	EXPECT_INT(io_pread_all(io, fd, &c, 1, UINT64_MAX), -EOVERFLOW);
	EXPECT_INT(io_pwrite_all(io, fd, &c, 1, 1ULL << 63), -EOVERFLOW);
	EXPECT_INT(io->ops->ftruncate(io, fd, UINT64_MAX), -EFBIG);
	EXPECT_INT(io->ops->fallocate(io, fd, 0, UINT64_MAX, 1), -EFBIG);
}

/* ---- whole files ---- */

DIR_TEST(a_file_up_to_its_cap_is_read_and_a_larger_one_refused)
{
	_cleanup_free_ char *text = NULL;
	char *none = NULL;
	size_t n;

	put_file("f", "12345");
	ASSERT_OK(io_read_file(weak_io(2, 0, 0), dirfd_, "f", 5, &text, &n));
	EXPECT_STR(text, "12345");
	EXPECT_U64(n, 5);
	EXPECT_INT(io_read_file(io_posix(), dirfd_, "f", 4, &none, &n),
		   -EFBIG);
	EXPECT_INT(io_read_file(io_posix(), dirfd_, "g", 4, &none, &n),
		   -ENOENT);
	EXPECT_NULL(none);
}

DIR_TEST(files_whose_size_is_not_told_are_read)
{
	_cleanup_free_ char *text = NULL;
	size_t n;

	ASSERT_OK(io_read_file(io_posix(), AT_FDCWD, "/proc/self/status", 1 << 20,
			       &text, &n));
	EXPECT_STR_HAS(text, "PPid:");
	EXPECT_GT(n, 100);
}

DIR_TEST(a_large_file_is_read_whole)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = open_file("f");
	size_t n;

	ASSERT_OK(io_pwrite_all(io_posix(), fd, "end", 3, 1000000));
	ASSERT_OK(io_read_file(io_posix(), dirfd_, "f", 1 << 20, &text, &n));
	EXPECT_U64(n, 1000003);
	EXPECT_STR(text + 1000000, "end");
}

DIR_TEST(replacing_creates_and_replaces_with_the_mode_asked_for)
{
	struct stat st;

	(void)umask(022);
	ASSERT_OK(io_replace_file(io_posix(), dirfd_, "f", "one", 3, 0600));
	expect_file("f", "one");
	ASSERT_INT(fstatat(dirfd_, "f", &st, 0), 0);
	EXPECT_U64(st.st_mode & 07777, 0600);
	ASSERT_OK(io_replace_file(io_posix(), dirfd_, "f", "", 0, 0644));
	expect_file("f", "");
	ASSERT_INT(fstatat(dirfd_, "f", &st, 0), 0);
	EXPECT_U64(st.st_mode & 07777, 0644);
}

DIR_TEST(a_secret_does_not_go_into_a_left_over_of_wider_mode)
{
	struct stat st;

	put_file("f.tmp", "left over");
	ASSERT_INT(fchmodat(dirfd_, "f.tmp", 0666, 0), 0);
	ASSERT_OK(io_replace_file(io_posix(), dirfd_, "f", "key", 3, 0600));
	ASSERT_INT(fstatat(dirfd_, "f", &st, 0), 0);
	EXPECT_U64(st.st_mode & 07777, 0600);
	EXPECT_INT(fstatat(dirfd_, "f.tmp", &st, 0), -1);
}

DIR_TEST(a_link_in_place_of_the_temporary_file_is_not_followed)
{
	put_file("victim", "untouched");
	ASSERT_INT(symlinkat("victim", dirfd_, "f.tmp"), 0);
	ASSERT_OK(io_replace_file(io_posix(), dirfd_, "f", "new", 3, 0600));
	expect_file("victim", "untouched");
	expect_file("f", "new");
}

static int count_fds(void)
{
	_cleanup_closedir_ DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	return n;
}

DIR_TEST(whichever_step_of_a_replacement_fails_the_file_is_old_or_new)
{
	int fds = count_fds();
	int n_old = 0, n_new = 0, at;

	for (at = 1; at < 50; at++) {
		_cleanup_free_ char *text = NULL;
		struct stat st;
		size_t n;
		int r;

		put_file("f", "old");
		r = io_replace_file(weak_io(2, at, -EIO), dirfd_, "f", "newer",
				    5, 0600);
		ASSERT_OK(io_read_file(io_posix(), dirfd_, "f", 100, &text, &n));
		if (!weak.failed_call) {
			ASSERT_OK(r);
			EXPECT_STR(text, "newer");
			break;
		}
		EXPECT_INT(r, -EIO);
		n_old += !strcmp(text, "old");
		n_new += !strcmp(text, "newer");
		EXPECT_INT(n_old + n_new, at);
		EXPECT_INT(fstatat(dirfd_, "f.tmp", &st, 0), -1);
		EXPECT_INT(count_fds(), fds);
	}
	/* unlink open write*3 sync close rename; then open sync close. */
	EXPECT_INT(n_old, 8);
	EXPECT_INT(n_new, 3);
}

DIR_TEST(a_path_below_another_directory_is_replaced_there)
{
	char path[PATH_MAX + 8];

	ASSERT_INT(mkdirat(dirfd_, "sub", 0700), 0);
	ASSERT_OK(io_replace_file(io_posix(), dirfd_, "sub/f", "x", 1, 0600));
	expect_file("sub/f", "x");
	(void)snprintf(path, sizeof(path), "%s/g", dir);
	ASSERT_OK(io_replace_file(io_posix(), AT_FDCWD, path, "y", 1, 0600));
	expect_file("g", "y");
	ASSERT_INT(unlinkat(dirfd_, "sub/f", 0), 0);
}

/* ---- directories and the rest of the table ---- */

DIR_TEST(a_directory_is_made_once_and_kept)
{
	char path[PATH_MAX + 8];
	struct err err = ERR_INIT;
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/new", dir);
	ASSERT_OK(io_make_dir(io_posix(), path, 0700, &err));
	ASSERT_INT(stat(path, &st), 0);
	EXPECT_U64(st.st_mode & 07777, 0700);
	EXPECT_OK(io_make_dir(io_posix(), path, 0755, &err));
	ASSERT_INT(stat(path, &st), 0);
	EXPECT_U64(st.st_mode & 07777, 0700);
}

DIR_TEST(a_file_in_the_place_of_a_directory_is_an_error)
{
	char path[PATH_MAX + 8];
	struct err err = ERR_INIT;

	put_file("f", "");
	(void)snprintf(path, sizeof(path), "%s/f", dir);
	EXPECT_INT(io_make_dir(io_posix(), path, 0700, &err), -ENOTDIR);
	EXPECT_STR_HAS(err.message, path);
	EXPECT_STR_HAS(err.message, "Not a directory");
	err_clear(&err);
	(void)snprintf(path, sizeof(path), "%s/a/b", dir);
	EXPECT_INT(io_make_dir(io_posix(), path, 0700, &err), -ENOENT);
}

static int count_name(void *arg, const char *name)
{
	int *n = arg;

	EXPECT_NE(*name, '.');
	(*n)++;
	return 0;
}

static int stop_at_once(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return -ECANCELED;
}

DIR_TEST(names_are_listed_until_the_caller_stops)
{
	struct io *io = io_posix();
	int fds = count_fds();
	int n = 0;

	put_file("a", "");
	put_file("b", "");
	EXPECT_OK(io->ops->listdir(io, dirfd_, ".", count_name, &n));
	EXPECT_INT(n, 2);
	EXPECT_INT(io->ops->listdir(io, dirfd_, ".", stop_at_once, NULL),
		   -ECANCELED);
	EXPECT_INT(io->ops->listdir(io, dirfd_, "none", count_name, &n),
		   -ENOENT);
	EXPECT_INT(io->ops->listdir(io, dirfd_, "a", count_name, &n), -ENOTDIR);
	EXPECT_INT(count_fds(), fds);
}

DIR_TEST(descriptors_are_closed_on_exec_and_sizes_are_told)
{
	struct io *io = io_posix();
	uint64_t size = 7;
	int fd;

	fd = io->ops->open(io, dirfd_, "f", O_RDWR | O_CREAT, 0600);
	ASSERT_GE(fd, 0);
	EXPECT_INT(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EXPECT_OK(io->ops->ftruncate(io, fd, 12345));
	EXPECT_OK(io->ops->size(io, fd, &size));
	EXPECT_U64(size, 12345);
	EXPECT_OK(io->ops->fdatasync(io, fd));
	EXPECT_OK(io->ops->fsync(io, fd));
	EXPECT_OK(io->ops->close(io, fd));
	EXPECT_INT(io->ops->close(io, fd), -EBADF);
	EXPECT_INT(io->ops->size(io, fd, &size), -EBADF);
}
