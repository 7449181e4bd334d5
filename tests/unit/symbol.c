#include "core/profile/module.h"
#include "core/profile/symbol.h"
#include "tests/harness/test.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

static __attribute__((noinline)) int static_function(int value)
{
	__asm__ volatile("" : : : "memory");
	return value * 3;
}

static struct symbol look_up(uintptr_t address)
{
	struct symbol symbol = {0};

	CHECK(modules_scan());
	symbol_find(address, module_epoch(), &symbol);
	return symbol;
}

TEST(names_static_functions_of_the_program)
{
	uintptr_t address = (uintptr_t)static_function;
	struct symbol symbol = look_up(address + 3);

	CHECK_NOT_NULL(symbol.module);
	CHECK_STR_EQ(symbol.function, "static_function");
	CHECK_EQ(symbol.function_offset, (uintptr_t)3);
	CHECK_EQ(symbol.offset, address + 3 - symbol.module->bias);
	CHECK_EQ(static_function(2), 6);
}

TEST(names_exported_functions_of_stripped_libraries)
{
	struct symbol symbol = look_up((uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version") +
				       1); // no sanitizer replaces it

	CHECK(strstr(symbol.module->path, "libc.so"));
	CHECK_STR_EQ(symbol.function, "gnu_get_libc_version");
}

TEST(knows_the_vdso_as_a_module)
{
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);

	if (!vdso)
		test_skip("this kernel has no vDSO");
	CHECK_STR_EQ(look_up(vdso + 0x100).module->path, "[vdso]");
}

TEST(knows_nothing_of_other_addresses)
{
	struct symbol symbol = look_up((uintptr_t)malloc(10));

	CHECK_NULL(symbol.module);
	CHECK_NULL(symbol.function);
	CHECK_NULL(look_up(0).module);
	CHECK_NULL(look_up(UINTPTR_MAX).module);
}

TEST(data_of_a_module_is_no_function)
{
	static int data = 1;
	struct symbol symbol = look_up((uintptr_t)&data);

	CHECK_NOT_NULL(symbol.module);
	CHECK_NULL(symbol.function);
}

TEST(records_the_build_id)
{
	CHECK_GE(look_up((uintptr_t)dlsym(RTLD_DEFAULT, "qsort")).module->build_id_bytes, 8);
}

TEST(finds_again_after_closing)
{
	CHECK_STR_EQ(look_up((uintptr_t)static_function).function, "static_function");
	symbols_close();
	CHECK_STR_EQ(look_up((uintptr_t)static_function).function, "static_function");
}
