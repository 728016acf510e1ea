/* Which kernels this process uses: what the CPU has, or what the environment asks for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "openblas.h"

#if defined(PTA_X86) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static bool always(void) { return true; }

#ifdef PTA_X86
#include <cpuid.h>

static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_avx512_dot(void) {
    unsigned a, b, c, d;
    return has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 5 & 1;
}

/* Linux keeps room for the tiles of a process only when it asks once; threads inherit the permission. */
static bool has_amx(void) {
#ifdef __linux__
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    return has_avx512_dot() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & 1 && d >> 24 & 1 &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}
#endif

static const pta_variant variants[] = {
    {"portable", &pta_portable_f32, &pta_portable_bf16, always},
#ifdef PTA_X86
    {"avx2", &pta_avx2_f32, &pta_avx2_bf16, has_avx2},
    {"avx512", &pta_avx512_f32, &pta_avx512_bf16, has_avx512},
    {"avx512bf16", &pta_avx512_f32, &pta_avx512_dot, has_avx512_dot},
    {"amx", &pta_avx512_f32, &pta_amx, has_amx},
#endif
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static const pta_variant *g_variant; /* NULL: OpenBLAS */

const pta_variant *pta_kernels_variants(int *count) {
    *count = VARIANTS;
    return variants;
}

const pta_kernel *pta_kernel_for(pta_dtype compute) {
    if (!g_variant) return NULL;
    return compute == PTA_BF16 ? g_variant->bf16 : g_variant->f32;
}

const char *pta_kernels_name(pta_dtype dtype) {
    const pta_kernel *kernel = pta_kernel_for(dtype);
    return kernel ? kernel->name : "openblas";
}

static pta_code unknown(const char *what, const char *value, pta_error *err) {
    char list[128] = "";
    for (int i = 0; i < VARIANTS; i++)
        if (variants[i].available()) {
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", variants[i].simd);
        }
    return pta_fail(err, PTA_E_VALUE, "%s=%.40s: this machine and build have %s", what, value, list);
}

static pta_code use(const char *what, const char *name, pta_error *err) {
    for (int i = 0; i < VARIANTS; i++)
        if (!strcmp(name, variants[i].simd) && variants[i].available()) {
            g_variant = &variants[i];
            return PTA_OK;
        }
    return unknown(what, name, err);
}

pta_code pta_kernels_use(const char *variant, pta_error *err) {
    if (strcmp(variant, "openblas")) return use("variant", variant, err);
    g_variant = NULL;
    return PTA_OK;
}

pta_code pta_kernels_init(pta_error *err) {
    pta_openblas_init();
    const char *simd = getenv("PTAGRPO_SIMD"), *gemm = getenv("PTAGRPO_GEMM");
    for (int i = 0; i < VARIANTS; i++)
        if (variants[i].available()) g_variant = &variants[i];
    if (simd && *simd && use("PTAGRPO_SIMD", simd, err)) return PTA_E_VALUE;
    if (gemm && *gemm && strcmp(gemm, "openblas") && strcmp(gemm, "own"))
        return pta_fail(err, PTA_E_VALUE, "PTAGRPO_GEMM=%.40s: expected own or openblas", gemm);
    bool plain = g_variant == &variants[0] && !(simd && *simd); /* no kernel of ours fits this CPU */
    if (gemm && *gemm ? !strcmp(gemm, "openblas") : plain) g_variant = NULL;
    return PTA_OK;
}
