/*
 * Allocates memory at a given rate and touches every page of it.
 *
 *   hog --limit MIB [--rate MIB_PER_S] [--burst MIB] [--ignore-term] [--hold]
 *
 * --burst is taken at once at the start, the rest at --rate (0, the default: as fast as the kernel
 * gives it). At
 * --limit the hog ends with status 0, or with --hold keeps what it has until it is killed. It
 * prints nothing.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MIB (1UL << 20)
/* Bytes; chosen: at 100 MiB/s one step is 2.5 ms, finer than the 5 ms between two looks of the
 * sampler. */
#define STEP (256UL << 10)
#define NSEC_PER_SEC 1000000000UL

struct plan {
	unsigned long rate_mib, limit_mib, burst_mib;
	bool ignore_term, hold;
};

static unsigned long parse_number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > 1UL << 24) {
		fprintf(stderr, "hog: not a number of MiB: %s\n", text);
		exit(2);
	}
	return value;
}

static struct plan parse_plan(int argc, char **argv)
{
	static const struct option options[] = {
		{"rate", required_argument, NULL, 'r'},	 {"limit", required_argument, NULL, 'l'},
		{"burst", required_argument, NULL, 'b'}, {"ignore-term", no_argument, NULL, 'i'},
		{"hold", no_argument, NULL, 'h'},	 {0},
	};
	struct plan plan = {0};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			plan.rate_mib = parse_number(optarg);
			break;
		case 'l':
			plan.limit_mib = parse_number(optarg);
			break;
		case 'b':
			plan.burst_mib = parse_number(optarg);
			break;
		case 'i':
			plan.ignore_term = true;
			break;
		case 'h':
			plan.hold = true;
			break;
		default:
			exit(2);
		}
	}
	if (optind != argc || !plan.limit_mib || plan.burst_mib > plan.limit_mib) {
		fprintf(stderr, "hog: give a --limit, and no --burst above it\n");
		exit(2);
	}
	return plan;
}

/* One byte per page, never zero: a page of zeros costs nothing in zram. */
static void touch(unsigned char *from, unsigned long bytes)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);

	for (unsigned long at = 0; at < bytes; at += page)
		from[at] = 0x5a;
}

/* Sleeps until `bytes` are due. Absolute: time lost in reclaim is caught up, so the rate is that of
 * the whole run. */
static void pace(struct timespec start, unsigned long bytes, unsigned long rate_mib)
{
	unsigned long nsec =
		(unsigned long)start.tv_nsec + bytes / 1024 * (NSEC_PER_SEC / 1024) / rate_mib;
	struct timespec due = {
		.tv_sec = start.tv_sec + (time_t)(nsec / NSEC_PER_SEC),
		.tv_nsec = (long)(nsec % NSEC_PER_SEC),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL))
		;
}

int main(int argc, char **argv)
{
	struct plan plan = parse_plan(argc, argv);
	unsigned long limit = plan.limit_mib * MIB, burst = plan.burst_mib * MIB;
	struct timespec start;
	unsigned char *area;

	if (plan.ignore_term)
		signal(SIGTERM, SIG_IGN);
	area = mmap(NULL, limit, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED) {
		perror("hog: mmap");
		return 1;
	}
	/* A huge page would arrive as 2 MiB at once and blur the rate; an old kernel without them
	 * says EINVAL. */
	madvise(area, limit, MADV_NOHUGEPAGE);
	touch(area, burst);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned long done = burst; done < limit; done += STEP) {
		touch(area + done, STEP);
		if (plan.rate_mib)
			pace(start, done + STEP - burst, plan.rate_mib);
	}
	while (plan.hold)
		pause();
	return 0;
}
