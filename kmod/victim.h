/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_VICTIM_H
#define _MEMORY_INFO_VICTIM_H

#include "order.h"

/* No cgroup's id: the kernel waits for a victim of its own. */
#define VICTIM_OF_KERNEL U64_MAX

/* Whether a cgroup was killed by us, however long ago, and had its time to die. */
typedef bool (*victim_had_time)(u64 cgroup_id);

u64 victim_find(const struct order *order, victim_had_time had_time);
u32 victim_kill(u64 cgroup_id);
void victim_mark(u64 cgroup_id);

#endif /* _MEMORY_INFO_VICTIM_H */
