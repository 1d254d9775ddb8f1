/*
 * Makes many idle cgroups, each with one small process that sleeps until it is killed.
 *
 *   crowd --parent DIR --count N [--first N] [--lowest N]
 *
 * Each cgroup is DIR/crowd-I.scope, I from --first to below --count, with the xattrs of a workload:
 * priority 1000 where I is below --lowest, and 1 to 900 in turn for the others. Prints `ready` when
 * all are there and ends; the sleepers live on. A sleeper is a fork of this program, linked
 * statically: it shares every page that it does not write to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LEAST_IMPORTANT 1000
#define OTHERS 900

static void die(const char *what)
{
	fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long parse_number(const char *text)
{
	char *last;
	unsigned long value = strtoul(text, &last, 10);

	if (*text < '0' || *text > '9' || *last || value > 1000000) {
		fprintf(stderr, "crowd: not a number: %s\n", text);
		exit(2);
	}
	return value;
}

static void write_mark(int fd, const char *name, const char *value)
{
	if (fsetxattr(fd, name, value, strlen(value), 0))
		die(name);
}

static void start_sleeper(int fd)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned long)fd};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		die("clone3");
	if (pid == 0) {
		for (;;)
			pause();
	}
}

/* The name is written last: without it the cgroup is not a workload yet. */
static void add_one(int parent, unsigned long number, unsigned long lowest)
{
	unsigned long priority = number < lowest ? LEAST_IMPORTANT : 1 + number % OTHERS;
	char scope[64], value[64];
	int fd;

	snprintf(scope, sizeof(scope), "crowd-%lu.scope", number);
	if (mkdirat(parent, scope, 0755))
		die(scope);
	fd = openat(parent, scope, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die(scope);
	start_sleeper(fd);
	snprintf(value, sizeof(value), "%lu", priority);
	write_mark(fd, "trusted.cgoom.priority", value);
	write_mark(fd, "trusted.cgoom.protect", "0");
	snprintf(value, sizeof(value), "crowd-%lu", number);
	write_mark(fd, "trusted.cgoom.name", value);
	close(fd);
}

/* The sleepers inherit it: they are nobody's idea of something to spare. */
static void become_ordinary(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		die("oom_score_adj");
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"parent", required_argument, NULL, 'p'},
		{"count", required_argument, NULL, 'c'},
		{"first", required_argument, NULL, 'f'},
		{"lowest", required_argument, NULL, 'l'},
		{0},
	};
	unsigned long count = 0, first = 0, lowest = 0;
	const char *path = NULL;
	int option, parent;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'p')
			path = optarg;
		else if (option == 'c')
			count = parse_number(optarg);
		else if (option == 'f')
			first = parse_number(optarg);
		else if (option == 'l')
			lowest = parse_number(optarg);
		else
			return 2;
	}
	if (!path || !count || optind != argc) {
		fprintf(stderr, "crowd: give --parent DIR and --count N\n");
		return 2;
	}
	parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		die(path);
	become_ordinary();
	/* A sleeper must not keep the reader of our output waiting. */
	fcntl(STDOUT_FILENO, F_SETFD, FD_CLOEXEC);
	for (unsigned long number = first; number < count; number++)
		add_one(parent, number, lowest);
	puts("ready");
	return 0;
}
