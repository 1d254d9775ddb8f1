/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Generic netlink family "memory_info", version 1.
 *
 * Append only: a number that is here keeps its meaning, a reader skips what it
 * does not know. Sizes are KiB, times CLOCK_MONOTONIC in nanoseconds, numbers in
 * host byte order. A refusal has an errno and a sentence (extended ack).
 *
 * Requests
 * --------
 *
 * MEMORY_INFO_CMD_GET_STATS, anybody, no attributes. Answer: STATS, and what only
 * an answer has:
 *
 *    STATS =
 *	MEMORY_INFO_A_TOTAL_KIB:	u64	MemTotal
 *	MEMORY_INFO_A_AVAILABLE_KIB:	u64	MemAvailable
 *	MEMORY_INFO_A_FREE_KIB:		u64	MemFree
 *	MEMORY_INFO_A_SWAP_TOTAL_KIB:	u64	SwapTotal
 *	MEMORY_INFO_A_SWAP_FREE_KIB:	u64	SwapFree
 *	MEMORY_INFO_A_PAGE_SIZE:	u32	bytes
 *	MEMORY_INFO_A_LEVEL:		u32	enum memory_info_level
 *	MEMORY_INFO_A_SEQ:		u64	of the newest event; 0: none yet
 *	MEMORY_INFO_A_TIME_NS:		u64	of this sample
 *    and
 *	MEMORY_INFO_A_WARN:		nest	THRESHOLD, as in force
 *	MEMORY_INFO_A_KILL:		nest	THRESHOLD
 *	MEMORY_INFO_A_RECOVER:		nest	THRESHOLD
 *	MEMORY_INFO_A_FILL_KIB_PER_SEC:	u64	as in force
 *	MEMORY_INFO_A_ARMED:		u32	cgroups in the armed order
 *	MEMORY_INFO_A_OOMS:		u64	times that the kernel was about to kill
 *	MEMORY_INFO_A_LOOKS:		u64	samples taken since insertion
 *	MEMORY_INFO_A_LOOK_NS:		u64	time spent in them
 *	MEMORY_INFO_A_KILLS:		nest	the newest MEMORY_INFO_KILLS_MAX armed
 *		MEMORY_INFO_A_ENTRY:	nest	kills, oldest first
 *			MEMORY_INFO_A_CGROUP_ID:	u64
 *			MEMORY_INFO_A_PROCESSES:	u32
 *			MEMORY_INFO_A_SEQ:		u64	of its event
 *			MEMORY_INFO_A_TIME_NS:		u64
 *
 * MEMORY_INFO_CMD_SET_THRESHOLDS, CAP_NET_ADMIN. All or nothing; answer: an ack.
 *
 *	MEMORY_INFO_A_WARN:		nest	THRESHOLD
 *	MEMORY_INFO_A_KILL:		nest	THRESHOLD
 *	MEMORY_INFO_A_RECOVER:		nest	THRESHOLD
 *	MEMORY_INFO_A_FILL_KIB_PER_SEC:	u64	optional: how fast memory can be filled
 *
 *    THRESHOLD = one of each pair; a share is of MemTotal or SwapTotal
 *	MEMORY_INFO_T_MEM_PPM:		u32	0..1000000, or
 *	MEMORY_INFO_T_MEM_KIB:		u64
 *	MEMORY_INFO_T_SWAP_PPM:		u32	0..1000000, or
 *	MEMORY_INFO_T_SWAP_KIB:		u64
 *
 *    A level is entered when MemAvailable and, on a host with swap, SwapFree are
 *    both at or below its threshold. Level 2 is left when one of them is above it by
 *    the gap between `warn` and `recover`; level 1 when one is above `recover`.
 *
 * MEMORY_INFO_CMD_ARM, CAP_NET_ADMIN. Replaces the order; answer: an ack.
 *
 *	MEMORY_INFO_A_ORDER:		binary	u64 cgroup ids, the next victim first,
 *						1..MEMORY_INFO_ORDER_MAX of them
 *
 *    A cgroup id is the inode number of its directory on cgroup2. The root and what
 *    is not in the caller's cgroup namespace is refused; one that is gone is not: it
 *    matches nothing. The order outlives whoever handed it over.
 *
 * MEMORY_INFO_CMD_DISARM, CAP_NET_ADMIN, no attributes. Answer: an ack.
 *
 * Events, multicast group "events"
 * --------------------------------
 *
 * Each has the next sequence number and STATS. One that finds a gap, or ENOBUFS,
 * asks with GET_STATS: the tail may be lost without a gap. While swap is taken away
 * they are not exact: SwapTotal may be half a minute old, and what a swapoff has yet
 * to take counts as not free.
 *
 * MEMORY_INFO_CMD_LEVEL: the level changed, or the thresholds were set, by a request or
 * a parameter; then the level is the previous one, and the next look goes by them.
 *	MEMORY_INFO_A_PREVIOUS_LEVEL:	u32
 *
 * MEMORY_INFO_CMD_OOM: the kernel was about to run its global OOM killer; at most
 * one each 100 ms.
 *	MEMORY_INFO_A_OOMS:		u64
 *
 * MEMORY_INFO_CMD_ARMED_KILL: in that moment the next armed cgroup was made to die.
 *	MEMORY_INFO_A_CGROUP_ID:	u64
 *	MEMORY_INFO_A_PROCESSES:	u32	how many processes it had
 *
 * MEMORY_INFO_CMD_NEAR: at level 0, and at the fill rate the next threshold can be
 * reached within MEMORY_INFO_NEAR_USEC; told again each time that this has halved. For
 * who has to be awake when the level changes; who listens later goes by STATS.
 */
#ifndef _UAPI_MEMORY_INFO_H
#define _UAPI_MEMORY_INFO_H

#define MEMORY_INFO_FAMILY "memory_info"
#define MEMORY_INFO_VERSION 1
#define MEMORY_INFO_GROUP "events"

/* Cgroups in the armed order; chosen: more than a host loses before a daemon is back. */
#define MEMORY_INFO_ORDER_MAX 256
/* Microseconds; chosen: a listener that has slept for hours takes tens of them to wake up. */
#define MEMORY_INFO_NEAR_USEC 100000ULL
/* Armed kills that are remembered; chosen: for a daemon that was not there to hear. */
#define MEMORY_INFO_KILLS_MAX 64

enum memory_info_level {
	MEMORY_INFO_LEVEL_OK,
	MEMORY_INFO_LEVEL_WARN,
	MEMORY_INFO_LEVEL_KILL,
};

enum memory_info_cmd {
	MEMORY_INFO_CMD_UNSPEC,
	MEMORY_INFO_CMD_GET_STATS,
	MEMORY_INFO_CMD_SET_THRESHOLDS,
	MEMORY_INFO_CMD_ARM,
	MEMORY_INFO_CMD_DISARM,
	MEMORY_INFO_CMD_LEVEL,
	MEMORY_INFO_CMD_OOM,
	MEMORY_INFO_CMD_ARMED_KILL,
	MEMORY_INFO_CMD_NEAR,
	__MEMORY_INFO_CMD_MAX,
};

#define MEMORY_INFO_CMD_MAX (__MEMORY_INFO_CMD_MAX - 1)

enum memory_info_attr {
	MEMORY_INFO_A_UNSPEC,
	MEMORY_INFO_A_PAD,
	MEMORY_INFO_A_TOTAL_KIB,
	MEMORY_INFO_A_AVAILABLE_KIB,
	MEMORY_INFO_A_FREE_KIB,
	MEMORY_INFO_A_SWAP_TOTAL_KIB,
	MEMORY_INFO_A_SWAP_FREE_KIB,
	MEMORY_INFO_A_PAGE_SIZE,
	MEMORY_INFO_A_LEVEL,
	MEMORY_INFO_A_SEQ,
	MEMORY_INFO_A_TIME_NS,
	MEMORY_INFO_A_WARN,
	MEMORY_INFO_A_KILL,
	MEMORY_INFO_A_RECOVER,
	MEMORY_INFO_A_FILL_KIB_PER_SEC,
	MEMORY_INFO_A_ORDER,
	MEMORY_INFO_A_ARMED,
	MEMORY_INFO_A_OOMS,
	MEMORY_INFO_A_LOOKS,
	MEMORY_INFO_A_LOOK_NS,
	MEMORY_INFO_A_KILLS,
	MEMORY_INFO_A_ENTRY,
	MEMORY_INFO_A_CGROUP_ID,
	MEMORY_INFO_A_PROCESSES,
	MEMORY_INFO_A_PREVIOUS_LEVEL,
	__MEMORY_INFO_A_MAX,
};

#define MEMORY_INFO_A_MAX (__MEMORY_INFO_A_MAX - 1)

enum memory_info_threshold_attr {
	MEMORY_INFO_T_UNSPEC,
	MEMORY_INFO_T_PAD,
	MEMORY_INFO_T_MEM_PPM,
	MEMORY_INFO_T_MEM_KIB,
	MEMORY_INFO_T_SWAP_PPM,
	MEMORY_INFO_T_SWAP_KIB,
	__MEMORY_INFO_T_MAX,
};

#define MEMORY_INFO_T_MAX (__MEMORY_INFO_T_MAX - 1)

#endif /* _UAPI_MEMORY_INFO_H */
