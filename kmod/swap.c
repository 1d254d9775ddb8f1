// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is free of swap is one atomic read. The total is not exported to modules, but /proc/meminfo
 * has it; measured, that reading is ten times what all the rest of a sample costs, so it is kept.
 *
 * The file is opened once, by whoever inserts the module: anybody may ask for the stats, and what a
 * user's own mount namespace has at that path is theirs to choose. So /proc stays mounted, too.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/magic.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/swap.h>

#include "swap.h"

/* Seconds; chosen: swapon is rare, and one that adds to what is free is seen at once. */
#define REFRESH_SECONDS 30
/* Bytes; SwapTotal ends within the first 500 of /proc/meminfo. */
#define TEXT_SIZE 1024

static struct file *meminfo;
static DEFINE_MUTEX(refresh_lock);
static u64 known_total_kib;
static unsigned long refreshed_at;

static u64 free_kib_now(void)
{
	return (u64)max(0L, get_nr_swap_pages()) << (PAGE_SHIFT - 10);
}

/**
 * swap_refresh - read SwapTotal anew
 *
 * Context: process context, may sleep: not for the OOM path. Allocates the first time only, since
 * the open file keeps its buffer. Without the file, what is free is the least of the total.
 */
void swap_refresh(void)
{
	static char text[TEXT_SIZE];
	unsigned long long total_kib;
	const char *line;
	ssize_t length;
	loff_t at = 0;

	/* Who has it reads the very number that we want. */
	if (!meminfo || !mutex_trylock(&refresh_lock))
		return;
	WRITE_ONCE(refreshed_at, jiffies);
	length = kernel_read(meminfo, text, sizeof(text) - 1, &at);
	text[max_t(ssize_t, length, 0)] = '\0';
	line = strstr(text, "SwapTotal:");
	if (line && sscanf(line, "SwapTotal: %llu", &total_kib) == 1)
		WRITE_ONCE(known_total_kib, total_kib);
	mutex_unlock(&refresh_lock);
}

/**
 * swap_is_stale - whether the total should be read anew
 *
 * Return: true after a while, and at once when more is free than there should be; false where it
 * cannot be read.
 */
bool swap_is_stale(void)
{
	if (!meminfo)
		return false;
	return free_kib_now() > READ_ONCE(known_total_kib) ||
	       time_after(jiffies, READ_ONCE(refreshed_at) + REFRESH_SECONDS * HZ);
}

/**
 * swap_read - SwapTotal and SwapFree, from any context
 * @total_kib: the last known total, at least what is free
 * @free_kib: what is free now
 */
void swap_read(u64 *total_kib, u64 *free_kib)
{
	*free_kib = free_kib_now();
	*total_kib = max(READ_ONCE(known_total_kib), *free_kib);
}

/**
 * swap_start - open /proc/meminfo, if that is what is there, and read the total
 */
void swap_start(void)
{
	struct file *file = filp_open("/proc/meminfo", O_RDONLY | O_NONBLOCK, 0);

	if (IS_ERR(file))
		return;
	if (file_inode(file)->i_sb->s_magic == PROC_SUPER_MAGIC)
		meminfo = file;
	else
		filp_close(file, NULL);
	swap_refresh();
}

/**
 * swap_stop - the mirror image; nobody asks for the total any more
 */
void swap_stop(void)
{
	if (meminfo)
		filp_close(meminfo, NULL);
}
