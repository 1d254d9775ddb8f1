/* SPDX-License-Identifier: GPL-2.0-only */
/* How short the host is. Pure: the tests compile it as a user program, too. */
#ifndef _MEMORY_INFO_LEVEL_H
#define _MEMORY_INFO_LEVEL_H

#include <linux/types.h>

#include "uapi/memory_info.h"

/* Of a total: parts per million of it (is_share), or KiB. */
struct amount {
	u64 value;
	bool is_share;
};

struct threshold {
	struct amount mem;
	struct amount swap;
};

struct level_policy {
	struct threshold warn;
	struct threshold kill;
	struct threshold recover;
	u64 fill_kib_per_sec;
};

/* One reading of the host; time_ns is CLOCK_MONOTONIC. */
struct sample {
	u64 total_kib;
	u64 available_kib;
	u64 free_kib;
	u64 swap_total_kib;
	u64 swap_free_kib;
	u64 time_ns;
};

enum memory_info_level level_raw(const struct level_policy *policy, const struct sample *sample);
enum memory_info_level level_after(const struct level_policy *policy,
				   enum memory_info_level previous, const struct sample *sample);
bool level_comes_near(const struct level_policy *policy, enum memory_info_level level,
		      const struct sample *sample, u64 *near_usec);
u64 level_next_usec(const struct level_policy *policy, enum memory_info_level level,
		    const struct sample *sample, u64 near_usec);

#endif /* _MEMORY_INFO_LEVEL_H */
