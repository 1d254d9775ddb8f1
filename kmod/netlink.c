// SPDX-License-Identifier: GPL-2.0-only
/* The generic netlink family; uapi/memory_info.h says what each message means. */
#include <linux/cgroup.h>
#include <linux/proc_ns.h>
#include <linux/slab.h>
#include <net/genetlink.h>

#include "compat.h"
#include "message.h"
#include "netlink.h"
#include "swap.h"

#define PPM_MAX 1000000

static struct genl_family family;

/* 6.1 takes these without const. */
static struct netlink_range_validation ppm_range = {.max = PPM_MAX};
/* KiB whose bytes fit into 64 bits, twice: a threshold is raised by a gap. */
static struct netlink_range_validation kib_range = {.max = U64_MAX >> 11};
static struct netlink_range_validation fill_range = {.min = 1, .max = U64_MAX >> 11};

static const struct nla_policy threshold_rules[MEMORY_INFO_T_MAX + 1] = {
	[MEMORY_INFO_T_MEM_PPM] = NLA_POLICY_FULL_RANGE(NLA_U32, &ppm_range),
	[MEMORY_INFO_T_MEM_KIB] = NLA_POLICY_FULL_RANGE(NLA_U64, &kib_range),
	[MEMORY_INFO_T_SWAP_PPM] = NLA_POLICY_FULL_RANGE(NLA_U32, &ppm_range),
	[MEMORY_INFO_T_SWAP_KIB] = NLA_POLICY_FULL_RANGE(NLA_U64, &kib_range),
};

static const struct nla_policy policy_rules[MEMORY_INFO_A_FILL_KIB_PER_SEC + 1] = {
	[MEMORY_INFO_A_WARN] = NLA_POLICY_NESTED(threshold_rules),
	[MEMORY_INFO_A_KILL] = NLA_POLICY_NESTED(threshold_rules),
	[MEMORY_INFO_A_RECOVER] = NLA_POLICY_NESTED(threshold_rules),
	[MEMORY_INFO_A_FILL_KIB_PER_SEC] = NLA_POLICY_FULL_RANGE(NLA_U64, &fill_range),
};

static const struct nla_policy arm_rules[MEMORY_INFO_A_ORDER + 1] = {
	[MEMORY_INFO_A_ORDER] =
		NLA_POLICY_RANGE(NLA_BINARY, sizeof(u64), MEMORY_INFO_ORDER_MAX * sizeof(u64)),
};

static int get_stats(struct sk_buff *request, struct genl_info *info)
{
	struct oom_past *past;
	struct sk_buff *answer;
	struct look look;
	void *header;
	int error = -ENOMEM;

	past = kmalloc(sizeof(*past), GFP_KERNEL);
	answer = genlmsg_new(MESSAGE_ANSWER_SIZE, GFP_KERNEL);
	if (!past || !answer)
		goto fail;
	swap_refresh();
	look_now();
	look_read(&look);
	oom_read_past(past);
	header = genlmsg_put_reply(answer, info, &family, 0, info->genlhdr->cmd);
	error = header ? message_put_answer(answer, &look, past) : -EMSGSIZE;
	if (error)
		goto fail;
	kfree(past);
	genlmsg_end(answer, header);
	return genlmsg_reply(answer, info);
fail:
	NL_SET_ERR_MSG_MOD(info->extack, "no memory for the answer");
	kfree(past);
	nlmsg_free(answer);
	return error;
}

static int get_amount(struct nlattr *share, struct nlattr *kib, struct amount *amount)
{
	if (!share == !kib)
		return -EINVAL;
	amount->is_share = share;
	amount->value = share ? nla_get_u32(share) : nla_get_u64(kib);
	return 0;
}

static int get_threshold(struct genl_info *info, int type, struct threshold *threshold)
{
	struct nlattr *found[MEMORY_INFO_T_MAX + 1];
	int error;

	if (!info->attrs[type]) {
		NL_SET_ERR_MSG_MOD(info->extack, "warn, kill and recover are needed, all three");
		return -EINVAL;
	}
	error = nla_parse_nested(found, MEMORY_INFO_T_MAX, info->attrs[type], threshold_rules,
				 info->extack);
	if (error)
		return error;
	error = get_amount(found[MEMORY_INFO_T_MEM_PPM], found[MEMORY_INFO_T_MEM_KIB],
			   &threshold->mem)
			?: get_amount(found[MEMORY_INFO_T_SWAP_PPM], found[MEMORY_INFO_T_SWAP_KIB],
				      &threshold->swap);
	if (error)
		NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[type],
				    "memory_info: memory and swap, each a share or KiB, not both");
	return error;
}

static int set_thresholds(struct sk_buff *request, struct genl_info *info)
{
	struct nlattr *fill = info->attrs[MEMORY_INFO_A_FILL_KIB_PER_SEC];
	struct level_policy policy;
	int error;

	look_read_policy(&policy);
	error = get_threshold(info, MEMORY_INFO_A_WARN, &policy.warn) ?:
		get_threshold(info, MEMORY_INFO_A_KILL, &policy.kill) ?:
		get_threshold(info, MEMORY_INFO_A_RECOVER, &policy.recover);
	if (error)
		return error;
	if (fill)
		policy.fill_kib_per_sec = nla_get_u64(fill);
	look_set_policy(&policy);
	return 0;
}

/* In a cgroup namespace one that is gone cannot be told from one outside. */
static const char *refuse_cgroup(u64 cgroup_id)
{
	struct cgroup *cgroup = cgroup_get_from_id(cgroup_id);
	bool is_root;

	if (IS_ERR_OR_NULL(cgroup)) {
		if (current->nsproxy->cgroup_ns->ns.inum == PROC_CGROUP_INIT_INO)
			return NULL;
		return "memory_info: no such cgroup in this cgroup namespace";
	}
	is_root = !cgroup_parent(cgroup);
	cgroup_put(cgroup);
	return is_root ? "memory_info: the root cgroup cannot be a victim" : NULL;
}

static int arm(struct sk_buff *request, struct genl_info *info)
{
	struct nlattr *ids = info->attrs[MEMORY_INFO_A_ORDER];
	const char *refusal = NULL;
	struct order *order;
	u64 cgroup_id;

	if (!ids || nla_len(ids) % sizeof(u64)) {
		NL_SET_ERR_MSG_ATTR(info->extack, ids,
				    "memory_info: an order of u64 ids is needed");
		return -EINVAL;
	}
	order = kzalloc(sizeof(*order), GFP_KERNEL);
	if (!order) {
		NL_SET_ERR_MSG_MOD(info->extack, "no memory for the order");
		return -ENOMEM;
	}
	for (int at = 0; at < nla_len(ids) && !refusal; at += sizeof(u64)) {
		memcpy(&cgroup_id, nla_data(ids) + at, sizeof(u64));
		refusal = refuse_cgroup(cgroup_id);
		order_append(order, cgroup_id);
	}
	if (refusal) {
		kfree(order);
		info->extack->_msg = refusal;
		info->extack->bad_attr = ids;
		return -EINVAL;
	}
	oom_arm(order);
	return 0;
}

static int disarm(struct sk_buff *request, struct genl_info *info)
{
	oom_arm(NULL);
	return 0;
}

static int require_version(const struct compat_doit_ops *ops, struct sk_buff *request,
			   struct genl_info *info)
{
	if (info->genlhdr->version == MEMORY_INFO_VERSION)
		return 0;
	NL_SET_ERR_MSG_MOD(info->extack, "only version 1 is spoken here");
	return -EINVAL;
}

static const struct genl_ops ops[] = {
	{.cmd = MEMORY_INFO_CMD_GET_STATS, .doit = get_stats},
	{.cmd = MEMORY_INFO_CMD_SET_THRESHOLDS,
	 .flags = GENL_ADMIN_PERM,
	 .doit = set_thresholds,
	 .policy = policy_rules,
	 .maxattr = ARRAY_SIZE(policy_rules) - 1},
	{.cmd = MEMORY_INFO_CMD_ARM,
	 .flags = GENL_ADMIN_PERM,
	 .doit = arm,
	 .policy = arm_rules,
	 .maxattr = ARRAY_SIZE(arm_rules) - 1},
	{.cmd = MEMORY_INFO_CMD_DISARM, .flags = GENL_ADMIN_PERM, .doit = disarm},
};

static const struct genl_multicast_group groups[] = {{.name = MEMORY_INFO_GROUP}};

/* Known in the first network namespace only, as the memory is the host's. An operation without
 * rules takes no attributes, since resv_start_op is 0: nothing here is older than strict checking.
 */
static struct genl_family family __ro_after_init = {
	.name = MEMORY_INFO_FAMILY,
	.version = MEMORY_INFO_VERSION,
	.module = THIS_MODULE,
	.pre_doit = require_version,
	.ops = ops,
	.n_ops = ARRAY_SIZE(ops),
	.mcgrps = groups,
	.n_mcgrps = ARRAY_SIZE(groups),
};

static int put_subject(struct sk_buff *message, u8 cmd, u64 subject, u32 count)
{
	if (cmd == MEMORY_INFO_CMD_NEAR)
		return 0;
	if (cmd == MEMORY_INFO_CMD_LEVEL)
		return nla_put_u32(message, MEMORY_INFO_A_PREVIOUS_LEVEL, (u32)subject);
	if (cmd == MEMORY_INFO_CMD_OOM)
		return message_put_u64(message, MEMORY_INFO_A_OOMS, subject);
	return message_put_u64(message, MEMORY_INFO_A_CGROUP_ID, subject)
		       ?: nla_put_u32(message, MEMORY_INFO_A_PROCESSES, count);
}

/**
 * netlink_tell - multicast an event
 * @cmd: which one
 * @look: its stats and sequence number
 * @subject: the previous level, the count of OOMs, the cgroup, or 0 where there is none
 * @count: of processes
 *
 * Context: atomic. Without memory the event is lost, and every listener reads ENOBUFS.
 */
void netlink_tell(u8 cmd, const struct look *look, u64 subject, u32 count)
{
	struct sk_buff *message;
	void *header;

	if (!genl_has_listeners(&family, &init_net, 0))
		return;
	message = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_ATOMIC | __GFP_NOWARN);
	header = message ? genlmsg_put(message, 0, 0, &family, 0, cmd) : NULL;
	if (!header || message_put_stats(message, look) ||
	    put_subject(message, cmd, subject, count)) {
		nlmsg_free(message);
		genl_set_err(&family, &init_net, 0, 0, -ENOBUFS);
		return;
	}
	genlmsg_end(message, header);
	genlmsg_multicast(&family, message, 0, 0, GFP_ATOMIC | __GFP_NOWARN);
}

/**
 * netlink_start - register the family
 *
 * Return: 0 or an errno.
 */
int netlink_start(void)
{
	return genl_register_family(&family);
}

/**
 * netlink_stop - unregister the family; no request runs any more when it returns
 */
void netlink_stop(void)
{
	genl_unregister_family(&family);
}
