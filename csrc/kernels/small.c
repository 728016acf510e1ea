/* Attention's products with the tiles of the bfloat16 kernel in use. */
#include "small.h"

#include <string.h>

#include "kernel.h"

enum { GAP = 16 /* words between rows: other sets of the cache */ };

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

pta_small_a pta_small_left(void *room, pta_matrix a, bool transposed, int64_t m, int64_t depth) {
    const pta_kernel *k = in_use();
    const int64_t padded = pta_round_up(depth, k->step), stride = pta_round_up(padded / 2, GAP) + GAP;
    const bool natural = transposed && !k->rows_only; /* pack_columns' form: [step][rows] */
    const pta_small_a packed = {room, k->rows * stride, natural ? 1 : stride, natural ? k->rows : 1};
    uint32_t *to = room;
    for (int64_t i = 0; i < m; i += k->rows, to += packed.each) {
        const int64_t here = pta_min(k->rows, m - i);
        if (transposed)
            k->pack_columns(to, stride, pta_at(a, 0, i), here, depth, padded);
        else
            k->pack_rows(to, stride, pta_at(a, i, 0), here, depth, padded);
        if (!transposed && here < k->rows && k->row_step > 1) /* the tile reads further rows */
            memset(to + here * stride, 0, (size_t)((pta_round_up(here, k->row_step) - here) * stride) * sizeof *to);
    }
    return packed;
}

/* A tile where the result is smaller than what the kernel writes. */
static void tile_beside(const pta_kernel *k, pta_tile t, int64_t rows, int64_t columns) {
    float local[PTA_MOST_ROWS * PTA_PANEL] __attribute__((aligned(64)));
    float *c = t.c;
    const int64_t ldc = t.ldc;
    memset(local, 0, sizeof local);
    for (int64_t i = 0; t.accumulate && i < rows; i++)
        memcpy(local + i * PTA_PANEL, c + i * ldc, (size_t)columns * sizeof(float));
    t.c = local, t.ldc = PTA_PANEL;
    k->tile(&t, (int)pta_round_up(rows, k->row_step));
    for (int64_t i = 0; i < rows; i++) memcpy(c + i * ldc, local + i * PTA_PANEL, (size_t)columns * sizeof(float));
}

void pta_small_multiply(float *c, int64_t ldc, pta_small_a a, const void *packed, int64_t b_rows, int64_t m, int64_t n, int64_t k,
                        bool accumulate) {
    const pta_kernel *kernel = in_use();
    const int64_t panel = pta_round_up(b_rows, PTA_DEPTH_STEP);
    pta_tile t = {.ldc = ldc, .accumulate = accumulate, .row_stride = a.row, .step_stride = a.step,
                  .depth = pta_round_up(k, kernel->step)};
    if (kernel->begin) kernel->begin();
    for (int64_t j = 0; j < n; j += PTA_PANEL) {
        const int64_t columns = pta_min(PTA_PANEL, n - j);
        t.a = a.data;
        t.b = (const pta_bf16 *)packed + j * panel;
        t.ahead = t.b; /* near already */
        for (int64_t i = 0; i < m; i += kernel->rows, t.a = (const uint32_t *)t.a + a.each) {
            const int64_t here = pta_min(kernel->rows, m - i);
            t.c = c + i * ldc + j;
            if (columns == PTA_PANEL && (here == kernel->rows || kernel->row_step == 1))
                kernel->tile(&t, (int)here);
            else
                tile_beside(kernel, t, here, columns);
        }
    }
    if (kernel->end) kernel->end();
}
