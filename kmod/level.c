// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules of cgoom/core/detect.py and pace.py, word for word. Thresholds are counted in bytes and
 * rounded down, as there: a share of MemTotal falls anywhere between two KiB.
 */
#include <linux/math64.h>
#include <linux/minmax.h>

#include "level.h"

#define USEC_PER_SEC_U64 1000000ULL
#define PPM 1000000

/* Microseconds at most until the next look, by level. One wake-up a second is what a quiet host may
 * cost. While the host is short the looks tell of its recovery: nothing else does.
 */
static const u64 longest_usec[] = {
	[MEMORY_INFO_LEVEL_OK] = 1000000,
	[MEMORY_INFO_LEVEL_WARN] = 100000,
	[MEMORY_INFO_LEVEL_KILL] = 10000,
};

static u64 bytes_of(const struct amount *amount, u64 total_kib)
{
	if (!amount->is_share)
		return amount->value << 10;
	return mul_u64_u32_div(total_kib << 10, (u32)amount->value, PPM);
}

static bool is_below(const struct threshold *threshold, const struct sample *sample,
		     u64 mem_gap_bytes, u64 swap_gap_bytes)
{
	u64 mem_bytes = bytes_of(&threshold->mem, sample->total_kib) + mem_gap_bytes;
	u64 swap_bytes = bytes_of(&threshold->swap, sample->swap_total_kib) + swap_gap_bytes;

	if (sample->available_kib << 10 > mem_bytes)
		return false;
	return !sample->swap_total_kib || sample->swap_free_kib << 10 <= swap_bytes;
}

static u64 gap_bytes(const struct amount *low, const struct amount *high, u64 total_kib)
{
	u64 low_bytes = bytes_of(low, total_kib), high_bytes = bytes_of(high, total_kib);

	return high_bytes > low_bytes ? high_bytes - low_bytes : 0;
}

/**
 * level_raw - the level of one sample alone, without hysteresis
 * @policy: the thresholds
 * @sample: the host
 *
 * Return: the level.
 */
enum memory_info_level level_raw(const struct level_policy *policy, const struct sample *sample)
{
	if (is_below(&policy->kill, sample, 0, 0))
		return MEMORY_INFO_LEVEL_KILL;
	if (is_below(&policy->warn, sample, 0, 0))
		return MEMORY_INFO_LEVEL_WARN;
	return MEMORY_INFO_LEVEL_OK;
}

/**
 * level_after - the level that follows another one
 * @policy: the thresholds
 * @previous: the level before this sample
 * @sample: the host
 *
 * Return: the level, held until memory or swap has risen above its threshold by the gap between
 * warn and recover.
 */
enum memory_info_level level_after(const struct level_policy *policy,
				   enum memory_info_level previous, const struct sample *sample)
{
	enum memory_info_level raw = level_raw(policy, sample);
	u64 mem_gap = gap_bytes(&policy->warn.mem, &policy->recover.mem, sample->total_kib);
	u64 swap_gap = gap_bytes(&policy->warn.swap, &policy->recover.swap, sample->swap_total_kib);

	if (raw >= previous)
		return raw;
	if (previous == MEMORY_INFO_LEVEL_KILL &&
	    is_below(&policy->kill, sample, mem_gap, swap_gap))
		return MEMORY_INFO_LEVEL_KILL;
	return is_below(&policy->recover, sample, 0, 0) ? MEMORY_INFO_LEVEL_WARN : raw;
}

/* Microseconds until the next threshold can have been reached at the earliest; 0: at once. */
static u64 reach_usec(const struct level_policy *policy, enum memory_info_level level,
		      const struct sample *sample)
{
	bool warned = max(level, level_raw(policy, sample)) >= MEMORY_INFO_LEVEL_WARN;
	const struct threshold *next = warned ? &policy->kill : &policy->warn;
	u64 mem_kib = bytes_of(&next->mem, sample->total_kib) >> 10;
	u64 swap_kib = bytes_of(&next->swap, sample->swap_total_kib) >> 10;
	u64 distance_kib = 0;

	if (sample->available_kib > mem_kib)
		distance_kib = sample->available_kib - mem_kib;
	if (sample->swap_total_kib && sample->swap_free_kib > swap_kib)
		distance_kib = max(distance_kib, sample->swap_free_kib - swap_kib);
	return div64_u64(distance_kib * USEC_PER_SEC_U64, policy->fill_kib_per_sec);
}

/**
 * level_comes_near - whether who has to be quick should wake up
 * @policy: the thresholds and the fastest that memory can be filled
 * @level: the level in force
 * @sample: the host
 * @near_usec: the time to the next threshold at which to say so next; 0 at first, and for not
 *
 * Return: true at MEMORY_INFO_NEAR_USEC, and each time that this time has halved since, or since it
 * was longer again. Never at another level than 0, of which everybody has heard.
 */
bool level_comes_near(const struct level_policy *policy, enum memory_info_level level,
		      const struct sample *sample, u64 *near_usec)
{
	u64 usec = reach_usec(policy, level, sample);
	bool is_due = level == MEMORY_INFO_LEVEL_OK && *near_usec && usec <= *near_usec;

	if (level != MEMORY_INFO_LEVEL_OK)
		*near_usec = 0;
	else if (is_due)
		*near_usec = usec / 2;
	else
		*near_usec = min(max(*near_usec, usec / 2), MEMORY_INFO_NEAR_USEC);
	/* What wavers just above a threshold has been told often enough. */
	if (*near_usec < MEMORY_INFO_NEAR_USEC / 10)
		*near_usec = 0;
	return is_due;
}

/**
 * level_next_usec - how long nothing can happen
 * @policy: the thresholds and the fastest that memory can be filled
 * @level: the level in force
 * @sample: the host
 * @near_usec: of level_comes_near()
 *
 * Return: microseconds until the next threshold can have been reached at the earliest, or can have
 * come near, 0 when it can at once, and no more than the level allows.
 */
u64 level_next_usec(const struct level_policy *policy, enum memory_info_level level,
		    const struct sample *sample, u64 near_usec)
{
	u64 usec;

	if (level == MEMORY_INFO_LEVEL_KILL)
		return longest_usec[level];
	usec = reach_usec(policy, level, sample);
	/* Half of it at least: just beyond the line there is no hurry. */
	if (near_usec < usec)
		usec = max(usec - near_usec, near_usec / 2);
	return min(longest_usec[level], usec);
}
