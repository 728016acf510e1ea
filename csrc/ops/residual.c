#include <string.h>

#include "ops.h"
#include "reduce.h"

void pta_copy_rows(const pta_team *team, float *to, const float *from, int64_t T, int64_t N) {
    if (to == from) return;
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    memcpy(to + first * N, from + first * N, (size_t)((last - first) * N) * sizeof(float));
}

PTA_INLINE void add_row(void *y, const float *b, int64_t N, const pta_dtype dtype) {
#pragma omp simd
    for (int64_t i = 0; i < N; i++) pta_store(y, i, pta_load(y, i, dtype) + b[i], dtype);
}

PTA_CLONES static void row(pta_matrix y, const float *b, int64_t N) {
    if (y.dtype == PTA_BF16)
        add_row(y.data, b, N, PTA_BF16);
    else
        add_row(y.data, b, N, PTA_F32);
}

void pta_bias_forward(const pta_team *team, pta_matrix y, const float *b, int64_t T, int64_t N) {
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) row(pta_at(y, t, 0), b, N);
}

PTA_INLINE void sum_row(float *restrict to, const void *from, int64_t N, const pta_dtype dtype) {
#pragma omp simd
    for (int64_t i = 0; i < N; i++) to[i] += pta_load(from, i, dtype);
}

PTA_CLONES static void sum_rows(float *restrict to, pta_matrix from, int64_t rows, int64_t N) {
    for (int64_t t = 0; t < rows; t++)
        if (from.dtype == PTA_BF16)
            sum_row(to, pta_at(from, t, 0).data, N, PTA_BF16);
        else
            sum_row(to, pta_at(from, t, 0).data, N, PTA_F32);
}

void pta_bias_backward(const pta_team *team, float *db, pta_matrix dy, float *scratch, int64_t T, int64_t N) {
    int64_t first, last;
    pta_team_share(team, PTA_ROW_BLOCKS, 1, &first, &last);
    for (int64_t b = first; b < last; b++) {
        int64_t from, to;
        pta_row_block(&from, &to, b, T);
        memset(scratch + b * N, 0, (size_t)N * sizeof(float));
        sum_rows(scratch + b * N, pta_at(dy, from, 0), to - from, N);
    }
    pta_team_barrier(team);
    pta_add_blocks(team, db, scratch, N, N);
    pta_team_barrier(team);
}
