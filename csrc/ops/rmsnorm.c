/* Root-mean-square norm. With n = x·rstd:  dw += Σ_t dy·n,  dx = rstd · (dy·w − n · mean(dy·w·n)). */
#include <math.h>
#include <string.h>

#include "ops.h"
#include "reduce.h"

PTA_INLINE float row_forward(void *y, const float *x, const float *w, int64_t C, float eps, const pta_dtype dtype) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < C; c++) sum += x[c] * x[c];
    float rstd = 1.0f / sqrtf(sum / (float)C + eps);
#pragma omp simd
    for (int64_t c = 0; c < C; c++) pta_store(y, c, x[c] * rstd * w[c], dtype);
    return rstd;
}

PTA_CLONES static float row(pta_matrix y, const float *x, const float *w, int64_t C, float eps) {
    return y.dtype == PTA_BF16 ? row_forward(y.data, x, w, C, eps, PTA_BF16) : row_forward(y.data, x, w, C, eps, PTA_F32);
}

void pta_rmsnorm_forward(const pta_team *team, pta_matrix y, float *rstd, const float *x, const float *w, int64_t T,
                         int64_t C, float eps) {
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        float r = row(pta_at(y, t, 0), x + t * C, w, C, eps);
        if (rstd) rstd[t] = r;
    }
}

PTA_CLONES static void row_backward(float *restrict dx, float *restrict dw, const float *restrict dy,
                                    const float *restrict x, float rstd, const float *restrict w, int64_t C) {
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t c = 0; c < C; c++) dot += dy[c] * w[c] * x[c];
    float mean = dot * rstd / (float)C;
#pragma omp simd
    for (int64_t c = 0; c < C; c++) {
        float n = x[c] * rstd;
        dw[c] += dy[c] * n;
        dx[c] += rstd * (dy[c] * w[c] - n * mean);
    }
}

void pta_rmsnorm_backward(const pta_team *team, float *dx, float *dw, const float *dy, const float *x,
                          const float *rstd, const float *w, float *scratch, int64_t T, int64_t C) {
    int64_t first, last;
    pta_team_share(team, PTA_ROW_BLOCKS, 1, &first, &last);
    for (int64_t b = first; b < last; b++) {
        float *partial = scratch + b * C;
        memset(partial, 0, (size_t)C * sizeof(float));
        int64_t from, to;
        pta_row_block(&from, &to, b, T);
        for (int64_t t = from; t < to; t++) row_backward(dx + t * C, partial, dy + t * C, x + t * C, rstd[t], w, C);
    }
    pta_team_barrier(team);
    if (dw) pta_add_blocks(team, dw, scratch, C, C);
}
