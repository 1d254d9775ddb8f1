// SPDX-License-Identifier: GPL-2.0-only
/* What is seen and what has happened, as attributes of a netlink message. */
#include <net/netlink.h>

#include "message.h"

/**
 * message_put_u64 - put a number where it is aligned
 * @message: what to append to
 * @type: its attribute
 * @value: the number
 *
 * Return: 0 or -EMSGSIZE.
 */
int message_put_u64(struct sk_buff *message, int type, u64 value)
{
	return nla_put_u64_64bit(message, type, value, MEMORY_INFO_A_PAD);
}

/**
 * message_put_stats - put what every event and answer has
 * @message: what to append to
 * @look: what was seen
 *
 * Return: 0 or -EMSGSIZE.
 */
int message_put_stats(struct sk_buff *message, const struct look *look)
{
	const struct sample *sample = &look->sample;

	return message_put_u64(message, MEMORY_INFO_A_TOTAL_KIB, sample->total_kib) ?:
	       message_put_u64(message, MEMORY_INFO_A_AVAILABLE_KIB, sample->available_kib) ?:
	       message_put_u64(message, MEMORY_INFO_A_FREE_KIB, sample->free_kib) ?:
	       message_put_u64(message, MEMORY_INFO_A_SWAP_TOTAL_KIB, sample->swap_total_kib) ?:
	       message_put_u64(message, MEMORY_INFO_A_SWAP_FREE_KIB, sample->swap_free_kib) ?:
	       nla_put_u32(message, MEMORY_INFO_A_PAGE_SIZE, PAGE_SIZE) ?:
	       nla_put_u32(message, MEMORY_INFO_A_LEVEL, look->level) ?:
	       message_put_u64(message, MEMORY_INFO_A_SEQ, look->seq) ?:
	       message_put_u64(message, MEMORY_INFO_A_TIME_NS, sample->time_ns);
}

static int put_amount(struct sk_buff *message, const struct amount *amount, int ppm, int kib)
{
	if (amount->is_share)
		return nla_put_u32(message, ppm, (u32)amount->value);
	return nla_put_u64_64bit(message, kib, amount->value, MEMORY_INFO_T_PAD);
}

static int put_threshold(struct sk_buff *message, int type, const struct threshold *threshold)
{
	struct nlattr *nest = nla_nest_start(message, type);
	int error;

	if (!nest)
		return -EMSGSIZE;
	error = put_amount(message, &threshold->mem, MEMORY_INFO_T_MEM_PPM, MEMORY_INFO_T_MEM_KIB)
			?: put_amount(message, &threshold->swap, MEMORY_INFO_T_SWAP_PPM,
				      MEMORY_INFO_T_SWAP_KIB);
	nla_nest_end(message, nest);
	return error;
}

static int put_kill(struct sk_buff *message, const struct kill *kill)
{
	struct nlattr *nest = nla_nest_start(message, MEMORY_INFO_A_ENTRY);
	int error;

	if (!nest)
		return -EMSGSIZE;
	error = message_put_u64(message, MEMORY_INFO_A_CGROUP_ID, kill->cgroup_id) ?:
		nla_put_u32(message, MEMORY_INFO_A_PROCESSES, kill->processes) ?:
		message_put_u64(message, MEMORY_INFO_A_SEQ, kill->seq) ?:
		message_put_u64(message, MEMORY_INFO_A_TIME_NS, kill->time_ns);
	nla_nest_end(message, nest);
	return error;
}

static int put_past(struct sk_buff *message, const struct look *look, const struct oom_past *past)
{
	struct nlattr *nest;
	int error = nla_put_u32(message, MEMORY_INFO_A_ARMED, past->armed) ?:
		    message_put_u64(message, MEMORY_INFO_A_OOMS, past->ooms) ?:
		    message_put_u64(message, MEMORY_INFO_A_LOOKS, look->looks) ?:
		    message_put_u64(message, MEMORY_INFO_A_LOOK_NS, look->spent_ns);

	nest = nla_nest_start(message, MEMORY_INFO_A_KILLS);
	if (!nest)
		return -EMSGSIZE;
	for (u32 i = 0; i < past->kills; i++)
		error = error ?: put_kill(message, &past->kill[i]);
	nla_nest_end(message, nest);
	return error;
}

/**
 * message_put_answer - put what an answer to GET_STATS has
 * @message: what to append to, of MESSAGE_ANSWER_SIZE
 * @look: what was seen
 * @past: what has happened
 *
 * Return: 0 or -EMSGSIZE.
 */
int message_put_answer(struct sk_buff *message, const struct look *look,
		       const struct oom_past *past)
{
	struct level_policy policy;

	look_read_policy(&policy);
	return message_put_stats(message, look) ?:
	       put_threshold(message, MEMORY_INFO_A_WARN, &policy.warn) ?:
	       put_threshold(message, MEMORY_INFO_A_KILL, &policy.kill) ?:
	       put_threshold(message, MEMORY_INFO_A_RECOVER, &policy.recover) ?:
	       message_put_u64(message, MEMORY_INFO_A_FILL_KIB_PER_SEC, policy.fill_kib_per_sec) ?:
	       put_past(message, look, past);
}
