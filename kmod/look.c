// SPDX-License-Identifier: GPL-2.0-only
/*
 * Looks at the host before anything can have happened to it: the next look is due when the fastest
 * plausible allocator can have reached the next threshold. Reclaim and the OOM killer call for one
 * earlier. One lock keeps sample, level and sequence number together, and events in their order.
 *
 * A look is taken where its timer ends, in softirq: measured in an emulated guest, a worker that
 * had to be woken first, at the next tick, knew of a threshold 4 - 14 ms after it was crossed. What
 * may sleep (SwapTotal) is left to a worker, and so is the log, for a while.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kfifo.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/ratelimit.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "look.h"
#include "netlink.h"
#include "proc.h"
#include "swap.h"

#define SHARE(percent) {.value = (percent) * 10000, .is_share = true}
/* As cgoom's HostPolicy. The fill rate, 6000 MiB/s, is chosen above what a processor can touch of
 * fresh memory; who measured this host's sets it.
 */
struct level_policy look_policy = {
	.warn = {.mem = SHARE(10), .swap = SHARE(10)},
	.kill = {.mem = SHARE(5), .swap = SHARE(5)},
	.recover = {.mem = SHARE(12), .swap = SHARE(12)},
	.fill_kib_per_sec = 6000 << 10,
};

/* Between two looks that others call for; chosen: reclaim that goes on for hours, on a host with
 * room, costs fifty looks a second.
 */
#define KICK_JIFFIES (HZ / 50)
/* Between two looks just before a threshold, for hours at worst: REST_TIMES what the last one took,
 * within these bounds. Chosen: a quarter of a processor at most, as the daemon's own looks, no more
 * often than is of use, and no longer apart than those, however long one was interrupted. Measured:
 * 0.1 ms for a look in an emulated guest.
 */
#define REST_TIMES 3
#define LEAST_NS (250ULL * NSEC_PER_USEC)
#define MOST_NS (1000ULL * NSEC_PER_USEC)
/* From the last change of level to its line in the log, whose stamp is that much younger; chosen: a
 * victim of the daemon was measured to be gone after 0.1 s. Whoever reads the log takes the
 * processor from who acts, and a serial console keeps it for 5 ms a line (60 characters at 115200
 * baud), not to be preempted.
 */
#define LOG_JIFFIES (HZ / 4)

static DEFINE_SPINLOCK(look_lock);
static struct look look;
static bool running;
static struct hrtimer timer;
static struct workqueue_struct *queue;
/* Changes of level that the log has not told. More of them than fit are noise, and no reason to put
 * it off further.
 */
static DEFINE_KFIFO(untold, struct look, 8);

static void log_run(struct work_struct *work);
static void swap_run(struct work_struct *work);
static DECLARE_DELAYED_WORK(log_work, log_run);
static DECLARE_WORK(swap_work, swap_run);

static u64 kib(u64 pages)
{
	return pages << (PAGE_SHIFT - 10);
}

/* si_meminfo() counts block device pages too, under a lock: not for the OOM path. */
static void read_sample(struct sample *sample)
{
	sample->time_ns = ktime_get_ns(); /* first: nothing of it is older */
	sample->total_kib = kib(totalram_pages());
	sample->available_kib = kib(max(0L, si_mem_available()));
	sample->free_kib = kib(global_zone_page_state(NR_FREE_PAGES));
	swap_read(&sample->swap_total_kib, &sample->swap_free_kib);
}

static void say(const struct look *now)
{
	/* Ten lines in five seconds; a level that wavers is no reason to fill the log. */
	static DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);
	const struct sample *sample = &now->sample;
	u64 mem = div64_u64(sample->available_kib * 1000, max(1ULL, sample->total_kib));
	u64 swap = div64_u64(sample->swap_free_kib * 1000, max(1ULL, sample->swap_total_kib));

	if (!__ratelimit(&limit))
		return;
	if (sample->swap_total_kib)
		pr_info("level %u: memory %llu.%llu%% available, swap %llu.%llu%% free\n",
			now->level, mem / 10, mem % 10, swap / 10, swap % 10);
	else
		pr_info("level %u: memory %llu.%llu%% available, no swap\n", now->level, mem / 10,
			mem % 10);
}

static void log_run(struct work_struct *work)
{
	struct look now;

	while (kfifo_get(&untold, &now))
		say(&now);
}

static void swap_run(struct work_struct *work)
{
	swap_refresh();
}

static void start_timer(u64 ns)
{
	hrtimer_start(&timer, ns_to_ktime(ns), HRTIMER_MODE_REL_SOFT);
}

/* The level is new, or a threshold comes near: whoever listens hears it. */
static void tell_locked(enum memory_info_level previous)
{
	bool is_near = level_comes_near(&look_policy, look.level, &look.sample, &look.near_usec);

	if (look.level != previous) {
		look.seq++;
		look.level_changes++;
		netlink_tell(MEMORY_INFO_CMD_LEVEL, &look, previous, 0);
	} else if (is_near) {
		look.seq++;
		netlink_tell(MEMORY_INFO_CMD_NEAR, &look, 0, 0);
	}
}

/**
 * look_now - take a sample, tell what is new, and look again when that is due
 *
 * Context: process or softirq context; does not sleep, allocates without reclaim.
 * Return: the level.
 */
enum memory_info_level look_now(void)
{
	enum memory_info_level previous, level;
	u64 begun_ns, took_ns, rest_ns, usec;

	spin_lock_bh(&look_lock);
	begun_ns = ktime_get_ns();
	read_sample(&look.sample);
	previous = look.level;
	level = level_after(&look_policy, previous, &look.sample);
	look.level = level;
	look.looks++;
	tell_locked(previous);
	usec = level_next_usec(&look_policy, level, &look.sample, look.near_usec);
	took_ns = ktime_get_ns() - begun_ns;
	look.spent_ns += took_ns;
	if (running) {
		rest_ns = clamp(REST_TIMES * took_ns, LEAST_NS, MOST_NS);
		start_timer(max(rest_ns, usec * NSEC_PER_USEC));
		if (level != previous && kfifo_put(&untold, look))
			mod_delayed_work(queue, &log_work, LOG_JIFFIES);
		/* At a warning, too: swap that was removed since would make it last for ever. */
		if ((level != previous || level != MEMORY_INFO_LEVEL_KILL) && swap_is_stale())
			queue_work(queue, &swap_work);
	}
	spin_unlock_bh(&look_lock);
	if (level != previous)
		proc_wake();
	return level;
}

/**
 * look_raw - look_now() for who kills, which no level that is merely held justifies
 *
 * Return: the level of the fresh sample alone.
 */
enum memory_info_level look_raw(void)
{
	enum memory_info_level raw;

	look_now();
	spin_lock_bh(&look_lock);
	raw = level_raw(&look_policy, &look.sample);
	spin_unlock_bh(&look_lock);
	return raw;
}

static enum hrtimer_restart timer_run(struct hrtimer *unused)
{
	look_now();
	return HRTIMER_NORESTART; /* it has been started by that */
}

static void kick_run(struct irq_work *work)
{
	start_timer(0);
}

static DEFINE_IRQ_WORK(kick_work, kick_run);

/**
 * look_kick - look soon
 *
 * Context: any. However often it is called, the looks are KICK_JIFFIES apart.
 */
void look_kick(void)
{
	static unsigned long kicked_at = INITIAL_JIFFIES - KICK_JIFFIES;

	if (time_before(jiffies, READ_ONCE(kicked_at) + KICK_JIFFIES))
		return;
	WRITE_ONCE(kicked_at, jiffies);
	irq_work_queue(&kick_work);
}

/**
 * look_read - the last sample and what goes with it
 * @out: a consistent copy
 */
void look_read(struct look *out)
{
	spin_lock_bh(&look_lock);
	*out = look;
	spin_unlock_bh(&look_lock);
}

/**
 * look_read_policy - the thresholds in force
 * @out: a consistent copy
 */
void look_read_policy(struct level_policy *out)
{
	spin_lock_bh(&look_lock);
	*out = look_policy;
	spin_unlock_bh(&look_lock);
}

/* Whoever relies on the thresholds hears that they were set, since their level may come out the
 * same. The parameters can be written before the first look and after the last one.
 */
static void tell_set_locked(void)
{
	lockdep_assert_held(&look_lock);
	if (!running)
		return;
	look.seq++;
	netlink_tell(MEMORY_INFO_CMD_LEVEL, &look, look.level, 0);
	start_timer(0);
}

/**
 * look_set_policy - replace the thresholds, and tell it
 * @policy: all of them
 */
void look_set_policy(const struct level_policy *policy)
{
	spin_lock_bh(&look_lock);
	look_policy = *policy;
	tell_set_locked();
	spin_unlock_bh(&look_lock);
}

/**
 * look_read_amount - one of the thresholds
 * @place: in look_policy
 * @out: its value
 */
void look_read_amount(const struct amount *place, struct amount *out)
{
	spin_lock_bh(&look_lock);
	*out = *place;
	spin_unlock_bh(&look_lock);
}

/**
 * look_set_amount - change one of the thresholds, and tell it
 * @place: in look_policy
 * @amount: its new value
 */
void look_set_amount(struct amount *place, const struct amount *amount)
{
	spin_lock_bh(&look_lock);
	*place = *amount;
	tell_set_locked();
	spin_unlock_bh(&look_lock);
}

/**
 * look_tell - send an event that is not a change of level
 * @cmd: which one
 * @subject: its u64, as netlink_tell() takes it
 * @count: its u32
 *
 * Return: its sequence number.
 */
u64 look_tell(u8 cmd, u64 subject, u32 count)
{
	u64 seq;

	spin_lock_bh(&look_lock);
	seq = ++look.seq;
	netlink_tell(cmd, &look, subject, count);
	spin_unlock_bh(&look_lock);
	return seq;
}

/**
 * look_start - take the first sample and go on by itself
 *
 * Return: 0 or -ENOMEM.
 */
int look_start(void)
{
	struct look now;

	/* With a thread that needs no memory, and not bound to the processor of a hog. */
	queue = alloc_workqueue("memory_info", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!queue)
		return -ENOMEM;
	/* A request may have looked before. */
	look_now();
	look_read(&now);
	say(&now);
	compat_hrtimer_setup(&timer, timer_run, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	spin_lock_bh(&look_lock);
	running = true;
	start_timer(0);
	spin_unlock_bh(&look_lock);
	return 0;
}

/**
 * look_stop - the mirror image; nobody calls look_kick() any more
 */
void look_stop(void)
{
	spin_lock_bh(&look_lock);
	running = false;
	spin_unlock_bh(&look_lock);
	irq_work_sync(&kick_work);
	hrtimer_cancel(&timer);
	flush_delayed_work(&log_work); /* the log is whole */
	destroy_workqueue(queue);      /* what is queued runs first */
}
