/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_RECLAIM_H
#define _MEMORY_INFO_RECLAIM_H

void reclaim_start(void);
void reclaim_stop(void);

#endif /* _MEMORY_INFO_RECLAIM_H */
