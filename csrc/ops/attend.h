/* The arithmetic of attention, page by page: what training's forward and decoding share, so that both give the same bits.
 *
 * Keys and values lie in pages of PTA_PAGE consecutive POSITIONS: page b of a path holds positions [64 b, 64 b + 64),
 * counted from the root, whichever segments they belong to. A segment that begins inside a page has a page of its own
 * there, with its ancestors' keys and values of that page copied in front. So what a query sees is a list of pages, the
 * same list for a flat sequence and for a path through a forest, and every row of a path's result is the same chain of
 * operations:
 *     for each page, in order:
 *         s_j = (Σ_d q_d k_jd) / sqrt(D)           one chain of fused multiply-adds, d = 0 .. D-1
 *         top' = max(top, max_j s_j);  p_j = e^(s_j − top'), 0 for hidden keys
 *         sum = sum · e^(top − top') + Σ_j p_j     lanes of 16, added in a fixed tree
 *         o_d = o_d · e^(top − top') + Σ_j p_j v_jd   one chain, j = 0 .. 63
 *     out = o / sum,  lse = top + log(sum)
 * Nothing else about the batch enters: not the rows beside, not the number of threads.
 */
#ifndef PTA_OPS_ATTEND_H
#define PTA_OPS_ATTEND_H

#include "tile.h"

enum { PTA_PAGE = 64 };

/* One key head's page: keys [D][PTA_PAGE] (component-major), values [PTA_PAGE][D], prepared for products of the queries'
 * type. Slots that hold no token must hold finite numbers. */
typedef struct {
    pta_tile_b keys, values;
} pta_page;

/* n query rows of one key head (any mix of tokens and query heads), with the state of their running softmax. */
typedef struct {
    int64_t n, D;
    pta_dtype dtype; /* of the arithmetic: PTA_BF16 may round q, keys, p and values (ops/tile.h) */
    float scale;     /* of the scores, 1/sqrt(D) */
    pta_tile_a q;    /* [n, D], prepared, its step 1 */
    float *o;        /* [n, D] */
    float *top, *sum; /* [n] */
} pta_queries;

/* top = -inf, sum = 0, o = 0. */
void pta_attend_begin(const pta_queries *queries);
/* Rows first .. first+count-1 see the first visible[i] slots of the page (0 .. PTA_PAGE; indexed by row, as top and sum
 * are). A row that sees none is left as it is.
 * scores: room for pta_attend_scratch() floats, 64-byte aligned, this thread's. */
void pta_attend_page(const pta_queries *queries, int64_t first, int64_t count, pta_page page, const int32_t *visible,
                     float *scores);
int64_t pta_attend_scratch(void); /* for any number of rows */
/* o /= sum in place; lse[n] (may be NULL). Every row must have seen a key. */
void pta_attend_end(const pta_queries *queries, float *lse);

#endif
