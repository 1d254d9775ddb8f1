/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_LOOK_H
#define _MEMORY_INFO_LOOK_H

#include "level.h"

/* What is known of the host, as one consistent set. */
struct look {
	struct sample sample;
	enum memory_info_level level;
	u64 near_usec; /* to the next threshold, when to say that it is near */
	u64 seq;
	u64 looks;
	u64 spent_ns;
	unsigned long level_changes; /* how many; a reader of /proc/oom_notifier knows its last */
};

extern struct level_policy look_policy;

int look_start(void);
void look_stop(void);
enum memory_info_level look_now(void);
enum memory_info_level look_raw(void);
void look_kick(void);
void look_read(struct look *out);
void look_read_policy(struct level_policy *out);
void look_set_policy(const struct level_policy *policy);
void look_read_amount(const struct amount *place, struct amount *out);
void look_set_amount(struct amount *place, const struct amount *amount);
u64 look_tell(u8 cmd, u64 subject, u32 count);

#endif /* _MEMORY_INFO_LOOK_H */
