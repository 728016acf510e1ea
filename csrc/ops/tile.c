#include "tile.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "../core/target.h"

typedef struct {
    float *c;
    const float *a, *b;
    int64_t ldc, row, step, ldb, k;
    bool accumulate;
} operands;

#define VARIANT portable
#define TARGET
#define WIDTH 4
#define ROWS 4
#define COLUMNS 2
#include "tile_variant.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_X86
#define VARIANT avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 8
#define ROWS 6
#define COLUMNS 2
#include "tile_variant.h"

#define VARIANT avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")))
#define WIDTH 16
#define ROWS 6
#define COLUMNS 4
#include "tile_variant.h"
#endif

typedef void (*variant)(const operands *o, int64_t m, int64_t n);

static void first_use(const operands *o, int64_t m, int64_t n);

static const char *names[4];
static variant functions[4];
static _Atomic(variant) chosen = first_use;

static pthread_once_t found = PTHREAD_ONCE_INIT;

static void look(void) {
    int n = 0;
#ifdef HAVE_X86
    __builtin_cpu_init();
    const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        names[n] = "avx512", functions[n++] = avx512;
    if (fma) names[n] = "avx2", functions[n++] = avx2;
#endif
    names[n] = "portable", functions[n] = portable;
}

static variant find_variants(void) {
    pthread_once(&found, look);
    return functions[0];
}

static void first_use(const operands *o, int64_t m, int64_t n) {
    variant best = find_variants();
    atomic_store_explicit(&chosen, best, memory_order_relaxed);
    best(o, m, n);
}

const char *const *pta_tile_variants(void) {
    find_variants();
    return names;
}

bool pta_tile_use(const char *name) {
    find_variants();
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) {
            atomic_store_explicit(&chosen, functions[i], memory_order_relaxed);
            return true;
        }
    return false;
}

void pta_tile_product(float *c, int64_t ldc, const float *a, int64_t row, int64_t step, const float *b, int64_t ldb,
                      int64_t m, int64_t n, int64_t k, bool accumulate) {
    const operands o = {c, a, b, ldc, row, step, ldb, k, accumulate};
    atomic_load_explicit(&chosen, memory_order_relaxed)(&o, m, n);
}
