// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/oom_notifier: the level, one digit and a newline, read at any offset 0; poll() says POLLPRI
 * when it has changed since this descriptor was last read.
 */
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/proc_fs.h>
#include <linux/wait.h>

#include "look.h"
#include "proc.h"

#define PROC_NAME "oom_notifier"

static DECLARE_WAIT_QUEUE_HEAD(waiters);

/* A poll() leaves its entry in our wait queue until the file is closed, so an open one pins us. */
static int level_open(struct inode *inode, struct file *file)
{
	return try_module_get(THIS_MODULE) ? 0 : -ENODEV;
}

static int level_release(struct inode *inode, struct file *file)
{
	module_put(THIS_MODULE);
	return 0;
}

static ssize_t level_read(struct file *file, char __user *buffer, size_t size, loff_t *at)
{
	struct look look;
	char text[4];

	look_read(&look);
	file->private_data = (void *)look.level_changes;
	return simple_read_from_buffer(buffer, size, at, text,
				       scnprintf(text, sizeof(text), "%u\n", look.level));
}

static __poll_t level_poll(struct file *file, struct poll_table_struct *table)
{
	struct look look;

	poll_wait(file, &waiters, table);
	look_read(&look);
	if ((unsigned long)file->private_data == look.level_changes)
		return EPOLLIN | EPOLLRDNORM;
	return EPOLLIN | EPOLLRDNORM | EPOLLPRI | EPOLLERR;
}

static const struct proc_ops level_ops = {
	.proc_open = level_open,
	.proc_release = level_release,
	.proc_read = level_read,
	.proc_lseek = default_llseek,
	.proc_poll = level_poll,
};

/**
 * proc_wake - the level has changed
 */
void proc_wake(void)
{
	wake_up_interruptible_poll(&waiters, EPOLLPRI | EPOLLERR);
}

/**
 * proc_start - make the file
 *
 * Return: 0 or -ENOMEM.
 */
int proc_start(void)
{
	return proc_create(PROC_NAME, 0444, NULL, &level_ops) ? 0 : -ENOMEM;
}

/**
 * proc_stop - remove the file
 */
void proc_stop(void)
{
	remove_proc_entry(PROC_NAME, NULL);
}
