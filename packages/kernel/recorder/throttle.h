/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORDER_THROTTLE_H
#define RECORDER_THROTTLE_H

/* At three quarters of the ring the sessions that filled it wait; at a quarter they go on. Others never wait. */
void throttle(double occupancy);

#endif
