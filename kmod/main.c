// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory_info: the host's memory without polling, and the order in which workloads die when nobody
 * else can keep it. uapi/memory_info.h is its document.
 */
#include <linux/module.h>

#include "look.h"
#include "netlink.h"
#include "oom.h"
#include "proc.h"
#include "reclaim.h"
#include "swap.h"

static int __init memory_info_init(void)
{
	int error;

	swap_start();
	error = netlink_start();
	if (error)
		goto stop_swap;
	error = proc_start();
	if (error)
		goto stop_netlink;
	error = look_start();
	if (error)
		goto stop_proc;
	reclaim_start();
	error = oom_start();
	if (error)
		goto stop_look;
	return 0;
stop_look:
	reclaim_stop();
	look_stop();
stop_proc:
	proc_stop();
stop_netlink:
	netlink_stop();
	oom_arm(NULL);
stop_swap:
	swap_stop();
	return error;
}

/* From whoever calls the others to whoever is called, so that nobody calls what has stopped. */
static void __exit memory_info_exit(void)
{
	oom_stop();
	reclaim_stop();
	look_stop();
	proc_stop();
	netlink_stop();
	oom_arm(NULL);
	swap_stop();
}

module_init(memory_info_init);
module_exit(memory_info_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Memory levels of the host, and the armed order of cgroups to kill");
