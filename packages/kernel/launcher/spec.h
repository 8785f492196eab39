/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_SPEC_H
#define LAUNCHER_SPEC_H

#include "session.h"

void read_spec(struct spec *spec);

#endif
