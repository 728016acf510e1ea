/* AMX: tiles of 16 rows × 64 bytes. 32 × 32 sums in four tiles; a step of the depth is 32 bfloat16, which the
 * instruction sums from 0 in an order of its own before it adds them: the same for every element. */
#include "kernel.h"

#ifdef PTA_X86
#include <immintrin.h>
#include <string.h>

#include "bf16_pack.h"

enum { ROWS = 32, HALF = 16, STEP = 32 };
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")))

TARGET static void begin(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes __attribute__((aligned(64))) = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shapes.row_bytes[i] = 64;
        shapes.rows[i] = 16;
    }
    __asm__ volatile("" ::: "memory"); /* gcc 12 does not know that the next line reads `shapes` */
    _tile_loadconfig(&shapes);
}

TARGET static void end(void) { _tile_release(); }

/* Tiles 0 1 over 2 3: sums; 4, 5: a's rows; 6, 7: b's columns. */
TARGET PTA_INLINE void sums(const pta_tile *t, const bool both) {
    const int64_t row = t->row_stride * 4, panel = PTA_PANEL * 4, ldc = t->ldc * 4;
    const char *a = t->a, *b = t->b, *ahead = t->ahead;
    float *c = t->c, *below = t->c + HALF * t->ldc;
    __asm__ volatile("" ::: "memory"); /* tile loads do not tell the compiler that they read memory */
    if (t->accumulate) {
        _tile_loadd(0, c, ldc);
        _tile_loadd(1, c + HALF, ldc);
        if (both) _tile_loadd(2, below, ldc);
        if (both) _tile_loadd(3, below + HALF, ldc);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        if (both) _tile_zero(2);
        if (both) _tile_zero(3);
    }
    for (int64_t k = 0; k < t->depth; k += STEP, a += 2 * STEP, b += STEP / 2 * panel) {
        _tile_loadd(6, b, panel);
        _tile_loadd(4, a, row);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 64, panel);
        _tile_dpbf16ps(1, 4, 7);
        if (both) {
            _tile_loadd(5, a + HALF * row, row);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        for (int i = 0; t->ahead_step && i < STEP / 2; i++, ahead += t->ahead_step) {
            __builtin_prefetch(ahead);
            __builtin_prefetch(ahead + 64);
        }
    }
    _tile_stored(0, c, ldc);
    _tile_stored(1, c + HALF, ldc);
    if (both) _tile_stored(2, below, ldc);
    if (both) _tile_stored(3, below + HALF, ldc);
}

TARGET static void tile(const pta_tile *t, int rows) {
    if (rows > HALF) sums(t, true);
    else sums(t, false);
}

/* Rows of a are columns of the source: pairs of depths interleaved, then transposed 16 × 16. */
TARGET static void pack_columns(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth,
                                int64_t padded) {
    uint32_t pairs[HALF * ROWS] __attribute__((aligned(64)));
    for (int64_t k = 0; k < padded; k += STEP) {
        pta_dot_across(pairs, ROWS, pta_at(from, k, 0), rows, pta_min(STEP, depth - k), STEP);
        for (int64_t half = 0; half < pta_round_up(rows, HALF); half += HALF)
            pta_dot_transpose((uint32_t *)to + half * stride + k / 2, stride, pairs + half, ROWS);
    }
}

const pta_kernel pta_amx = {.name = "amx-bf16", .rows = ROWS, .row_step = HALF, .step = STEP, .a_size = 2, .b_size = 2,
                            .block = 1024, .rows_only = true, .tile = tile, .pack_rows = pta_dot_rows,
                            .pack_columns = pack_columns, .pack_panel = pta_dot_panel, .pack_weights = pta_dot_weights,
                            .round = pta_dot_round, .widen = pta_dot_widen, .begin = begin, .end = end, .small_rows = ROWS};
#endif
