/*
 * Looks at the host's memory every few milliseconds, whatever happens to the host meanwhile.
 *
 *   sampler --out FILE [--seconds N] [--interval-ms N] [--below-kib N] [--watch-events
 * NAME=PATH]...
 *
 * Prints `sampling` once it runs. At SIGTERM, or after --seconds, writes JSON lines to FILE, times
 * CLOCK_MONOTONIC:
 *   {"t_usec": T, "available_kib": N, "swap_free_kib": N}	one per look
 *   {"watch": "NAME", "empty_usec": T|null}			PATH (a cgroup.events) said
 * `populated 0` or was gone
 *   {"below_kib": N, "crossed_usec": T|null}			MemAvailable was at or below N
 *
 * A watched cgroup may appear later; only one that was populated can become empty. The memory is
 * taken and locked before the first look, and nothing is written until the last: what it measures
 * must not slow it down.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_MSEC 1000000L
#define NSEC_PER_SEC 1000000000L
#define WATCHES 32 /* chosen: three times the largest scene, eleven workloads */

struct sample {
	int64_t t_usec;
	unsigned long available_kib, swap_free_kib;
};

struct watch {
	const char *name, *path;
	int fd;
	bool was_populated;
	int64_t empty_usec;
};

static const char *out_path;
static unsigned long seconds = 600, interval_ms = 5, below_kib;
static struct watch watches[WATCHES];
static int watch_count;
static volatile sig_atomic_t ended;

static void end(int signo)
{
	(void)signo;
	ended = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "sampler: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long parse_number(const char *text)
{
	char *last;
	unsigned long value = strtoul(text, &last, 10);

	if (*text < '0' || *text > '9' || *last || !value || value > 1UL << 40) {
		fprintf(stderr, "sampler: not a number above 0: %s\n", text);
		exit(2);
	}
	return value;
}

static void add_watch(char *text)
{
	char *path = strchr(text, '=');

	if (!path || path == text || watch_count == WATCHES || strpbrk(text, "\"\\\n")) {
		fprintf(stderr, "sampler: not NAME=PATH, or one too many: %s\n", text);
		exit(2);
	}
	*path++ = '\0';
	watches[watch_count++] = (struct watch){.name = text, .path = path, .fd = -1};
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"out", required_argument, NULL, 'o'},
		{"seconds", required_argument, NULL, 's'},
		{"interval-ms", required_argument, NULL, 'i'},
		{"below-kib", required_argument, NULL, 'b'},
		{"watch-events", required_argument, NULL, 'w'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			out_path = optarg;
			break;
		case 's':
			seconds = parse_number(optarg);
			break;
		case 'i':
			interval_ms = parse_number(optarg);
			break;
		case 'b':
			below_kib = parse_number(optarg);
			break;
		case 'w':
			add_watch(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (!out_path || optind != argc) {
		fprintf(stderr, "sampler: give --out FILE\n");
		exit(2);
	}
}

/* Best effort: an ordinary user may measure too, only less exactly. */
static void raise_importance(void)
{
	struct sched_param priority = {.sched_priority = 50};
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "-1000", 5) < 0)
			fprintf(stderr, "sampler: oom_score_adj: %s\n", strerror(errno));
		close(fd);
	}
	if (sched_setscheduler(0, SCHED_FIFO, &priority))
		fprintf(stderr, "sampler: SCHED_FIFO: %s\n", strerror(errno));
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		fprintf(stderr, "sampler: mlockall: %s\n", strerror(errno));
}

static int64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static unsigned long field_kib(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

static void look_at_memory(int fd, struct sample *sample)
{
	char text[4096];
	ssize_t length = pread(fd, text, sizeof(text) - 1, 0);

	if (length < 0)
		die("/proc/meminfo");
	text[length] = '\0';
	sample->t_usec = now_usec();
	sample->available_kib = field_kib(text, "\nMemAvailable:");
	sample->swap_free_kib = field_kib(text, "\nSwapFree:");
}

static void look_at_cgroup(struct watch *watch)
{
	char text[256];
	ssize_t length;

	if (watch->empty_usec)
		return;
	if (watch->fd < 0)
		watch->fd = open(watch->path, O_RDONLY | O_CLOEXEC);
	if (watch->fd < 0)
		return;
	length = pread(watch->fd, text, sizeof(text) - 1, 0);
	text[length < 0 ? 0 : length] = '\0';
	if (strstr(text, "populated 1"))
		watch->was_populated = true;
	else if (watch->was_populated)
		watch->empty_usec = now_usec();
	else if (length < 0) { /* removed before it was used: the name may come back */
		close(watch->fd);
		watch->fd = -1;
	}
}

static unsigned long look(struct sample *samples, unsigned long capacity, int64_t *crossed_usec)
{
	int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	struct timespec due;
	unsigned long count = 0;

	if (fd < 0)
		die("/proc/meminfo");
	puts("sampling");
	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &due);
	while (!ended && count < capacity) {
		struct sample *sample = &samples[count++];

		look_at_memory(fd, sample);
		if (below_kib && !*crossed_usec && sample->available_kib <= below_kib)
			*crossed_usec = sample->t_usec;
		for (int i = 0; i < watch_count; i++)
			look_at_cgroup(&watches[i]);
		due.tv_nsec += (long)interval_ms * NSEC_PER_MSEC;
		due.tv_sec += due.tv_nsec / NSEC_PER_SEC;
		due.tv_nsec %= NSEC_PER_SEC;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
	}
	close(fd);
	return count;
}

static void write_time(FILE *out, const char *name, int64_t t_usec)
{
	if (t_usec)
		fprintf(out, "\"%s\": %" PRId64 "}\n", name, t_usec);
	else
		fprintf(out, "\"%s\": null}\n", name);
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = end};
	int64_t crossed_usec = 0;
	unsigned long capacity, count;
	struct sample *samples;
	FILE *out;

	parse_options(argc, argv);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	capacity = seconds * 1000 / interval_ms + 1;
	samples = calloc(capacity, sizeof(*samples));
	out = fopen(out_path, "we");
	if (!samples || !out)
		die(out_path);
	raise_importance();
	count = look(samples, capacity, &crossed_usec);
	for (unsigned long i = 0; i < count; i++)
		fprintf(out,
			"{\"t_usec\": %" PRId64
			", \"available_kib\": %lu, \"swap_free_kib\": %lu}\n",
			samples[i].t_usec, samples[i].available_kib, samples[i].swap_free_kib);
	for (int i = 0; i < watch_count; i++) {
		fprintf(out, "{\"watch\": \"%s\", ", watches[i].name);
		write_time(out, "empty_usec", watches[i].empty_usec);
	}
	if (below_kib) {
		fprintf(out, "{\"below_kib\": %lu, ", below_kib);
		write_time(out, "crossed_usec", crossed_usec);
	}
	if (fclose(out))
		die(out_path);
	return 0;
}
