/* Attention over a segment forest, tiled, without a T × T buffer. Grouped query heads: query head h reads key head
 * h / (H/K). Scale 1/sqrt(D). */
#ifndef PTA_OPS_ATTENTION_H
#define PTA_OPS_ATTENTION_H

#include <stdint.h>

#include "../core/status.h"

/* The rows of a forest as attention needs them (see model/forest.h): segment s is rows [offsets[s], offsets[s+1]),
 * its subtree ends at until[s], parent[s] is -1 for a root. */
typedef struct {
    int64_t T, S;
    const int32_t *offsets, *parent, *until;
} pta_rows;

/* out[T, H·D], lse[T, H] (log-sum-exp of the scaled scores) from qkv[T, (H+2K)·D] (q heads, k heads, v heads).
 * PTA_E_MEMORY only. */
pta_code pta_attention_forward(float *out, float *lse, const float *qkv, const pta_rows *rows, int64_t H, int64_t K,
                               int64_t D, pta_error *err);
/* dqkv[T, (H+2K)·D] (overwritten) from dout[T, H·D]; out and lse are forward's. */
pta_code pta_attention_backward(float *dqkv, const float *dout, const float *out, const float *lse, const float *qkv,
                                const pta_rows *rows, int64_t H, int64_t K, int64_t D, pta_error *err);

#endif
