/* Bias, per-head norm and rotary embedding of q and k; bias of v.
 *
 * Rotation pairs component i with i + D/2 (the halves, as Hugging Face's Llama and Qwen do):
 *   y[i] = x[i]·cos − x[i+D/2]·sin,   y[i+D/2] = x[i+D/2]·cos + x[i]·sin.   Its inverse has −sin.
 */
#include <math.h>
#include <string.h>

#include "ops.h"
#include "reduce.h"

/* y = rotated x · scale · w (w NULL: 1). y may be x where it is float32. */
PTA_INLINE void rotate(void *y, const float *x, float scale, const float *w, const float *cosine, const float *sine,
                       int64_t half, const pta_dtype dtype) {
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        if (w) a *= scale * w[i], b *= scale * w[i + half];
        pta_store(y, i, a * cosine[i] - b * sine[i], dtype);
        pta_store(y, i + half, b * cosine[i] + a * sine[i], dtype);
    }
}

PTA_INLINE void token_forward(void *qkv, void *raw, float *rstd, const float *x, const pta_heads *p, const float *angle,
                              float *biased, const pta_dtype dtype) {
    const int64_t D = p->D, rotated = (p->H + p->K) * D, width = rotated + p->K * D;
    if (p->bias) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) biased[i] = x[i] + p->bias[i];
        x = biased;
    }
    if (raw)
        for (int64_t i = 0; i < rotated; i++) pta_store(raw, i, x[i], dtype);
    for (int64_t h = 0; h < p->H + p->K; h++) {
        const float *head = x + h * D, *w = h < p->H ? p->q_norm : p->k_norm;
        void *to = (char *)qkv + h * D * pta_dtype_size(dtype);
        if (w) {
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < D; i++) sum += head[i] * head[i];
            float r = 1.0f / sqrtf(sum / (float)D + p->eps);
            if (rstd) rstd[h] = r;
            rotate(to, head, r, w, angle, angle + D / 2, D / 2, dtype);
        } else {
            rotate(to, head, 1.0f, NULL, angle, angle + D / 2, D / 2, dtype);
        }
    }
    for (int64_t i = rotated; i < width; i++) pta_store(qkv, i, x[i], dtype);
}

PTA_CLONES static void token(pta_matrix qkv, void *raw, float *rstd, const float *x, const pta_heads *p,
                             const float *angle, float *biased) {
    if (qkv.dtype == PTA_BF16)
        token_forward(qkv.data, raw, rstd, x, p, angle, biased, PTA_BF16);
    else
        token_forward(qkv.data, raw, rstd, x, p, angle, biased, PTA_F32);
}

void pta_heads_forward(const pta_team *team, pta_matrix qkv, pta_matrix raw, float *rstd, const float *projected,
                       const pta_heads *p, const int32_t *position, int64_t T) {
    int64_t width = (p->H + 2 * p->K) * p->D, first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        token(pta_at(qkv, t, 0), raw.data ? pta_at(raw, t, 0).data : NULL, rstd ? rstd + t * (p->H + p->K) : NULL,
              projected + t * width, p, p->rope + (position ? (int64_t)position[t] * p->D : 0), team->scratch);
}

PTA_INLINE void unrotate(float *restrict x, const float *restrict cosine, const float *restrict sine, int64_t half) {
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] + b * sine[i];
        x[i + half] = b * cosine[i] - a * sine[i];
    }
}

PTA_INLINE void norm_backward(float *restrict dx, float *restrict dw, const void *raw, float r, const float *restrict w,
                              int64_t D, const pta_dtype dtype) {
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < D; i++) dot += dx[i] * w[i] * pta_load(raw, i, dtype);
    float mean = dot * r / (float)D;
#pragma omp simd
    for (int64_t i = 0; i < D; i++) {
        float n = pta_load(raw, i, dtype) * r;
        dw[i] += dx[i] * n;
        dx[i] = r * (dx[i] * w[i] - n * mean);
    }
}

/* dbias[(H+2K)·D] and dnorm[2D] (q then k) are this block's partial sums. */
PTA_CLONES static void token_backward(float *restrict dqkv, float *restrict dbias, float *restrict dnorm,
                                      pta_matrix raw, const float *restrict rstd, const pta_heads *p,
                                      const float *restrict angle) {
    int64_t D = p->D, width = (p->H + 2 * p->K) * D;
    for (int64_t h = 0; h < p->H + p->K; h++) {
        float *restrict dx = dqkv + h * D;
        unrotate(dx, angle, angle + D / 2, D / 2);
        const float *restrict w = h < p->H ? p->q_norm : p->k_norm;
        if (!w) continue;
        float *restrict dw = dnorm + (h < p->H ? 0 : D);
        if (raw.dtype == PTA_BF16)
            norm_backward(dx, dw, pta_at(raw, 0, h * D).data, rstd[h], w, D, PTA_BF16);
        else
            norm_backward(dx, dw, pta_at(raw, 0, h * D).data, rstd[h], w, D, PTA_F32);
    }
    if (p->bias) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) dbias[i] += dqkv[i];
    }
}

void pta_heads_backward(const pta_team *team, float *dqkv, float *dbias, float *dq_norm, float *dk_norm, pta_matrix raw,
                        const float *rstd, const pta_heads *p, const int32_t *position, float *scratch, int64_t T) {
    int64_t D = p->D, width = (p->H + 2 * p->K) * D, stride = width + 2 * D, first, last;
    pta_team_share(team, PTA_ROW_BLOCKS, 1, &first, &last);
    for (int64_t b = first; b < last; b++) {
        float *partial = scratch + b * stride;
        memset(partial, 0, (size_t)stride * sizeof(float));
        int64_t from, to;
        pta_row_block(&from, &to, b, T);
        for (int64_t t = from; t < to; t++)
            token_backward(dqkv + t * width, partial, partial + width, raw.data ? pta_at(raw, t, 0) : raw,
                           rstd ? rstd + t * (p->H + p->K) : NULL, p, p->rope + (position ? (int64_t)position[t] * D : 0));
    }
    pta_team_barrier(team);
    if (dbias) pta_add_blocks(team, dbias, scratch, stride, width);
    if (dq_norm) {
        pta_add_blocks(team, dq_norm, scratch + width, stride, D);
        pta_add_blocks(team, dk_norm, scratch + width + D, stride, D);
    }
}
