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

enum { SMALL_ROWS = 64, SMALL_DEPTH = 256, SMALL_STRIDE = SMALL_DEPTH / 2 + 16 };

/* rows of a -> `to`, in the form of pack_rows, up to SMALL_ROWS of them, zeros up to a multiple of 16. */
static void pack_small(uint32_t *to, int64_t stride, pta_matrix a, bool transposed, int64_t rows, int64_t depth,
                       int64_t padded) {
    if (transposed) {
        for (int64_t i = 0; i < rows; i += ROWS)
            pack_columns(to + i * stride, stride, pta_at(a, 0, i), pta_min(ROWS, rows - i), depth, padded);
        return;
    }
    pta_dot_rows(to, stride, a, rows, depth, padded);
    memset(to + rows * stride, 0, (size_t)((pta_round_up(rows, HALF) - rows) * stride) * sizeof *to);
}

/* tile() where the result is smaller than what it writes. */
static void tile_beside(pta_tile *t, int64_t rows, int64_t columns) {
    float local[ROWS * PTA_PANEL] __attribute__((aligned(64)));
    float *c = t->c;
    const int64_t ldc = t->ldc;
    memset(local, 0, sizeof local);
    for (int64_t i = 0; t->accumulate && i < rows; i++)
        memcpy(local + i * PTA_PANEL, c + i * ldc, (size_t)columns * sizeof(float));
    t->c = local, t->ldc = PTA_PANEL;
    tile(t, (int)pta_round_up(rows, HALF));
    for (int64_t i = 0; i < rows; i++) memcpy(c + i * ldc, local + i * PTA_PANEL, (size_t)columns * sizeof(float));
}

static void small_pack(void *packed, pta_matrix b, int64_t k, int64_t n) {
    const int64_t padded = pta_round_up(k, STEP);
    for (int64_t j = 0; j < n; j += PTA_PANEL)
        pta_dot_panel((pta_bf16 *)packed + j * padded, pta_at(b, 0, j), pta_min(PTA_PANEL, n - j), k, padded);
}

static void small_multiply(float *c, int64_t ldc, pta_matrix a, bool transposed, const void *packed, int64_t b_rows,
                           int64_t m, int64_t n, int64_t k, bool accumulate) {
    uint32_t rows[SMALL_ROWS * SMALL_STRIDE] __attribute__((aligned(64)));
    const int64_t panel = pta_round_up(b_rows, STEP);
    begin();
    for (int64_t i0 = 0; i0 < m; i0 += SMALL_ROWS)
        for (int64_t k0 = 0; k0 < k; k0 += SMALL_DEPTH) {
            const int64_t height = pta_min(SMALL_ROWS, m - i0), depth = pta_min(SMALL_DEPTH, k - k0);
            const int64_t padded = pta_round_up(depth, STEP), stride = padded / 2 + HALF;
            pack_small(rows, stride, transposed ? pta_at(a, k0, i0) : pta_at(a, i0, k0), transposed, height, depth, padded);
            for (int64_t j = 0; j < n; j += PTA_PANEL) {
                const int64_t columns = pta_min(PTA_PANEL, n - j);
                for (int64_t i = 0; i < height; i += ROWS) {
                    const int64_t here = pta_min(ROWS, height - i);
                    pta_tile t = {.c = c + (i0 + i) * ldc + j, .ldc = ldc, .accumulate = accumulate || k0 > 0,
                                  .a = rows + i * stride, .b = (const pta_bf16 *)packed + j * panel + k0 * PTA_PANEL,
                                  .row_stride = stride, .depth = padded};
                    if (columns == PTA_PANEL && here % HALF == 0)
                        tile(&t, (int)here);
                    else
                        tile_beside(&t, here, columns);
                }
            }
        }
    end();
}

static const pta_small small = {small_pack, small_multiply};

const pta_kernel pta_amx = {.name = "amx-bf16", .rows = ROWS, .row_step = HALF, .step = STEP, .a_size = 2, .b_size = 2,
                            .block = 1024, .rows_only = true, .tile = tile, .pack_rows = pta_dot_rows,
                            .pack_columns = pack_columns, .pack_panel = pta_dot_panel, .pack_weights = pta_dot_weights,
                            .round = pta_dot_round, .begin = begin, .end = end, .small = &small};
#endif
