// SPDX-License-Identifier: GPL-2.0-only
/*
 * The armed order, when the kernel is about to run its global OOM killer. It has two stages, both
 * for the first cgroup of the order that can give memory back.
 *
 * Where the host is really short, all of it is killed, and the kernel is told that memory was freed
 * until it is gone, and once more then, but no longer than HOLD_NS. One cgroup at a time. Left
 * alone, the kernel would choose by process, and take a bystander in the moment when the victim has
 * dropped its memory and not yet given it back.
 *
 * Past that time, or where the kernel kills for reasons of its own (sysrq, an allocation that no
 * lack of memory has failed), it is only marked. The kernel goes by the marks, and reaps whom it
 * kills, which a victim in uninterruptible sleep needs.
 *
 * So the kernel gets its turn after HOLD_NS for each armed cgroup that does not die, and at once
 * when none of the order is alive. The notifier is called with oom_lock held, so never twice at a
 * time, in the context of whoever allocates. Nothing here sleeps or allocates with reclaim.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "look.h"
#include "oom.h"
#include "victim.h"

/* Nanoseconds that a killed cgroup has before the kernel gets its turn; chosen: a thousand
 * processes take 1 - 2 s in an emulated guest. The kernel's reaper then waits for 2 s more.
 */
#define HOLD_NS (3 * NSEC_PER_SEC)
/* Nanoseconds after which a kill is history, and a cgroup that is in use again a new victim;
 * chosen: far longer than dying takes.
 */
#define FORGET_NS (60 * NSEC_PER_SEC)
/* Between two OOM events: a killed host calls for the notifier hundreds of times a second. */
#define TELL_JIFFIES (HZ / 10)
/* From a mark to its removal; chosen: the kernel's reaper waits for 2 s. */
#define UNMARK_JIFFIES (5 * HZ)

static struct order __rcu *armed;
static DEFINE_SPINLOCK(arm_lock);

/* A ring; written by the notifier only, which reads it without the lock. It holds the whole order:
 * one that is forgotten has its time anew, and so might all of them, in turn and for ever.
 */
static DEFINE_SPINLOCK(past_lock);
static struct kill kills[MEMORY_INFO_ORDER_MAX];
static u32 kills_ever;
static u64 ooms;

static void unmark_run(struct work_struct *work)
{
	rcu_read_lock();
	victim_mark(0);
	rcu_read_unlock();
}

static DECLARE_DELAYED_WORK(unmark_work, unmark_run);

static struct kill *kill_at(u32 number)
{
	return &kills[number % ARRAY_SIZE(kills)];
}

/* Time since a cgroup was killed; 0 for one that was not. */
static u64 age_ns(u64 cgroup_id)
{
	u32 kept = min_t(u32, kills_ever, ARRAY_SIZE(kills));

	for (u32 back = 1; back <= kept; back++) {
		const struct kill *kill = kill_at(kills_ever - back);

		if (kill->cgroup_id == cgroup_id)
			return ktime_get_ns() - kill->time_ns;
	}
	return 0;
}

static bool had_time(u64 cgroup_id)
{
	return age_ns(cgroup_id) >= HOLD_NS;
}

/* The cgroup that was killed last, while it dies in its time; 0 for none. */
static u64 find_held(void)
{
	const struct kill *newest = kill_at(kills_ever - 1);

	if (!kills_ever || ktime_get_ns() - newest->time_ns >= HOLD_NS)
		return 0;
	return victim_kill(newest->cgroup_id) ? newest->cgroup_id : 0;
}

/* Once per kill: what its victim gave back comes too late for the attempt that found it gone. */
static bool is_to_retry(void)
{
	static u32 retried;

	if (retried == kills_ever)
		return false;
	retried = kills_ever;
	return ktime_get_ns() - kill_at(kills_ever - 1)->time_ns < HOLD_NS;
}

static void kill_first_time(u64 cgroup_id)
{
	static DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);
	struct kill kill = {.cgroup_id = cgroup_id, .time_ns = ktime_get_ns()};

	kill.processes = victim_kill(cgroup_id);
	/* Told and remembered at once: who asks for what it missed must find it. */
	spin_lock_bh(&past_lock);
	kill.seq = look_tell(MEMORY_INFO_CMD_ARMED_KILL, cgroup_id, kill.processes);
	*kill_at(kills_ever++) = kill;
	spin_unlock_bh(&past_lock);
	if (__ratelimit(&limit))
		pr_info("out of memory: killed the armed cgroup %llu, %u processes\n", cgroup_id,
			kill.processes);
}

/* Marks of an earlier shortage end with their victim. */
static void mark(u64 cgroup_id)
{
	if (!cgroup_id && !delayed_work_pending(&unmark_work))
		return;
	mod_delayed_work(system_wq, &unmark_work, UNMARK_JIFFIES);
	victim_mark(cgroup_id);
}

/* Returns whether the kernel is to wait. */
static bool enforce(const struct order *order, enum memory_info_level raw)
{
	u64 held = find_held();
	u64 victim = held ?: victim_find(order, had_time);
	bool waits = held || is_to_retry();

	/* As the kernel would; but should it be gone by then, nobody is to be chosen in its place.
	 */
	if (victim == VICTIM_OF_KERNEL)
		return true;
	if (!waits && victim && raw == MEMORY_INFO_LEVEL_KILL &&
	    (!had_time(victim) || age_ns(victim) >= FORGET_NS)) {
		kill_first_time(victim);
		waits = true;
	}
	/* A worker may be sysrq's, which kills whatever we say. */
	if (!waits || current->flags & PF_WQ_WORKER)
		mark(victim);
	return waits;
}

/*
 * Such a task gets what it needs from the kernel, which asks for it next. Where the kernel would
 * look who else has the memory we say no: at worst it waits for a victim.
 */
static bool is_current_dying(void)
{
	struct signal_struct *signal = current->signal;
	struct mm_struct *mm = current->mm;

	if (!mm || tsk_is_oom_victim(current) || compat_mm_is_reaped(mm) || signal->core_state)
		return false;
	if (!(signal->flags & SIGNAL_GROUP_EXIT) &&
	    !(thread_group_empty(current) && current->flags & PF_EXITING))
		return false;
	return atomic_read(&mm->mm_users) <= max(1, atomic_read(&signal->live));
}

static void count_oom(void)
{
	static unsigned long told_at = INITIAL_JIFFIES - TELL_JIFFIES;
	u64 count;

	spin_lock_bh(&past_lock);
	count = ++ooms;
	spin_unlock_bh(&past_lock);
	if (time_before(jiffies, told_at + TELL_JIFFIES))
		return;
	told_at = jiffies;
	look_tell(MEMORY_INFO_CMD_OOM, count, 0);
}

static int on_oom(struct notifier_block *block, unsigned long unused, void *argument)
{
	enum memory_info_level raw = look_raw();
	unsigned long *freed = argument;
	const struct order *order;

	look_kick();
	count_oom();
	if (is_current_dying())
		return NOTIFY_OK;
	rcu_read_lock();
	order = rcu_dereference(armed);
	if (order && enforce(order, raw))
		*freed += 1;
	rcu_read_unlock();
	return NOTIFY_OK;
}

static struct notifier_block oom_block = {.notifier_call = on_oom};

/**
 * oom_arm - replace the armed order, and undo the marks of the old one
 * @order: from kmalloc(), ours from now on; NULL disarms
 */
void oom_arm(struct order *order)
{
	struct order *old;

	spin_lock(&arm_lock);
	old = rcu_replace_pointer(armed, order, lockdep_is_held(&arm_lock));
	spin_unlock(&arm_lock);
	/* Not synchronize_rcu(): the daemon waits for the answer, 20 ms on a busy host. */
	if (old)
		kfree_rcu_mightsleep(old);
	if (cancel_delayed_work_sync(&unmark_work))
		unmark_run(NULL);
}

/**
 * oom_read_past - what has happened so far
 * @past: a consistent copy
 */
void oom_read_past(struct oom_past *past)
{
	const struct order *order;

	rcu_read_lock();
	order = rcu_dereference(armed);
	past->armed = order ? order->count : 0;
	rcu_read_unlock();
	spin_lock_bh(&past_lock);
	past->ooms = ooms;
	past->kills = min_t(u32, kills_ever, MEMORY_INFO_KILLS_MAX);
	for (u32 i = 0; i < past->kills; i++)
		past->kill[i] = *kill_at(kills_ever - past->kills + i);
	spin_unlock_bh(&past_lock);
}

/**
 * oom_start - be asked before the kernel kills
 *
 * Return: 0 or an errno.
 */
int oom_start(void)
{
	return register_oom_notifier(&oom_block);
}

/**
 * oom_stop - the mirror image; what is marked or armed is until oom_arm()
 */
void oom_stop(void)
{
	unregister_oom_notifier(&oom_block);
}
