/* The operations of a decoder layer, forward and backward side by side. Outputs, then inputs, then sizes.
 *
 * All arrays are float32, row-major. `_backward` functions ADD to weight gradients and OVERWRITE input gradients
 * unless said otherwise. Every function runs over all threads and cannot fail.
 */
#ifndef PTA_OPS_OPS_H
#define PTA_OPS_OPS_H

#include <stdint.h>

/* embedding.c ------------------------------------------------------------------------------------------------ */
/* y[T,C] = table[tokens[t], :] */
void pta_embedding_forward(float *y, const float *table, const int32_t *tokens, int64_t T, int64_t C);
/* dtable[tokens[t], :] += dy[t, :], rows of equal tokens summed in row order for any thread count */
void pta_embedding_backward(float *dtable, const float *dy, const int32_t *tokens, int64_t T, int64_t C);

/* rmsnorm.c -------------------------------------------------------------------------------------------------- */
/* y[T,C] = x · rstd · w, rstd[t] = 1/sqrt(mean(x²) + eps); rstd may be NULL. y may be x. */
void pta_rmsnorm_forward(float *y, float *rstd, const float *x, const float *w, int64_t T, int64_t C, float eps);
/* dx[T,C] += the gradient (ADDS: the residual stream's gradient is there already); dw[C] += …
 * scratch: PTA_ROW_BLOCKS · C floats (core/vmath.h). */
void pta_rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x, const float *rstd, const float *w,
                          float *scratch, int64_t T, int64_t C);

/* heads.c: what happens to q and k between projection and attention, in place on qkv[T, (H+2K)·D] --------------- */
/* Optional bias[(H+2K)·D]; optional RMSNorm of each q and k head with q_norm[D], k_norm[D] (both NULL: none); then
 * rotation of the halves by rope[position, {cos, sin}, D/2]. When raw != NULL, raw[T, (H+K)·D] receives q and k
 * before the norm, and rstd[T, H+K] their 1/rms (needed by backward when there is a norm). */
void pta_heads_forward(float *qkv, float *raw, float *rstd, const float *bias, const float *q_norm,
                       const float *k_norm, const float *rope, const int32_t *position, int64_t T, int64_t H, int64_t K,
                       int64_t D, float eps);
/* dqkv in place: gradient of the rotated (normed) heads -> gradient of the projection's output.
 * dbias, dq_norm, dk_norm may be NULL as in forward. scratch:
 * PTA_ROW_BLOCKS · ((H+2K)·D + 2D) floats. */
void pta_heads_backward(float *dqkv, float *dbias, float *dq_norm, float *dk_norm, const float *raw, const float *rstd,
                        const float *q_norm, const float *k_norm, const float *rope, const int32_t *position,
                        float *scratch, int64_t T, int64_t H, int64_t K, int64_t D);

/* swiglu.c --------------------------------------------------------------------------------------------------- */
/* y[T,F] = silu(gate) · up, with gate_up[T, 2F] = [gate | up] */
void pta_swiglu_forward(float *y, const float *gate_up, int64_t T, int64_t F);
/* dgate_up[T,2F] from dy[T,F]; dgate_up may be gate_up itself */
void pta_swiglu_backward(float *dgate_up, const float *dy, const float *gate_up, int64_t T, int64_t F);

#endif
