// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "kernel-types.h"
#include <bpf/bpf_helpers.h>
#include "shared.h"
#include "anchors.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
