/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_MESSAGE_H
#define _MEMORY_INFO_MESSAGE_H

#include <net/netlink.h>

#include "look.h"
#include "oom.h"

/* Bytes: of each kill three u64, a u32 and its header; of all else, rounded up, 1024. */
#define MESSAGE_ANSWER_SIZE \
	(1024 + MEMORY_INFO_KILLS_MAX * (4 * nla_total_size_64bit(sizeof(u64)) + NLA_HDRLEN))

int message_put_u64(struct sk_buff *message, int type, u64 value);
int message_put_stats(struct sk_buff *message, const struct look *look);
int message_put_answer(struct sk_buff *message, const struct look *look,
		       const struct oom_past *past);

#endif /* _MEMORY_INFO_MESSAGE_H */
