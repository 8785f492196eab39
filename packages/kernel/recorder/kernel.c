// SPDX-License-Identifier: Apache-2.0
/*
 * Loads and attaches the BPF object, best effort program by program, and pins all of it, so that the kernel
 * goes on counting and filling the ring while no recorder runs. A recorder that finds such pins and shares
 * their layouts (wire hash) takes them over instead of loading anew.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "recorder.h"
#include "wire-hash.h"

#define BPF_FS_MAGIC_ 0xcafe4a11

__asm__(".section .rodata\n.balign 8\n.global bpf_object_start\nbpf_object_start:\n.incbin \"" BPF_OBJECT
	"\"\n.global bpf_object_end\nbpf_object_end:\n.previous\n");
extern const unsigned char bpf_object_start[], bpf_object_end[];

static const unsigned char wire_hash[32] = WIRE_HASH_BYTES;

/* Every program: what it gives, and whether a session can be watched without it. */
static const struct program {
	const char *name;
	int feature;
	bool required;
	bool cgroup;
	const char *tracepoint;  /* its BTF typedef where not every kernel has it: not even tried without */
} programs[] = {
	{ "on_exec", FEATURE_EXEC, true, false },
	{ "on_exit", FEATURE_EXIT, true, false },
	{ "on_task_newtask", FEATURE_LINEAGE, true, false },
	{ "on_sys_exit", FEATURE_SYS_EXIT, true, false },
	{ "on_cgroup_attach_task", FEATURE_CGROUP_ATTACH, false, false },
	{ "on_sock_state", FEATURE_SOCK_STATE, false, false },
	{ "on_state_again", FEATURE_SOCK_STATE, false, false }, /* after the one it follows */
	{ "on_connect4", FEATURE_CONNECT4, false, true },
	{ "on_connect6", FEATURE_CONNECT6, false, true },
	{ "on_sendmsg4", FEATURE_SENDMSG4, false, true },
	{ "on_sendmsg6", FEATURE_SENDMSG6, false, true },
	/* completion first: what is submitted before it is attached would wait for ever */
	{ "on_uring_complete", FEATURE_IO_URING, false, false, "btf_trace_io_uring_submit_req" },
	{ "on_uring_submit", FEATURE_IO_URING, false, false, "btf_trace_io_uring_submit_req" },
};
#define PROGRAMS (sizeof(programs) / sizeof(programs[0]))

/* Maps the recorder itself works with, and where it keeps their descriptors. */
static const struct { const char *name; size_t field; } maps[] = {
	{ "ring", offsetof(struct kernel, ring_fd) },
	{ "sessions", offsetof(struct kernel, sessions_fd) },
	{ "lineage", offsetof(struct kernel, lineage_fd) },
	{ "cgroups", offsetof(struct kernel, cgroups_fd) },
	{ "audits", offsetof(struct kernel, audits_fd) },
	{ "exec_attempts", offsetof(struct kernel, exec_attempts_fd) },
	{ "connecting", offsetof(struct kernel, connecting_fd) },
	{ "connected", offsetof(struct kernel, connected_fd) },
	{ "outside", offsetof(struct kernel, outside_fd) },
	{ "handled", offsetof(struct kernel, handled_fd) },
};
#define MAPS (sizeof(maps) / sizeof(maps[0]))
#define MAP_FD(kernel, i) (*(int *)((char *)(kernel) + maps[i].field))

/* For misses: descriptors of every program we loaded or took over. */
static int program_fds[PROGRAMS + 1];
static size_t program_count;

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	/* load errors carry the verifier's whole log: only on request */
	if (level == LIBBPF_DEBUG || !getenv("SALLYPORT_LIBBPF"))
		return 0;
	return vfprintf(stderr, format, args);
}

/* ---- 5.10: no atomic fetch ---- */

static bool has_atomic_fetch(void)
{
	struct bpf_insn code[] = {
		{ .code = 0xb7, .dst_reg = 1, .imm = 1 },                            /* r1 = 1 */
		{ .code = 0x7b, .dst_reg = 10, .src_reg = 1, .off = -8 },            /* *(u64 *)(r10 - 8) = r1 */
		{ .code = 0xdb, .dst_reg = 10, .src_reg = 1, .off = -8, .imm = 1 },  /* r1 = fetch_add */
		{ .code = 0xb7, .dst_reg = 0, .imm = 0 },
		{ .code = 0x95 },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "probe", "GPL", code, 5, NULL);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* Makes every 64-bit atomic fetch-and-add in the object a plain atomic add, whose result nobody may use. */
static void strip_atomic_fetch(unsigned char *object)
{
	Elf64_Ehdr *header = (void *)object;
	Elf64_Shdr *sections = (void *)(object + header->e_shoff);

	for (int i = 0; i < header->e_shnum; i++) {
		struct bpf_insn *code = (void *)(object + sections[i].sh_offset);

		if (sections[i].sh_type != SHT_PROGBITS || !(sections[i].sh_flags & SHF_EXECINSTR))
			continue;
		for (size_t n = 0; n < sections[i].sh_size / sizeof(*code); n++) {
			if (code[n].code == 0x18)
				n++; /* a 64-bit constant's second half is not an instruction */
			else if (code[n].code == 0xdb && code[n].imm == 1)
				code[n].imm = 0;
		}
	}
}

/* What of this kernel the programs must be told before they load: its types are read once. */
static struct facts {
	bool rdonly_cast;        /* any pointer may be followed by plain loads (6.2) */
	bool cqe;                /* io_uring_complete hands over the entry, not the result in it (6.14) */
	bool missing[32];        /* by program: its tracepoint does not exist */
} facts;

static bool completes_with_cqe(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "btf_trace_io_uring_complete", BTF_KIND_TYPEDEF);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, id) : NULL;

	type = type ? btf__type_by_id(btf, type->type) : NULL; /* pointer */
	type = type ? btf__type_by_id(btf, type->type) : NULL; /* function: void *, then the tracepoint's arguments */
	return type && btf_is_func_proto(type) && btf_vlen(type) == 4;
}

static void learn_facts(void)
{
	struct btf *btf = btf__load_vmlinux_btf();

	if (!btf)
		return;
	facts.rdonly_cast = btf__find_by_name_kind(btf, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;
	facts.cqe = completes_with_cqe(btf);
	for (size_t i = 0; i < PROGRAMS; i++)
		facts.missing[i] = programs[i].tracepoint &&
				   btf__find_by_name_kind(btf, programs[i].tracepoint, BTF_KIND_TYPEDEF) <= 0;
	btf__free(btf);
}

static void set_fact(struct bpf_object *object, const char *section, bool value)
{
	bpf_map__set_initial_value(bpf_object__find_map_by_name(object, section), &value, sizeof(value));
}

static void load_only(struct bpf_object *object, const bool *wanted)
{
	for (size_t i = 0; i < PROGRAMS; i++)
		bpf_program__set_autoload(bpf_object__find_program_by_name(object, programs[i].name), wanted[i]);
}

static struct bpf_object *open_object(bool *numbers)
{
	size_t size = bpf_object_end - bpf_object_start;
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "sallyport");
	unsigned char *copy = malloc(size);
	struct bpf_object *object;

	if (!copy)
		return NULL;
	memcpy(copy, bpf_object_start, size);
	*numbers = !has_atomic_fetch();
	if (*numbers)
		strip_atomic_fetch(copy);
	object = bpf_object__open_mem(copy, size, &opts);
	free(copy);
	if (object) {
		set_fact(object, ".rodata.reads", facts.rdonly_cast);
		set_fact(object, ".rodata.uring", facts.cqe);
	}
	return object;
}

/* ---- loading ---- */

static void size_maps(struct bpf_object *object, size_t ring_bytes, bool small)
{
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "ring"), ring_bytes);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "scratches"),
				 small ? 1 : libbpf_num_possible_cpus());
}

/*
 * Loads with every program; if that fails, finds out one by one which does not load here and leaves those out.
 * The second way takes seconds and happens on odd kernels only.
 */
static struct bpf_object *load_object(size_t ring_bytes, bool *numbers, bool *loads)
{
	struct bpf_object *object = open_object(numbers);

	if (!object)
		return NULL;
	size_maps(object, ring_bytes, false);
	for (size_t i = 0; i < PROGRAMS; i++)
		loads[i] = !facts.missing[i];
	load_only(object, loads);
	if (!bpf_object__load(object))
		return object;
	bpf_object__close(object);
	for (size_t i = 0; i < PROGRAMS; i++) {
		bool only[PROGRAMS] = {};

		if (!loads[i])
			continue;
		only[i] = true;
		object = open_object(numbers);
		size_maps(object, 4096, true);
		load_only(object, only);
		loads[i] = !bpf_object__load(object);
		bpf_object__close(object);
		if (!loads[i])
			say("program %s does not load on this kernel", programs[i].name);
	}
	object = open_object(numbers);
	size_maps(object, ring_bytes, false);
	load_only(object, loads);
	if (!bpf_object__load(object))
		return object;
	bpf_object__close(object);
	return NULL;
}

/* A link's descriptor, or -errno. The descriptor (or its pin) keeps it attached. */
static int attach(struct bpf_program *program, bool cgroup, int cgroup_fd)
{
	struct bpf_link *link = cgroup ? bpf_program__attach_cgroup(program, cgroup_fd) : bpf_program__attach(program);
	int fd;

	if (!link)
		return -errno;
	fd = bpf_link__fd(link);
	bpf_link__disconnect(link); /* leaves the descriptor open: it is ours from here */
	bpf_link__destroy(link);
	return fd;
}

/* ---- pins ---- */

static int pin(struct kernel *kernel, int fd, const char *name)
{
	char path[512];

	if (!kernel->pin_dir[0])
		return 0;
	snprintf(path, sizeof(path), "%s/%s", kernel->pin_dir, name);
	return bpf_obj_pin(fd, path);
}

static int get_pin(struct kernel *kernel, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", kernel->pin_dir, name);
	return bpf_obj_get(path);
}

static void unpin(struct kernel *kernel, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", kernel->pin_dir, name);
	unlink(path);
}

static void link_name(char *to, size_t size, const char *program)
{
	snprintf(to, size, "link_%s", program);
}

static void unpin_all(struct kernel *kernel)
{
	char name[64];

	if (!kernel->pin_dir[0])
		return;
	for (size_t i = 0; i < PROGRAMS; i++) {
		link_name(name, sizeof(name), programs[i].name);
		unpin(kernel, name);
		unpin(kernel, programs[i].name);
	}
	for (size_t i = 0; i < MAPS; i++)
		unpin(kernel, maps[i].name);
	unpin(kernel, "host");
	unpin(kernel, "sweep");
	rmdir(kernel->pin_dir);
}

/* Makes the directory, mounting bpffs when nothing is there. False: work without pins. */
static bool prepare_pin_dir(struct kernel *kernel, const char *dir)
{
	struct statfs fs;
	char parent[256];

	if (!dir[0] || strlen(dir) >= sizeof(kernel->pin_dir))
		return false;
	if (statfs("/sys/fs/bpf", &fs) || (unsigned long)fs.f_type != BPF_FS_MAGIC_)
		if (mount("bpf", "/sys/fs/bpf", "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
			say("cannot mount bpffs at /sys/fs/bpf: %s; a recorder that dies loses what is in the ring",
			    strerror(errno));
	snprintf(parent, sizeof(parent), "%s", dir);
	for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(parent, 0700);
		*slash = '/';
	}
	if ((mkdir(dir, 0700) && errno != EEXIST) || statfs(dir, &fs) || (unsigned long)fs.f_type != BPF_FS_MAGIC_)
		return false;
	strcpy(kernel->pin_dir, dir);
	return true;
}

/* ---- start ---- */

static int map_shared(struct kernel *kernel, int host_fd)
{
	kernel->host = mmap(NULL, sizeof(struct host), PROT_READ | PROT_WRITE, MAP_SHARED, host_fd, 0);
	kernel->sessions = mmap(NULL, sizeof(struct session) * MAX_SESSIONS, PROT_READ | PROT_WRITE, MAP_SHARED,
				kernel->sessions_fd, 0);
	if (kernel->host == MAP_FAILED || kernel->sessions == MAP_FAILED)
		return -errno;
	return 0;
}

static bool any_session(struct kernel *kernel)
{
	for (size_t i = 0; i < MAX_SESSIONS; i++)
		if (kernel->sessions[i].state == SESSION_LIVE)
			return true;
	return false;
}

static void remember_program(int fd)
{
	program_fds[program_count++] = fd;
}

static int take_over(struct kernel *kernel)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);
	int host_fd = get_pin(kernel, "host");
	char name[64];

	if (host_fd < 0)
		return -ENOENT;
	for (size_t i = 0; i < MAPS; i++)
		if ((MAP_FD(kernel, i) = get_pin(kernel, maps[i].name)) < 0)
			return -ENOENT;
	kernel->sweep_fd = get_pin(kernel, "sweep");
	kernel->sys_exit_fd = get_pin(kernel, "on_sys_exit");
	if (kernel->sweep_fd < 0 || kernel->sys_exit_fd < 0)
		return -ENOENT;
	if (map_shared(kernel, host_fd))
		return -ENOENT;
	close(host_fd);
	if (memcmp(kernel->host->wire_hash, wire_hash, sizeof(wire_hash))) {
		say("the pins at %s are of another version: not taken over", kernel->pin_dir);
		return -ESTALE;
	}
	if (!any_session(kernel))
		return -ENOENT; /* nothing to save: a fresh start takes the ring size asked for */
	if (bpf_obj_get_info_by_fd(kernel->ring_fd, &info, &info_size))
		return -errno;
	kernel->ring_size = info.max_entries;
	kernel->numbers = !has_atomic_fetch();
	for (size_t i = 0; i < PROGRAMS; i++) {
		int link;

		link_name(name, sizeof(name), programs[i].name);
		link = get_pin(kernel, name);
		if (link < 0)
			continue;
		kernel->features |= 1U << programs[i].feature;
		if (programs[i].feature == FEATURE_SYS_EXIT)
			kernel->sys_exit_link = link;
		else
			close(link); /* the pin holds it */
	}
	kernel->features |= 1U << FEATURE_PINNED | 1U << FEATURE_SYS_EXIT;
	remember_program(kernel->sys_exit_fd);
	kernel->taken_over = true;
	return 0;
}

static int start_fresh(struct kernel *kernel, const struct options *options)
{
	bool loads[PROGRAMS], pinned = kernel->pin_dir[0];
	struct bpf_object *object = load_object(options->ring_bytes, &kernel->numbers, loads);
	int host_fd, cgroup_fd = open(options->cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[64];

	if (!object) {
		say("the BPF object does not load: %s", strerror(errno));
		return -EOPNOTSUPP;
	}
	for (size_t i = 0; i < MAPS; i++) {
		MAP_FD(kernel, i) = dup(bpf_object__find_map_fd_by_name(object, maps[i].name));
		pinned = pinned && !pin(kernel, MAP_FD(kernel, i), maps[i].name);
	}
	host_fd = bpf_object__find_map_fd_by_name(object, ".data.host");
	if (map_shared(kernel, host_fd))
		return -EIO;
	memcpy(kernel->host->wire_hash, wire_hash, sizeof(wire_hash));
	kernel->ring_size = options->ring_bytes;
	kernel->sweep_fd = dup(bpf_program__fd(bpf_object__find_program_by_name(object, "sweep")));
	pinned = pinned && !pin(kernel, host_fd, "host") && !pin(kernel, kernel->sweep_fd, "sweep");

	for (size_t i = 0; i < PROGRAMS; i++) {
		struct bpf_program *program = bpf_object__find_program_by_name(object, programs[i].name);
		int link = loads[i] ? attach(program, programs[i].cgroup, cgroup_fd) : -EINVAL;

		if (facts.missing[i])
			continue;
		if (link < 0) {
			say("%s cannot be attached: %s", programs[i].name, strerror(-link));
			if (programs[i].required)
				return -EOPNOTSUPP;
			continue;
		}
		kernel->features |= 1U << programs[i].feature;
		remember_program(dup(bpf_program__fd(program)));
		if (programs[i].feature == FEATURE_SYS_EXIT) {
			/* proven to attach; every process of the host pays for it, so not before there is a session */
			close(link);
			kernel->sys_exit_fd = program_fds[program_count - 1];
			pinned = pinned && !pin(kernel, kernel->sys_exit_fd, programs[i].name);
			continue;
		}
		link_name(name, sizeof(name), programs[i].name);
		pinned = pinned && !pin(kernel, link, name);
		/* stays open: without pins it is what holds the program */
	}
	if (cgroup_fd >= 0)
		close(cgroup_fd);
	if (kernel->pin_dir[0] && !pinned) {
		say("cannot pin under %s: %s", kernel->pin_dir, strerror(errno));
		unpin_all(kernel);
		kernel->pin_dir[0] = 0;
	}
	if (pinned)
		kernel->features |= 1U << FEATURE_PINNED;
	bpf_object__close(object); /* what we need of it we duplicated */
	return 0;
}

int kernel_start(struct kernel *kernel, const struct options *options)
{
	int error;

	libbpf_set_print(print_libbpf);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	learn_facts();
	memset(kernel, 0, sizeof(*kernel));
	kernel->sys_exit_link = -1;
	if (prepare_pin_dir(kernel, options->pin_dir)) {
		error = take_over(kernel);
		if (!error)
			goto done;
		unpin_all(kernel);
		mkdir(kernel->pin_dir, 0700);
		kernel->features = 0;
		program_count = 0;
	}
	error = start_fresh(kernel, options);
	if (error)
		return error;
done:
	error = kernel_sweep(kernel, SWEEP_HOST, 0);
	if (error)
		say("the sweep program cannot run: %s", strerror(-error));
	return error;
}

void kernel_stop(struct kernel *kernel)
{
	kernel_watch_calls(kernel, false);
	unpin_all(kernel);
}

/* The system-call hook, only while somebody is watched. */
int kernel_watch_calls(struct kernel *kernel, bool on)
{
	char name[64];

	link_name(name, sizeof(name), "on_sys_exit");
	if (on == (kernel->sys_exit_link >= 0))
		return 0;
	if (!on) {
		if (kernel->pin_dir[0])
			unpin(kernel, name);
		close(kernel->sys_exit_link);
		kernel->sys_exit_link = -1;
		return 0;
	}
	kernel->sys_exit_link = bpf_raw_tracepoint_open(NULL, kernel->sys_exit_fd);
	if (kernel->sys_exit_link < 0)
		return -errno;
	return pin(kernel, kernel->sys_exit_link, name) ? -errno : 0;
}

int kernel_sweep(struct kernel *kernel, __u64 operation, __u64 key)
{
	__u64 context[2] = { operation, key };
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = context, .ctx_size_in = sizeof(context));

	return bpf_prog_test_run_opts(kernel->sweep_fd, &run);
}

__u64 kernel_outside(struct kernel *kernel)
{
	int cpus = libbpf_num_possible_cpus();
	__u64 values[cpus > 0 ? cpus : 1], sum = 0;
	__u32 zero = 0;

	if (cpus < 1 || bpf_map_lookup_elem(kernel->outside_fd, &zero, values))
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i];
	return sum;
}

static __u64 rescued(struct kernel *kernel)
{
	int cpus = libbpf_num_possible_cpus();
	struct handled values[cpus > 0 ? cpus : 1];
	__u64 sum = 0;
	__u32 zero = 0;

	if (cpus < 1 || bpf_map_lookup_elem(kernel->handled_fd, &zero, values))
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i].rescued;
	return sum;
}

/*
 * Runs the kernel skipped because the program was running on that CPU already. Only the socket's states come in
 * softirq, in the middle of anything: what on_sock_state missed on_state_again took up, and what that one missed
 * on_sock_state had done.
 */
__u64 kernel_misses(struct kernel *kernel)
{
	__u64 sum = 0, saved = rescued(kernel);

	for (size_t i = 0; i < program_count; i++) {
		struct bpf_prog_info info = {};
		__u32 size = sizeof(info);

		if (!bpf_obj_get_info_by_fd(program_fds[i], &info, &size) && strcmp(info.name, "on_state_again"))
			sum += info.recursion_misses;
	}
	return sum > saved ? sum - saved : 0;
}

/* ---- --probe: what would work here, a JSON line a program ---- */

int kernel_probe(void)
{
	int cgroup_fd = open("/sys/fs/cgroup/unified", O_RDONLY | O_DIRECTORY), missing = 0;

	if (cgroup_fd < 0)
		cgroup_fd = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
	learn_facts();
	libbpf_set_print(print_libbpf);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	for (size_t i = 0; i < PROGRAMS; i++) {
		bool numbers;
		struct bpf_object *object = open_object(&numbers);
		struct bpf_prog_info info = {};
		__u32 info_size = sizeof(info);
		struct bpf_program *program;
		int error = -ENOMEM, link;
		const char *stage = "open";
		bool only[PROGRAMS] = {};

		only[i] = true;
		if (object) {
			size_maps(object, 4096, true);
			load_only(object, only);
			stage = "load";
			error = bpf_object__load(object);
			if (!error) {
				stage = "attach";
				program = bpf_object__find_program_by_name(object, programs[i].name);
				bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &info_size);
				link = attach(program, programs[i].cgroup, cgroup_fd);
				error = link < 0 ? link : 0;
				if (link >= 0)
					close(link);
			}
			bpf_object__close(object);
		}
		printf("{\"program\":\"%s\",\"required\":%s,\"ok\":%s", programs[i].name,
		       programs[i].required ? "true" : "false", error ? "false" : "true");
		if (info.verified_insns)
			printf(",\"verified_instructions\":%u", info.verified_insns);
		if (error)
			printf(",\"stage\":\"%s\",\"error\":\"%s\"", stage, strerror(-error));
		printf("}\n");
		missing += error && programs[i].required;
	}
	return missing ? 1 : 0;
}
