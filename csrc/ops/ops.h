/* The operations of a decoder layer (and a vision tower's block), forward and backward side by side. Outputs, then inputs, then sizes.
 *
 * All are team operations (core/team.h): every thread calls them, each does its share, and the caller puts a barrier
 * between one and the next that reads its results. `_backward` functions ADD to weight gradients and OVERWRITE input
 * gradients unless said otherwise. None fails. Activations are matrices of either type (core/dtype.h), computed in
 * float32 and rounded once when stored; parameters, their gradients and the residual stream are float32. A row's result
 * depends on that row alone.
 */
#ifndef PTA_OPS_OPS_H
#define PTA_OPS_OPS_H

#include <stdint.h>

#include "../core/dtype.h"
#include "../core/team.h"

/* embedding.c ------------------------------------------------------------------------------------------------ */
/* y[T,C] = table[tokens[t], :] */
void pta_embedding_forward(const pta_team *team, float *y, pta_matrix table, const int32_t *tokens, int64_t T,
                           int64_t C);
/* dtable[tokens[t], :] += dy[t, :], rows of equal tokens summed in row order */
void pta_embedding_backward(const pta_team *team, float *dtable, const float *dy, const int32_t *tokens, int64_t T,
                            int64_t C);

/* rmsnorm.c -------------------------------------------------------------------------------------------------- */
/* y[T,C] = x · rstd · w, rstd[t] = 1/sqrt(mean(x²) + eps); rstd may be NULL. */
void pta_rmsnorm_forward(const pta_team *team, pta_matrix y, float *rstd, const float *x, const float *w, int64_t T,
                         int64_t C, float eps);
/* dx[T,C] += the gradient (ADDS: the residual stream's gradient is there already); dw[C] += … (NULL: not wanted)
 * scratch: PTA_ROW_BLOCKS · C floats (core/vmath.h). One barrier inside. */
void pta_rmsnorm_backward(const pta_team *team, float *dx, float *dw, const float *dy, const float *x,
                          const float *rstd, const float *w, float *scratch, int64_t T, int64_t C);

/* heads.c: what happens to q and k between projection and attention ------------------------------------------- */
typedef struct {
    int64_t H, K, D;             /* query heads, key heads, head size */
    const float *bias;           /* [(H+2K)·D] or NULL */
    const float *q_norm, *k_norm; /* [D], or NULL: no norm */
    const float *rope;           /* [positions, {cos, sin}, D/2] */
    float eps;
} pta_heads;

/* qkv[T, (H+2K)·D] from projected[T, (H+2K)·D] (may be the same array when qkv is float32): add the bias, norm each q and
 * k head where there is a norm, rotate their halves. When raw.data: raw[T, (H+K)·D] receives q and k before the norm, and
 * rstd[T, H+K] their 1/rms (what backward needs where there is a norm). */
void pta_heads_forward(const pta_team *team, pta_matrix qkv, pta_matrix raw, float *rstd, const float *projected,
                       const pta_heads *heads, const int32_t *position, int64_t T); /* NULL: position 0 for all */
/* dqkv[T, (H+2K)·D] in place: gradient of the rotated (normed) heads -> gradient of the projection's output.
 * dbias, dq_norm (with it dk_norm): NULL where there is none, or not wanted. scratch: PTA_ROW_BLOCKS · ((H+2K)·D + 2D) floats. One barrier inside. */
void pta_heads_backward(const pta_team *team, float *dqkv, float *dbias, float *dq_norm, float *dk_norm, pta_matrix raw,
                        const float *rstd, const pta_heads *heads, const int32_t *position, float *scratch, int64_t T);

/* swiglu.c --------------------------------------------------------------------------------------------------- */
/* y[T,F] = silu(gate) · up, with gate_up[T, 2F] = [gate | up] */
void pta_swiglu_forward(const pta_team *team, pta_matrix y, pta_matrix gate_up, int64_t T, int64_t F);
/* dgate_up[T,2F] from dy[T,F]; dgate_up may be gate_up itself. product[T,F], forward's result, is formed again where
 * product.data is not NULL; it may be dy itself. */
void pta_swiglu_backward(const pta_team *team, pta_matrix dgate_up, pta_matrix product, pta_matrix dy,
                         pta_matrix gate_up, int64_t T, int64_t F);

/* residual.c: around the products that add to a residual stream ------------------------------------------------ */
/* to[T,N] = from[T,N]; may be the same array */
void pta_copy_rows(const pta_team *team, float *to, const float *from, int64_t T, int64_t N);
/* y[T,N] += b, rows of either type */
void pta_bias_forward(const pta_team *team, pta_matrix y, const float *b, int64_t T, int64_t N);
/* db[N] += Σ_t dy[t]. scratch: PTA_ROW_BLOCKS · N floats. One barrier inside, and one at the end. */
void pta_bias_backward(const pta_team *team, float *db, pta_matrix dy, float *scratch, int64_t T, int64_t N);

/* gelu.c ----------------------------------------------------------------------------------------------------- */
/* y[T,N] = x · Φ(x), Φ the normal distribution function (the exact form, by erf) */
void pta_gelu_forward(const pta_team *team, pta_matrix y, pta_matrix x, int64_t T, int64_t N);
/* dx[T,N] from dy[T,N]; dx may be dy itself */
void pta_gelu_backward(const pta_team *team, pta_matrix dx, pta_matrix dy, pta_matrix x, int64_t T, int64_t N);

#endif
