// SPDX-License-Identifier: Apache-2.0
/*
 * Best effort, program by program: an old or odd kernel gives what it can. Load errors carry the verifier's whole
 * log, so they are printed only when SALLYPORT_LIBBPF is set.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "object.h"

__asm__(".section .rodata\n.balign 8\n.global bpf_object_start\nbpf_object_start:\n.incbin \"" BPF_OBJECT
	"\"\n.global bpf_object_end\nbpf_object_end:\n.previous\n");
extern const unsigned char bpf_object_start[], bpf_object_end[];

/* What of this kernel the programs must be told before they load: its types are read once. */
static struct facts {
	bool numbers;            /* the recorder does: no atomic fetch */
	bool rdonly_cast;        /* any pointer may be followed by plain loads (6.2) */
	bool cqe;                /* io_uring_complete hands over the entry, not the result in it (6.14) */
	bool missing[PROGRAMS];  /* by program: its tracepoint does not exist */
} facts;

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_DEBUG || !getenv("SALLYPORT_LIBBPF"))
		return 0;
	return vfprintf(stderr, format, args);
}

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

static bool completes_with_cqe(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "btf_trace_io_uring_complete", BTF_KIND_TYPEDEF);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, id) : NULL;

	type = type ? btf__type_by_id(btf, type->type) : NULL; /* pointer */
	type = type ? btf__type_by_id(btf, type->type) : NULL; /* function: void *, then the tracepoint's arguments */
	return type && btf_is_func_proto(type) && btf_vlen(type) == 4;
}

void object_learn(void)
{
	struct btf *btf;

	libbpf_set_print(print_libbpf);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	facts.numbers = !has_atomic_fetch();
	btf = btf__load_vmlinux_btf();
	if (!btf)
		return;
	facts.rdonly_cast = btf__find_by_name_kind(btf, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;
	facts.cqe = completes_with_cqe(btf);
	for (size_t i = 0; i < PROGRAMS; i++)
		facts.missing[i] = programs[i].tracepoint &&
				   btf__find_by_name_kind(btf, programs[i].tracepoint, BTF_KIND_TYPEDEF) <= 0;
	btf__free(btf);
}

bool object_numbers_itself(void)
{
	return !facts.numbers;
}

bool object_lacks(size_t program)
{
	return facts.missing[program];
}

static void set_fact(struct bpf_object *object, const char *section, bool value)
{
	bpf_map__set_initial_value(bpf_object__find_map_by_name(object, section), &value, sizeof(value));
}

void object_load_only(struct bpf_object *object, const bool *wanted)
{
	for (size_t i = 0; i < PROGRAMS; i++) {
		bpf_program__set_autoload(bpf_object__find_program_by_name(object, programs[i].name), wanted[i]);
		if (programs[i].body)
			bpf_program__set_autoload(bpf_object__find_program_by_name(object, programs[i].body), wanted[i]);
	}
}

struct bpf_object *object_open(void)
{
	size_t size = bpf_object_end - bpf_object_start;
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "sallyport");
	unsigned char *copy = malloc(size);
	struct bpf_object *object;

	if (!copy)
		return NULL;
	memcpy(copy, bpf_object_start, size);
	if (facts.numbers)
		strip_atomic_fetch(copy);
	object = bpf_object__open_mem(copy, size, &opts);
	free(copy);
	if (object) {
		set_fact(object, ".rodata.reads", facts.rdonly_cast);
		set_fact(object, ".rodata.uring", facts.cqe);
	}
	return object;
}

void object_size_maps(struct bpf_object *object, size_t ring_bytes, bool small)
{
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "ring"), ring_bytes);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "scratches"),
				 small ? 1 : libbpf_num_possible_cpus());
}

static struct bpf_object *load(size_t ring_bytes, const struct object_map *maps, const bool *loads)
{
	struct bpf_object *object = object_open();

	if (!object)
		return NULL;
	object_size_maps(object, ring_bytes, false);
	object_load_only(object, loads);
	for (; maps && maps->name; maps++)
		if (bpf_map__reuse_fd(bpf_object__find_map_by_name(object, maps->name), maps->fd))
			goto failed;
	if (!bpf_object__load(object))
		return object;
failed:
	bpf_object__close(object);
	return NULL;
}

/*
 * With every program; if that fails, finds out one by one which does not load here and leaves those out. The second
 * way takes seconds and happens on odd kernels only.
 */
struct bpf_object *object_load(size_t ring_bytes, const struct object_map *maps, bool *loads)
{
	struct bpf_object *object;

	for (size_t i = 0; i < PROGRAMS; i++)
		loads[i] = !facts.missing[i];
	object = load(ring_bytes, maps, loads);
	if (object)
		return object;
	for (size_t i = 0; i < PROGRAMS; i++) {
		bool only[PROGRAMS] = {};

		if (!loads[i])
			continue;
		only[i] = true;
		object = object_open();
		object_size_maps(object, 4096, true);
		object_load_only(object, only);
		loads[i] = !bpf_object__load(object);
		bpf_object__close(object);
		if (!loads[i])
			say("program %s does not load on this kernel", programs[i].name);
	}
	return load(ring_bytes, maps, loads);
}

int object_program(struct bpf_object *object, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(object, name));
}

int object_map(struct bpf_object *object, const char *name)
{
	return bpf_object__find_map_fd_by_name(object, name);
}

__u64 object_build(void)
{
	__u64 hash = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (const unsigned char *byte = bpf_object_start; byte < bpf_object_end; byte++)
		hash = (hash ^ *byte) * 0x100000001b3ULL;
	return hash ?: 1;
}

int object_attach(struct bpf_program *program, bool cgroup, int cgroup_fd)
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
