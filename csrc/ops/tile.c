#include "tile.h"

#include <pthread.h>

#include "../core/target.h"
#include "../kernels/small.h"

enum { FLOAT_ROWS = 24 /* a multiple of every variant's ROWS */ };

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

static variant best;
static pthread_once_t chosen = PTHREAD_ONCE_INIT;

static void choose(void) {
    best = portable;
#ifdef HAVE_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
    best = avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        best = avx512;
#endif
}

bool pta_tile_packs(pta_dtype compute) { return compute == PTA_BF16 && pta_small_rows(); }

int64_t pta_tile_rows(pta_dtype compute) { return pta_tile_packs(compute) ? pta_small_rows() : FLOAT_ROWS; }

PTA_CLONES static void widen(float *restrict to, const pta_bf16 *restrict from, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = pta_widen(from[i]);
}

pta_tile_b pta_tile_prepare(pta_dtype compute, pta_matrix b, int64_t k, int64_t n, void *room) {
    if (pta_tile_packs(compute)) {
        pta_small_pack(room, b, k, n);
        return (pta_tile_b){room, k, 0, true};
    }
    if (b.dtype == PTA_F32) return (pta_tile_b){b.data, k, b.ld, false};
    for (int64_t l = 0; l < k; l++) widen((float *)room + l * n, pta_at(b, l, 0).data, n);
    return (pta_tile_b){room, k, n, false};
}

pta_tile_a pta_tile_left(pta_dtype compute, const float *a, int64_t row, int64_t step, int64_t m, int64_t k, void *room) {
    pta_tile_a left = {.data = a, .row = row, .step = step};
    if (pta_tile_packs(compute)) left.packed = pta_small_left(room, pta_f32((float *)a, step == 1 ? row : step), step != 1, m, k);
    return left;
}

pta_tile_a pta_tile_rows_from(pta_tile_a a, int64_t first) {
    a.data += first * a.row;
    if (a.packed.data) a.packed.data += first * a.packed.row;
    return a;
}

void pta_tile_product(float *c, int64_t ldc, pta_tile_a a, pta_tile_b b, int64_t m, int64_t n, int64_t k, bool accumulate) {
    if (b.packed) {
        pta_small_multiply(c, ldc, a.packed, b.data, b.rows, m, n, k, accumulate);
        return;
    }
    const operands o = {c, a.data, b.data, ldc, a.row, a.step, b.ld, k, accumulate};
    pthread_once(&chosen, choose);
    best(&o, m, n);
}
