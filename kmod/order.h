/* SPDX-License-Identifier: GPL-2.0-only */
/* The armed order: cgroup ids, the next victim first. Pure, as level.h is. */
#ifndef _MEMORY_INFO_ORDER_H
#define _MEMORY_INFO_ORDER_H

#include <linux/types.h>

#include "uapi/memory_info.h"

/* Sorted by id: the walk over all processes looks up every ancestor of each. */
struct order {
	u32 count;
	struct {
		u64 cgroup_id;
		u32 rank;
	} entry[MEMORY_INFO_ORDER_MAX];
};

void order_append(struct order *order, u64 cgroup_id);
u32 order_rank(const struct order *order, u64 cgroup_id);

#endif /* _MEMORY_INFO_ORDER_H */
