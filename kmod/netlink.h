/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_NETLINK_H
#define _MEMORY_INFO_NETLINK_H

#include "look.h"

int netlink_start(void);
void netlink_stop(void);
void netlink_tell(u8 cmd, const struct look *look, u64 subject, u32 count);

#endif /* _MEMORY_INFO_NETLINK_H */
