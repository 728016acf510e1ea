/* Dot products along k, which is contiguous in x and in w: nothing is packed, w is read once. A tile of 3 rows and 2
 * columns keeps 6 vector sums in registers (12 on AVX2); the lanes of a sum are added up at the end, always alike. */
#include "skinny.h"

#include "target.h"
#include "threads.h"

enum { LANES = 16, ROWS = 3, COLUMNS = 2, AHEAD = 512 /* floats of w to prefetch: 2 KiB */, BLOCK = 16 };

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef float memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

PTA_INLINE float add_lanes(const float *s) {
    float a[8], b[4];
    for (int i = 0; i < 8; i++) a[i] = s[i] + s[i + 8];
    for (int i = 0; i < 4; i++) b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/* R rows of y at column 0 .. N-1. R and N are constants at every call. */
PTA_INLINE void tile(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t k, bool accumulate,
                     const int R, const int N) {
    lanes s00 = {0}, s01 = {0}, s10 = {0}, s11 = {0}, s20 = {0}, s21 = {0};
    const float *v = N > 1 ? w + k : w;
    const float *x1 = R > 1 ? x + ldx : x, *x2 = R > 2 ? x + 2 * ldx : x;
    int64_t i = 0;
    for (; i + LANES <= k; i += LANES) {
        __builtin_prefetch(w + i + AHEAD);
        lanes w0 = *(const memory *)(w + i), a = *(const memory *)(x + i);
        s00 += w0 * a;
        lanes w1 = w0;
        if (N > 1) {
            __builtin_prefetch(v + i + AHEAD);
            w1 = *(const memory *)(v + i);
            s01 += w1 * a;
        }
        if (R > 1) {
            a = *(const memory *)(x1 + i);
            s10 += w0 * a;
            if (N > 1) s11 += w1 * a;
        }
        if (R > 2) {
            a = *(const memory *)(x2 + i);
            s20 += w0 * a;
            if (N > 1) s21 += w1 * a;
        }
    }
    lanes sums[ROWS][COLUMNS] = {{s00, s01}, {s10, s11}, {s20, s21}};
    for (int r = 0; r < R; r++)
        for (int c = 0; c < N; c++) {
            float sum = add_lanes((const float *)&sums[r][c]);
            for (int64_t j = i; j < k; j++) sum += x[r * ldx + j] * w[c * k + j];
            float *to = y + r * ldy + c;
            *to = accumulate ? *to + sum : sum;
        }
}

/* Columns 0 .. n-1 of all rows; w's rows of a tile stay in cache while the rows of x pass by. */
PTA_CLONES static void columns(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t m, int64_t n,
                               int64_t k, bool accumulate) {
    int64_t j = 0;
    for (; j + COLUMNS <= n; j += COLUMNS) {
        int64_t r = 0;
        for (; r + ROWS <= m; r += ROWS)
            tile(y + r * ldy + j, ldy, x + r * ldx, ldx, w + j * k, k, accumulate, ROWS, COLUMNS);
        if (m - r == 2) tile(y + r * ldy + j, ldy, x + r * ldx, ldx, w + j * k, k, accumulate, 2, COLUMNS);
        if (m - r == 1) tile(y + r * ldy + j, ldy, x + r * ldx, ldx, w + j * k, k, accumulate, 1, COLUMNS);
    }
    for (; j < n; j++)
        for (int64_t r = 0; r < m; r++) tile(y + r * ldy + j, ldy, x + r * ldx, ldx, w + j * k, k, accumulate, 1, 1);
}

void pta_skinny_forward(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t m, int64_t n,
                        int64_t k, bool accumulate) {
    if (m == 0 || n == 0) return;
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (m * n * k > 32768)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * BLOCK, count = n - first < BLOCK ? n - first : BLOCK;
        columns(y + first, ldy, x, ldx, w + first * k, m, count, k, accumulate);
    }
}
