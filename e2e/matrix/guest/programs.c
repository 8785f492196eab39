/* SPDX-License-Identifier: Apache-2.0 */
/*
 * programs <object>: loads and attaches every program of the object by itself and says how that went, so that
 * a kernel's refusal names one program and brings the verifier's own words.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include "report.h"

#define LOG_SIZE (16 << 20)
#define LOG_TAIL 40

static char messages[1 << 16];

/* Kept, not printed: libbpf also explains what it then works around. */
static int keep_message(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t used = strlen(messages);
	if (level <= LIBBPF_WARN && used < sizeof(messages) - 1)
		vsnprintf(messages + used, sizeof(messages) - used, format, arguments);
	return 0;
}

static void report_tail(const char *name, char *log)
{
	int lines = 0;
	char *at = log + strlen(log);
	while (at > log && lines <= LOG_TAIL)
		if (*--at == '\n')
			lines++;
	for (char *line = strtok(at, "\n"); line != NULL; line = strtok(NULL, "\n"))
		report("verifier", "%s %s", name, line);
}

static struct bpf_link *attach(struct bpf_program *program)
{
	static int root = -1;
	switch (bpf_program__type(program)) {
	case BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
	case BPF_PROG_TYPE_CGROUP_SOCK:
	case BPF_PROG_TYPE_CGROUP_SKB:
		if (root < 0)
			root = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
		return bpf_program__attach_cgroup(program, root);
	default:
		return bpf_program__attach(program);
	}
}

static void try_program(const char *object, const char *name, char *log)
{
	struct bpf_program *program, *wanted = NULL;
	const char *verdict = "ok";
	int error = 0;
	struct bpf_object *o = bpf_object__open_file(object, NULL);
	must(o != NULL);
	messages[0] = log[0] = 0;
	bpf_object__for_each_program(program, o) {
		int is_wanted = strcmp(bpf_program__name(program), name) == 0;
		bpf_program__set_autoload(program, is_wanted);
		if (is_wanted)
			wanted = program;
	}
	must(wanted != NULL);
	bpf_program__set_log_buf(wanted, log, LOG_SIZE);
	bpf_program__set_log_level(wanted, 1);
	if (bpf_object__load(o) != 0) {
		verdict = "refused";
		error = errno;
	} else {
		struct bpf_link *link = attach(wanted);
		if (link == NULL) {
			verdict = "unattached";
			error = errno;
		} else {
			bpf_link__destroy(link);
		}
	}
	report("program", "%s %s %d %s", name, verdict, error, bpf_program__section_name(wanted));
	if (strcmp(verdict, "ok") != 0) {
		report_tail(name, log);
		report_tail(name, messages);
	}
	bpf_object__close(o);
}

int main(int argc, char **argv)
{
	struct bpf_program *program;
	must(argc == 2);
	libbpf_set_print(keep_message);
	struct bpf_object *all = bpf_object__open_file(argv[1], NULL);
	must(all != NULL);
	char *log = malloc(LOG_SIZE);
	must(log != NULL);
	bpf_object__for_each_program(program, all)
		try_program(argv[1], bpf_program__name(program), log);
	return 0;
}
