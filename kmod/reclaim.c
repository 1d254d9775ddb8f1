// SPDX-License-Identifier: GPL-2.0-only
/*
 * A look as soon as kswapd is woken. With a large page cache that comes before the thresholds are
 * reached, without one long after them: it only ever shortens the wait for the next look.
 */
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <trace/events/vmscan.h>

#include "look.h"
#include "reclaim.h"

static void on_kswapd_wake(void *unused, int nid, int zid, int order)
{
	look_kick();
}

static void on_wakeup_kswapd(void *unused, int nid, int zid, int order, gfp_t gfp_flags)
{
	look_kick();
}

static struct {
	const char *name;
	void *probe;
	struct tracepoint *found;
} hooks[] = {
	{.name = "mm_vmscan_kswapd_wake", .probe = on_kswapd_wake},
	{.name = "mm_vmscan_wakeup_kswapd", .probe = on_wakeup_kswapd},
};

static void attach(struct tracepoint *point, void *unused)
{
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		if (strcmp(point->name, hooks[i].name))
			continue;
		if (!tracepoint_probe_register(point, hooks[i].probe, NULL))
			hooks[i].found = point;
	}
}

/**
 * reclaim_start - hear of reclaim
 *
 * The tracepoints themselves are not exported: they are found by name. A kernel without them does
 * with the looks that are due anyway.
 */
void reclaim_start(void)
{
	/* No code: the compiler holds our arguments against this kernel's. */
	check_trace_callback_type_mm_vmscan_kswapd_wake(on_kswapd_wake);
	check_trace_callback_type_mm_vmscan_wakeup_kswapd(on_wakeup_kswapd);
	for_each_kernel_tracepoint(attach, NULL);
}

/**
 * reclaim_stop - the mirror image; no probe runs any more when it returns
 */
void reclaim_stop(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		if (hooks[i].found)
			tracepoint_probe_unregister(hooks[i].found, hooks[i].probe, NULL);
	tracepoint_synchronize_unregister();
}
