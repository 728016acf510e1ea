/* Attention's products with the tiles of the bfloat16 kernel in use: a is packed for a few rows at a time, on the stack. */
#include "small.h"

#include <string.h>

#include "kernel.h"

enum { MOST_ROWS = 64, MOST_DEPTH = 256, GAP = 16 /* words between rows: other sets of the cache */ };

static const pta_kernel *in_use(void) { return pta_kernel_for(PTA_BF16); }

int64_t pta_small_rows(void) {
    const pta_kernel *k = in_use();
    return k ? k->small_rows : 0;
}

void pta_small_pack(void *packed, pta_matrix b, int64_t k, int64_t n) {
    const int64_t padded = pta_round_up(k, PTA_DEPTH_STEP);
    for (int64_t j = 0; j < n; j += PTA_PANEL)
        in_use()->pack_panel((pta_bf16 *)packed + j * padded, pta_at(b, 0, j), pta_min(PTA_PANEL, n - j), k, padded);
}

/* Rows of a, `rows` <= MOST_ROWS of them, a tile's together. Returns the words of a tile's rows. */
static int64_t pack_rows(const pta_kernel *k, uint32_t *to, int64_t stride, pta_matrix a, bool transposed, int64_t rows,
                         int64_t depth, int64_t padded) {
    const int64_t each = k->rows * stride;
    for (int64_t i = 0; i < rows; i += k->rows, to += each) {
        const int64_t here = pta_min(k->rows, rows - i);
        if (transposed) {
            k->pack_columns(to, stride, pta_at(a, 0, i), here, depth, padded);
        } else {
            k->pack_rows(to, stride, pta_at(a, i, 0), here, depth, padded);
            memset(to + here * stride, 0, (size_t)((pta_round_up(here, k->row_step) - here) * stride) * sizeof *to);
        }
    }
    return each;
}

/* A tile where the result is smaller than what the kernel writes. */
static void tile_beside(const pta_kernel *k, pta_tile *t, int64_t rows, int64_t columns) {
    float local[PTA_MOST_ROWS * PTA_PANEL] __attribute__((aligned(64)));
    float *c = t->c;
    const int64_t ldc = t->ldc;
    memset(local, 0, sizeof local);
    for (int64_t i = 0; t->accumulate && i < rows; i++)
        memcpy(local + i * PTA_PANEL, c + i * ldc, (size_t)columns * sizeof(float));
    t->c = local, t->ldc = PTA_PANEL;
    k->tile(t, (int)pta_round_up(rows, k->row_step));
    for (int64_t i = 0; i < rows; i++) memcpy(c + i * ldc, local + i * PTA_PANEL, (size_t)columns * sizeof(float));
}

void pta_small_multiply(float *c, int64_t ldc, pta_matrix a, bool transposed, const void *packed, int64_t b_rows, int64_t m,
                        int64_t n, int64_t k, bool accumulate) {
    uint32_t rows[MOST_ROWS * (MOST_DEPTH / 2 + GAP)] __attribute__((aligned(64)));
    const pta_kernel *kernel = in_use();
    const int64_t panel = pta_round_up(b_rows, PTA_DEPTH_STEP), together = MOST_ROWS / kernel->rows * kernel->rows;
    const bool natural = transposed && !kernel->rows_only; /* pack_columns' form: [step][rows] */
    if (kernel->begin) kernel->begin();
    for (int64_t i0 = 0; i0 < m; i0 += together)
        for (int64_t k0 = 0; k0 < k; k0 += MOST_DEPTH) {
            const int64_t height = pta_min(together, m - i0), depth = pta_min(MOST_DEPTH, k - k0);
            const int64_t padded = pta_round_up(depth, kernel->step), stride = pta_round_up(padded / 2, GAP) + GAP;
            const pta_matrix from = transposed ? pta_at(a, k0, i0) : pta_at(a, i0, k0);
            const int64_t each = pack_rows(kernel, rows, stride, from, transposed, height, depth, padded);
            for (int64_t j = 0; j < n; j += PTA_PANEL) {
                const int64_t columns = pta_min(PTA_PANEL, n - j);
                for (int64_t i = 0; i < height; i += kernel->rows) {
                    const int64_t here = pta_min(kernel->rows, height - i);
                    pta_tile t = {.c = c + (i0 + i) * ldc + j, .ldc = ldc, .accumulate = accumulate || k0 > 0,
                                  .a = rows + i / kernel->rows * each,
                                  .b = (const pta_bf16 *)packed + j * panel + k0 * PTA_PANEL,
                                  .row_stride = natural ? 1 : stride, .step_stride = natural ? kernel->rows : 1,
                                  .depth = padded};
                    t.ahead = t.b; /* near already */
                    if (columns == PTA_PANEL && here % kernel->row_step == 0)
                        kernel->tile(&t, (int)here);
                    else
                        tile_beside(kernel, &t, here, columns);
                }
            }
        }
    if (kernel->end) kernel->end();
}
