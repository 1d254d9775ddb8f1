/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_OOM_H
#define _MEMORY_INFO_OOM_H

#include "order.h"

/* One armed cgroup that was killed; time_ns is CLOCK_MONOTONIC. */
struct kill {
	u64 cgroup_id;
	u32 processes;
	u64 seq;
	u64 time_ns;
};

/* What is to tell: the newest kills, oldest first. */
struct oom_past {
	u64 ooms;
	u32 armed;
	u32 kills;
	struct kill kill[MEMORY_INFO_KILLS_MAX];
};

int oom_start(void);
void oom_stop(void);
void oom_arm(struct order *order);
void oom_read_past(struct oom_past *past);

#endif /* _MEMORY_INFO_OOM_H */
