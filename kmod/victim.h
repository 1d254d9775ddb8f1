/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_VICTIM_H
#define _MEMORY_INFO_VICTIM_H

#include "order.h"

/* Whether a cgroup was killed by us so long ago that it is the kernel's now. */
typedef bool (*victim_is_overdue)(u64 cgroup_id);

u64 victim_find(const struct order *order, victim_is_overdue is_overdue);
u32 victim_kill(u64 cgroup_id);
void victim_mark(u64 cgroup_id);
void victim_unmark_all(void);

#endif /* _MEMORY_INFO_VICTIM_H */
