/* Attention over a segment forest, or over windows, tiled, without a T × T buffer. Grouped query heads: query head h reads key head
 * h / (H/K). Scale 1/sqrt(D). */
#ifndef PTA_OPS_ATTENTION_H
#define PTA_OPS_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/dtype.h"
#include "../core/team.h"

/* The rows of a forest as attention needs them (see model/forest.h): segment s is rows [offsets[s], offsets[s+1]),
 * its subtree ends at until[s], parent[s] is -1 for a root. */
typedef struct {
    int64_t T, S;
    const int32_t *offsets, *parent, *until;
    bool full; /* every segment is a root, and its rows see all of it: windows of an image */
} pta_rows;

/* out[T, H·D], lse[T, H] (log-sum-exp of the scaled scores) from qkv[T, (H+2K)·D] (q heads, k heads, v heads).
 * pages: pta_attention_pages bytes. Barriers inside. */
int64_t pta_attention_pages(const pta_rows *rows, int64_t K, int64_t D);
void pta_attention_forward(const pta_team *team, pta_matrix out, float *lse, pta_matrix qkv, const pta_rows *rows,
                           int64_t H, int64_t K, int64_t D, void *pages);
/* dqkv[T, (H+2K)·D] (overwritten) from dout[T, H·D]; out and lse are forward's; dout and out of one type. scratch: pta_attention_backward_bytes. */
int64_t pta_attention_backward_bytes(const pta_rows *rows, int64_t H, int64_t K, int64_t D);
void pta_attention_backward(const pta_team *team, pta_matrix dqkv, pta_matrix dout, pta_matrix out, const float *lse,
                            pta_matrix qkv, const pta_rows *rows, int64_t H, int64_t K, int64_t D, void *scratch);

#endif
