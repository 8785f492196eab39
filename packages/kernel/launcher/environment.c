/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

void set_env_entry(struct environment *env, const char *entry)
{
	size_t name_length = (size_t)(strchr(entry, '=') - entry) + 1;
	char *copied = strdup(entry);
	size_t at = 0;

	while (at < env->count && strncmp(env->entries[at], entry, name_length))
		at++;
	if (!copied || at == ENV_MAX)
		fail("resources", copied ? E2BIG : ENOMEM, "environment is too large");
	if (at == env->count)
		env->count++;
	else
		free(env->entries[at]);
	env->entries[at] = copied;
}

void set_env(struct environment *env, const char *name, const char *value)
{
	char *entry;

	if (asprintf(&entry, "%s=%s", name, value) < 0)
		fail("resources", ENOMEM, "no memory for the environment");
	set_env_entry(env, entry);
	free(entry);
}

bool tells_origin(const char *entry)
{
	static const char *const names[] = { "SSH_CLIENT=", "SSH_CONNECTION=", "SSH_AUTH_INFO" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(entry, names[i], strlen(names[i])))
			return true;
	return false;
}
