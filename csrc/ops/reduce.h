/* Sums over rows that are the same for any thread count: PTA_ROW_BLOCKS partial sums, added in block order. */
#ifndef PTA_OPS_REDUCE_H
#define PTA_OPS_REDUCE_H

#include <stdint.h>

#include "../core/team.h"
#include "../core/vmath.h"

/* Rows [first, last) of block b out of T rows. */
static inline void pta_row_block(int64_t *first, int64_t *last, int64_t b, int64_t T) {
    int64_t step = (T + PTA_ROW_BLOCKS - 1) / PTA_ROW_BLOCKS;
    *first = b * step < T ? b * step : T;
    *last = (b + 1) * step < T ? (b + 1) * step : T;
}

/* This thread's columns of out[i] += Σ_b partial[b · stride + i], b in order. */
static inline void pta_add_blocks(const pta_team *team, float *out, const float *partial, int64_t stride,
                                  int64_t width) {
    int64_t first, last;
    pta_team_share(team, width, 16, &first, &last);
    for (int64_t b = 0; b < PTA_ROW_BLOCKS; b++)
        for (int64_t i = first; i < last; i++) out[i] += partial[b * stride + i];
}

#endif
