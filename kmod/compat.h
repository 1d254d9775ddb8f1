/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between kernels; nothing else asks for a version. */
#ifndef _MEMORY_INFO_COMPAT_H
#define _MEMORY_INFO_COMPAT_H

#include <linux/bitops.h>
#include <linux/mm_types.h>
#include <linux/sched/coredump.h>
#include <linux/version.h>

/* 20b0b53acab4 ("genetlink: introduce split op representation"), 6.2 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define compat_doit_ops genl_split_ops
#else
#define compat_doit_ops genl_ops
#endif

/* Where the OOM killer's mark is kept is the kernel's own business. */
static inline bool compat_mm_is_reaped(const struct mm_struct *mm)
{
	return test_bit(MMF_OOM_SKIP, &mm->flags);
}

#endif /* _MEMORY_INFO_COMPAT_H */
