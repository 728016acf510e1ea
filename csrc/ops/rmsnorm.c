/* Root-mean-square norm. With n = x·rstd:  dw += Σ_t dy·n,  dx = rstd · (dy·w − n · mean(dy·w·n)). */
#include <math.h>
#include <string.h>

#include "../core/target.h"
#include "../core/threads.h"
#include "ops.h"
#include "reduce.h"

PTA_CLONES static float rms_row(float *y, const float *x, const float *w, int64_t C, float eps) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < C; c++) sum += x[c] * x[c];
    float rstd = 1.0f / sqrtf(sum / (float)C + eps);
#pragma omp simd
    for (int64_t c = 0; c < C; c++) y[c] = x[c] * rstd * w[c];
    return rstd;
}

void pta_rmsnorm_forward(float *y, float *rstd, const float *x, const float *w, int64_t T, int64_t C, float eps) {
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (T * C > 8192)
    for (int64_t t = 0; t < T; t++) {
        float r = rms_row(y + t * C, x + t * C, w, C, eps);
        if (rstd) rstd[t] = r;
    }
}

PTA_CLONES static void rms_row_backward(float *restrict dx, float *restrict dw, const float *restrict dy,
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

void pta_rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x, const float *rstd, const float *w,
                          float *scratch, int64_t T, int64_t C) {
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (T * C > 8192)
    for (int64_t b = 0; b < PTA_ROW_BLOCKS; b++) {
        float *partial = scratch + b * C;
        memset(partial, 0, (size_t)C * sizeof(float));
        int64_t first, last;
        pta_row_block(&first, &last, b, T);
        for (int64_t t = first; t < last; t++)
            rms_row_backward(dx + t * C, partial, dy + t * C, x + t * C, rstd[t], w, C);
    }
    pta_add_blocks(dw, scratch, C, C);
}
