/* The tile of kernels that add products of floats, for vectors of LANES floats and TILE_ROWS × 2 vectors of sums in
 * registers (defined by the including file): PTA_INLINE void fma_tile(t, rows, pairs). */
#include "pack.h"

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef float lanes_of_c __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float lanes_of_b __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t pairs_of_b __attribute__((vector_size(4 * LANES), may_alias));

#define UNROLL _Pragma("GCC unroll 16")

/* s[i][·] += a(i) · b for R rows. Rows are reached from every third one: base, base + stride, base + 2 · stride. */
PTA_INLINE void add_step(lanes s[][2], const float *const *a, int64_t stride, const lanes *b, const int R) {
    UNROLL for (int i = 0; i < R; i++) {
        const float x = a[i / 3][i % 3 * stride];
        s[i][0] += x * b[0];
        s[i][1] += x * b[1];
    }
}

/* R rows and 2 · LANES columns; R and pairs are constants at every call. */
PTA_INLINE void registers(const pta_tile *t, int row, int column, const int R, const bool pairs) {
    lanes s[TILE_ROWS][2];
    const int64_t stride = t->row_stride, step = t->step_stride, b_step = pairs ? PTA_PANEL : t->b_stride;
    const float *a[TILE_ROWS / 3 + 1], *b = (const float *)t->b + column;
    float *c = t->c + row * t->ldc + column;
    const char *ahead = t->ahead;
    UNROLL for (int i = 0; i < R; i += 3) a[i / 3] = (const float *)t->a + (row + i) * stride;
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int v = 0; v < 2; v++) {
            s[i][v] = (lanes){0};
            if (t->accumulate) s[i][v] = *(const lanes_of_c *)(c + i * t->ldc + v * LANES);
        }
    for (int64_t k = 0; k < t->depth; k += pairs ? 2 : 1, b += b_step) {
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + 64);
        ahead += t->ahead_step;
        lanes w[2];
        if (pairs) { /* a bfloat16 is the upper half of a float */
            const pairs_of_b p[2] = {*(const pairs_of_b *)b, *(const pairs_of_b *)(b + LANES)};
            UNROLL for (int v = 0; v < 2; v++) w[v] = (lanes)(p[v] << 16);
            add_step(s, a, stride, w, R);
            UNROLL for (int i = 0; i < R; i += 3) a[i / 3] += step;
            UNROLL for (int v = 0; v < 2; v++) w[v] = (lanes)(p[v] & 0xffff0000u);
        } else {
            UNROLL for (int v = 0; v < 2; v++) w[v] = *(const lanes_of_b *)(b + v * LANES);
        }
        add_step(s, a, stride, w, R);
        UNROLL for (int i = 0; i < R; i += 3) a[i / 3] += step;
    }
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int v = 0; v < 2; v++) *(lanes_of_c *)(c + i * t->ldc + v * LANES) = s[i][v];
}

PTA_INLINE void fma_tile(const pta_tile *t, int rows, const bool pairs) {
    for (int row = 0; row < rows; row += TILE_ROWS)
        for (int column = 0; column < PTA_PANEL; column += 2 * LANES)
            switch (rows - row) {
#define CASE(R) case R: registers(t, row, column, R, pairs); break;
                CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
#if TILE_ROWS > 6
                CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
#endif
            default: registers(t, row, column, TILE_ROWS, pairs);
#undef CASE
            }
}
