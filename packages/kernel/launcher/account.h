/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_ACCOUNT_H
#define LAUNCHER_ACCOUNT_H

#include "session.h"

void find_account(const struct spec *spec, struct account *account);
void check_account(const struct account *account);
void take_groups(const struct account *account);

#endif
