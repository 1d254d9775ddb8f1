/*
 * An ordinary program that wants to go on: touches its working set again and again, and notes how
 * late it was.
 *
 *   probe --out FILE
 *
 * Prints `probing` once it runs. At SIGTERM it writes one JSON line to FILE, every turn in its
 * order, times in microseconds:
 *   [[DUE, STALL], ...]
 *
 * DUE is of CLOCK_MONOTONIC; the stall is the time from then until the turn's last page was
 * touched. Nothing is locked and nothing is real-time: it has to suffer like everybody else. Only
 * its own first faults do not count.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Bytes; chosen: more than the processor's caches keep, little beside what a guest has. */
#define WORKING_SET (8UL << 20)
/* Chosen: a desktop that answers every 10 ms feels immediate. */
#define TURN_USEC 10000
/* Ten minutes of turns; later ones are not counted. */
#define TURNS_MOST 60000

static volatile sig_atomic_t ended;
static struct {
	int64_t due_usec;
	int64_t stall_usec;
} turns[TURNS_MOST];

static void end(int signo)
{
	(void)signo;
	ended = 1;
}

static int64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_until(int64_t usec)
{
	struct timespec due = {.tv_sec = usec / 1000000, .tv_nsec = usec % 1000000 * 1000};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static void touch(volatile unsigned char *area, unsigned long page)
{
	for (unsigned long at = 0; at < WORKING_SET; at += page)
		area[at]++;
}

static unsigned long probe(volatile unsigned char *area, unsigned long page)
{
	unsigned long count = 0;
	int64_t due = now_usec();

	while (!ended && count < TURNS_MOST) {
		int64_t now;

		touch(area, page);
		now = now_usec();
		turns[count].due_usec = due;
		turns[count++].stall_usec = now - due;
		/* What was missed is missed: a late turn is one stall, not a queue of them. */
		due = due + TURN_USEC > now ? due + TURN_USEC : now;
		sleep_until(due);
	}
	return count;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"out", required_argument, NULL, 'o'}, {0}};
	struct sigaction action = {.sa_handler = end};
	const char *path = NULL;
	unsigned long count, page;
	void *area;
	FILE *out;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) == 'o')
		path = optarg;
	if (option != -1 || !path || optind != argc) {
		fprintf(stderr, "probe: give --out FILE\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	area = mmap(NULL, WORKING_SET, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED) {
		perror("probe: mmap");
		return 1;
	}
	madvise(area, WORKING_SET, MADV_NOHUGEPAGE);
	page = (unsigned long)sysconf(_SC_PAGESIZE);
	touch(area, page);
	puts("probing");
	fflush(stdout);
	count = probe(area, page);
	out = fopen(path, "we");
	if (!out || !count) {
		perror("probe: out");
		return 1;
	}
	for (unsigned long at = 0; at < count; at++)
		fprintf(out, "%s[%" PRId64 ", %" PRId64 "]", at ? ", " : "[", turns[at].due_usec,
			turns[at].stall_usec);
	fputs("]\n", out);
	if (fclose(out)) {
		perror("probe: out");
		return 1;
	}
	return 0;
}
