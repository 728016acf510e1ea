/* The three products by a plain loop: one row and 32 columns of the result at a time. */
#include "linear.h"

#include <string.h>

enum { COLUMNS = 32, BLOCK = 256 };

static int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

PTA_INLINE float as_type(float value, pta_dtype compute) {
    return compute == PTA_BF16 ? pta_widen(pta_round_bf16(value)) : value;
}

PTA_INLINE float element(pta_matrix m, int64_t row, int64_t column) {
    int64_t at = row * m.ld + column;
    return m.dtype == PTA_BF16 ? pta_widen(((const pta_bf16 *)m.data)[at]) : ((const float *)m.data)[at];
}

static void load(float *sums, pta_matrix y, int64_t row, int64_t column, int64_t count, bool accumulate) {
    for (int64_t j = 0; j < COLUMNS; j++) sums[j] = accumulate && j < count ? element(y, row, column + j) : 0.0f;
}

static void store(pta_matrix y, int64_t row, int64_t column, const float *sums, int64_t count) {
    int64_t at = row * y.ld + column;
    for (int64_t j = 0; j < count; j++) {
        if (y.dtype == PTA_BF16) ((pta_bf16 *)y.data)[at + j] = pta_round_bf16(sums[j]);
        else ((float *)y.data)[at + j] = sums[j];
    }
}

/* sums[j] += Σ a[i] · b[i][j], in order. */
PTA_CLONES static void add_products(float *sums, const float *a, const float *b, int64_t count) {
    float s[COLUMNS];
    memcpy(s, sums, sizeof s);
    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < COLUMNS; j++) s[j] += a[i] * b[i * COLUMNS + j];
    memcpy(sums, s, sizeof s);
}

int64_t pta_packed_bytes(pta_dtype dtype, int64_t N, int64_t K) {
    return round_up(N, COLUMNS) * round_up(K, COLUMNS) * pta_dtype_size(dtype);
}

/* Panels of 32 columns; float32 [K][32], bfloat16 [K/2][32][2]; zeros where N or K end. */
static int64_t packed_at(const pta_packed *w, int64_t n, int64_t k) {
    int64_t panel = n / COLUMNS * COLUMNS * round_up(w->K, COLUMNS), j = n % COLUMNS;
    return panel + (w->dtype == PTA_BF16 ? k / 2 * 2 * COLUMNS + 2 * j + k % 2 : k * COLUMNS + j);
}

void pta_linear_pack_panels(pta_packed *packed, const float *w, int64_t first, int64_t count) {
    int64_t K = packed->K;
    for (int64_t n = first * COLUMNS; n < (first + count) * COLUMNS; n++)
        for (int64_t k = 0; k < round_up(K, COLUMNS); k++) {
            float value = n < packed->N && k < K ? w[n * K + k] : 0.0f;
            int64_t at = packed_at(packed, n, k);
            if (packed->dtype == PTA_BF16) ((pta_bf16 *)packed->data)[at] = pta_round_bf16(value);
            else ((float *)packed->data)[at] = value;
        }
}

void pta_linear_pack(const pta_team *team, pta_packed *packed, const float *w) {
    int64_t first, last;
    pta_team_share(team, round_up(packed->N, COLUMNS) / COLUMNS, 1, &first, &last);
    pta_linear_pack_panels(packed, w, first, last - first);
}

void pta_linear_forward(const pta_team *team, pta_matrix y, pta_matrix x, const pta_packed *w, int64_t M,
                        bool accumulate) {
    float a[BLOCK], b[BLOCK * COLUMNS], sums[COLUMNS];
    int64_t first, last;
    pta_team_share(team, w->N, COLUMNS, &first, &last);
    for (int64_t n = first; n < last; n += COLUMNS) {
        int64_t count = smaller(COLUMNS, w->N - n);
        for (int64_t i = 0; i < M; i++) {
            load(sums, y, i, n, count, accumulate);
            for (int64_t k0 = 0; k0 < w->K; k0 += BLOCK) {
                int64_t block = smaller(BLOCK, w->K - k0);
                for (int64_t k = 0; k < block; k++) {
                    a[k] = as_type(element(x, i, k0 + k), w->dtype);
                    for (int j = 0; j < COLUMNS; j++) {
                        int64_t at = packed_at(w, n + j, k0 + k);
                        b[k * COLUMNS + j] = w->dtype == PTA_BF16 ? pta_widen(((const pta_bf16 *)w->data)[at])
                                                                  : ((const float *)w->data)[at];
                    }
                }
                add_products(sums, a, b, block);
            }
            store(y, i, n, sums, count);
        }
    }
}

/* c[rows,columns] (+)= Σ_k a(row, k) · b[k, column] for this thread's rows; a transposed when `transpose`. */
static void product(const pta_team *team, pta_matrix c, pta_matrix a, pta_matrix b, int64_t rows, int64_t columns,
                    int64_t depth, bool transpose, pta_dtype compute, bool accumulate) {
    float left[BLOCK], right[BLOCK * COLUMNS], sums[COLUMNS];
    int64_t first, last;
    pta_team_share(team, rows, 1, &first, &last);
    for (int64_t i = first; i < last; i++)
        for (int64_t j0 = 0; j0 < columns; j0 += COLUMNS) {
            int64_t count = smaller(COLUMNS, columns - j0);
            load(sums, c, i, j0, count, accumulate);
            for (int64_t k0 = 0; k0 < depth; k0 += BLOCK) {
                int64_t block = smaller(BLOCK, depth - k0);
                for (int64_t k = 0; k < block; k++) {
                    left[k] = as_type(transpose ? element(a, k0 + k, i) : element(a, i, k0 + k), compute);
                    for (int j = 0; j < COLUMNS; j++)
                        right[k * COLUMNS + j] = j < count ? as_type(element(b, k0 + k, j0 + j), compute) : 0.0f;
                }
                add_products(sums, left, right, block);
            }
            store(c, i, j0, sums, count);
        }
}

void pta_linear_dinput(const pta_team *team, pta_matrix dx, pta_matrix dy, const float *w, int64_t M, int64_t N,
                       int64_t K, pta_dtype compute, bool accumulate) {
    product(team, dx, dy, pta_f32(w, K), M, K, N, false, compute, accumulate);
}

void pta_linear_dweight(const pta_team *team, float *dw, pta_matrix dy, pta_matrix x, int64_t M, int64_t N, int64_t K,
                        pta_dtype compute) {
    product(team, pta_f32(dw, K), dy, x, N, K, M, true, compute, true);
}

const char *pta_kernels_name(pta_dtype dtype) {
    (void)dtype;
    return "portable";
}

pta_code pta_kernels_init(pta_error *err) {
    (void)err;
    return PTA_OK;
}
