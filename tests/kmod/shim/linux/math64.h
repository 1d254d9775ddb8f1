#ifndef SHIM_LINUX_MATH64_H
#define SHIM_LINUX_MATH64_H

#include <linux/types.h>

static inline u64 mul_u64_u32_div(u64 value, u32 factor, u32 divisor)
{
	return (u64)((unsigned __int128)value * factor / divisor);
}

static inline u64 div64_u64(u64 value, u64 divisor)
{
	return value / divisor;
}

#endif
