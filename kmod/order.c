// SPDX-License-Identifier: GPL-2.0-only
#include <linux/string.h>

#include "order.h"

/* Index of the first entry whose id is not smaller. */
static u32 place_of(const struct order *order, u64 cgroup_id)
{
	u32 low = 0, high = order->count;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (order->entry[middle].cgroup_id < cgroup_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/**
 * order_append - put a cgroup at the end of the order
 * @order: not full
 * @cgroup_id: one that is in it already keeps its place: the first time is what counts
 */
void order_append(struct order *order, u64 cgroup_id)
{
	u32 at = place_of(order, cgroup_id);

	if (at < order->count && order->entry[at].cgroup_id == cgroup_id)
		return;
	memmove(&order->entry[at + 1], &order->entry[at],
		(order->count - at) * sizeof(order->entry[0]));
	order->entry[at].cgroup_id = cgroup_id;
	order->entry[at].rank = order->count++;
}

/**
 * order_rank - the place of a cgroup
 * @order: the order
 * @cgroup_id: which one
 *
 * Return: 0 for the next victim; MEMORY_INFO_ORDER_MAX for one that is not in the order.
 */
u32 order_rank(const struct order *order, u64 cgroup_id)
{
	u32 at = place_of(order, cgroup_id);

	if (at == order->count || order->entry[at].cgroup_id != cgroup_id)
		return MEMORY_INFO_ORDER_MAX;
	return order->entry[at].rank;
}
