/* One variant of tile.c's product, included once for each instruction set with
 *     VARIANT  the function's name      TARGET  its attribute         WIDTH  floats of a vector
 *     ROWS, COLUMNS  rows and vectors of the result that stay in registers while k runs: COLUMNS loads of b and ROWS
 *     broadcasts of a serve ROWS · COLUMNS multiply-adds (ROWS at most 6, COLUMNS 4 or 2)
 * No include guard: it is meant to be included again.
 */
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define vector JOIN(VARIANT, vector)
#define block JOIN(VARIANT, block)
#define columns_of JOIN(VARIANT, columns_of)
#define product JOIN(VARIANT, product)

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

PTA_INLINE void block(const operands *o, int64_t i, int64_t j, int64_t row, int64_t step, const int M, const int V) {
    vector sum[6][4];
    float *c = o->c + i * o->ldc + j;
    const float *a = o->a + i * row, *b = o->b + j;
    const int64_t ldc = o->ldc, ldb = o->ldb;
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            sum[r][v] = o->accumulate ? *(vector *)(c + r * ldc + v * WIDTH) : (vector){0};
    for (int64_t l = o->k; l > 0; l--, a += step, b += ldb) {
        vector column[4];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) column[v] = *(const vector *)(b + v * WIDTH);
#pragma GCC unroll 6
        for (int r = 0; r < M; r++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) sum[r][v] += column[v] * a[r * row];
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) *(vector *)(c + r * ldc + v * WIDTH) = sum[r][v];
}

/* All rows of V vectors of columns, from column j on. */
PTA_INLINE void columns_of(const operands *o, int64_t m, int64_t j, const int V, const bool by_rows) {
    const int64_t row = by_rows ? o->row : 1, step = by_rows ? 1 : o->step;
    int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS) block(o, i, j, row, step, ROWS, V);
    if (ROWS > 5 && m - i == 5) block(o, i, j, row, step, 5, V);
    if (ROWS > 4 && m - i == 4) block(o, i, j, row, step, 4, V);
    if (ROWS > 3 && m - i == 3) block(o, i, j, row, step, 3, V);
    if (ROWS > 2 && m - i == 2) block(o, i, j, row, step, 2, V);
    if (ROWS > 1 && m - i == 1) block(o, i, j, row, step, 1, V);
}

/* Returns the first column that is left: less than a vector of them remains. */
PTA_INLINE int64_t product(const operands *o, int64_t m, int64_t n, const bool by_rows) {
    int64_t j = 0;
    for (; COLUMNS > 2 && j + 4 * WIDTH <= n; j += 4 * WIDTH) columns_of(o, m, j, 4, by_rows);
    for (; j + 2 * WIDTH <= n; j += 2 * WIDTH) columns_of(o, m, j, 2, by_rows);
    for (; j + WIDTH <= n; j += WIDTH) columns_of(o, m, j, 1, by_rows);
    return j;
}

TARGET static void VARIANT(const operands *o, int64_t m, int64_t n) {
    const int64_t j = o->step == 1 ? product(o, m, n, true) : product(o, m, n, false);
    /* The columns that are left side by side: a loop over k alone would be vectorised into products and ordered sums, whose
     * bits differ from multiply-adds and depend on k. */
    for (int64_t i = 0; i < m && j < n; i++) {
        float sum[WIDTH] = {0};
        for (int64_t e = j; e < n; e++) sum[e - j] = o->accumulate ? o->c[i * o->ldc + e] : 0.0f;
        for (int64_t l = 0; l < o->k; l++)
            for (int64_t e = j; e < n; e++) sum[e - j] += o->b[l * o->ldb + e] * o->a[i * o->row + l * o->step];
        for (int64_t e = j; e < n; e++) o->c[i * o->ldc + e] = sum[e - j];
    }
}

#undef vector
#undef block
#undef columns_of
#undef product
#undef VARIANT
#undef TARGET
#undef WIDTH
#undef ROWS
#undef COLUMNS
