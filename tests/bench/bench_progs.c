// SPDX-License-Identifier: Apache-2.0
/*
 * What the tracker's programs cost while a command runs, by the kernel's own
 * account (run time statistics of BPF programs):
 *
 *	bench_progs PINS DISK COMMAND [ARG...]
 *
 * PINS is the directory with link_issue and link_complete. The programs see
 * requests of every disk of the machine; how many of them were DISK's ("loop3",
 * the tracked one) is read from its statistics, so that a caller can separate
 * the two. The account itself costs some tens of nanoseconds a run: an empty
 * program on the same tracepoint shows how many.
 *
 * Prints one JSON object; the command's output goes where the caller says.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/bpf.h>

#include <bpf/bpf.h>

#include "base/checked.h"

enum { ISSUE, COMPLETE, EMPTY, N_PROGS };

struct account {
	uint64_t ns[N_PROGS];
	uint64_t runs[N_PROGS];
	uint64_t requests;		/* of the disk */
};

struct bench {
	int prog[N_PROGS];
	int empty_link;
	const char *disk;
};

static int fail(const char *what)
{
	(void)fprintf(stderr, "bench_progs: %s: %m\n", what);
	return -1;
}

/* The program that a pinned link runs. */
static int prog_of_link(const char *dir, const char *name)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char path[512];
	int link, prog;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	link = bpf_obj_get(path);
	if (link < 0)
		return fail(path);
	if (bpf_obj_get_info_by_fd(link, &info, &len)) {
		(void)close(link);
		return fail(path);
	}
	(void)close(link);
	prog = bpf_prog_get_fd_by_id(info.prog_id);
	return prog < 0 ? fail(path) : prog;
}

static int attach_empty(struct bench *b)
{
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	b->prog[EMPTY] = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "empty",
				       "GPL", insns, ARRAY_SIZE(insns), NULL);
	if (b->prog[EMPTY] < 0)
		return fail("load an empty program");
	b->empty_link = bpf_raw_tracepoint_open("block_rq_issue",
						b->prog[EMPTY]);
	return b->empty_link < 0 ? fail("attach an empty program") : 0;
}

/* Reads, writes, discards and flushes that the disk has finished. */
static int count_requests(const char *disk, uint64_t *out)
{
	uint64_t v[16] = { 0 };
	char path[128];
	size_t n = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/sys/block/%s/stat", disk);
	f = fopen(path, "re");
	if (!f)
		return fail(path);
	while (n < ARRAY_SIZE(v) && fscanf(f, "%" SCNu64, &v[n]) == 1)
		n++;
	(void)fclose(f);
	*out = v[0] + v[4] + v[11] + v[15];
	return 0;
}

static int read_account(const struct bench *b, struct account *a)
{
	int i;

	for (i = 0; i < N_PROGS; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t len = sizeof(info);

		if (bpf_obj_get_info_by_fd(b->prog[i], &info, &len))
			return fail("program's account");
		a->ns[i] = info.run_time_ns;
		a->runs[i] = info.run_cnt;
	}
	return count_requests(b->disk, &a->requests);
}

/* 0 when the command ended well. */
static int run_command(char **argv)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return fail("fork");
	if (!pid) {
		execvp(argv[0], argv);
		(void)fail(argv[0]);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fail("wait");
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -1;
}

static void print_prog(const char *name, const struct account *from,
		       const struct account *to, int i)
{
	(void)printf("\"%s_ns\":%" PRIu64 ",\"%s_runs\":%" PRIu64 ",", name,
		     to->ns[i] - from->ns[i], name, to->runs[i] - from->runs[i]);
}

int main(int argc, char **argv)
{
	struct bench b = { .empty_link = -1 };
	struct account from, to;

	if (argc < 4) {
		(void)fprintf(stderr,
			      "usage: bench_progs PINS DISK COMMAND...\n");
		return 2;
	}
	b.disk = argv[2];
	b.prog[ISSUE] = prog_of_link(argv[1], "link_issue");
	b.prog[COMPLETE] = prog_of_link(argv[1], "link_complete");
	if (b.prog[ISSUE] < 0 || b.prog[COMPLETE] < 0 || attach_empty(&b))
		return 1;
	/* On as long as this descriptor is open: it ends with us. */
	if (bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		return -fail("enable run time statistics");
	if (read_account(&b, &from) || run_command(argv + 3) ||
	    read_account(&b, &to))
		return 1;
	(void)printf("{");
	print_prog("issue", &from, &to, ISSUE);
	print_prog("complete", &from, &to, COMPLETE);
	print_prog("empty", &from, &to, EMPTY);
	(void)printf("\"disk_requests\":%" PRIu64 "}\n",
		     to.requests - from.requests);
	return 0;
}
