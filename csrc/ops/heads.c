/* Bias, per-head norm and rotary embedding of q and k; bias of v.
 *
 * Rotation pairs component i with i + D/2 (the halves, as Hugging Face's Llama and Qwen do):
 *   y[i] = x[i]·cos − x[i+D/2]·sin,   y[i+D/2] = x[i+D/2]·cos + x[i]·sin.   Its inverse has −sin.
 */
#include <math.h>
#include <string.h>

#include "../core/target.h"
#include "../core/threads.h"
#include "ops.h"
#include "reduce.h"

PTA_INLINE void rotate(float *restrict x, const float *restrict cosine, const float *restrict sine, float direction,
                          int64_t half) {
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half], s = sine[i] * direction;
        x[i] = a * cosine[i] - b * s;
        x[i + half] = b * cosine[i] + a * s;
    }
}

typedef struct {
    int64_t H, K, D;
    float eps;
    const float *bias, *q_norm, *k_norm;
} heads;

PTA_CLONES static void token_forward(float *restrict qkv, float *restrict raw, float *restrict rstd, const heads *p,
                                     const float *restrict angle) {
    int64_t D = p->D, rotated = (p->H + p->K) * D, width = rotated + p->K * D;
    if (p->bias) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) qkv[i] += p->bias[i];
    }
    if (raw) memcpy(raw, qkv, (size_t)rotated * sizeof(float));
    for (int64_t h = 0; h < p->H + p->K; h++) {
        float *x = qkv + h * D;
        const float *w = h < p->H ? p->q_norm : p->k_norm;
        if (w) {
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < D; i++) sum += x[i] * x[i];
            float r = 1.0f / sqrtf(sum / (float)D + p->eps);
#pragma omp simd
            for (int64_t i = 0; i < D; i++) x[i] *= r * w[i];
            if (rstd) rstd[h] = r;
        }
        rotate(x, angle, angle + D / 2, 1.0f, D / 2);
    }
}

void pta_heads_forward(float *qkv, float *raw, float *rstd, const float *bias, const float *q_norm,
                       const float *k_norm, const float *rope, const int32_t *position, int64_t T, int64_t H, int64_t K,
                       int64_t D, float eps) {
    const heads p = {H, K, D, eps, bias, q_norm, k_norm};
    int64_t width = (H + 2 * K) * D, rotated = (H + K) * D;
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (T * width > 8192)
    for (int64_t t = 0; t < T; t++)
        token_forward(qkv + t * width, raw ? raw + t * rotated : NULL, rstd ? rstd + t * (H + K) : NULL, &p,
                      rope + (int64_t)position[t] * D);
}

/* dbias[(H+2K)·D] and dnorm[2D] (q then k) are this block's partial sums. */
PTA_CLONES static void token_backward(float *restrict dqkv, float *restrict dbias, float *restrict dnorm,
                                      const float *restrict raw, const float *restrict rstd, const heads *p,
                                      const float *restrict angle) {
    int64_t D = p->D, width = (p->H + 2 * p->K) * D;
    for (int64_t h = 0; h < p->H + p->K; h++) {
        float *restrict dx = dqkv + h * D;
        rotate(dx, angle, angle + D / 2, -1.0f, D / 2);
        const float *restrict w = h < p->H ? p->q_norm : p->k_norm;
        if (!w) continue;
        const float *restrict x = raw + h * D;
        float *restrict dw = dnorm + (h < p->H ? 0 : D);
        float r = rstd[h], dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < D; i++) dot += dx[i] * w[i] * x[i];
        float mean = dot * r / (float)D;
#pragma omp simd
        for (int64_t i = 0; i < D; i++) {
            float n = x[i] * r;
            dw[i] += dx[i] * n;
            dx[i] = r * (dx[i] * w[i] - n * mean);
        }
    }
    if (p->bias) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) dbias[i] += dqkv[i];
    }
}

void pta_heads_backward(float *dqkv, float *dbias, float *dq_norm, float *dk_norm, const float *raw, const float *rstd,
                        const float *q_norm, const float *k_norm, const float *rope, const int32_t *position,
                        float *scratch, int64_t T, int64_t H, int64_t K, int64_t D) {
    const heads p = {H, K, D, 0.0f, dbias, q_norm, k_norm};
    int64_t width = (H + 2 * K) * D, rotated = (H + K) * D, stride = width + 2 * D;
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (T * width > 8192)
    for (int64_t b = 0; b < PTA_ROW_BLOCKS; b++) {
        float *partial = scratch + b * stride;
        memset(partial, 0, (size_t)stride * sizeof(float));
        int64_t first, last;
        pta_row_block(&first, &last, b, T);
        for (int64_t t = first; t < last; t++)
            token_backward(dqkv + t * width, partial, partial + width, raw ? raw + t * rotated : NULL,
                           rstd ? rstd + t * (H + K) : NULL, &p, rope + (int64_t)position[t] * D);
    }
    if (dbias) pta_add_blocks(dbias, scratch, stride, width);
    if (q_norm) {
        pta_add_blocks(dq_norm, scratch + width, stride, D);
        pta_add_blocks(dk_norm, scratch + width + D, stride, D);
    }
}
