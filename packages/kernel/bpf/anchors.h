/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A struct that only local pointers use leaves no trace in BTF. One global pointer a type keeps every
 * crossing struct and enum there, for the generator of wire.gen.ts to find.
 */
#ifndef SALLYPORT_ANCHORS_H
#define SALLYPORT_ANCHORS_H

#define ANCHOR(keyword, name) keyword name *anchor_##name;

ANCHOR(struct, record_header)
ANCHOR(struct, tlv)
ANCHOR(struct, record_exec)
ANCHOR(struct, record_exec_failed)
ANCHOR(struct, record_exit)
ANCHOR(struct, record_open)
ANCHOR(struct, record_connect)
ANCHOR(struct, record_attribution)
ANCHOR(struct, kind_totals)
ANCHOR(struct, record_watch)
ANCHOR(struct, record_lost)
ANCHOR(struct, record_end)
ANCHOR(struct, spool_header)
ANCHOR(struct, spool_frame)
ANCHOR(struct, control_frame)
ANCHOR(struct, control_hello)
ANCHOR(struct, control_watch)
ANCHOR(struct, control_watched)
ANCHOR(struct, control_session)
ANCHOR(struct, control_totals)
ANCHOR(struct, control_status)
ANCHOR(struct, control_progress)
ANCHOR(struct, control_stats)
ANCHOR(struct, control_error)

ANCHOR(enum, kind)
ANCHOR(enum, record_type)
ANCHOR(enum, source)
ANCHOR(enum, record_flags)
ANCHOR(enum, tlv_tag)
ANCHOR(enum, exec_flags)
ANCHOR(enum, argv_state)
ANCHOR(enum, path_source)
ANCHOR(enum, open_flags)
ANCHOR(enum, outcome)
ANCHOR(enum, network_operation)
ANCHOR(enum, attribution_reason)
ANCHOR(enum, lost_cause)
ANCHOR(enum, loss_policy)
ANCHOR(enum, control_type)
ANCHOR(enum, feature)

/* shared.h: kernel <-> recorder through maps; in the hash, not in wire.gen.ts */
ANCHOR(struct, host)
ANCHOR(struct, session)
ANCHOR(struct, lineage)
ANCHOR(struct, exec_attempt)
ANCHOR(struct, uring_open)
ANCHOR(struct, handled)
ANCHOR(struct, destination)
ANCHOR(struct, outside)
ANCHOR(struct, connection)
ANCHOR(struct, connect_attempt)
ANCHOR(enum, session_state)
ANCHOR(enum, lineage_flags)
ANCHOR(enum, sweep_operation)

#endif
