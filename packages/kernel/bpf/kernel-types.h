/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef SALLYPORT_KERNEL_TYPES_H
#define SALLYPORT_KERNEL_TYPES_H
#include <linux/types.h>
#endif
