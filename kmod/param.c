// SPDX-License-Identifier: GPL-2.0-only
/* The thresholds as module parameters, in percent: at insertion, and in /sys/module while it is in.
 */
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>

#include "look.h"

#define PPM_PER_PERCENT 10000

static int set_percent(const char *text, const struct kernel_param *param)
{
	struct amount amount = {.is_share = true};
	unsigned int percent;
	int error = kstrtouint(text, 10, &percent);

	if (error)
		return error;
	if (percent > 100)
		return -EINVAL;
	amount.value = percent * PPM_PER_PERCENT;
	look_set_amount(param->arg, &amount);
	return 0;
}

/* A threshold in KiB, which only netlink sets, is shown as the share that it is now. */
static u64 ppm_of(const struct amount *amount, bool is_swap)
{
	struct look look;
	unsigned int shift;
	u64 total_kib;

	if (amount->is_share)
		return amount->value;
	look_read(&look);
	total_kib = is_swap ? look.sample.swap_total_kib : look.sample.total_kib;
	/* Beyond 4 TiB a MiB is near enough. */
	shift = total_kib > U32_MAX ? 10 : 0;
	return mul_u64_u32_div(amount->value >> shift, 100 * PPM_PER_PERCENT,
			       max_t(u32, 1, total_kib >> shift));
}

static int show_percent(char *buffer, const struct kernel_param *param)
{
	struct amount amount;
	u64 ppm;

	look_read_amount(param->arg, &amount);
	ppm = ppm_of(&amount, strstr(param->name, "_swap_"));
	if (ppm % PPM_PER_PERCENT == 0)
		return scnprintf(buffer, PAGE_SIZE, "%llu\n", ppm / PPM_PER_PERCENT);
	return scnprintf(buffer, PAGE_SIZE, "%llu.%04llu\n", ppm / PPM_PER_PERCENT,
			 ppm % PPM_PER_PERCENT);
}

static const struct kernel_param_ops percent_ops = {.set = set_percent, .get = show_percent};

module_param_cb(warn_mem_pct, &percent_ops, &look_policy.warn.mem, 0644);
MODULE_PARM_DESC(warn_mem_pct, "level 1 begins at this much of MemTotal available (10)");
module_param_cb(warn_swap_pct, &percent_ops, &look_policy.warn.swap, 0644);
MODULE_PARM_DESC(warn_swap_pct, "and this much of SwapTotal free (10)");
module_param_cb(kill_mem_pct, &percent_ops, &look_policy.kill.mem, 0644);
MODULE_PARM_DESC(kill_mem_pct, "level 2 begins at this much of MemTotal available (5)");
module_param_cb(kill_swap_pct, &percent_ops, &look_policy.kill.swap, 0644);
MODULE_PARM_DESC(kill_swap_pct, "and this much of SwapTotal free (5)");
module_param_cb(recover_mem_pct, &percent_ops, &look_policy.recover.mem, 0644);
MODULE_PARM_DESC(recover_mem_pct, "level 1 ends above this much of MemTotal available (12)");
module_param_cb(recover_swap_pct, &percent_ops, &look_policy.recover.swap, 0644);
MODULE_PARM_DESC(recover_swap_pct, "or this much of SwapTotal free (12)");
