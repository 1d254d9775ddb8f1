/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MEMORY_INFO_PROC_H
#define _MEMORY_INFO_PROC_H

int proc_start(void);
void proc_stop(void);
void proc_wake(void);

#endif /* _MEMORY_INFO_PROC_H */
