/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_SWAP_H
#define _MEMORY_INFO_SWAP_H

#include <linux/types.h>

void swap_start(void);
void swap_stop(void);
void swap_refresh(void);
bool swap_is_stale(void);
void swap_read(u64 *total_kib, u64 *free_kib);

#endif /* _MEMORY_INFO_SWAP_H */
