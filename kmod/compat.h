/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between kernels; nothing else asks for a version. */
#ifndef _MEMORY_INFO_COMPAT_H
#define _MEMORY_INFO_COMPAT_H

#include <linux/bitops.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/sched/coredump.h>
#include <linux/version.h>

/* 20b0b53acab4 ("genetlink: introduce split op representation"), 6.2 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define compat_doit_ops genl_split_ops
#else
#define compat_doit_ops genl_ops
#endif

/* 908a1d775422 ("hrtimers: Introduce hrtimer_setup() to replace hrtimer_init()"), 6.13 */
static inline void compat_hrtimer_setup(struct hrtimer *timer,
					enum hrtimer_restart (*function)(struct hrtimer *),
					clockid_t clock, enum hrtimer_mode mode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(timer, function, clock, mode);
#else
	hrtimer_init(timer, clock, mode);
	timer->function = function;
#endif
}

/* bb6525f2f8c4 ("mm: add bitmap mm->flags field"), 6.18 */
static inline bool compat_mm_is_reaped(const struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return mm_flags_test(MMF_OOM_SKIP, mm);
#else
	return test_bit(MMF_OOM_SKIP, &mm->flags);
#endif
}

#endif /* _MEMORY_INFO_COMPAT_H */
