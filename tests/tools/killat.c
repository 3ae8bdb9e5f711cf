// SPDX-License-Identifier: Apache-2.0
/*
 * A program that dies at a chosen step:
 *
 *	killat STEP LOG COMMAND [ARG...]
 *
 * executes COMMAND in this very process and kills it (SIGKILL) before it makes
 * the system call that STEP names: "N" is the N-th of all that are looked at,
 * "NAME:N" the N-th of that name, "-" none. The calls of all its threads are
 * counted as one row, unlike those that strace injects into. What it looks at
 * is what changes a file, a socket, a BPF object or a ring; reading is left
 * out. LOG gets a line "NAME" for each call that was let through and "killed
 * NAME" for the last one.
 *
 * A process beside it does the watching, so that the caller's child is
 * COMMAND, as it would be without.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h>

#include "base/checked.h"

static const struct call {
	const char *name;
	long nr;
} calls[] = {
#define CALL(name) { #name, __NR_##name }
	CALL(write),	 CALL(pwrite64),  CALL(writev),
	CALL(pwritev),	 CALL(pwritev2),  CALL(fdatasync),
	CALL(fsync),	 CALL(ftruncate), CALL(fallocate),
	CALL(mkdirat),	 CALL(renameat),  CALL(renameat2),
	CALL(unlinkat),	 CALL(linkat),	  CALL(fchmod),
	CALL(fchmodat),	 CALL(sendto),	  CALL(sendmsg),
	CALL(recvfrom),	 CALL(recvmsg),	  CALL(connect),
	CALL(bind),	 CALL(listen),	  CALL(accept4),
	CALL(shutdown),	 CALL(bpf),	  CALL(io_uring_setup),
	CALL(openat),	 CALL(mount),	  CALL(io_uring_enter),
#ifdef __NR_rename
	CALL(rename),	 CALL(mkdir),	  CALL(unlink),
	CALL(rmdir),	 CALL(open),
#endif
};

#define MAX_RULES (2 * ARRAY_SIZE(calls) + 16)

static const char *name_of(uint64_t nr)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i].nr == (long)nr)
			return calls[i].name;
	return "?";
}

static void die(const char *what)
{
	perror(what);
	_exit(126);
}

/* Stops at the calls above; of openings only at those that may create. */
static void install_filter(void)
{
	const size_t data_nr = offsetof(struct seccomp_data, nr);
	const size_t flags = offsetof(struct seccomp_data, args[2]);
	struct sock_filter f[MAX_RULES];
	struct sock_fprog prog = { .filter = f };
	unsigned short n = 0;
	size_t i;

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					      data_nr);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		if (calls[i].nr == __NR_openat)
			continue;
		f[n++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (__u32)calls[i].nr, 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						      SECCOMP_RET_TRACE);
	}
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
					      __NR_openat, 0, 3);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, flags);
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K,
					      O_CREAT, 0, 1);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
					      SECCOMP_RET_TRACE);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
					      SECCOMP_RET_ALLOW);
	prog.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		die("seccomp");
}

struct step {
	char name[32];			/* empty: any; "-": none */
	unsigned long n;
};

static struct step parse_step(const char *text)
{
	const char *colon = strchr(text, ':');
	struct step s = { .n = strtoul(colon ? colon + 1 : text, NULL, 10) };

	if (!strcmp(text, "-"))
		(void)snprintf(s.name, sizeof(s.name), "-");
	else if (colon)
		(void)snprintf(s.name, sizeof(s.name), "%.*s",
			       (int)(colon - text), text);
	return s;
}

/* True: this is the call. */
static bool at_step(struct step *s, const char *name)
{
	return (!s->name[0] || !strcmp(s->name, name)) && s->n && !--s->n;
}

static void on_call(pid_t tid, pid_t pid, struct step *s, FILE *log)
{
	struct ptrace_syscall_info info = { 0 };
	const char *name;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) < 0)
		return;
	name = name_of(info.seccomp.nr);
	if (!at_step(s, name)) {
		(void)fprintf(log, "%s\n", name);
		return;
	}
	/* The call that waits to be made never is. */
	(void)kill(pid, SIGKILL);
	(void)fprintf(log, "killed %s\n", name);
}

static void watch(pid_t pid, struct step *s, FILE *log)
{
	int status;
	pid_t tid;

	while ((tid = waitpid(-1, &status, __WALL)) > 0) {
		int event = status >> 16, sig = 0;

		if (!WIFSTOPPED(status))
			continue;
		if (event == PTRACE_EVENT_SECCOMP)
			on_call(tid, pid, s, log);
		else if (event == PTRACE_EVENT_STOP)
			sig = 0;
		else if (!event)
			sig = WSTOPSIG(status);
		(void)ptrace(PTRACE_CONT, tid, 0, sig);
	}
	(void)fclose(log);
}

/* Not a child of pid's, which knows nothing of it. */
static void watcher(pid_t pid, const char *text, const char *path, int ready)
{
	struct step s = parse_step(text);
	FILE *log = fopen(path, "we");
	pid_t child = fork();

	if (child)
		_exit(child < 0);
	if (!log)
		die(path);
	if (ptrace(PTRACE_SEIZE, pid, 0,
		   PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE |
			   PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
			   PTRACE_O_TRACEEXEC))
		die("ptrace");
	if (write(ready, "", 1) != 1)
		die("pipe");
	(void)close(ready);
	watch(pid, &s, log);
	_exit(0);
}

int main(int argc, char **argv)
{
	const pid_t self = getpid();
	int ready[2], status;
	pid_t child;
	char c;

	if (argc < 4) {
		(void)fprintf(stderr, "usage: killat STEP LOG COMMAND...\n");
		return 2;
	}
	if (pipe2(ready, O_CLOEXEC))
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		(void)close(ready[0]);
		watcher(self, argv[1], argv[2], ready[1]);
	}
	(void)close(ready[1]);
	if (waitpid(child, &status, 0) != child || status ||
	    read(ready[0], &c, 1) != 1)
		die("watcher");
	install_filter();
	execvp(argv[3], argv + 3);
	die(argv[3]);
}
