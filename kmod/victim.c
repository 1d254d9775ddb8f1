// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes of armed cgroups: found, killed, marked. All of it runs in the OOM path, under RCU
 * alone.
 *
 * No reference to a cgroup is held: the ancestors of a process are compared by id, which is never
 * used again, so that a cgroup that is gone matches nothing. One forward walk is complete: a new
 * process comes last in the list, and none is forked while SIGKILL is pending.
 */
#include <linux/cgroup.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "victim.h"

/* Whom the kernel's OOM killer would not touch either. */
static bool is_exempt(struct task_struct *process)
{
	return process->flags & PF_KTHREAD || is_global_init(process) ||
	       READ_ONCE(process->signal->oom_score_adj) == OOM_SCORE_ADJ_MIN;
}

static bool is_reaped(struct task_struct *process)
{
	struct mm_struct *mm = READ_ONCE(process->signal->oom_mm);

	return mm && compat_mm_is_reaped(mm);
}

/* Every thread is past exit_mm(), or the reaper has been here: there is nothing more to get. A
 * missing mm alone says little: its pages may still be on their way back.
 */
static bool is_gone(struct task_struct *process)
{
	struct task_struct *thread;

	if (is_reaped(process))
		return true;
	for_each_thread(process, thread)
		if (!READ_ONCE(thread->exit_state))
			return false;
	return true;
}

/* Whether the kernel could kill it for its memory. A child of vfork() has its parent's. */
static bool has_memory(struct task_struct *process)
{
	struct task_struct *thread;

	if (is_reaped(process) || in_vfork(process))
		return false;
	for_each_thread(process, thread)
		if (READ_ONCE(thread->mm))
			return true;
	return false;
}

static bool is_dying(struct task_struct *process)
{
	struct signal_struct *signal = process->signal;

	/* A core dump is ended by SIGKILL only. */
	return READ_ONCE(signal->flags) & SIGNAL_GROUP_EXIT && !READ_ONCE(signal->core_state);
}

/* A leader that has ended stays where it was, wherever its threads have moved since. */
static struct cgroup *cgroup_of(struct task_struct *process)
{
	struct task_struct *thread;

	for_each_thread(process, thread)
		if (!READ_ONCE(thread->exit_state))
			return task_dfl_cgroup(thread);
	return task_dfl_cgroup(process);
}

static bool is_within(struct task_struct *process, u64 id)
{
	struct cgroup *cgroup;

	for (cgroup = cgroup_of(process); cgroup; cgroup = cgroup_parent(cgroup))
		if (cgroup_id(cgroup) == id)
			return true;
	return false;
}

/* The armed cgroup around a process that comes first in the order; its rank goes to @rank. */
static u64 first_around(const struct order *order, struct task_struct *process, u32 *rank)
{
	struct cgroup *cgroup;
	u64 first = 0;

	*rank = MEMORY_INFO_ORDER_MAX;
	for (cgroup = cgroup_of(process); cgroup; cgroup = cgroup_parent(cgroup)) {
		u32 found = order_rank(order, cgroup_id(cgroup));

		if (found >= *rank)
			continue;
		*rank = found;
		first = cgroup_id(cgroup);
	}
	return first;
}

/**
 * victim_find - the first cgroup of the order that can still give memory back
 * @order: the armed order
 * @had_time: for whom only counts what the kernel can kill
 *
 * Context: RCU read side.
 * Return: its id; 0 when there is none; VICTIM_OF_KERNEL.
 */
u64 victim_find(const struct order *order, victim_had_time had_time)
{
	u32 best = MEMORY_INFO_ORDER_MAX, rank;
	struct task_struct *process;
	u64 victim = 0, around;

	for_each_process(process) {
		if (tsk_is_oom_victim(process) && !is_reaped(process))
			return VICTIM_OF_KERNEL;
		if (is_exempt(process) || is_gone(process))
			continue;
		around = first_around(order, process, &rank);
		if (rank >= best || (!has_memory(process) && had_time(around)))
			continue;
		best = rank;
		victim = around;
	}
	return victim;
}

/**
 * victim_kill - send SIGKILL to all of a cgroup and below
 * @cgroup_id: which one; may be called again, for those who came later
 *
 * They get the highest score too: who is slow to die is then the kernel's first choice.
 *
 * Context: RCU read side.
 * Return: how many processes are dying now.
 */
u32 victim_kill(u64 cgroup_id)
{
	struct task_struct *process;
	u32 count = 0;

	for_each_process(process) {
		if (is_exempt(process) || is_gone(process) || !is_within(process, cgroup_id))
			continue;
		WRITE_ONCE(process->signal->oom_score_adj, OOM_SCORE_ADJ_MAX);
		/* Not send_sig(): a thread group whose leader has ended would not hear of it. */
		if (!is_dying(process))
			kill_pid(task_pid(process), SIGKILL, 1);
		count++;
	}
	return count;
}

/**
 * victim_mark - make all of a cgroup the kernel's first choice, and nobody else
 * @cgroup_id: which one; 0 for none
 *
 * No score is an order: a larger bystander whose own score is high would go before a small victim.
 * Whom the kernel takes for the origin of the shortage goes before everybody. So does one without
 * memory, in vain and for ever: who was marked and died since is no origin any more. A swapoff
 * that runs loses what it said of itself, once per shortage.
 *
 * Context: RCU read side.
 */
void victim_mark(u64 cgroup_id)
{
	struct task_struct *process;

	for_each_process(process) {
		bool *origin = &process->signal->oom_flag_origin;
		bool marked =
			!is_exempt(process) && is_within(process, cgroup_id) && has_memory(process);

		if (marked != READ_ONCE(*origin))
			WRITE_ONCE(*origin, marked);
	}
}
