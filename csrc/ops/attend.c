/* Rows go through a page a few at a time, so that their scores stay in the nearest cache beside the page: all their
 * scores (a tile product), the softmax row by row, all their values (a tile product). */
#include "attend.h"

#include <math.h>
#include <string.h>

#include "../core/target.h"
#include "../core/vmath.h"

enum { TOGETHER = PTA_TILE_ROWS, LANES = 16, QUARTER = PTA_PAGE / 4 };

int64_t pta_attend_scratch(void) { return TOGETHER * PTA_PAGE + pta_small_left_bytes(TOGETHER, PTA_PAGE) / (int64_t)sizeof(float); }

void pta_attend_begin(const pta_queries *queries) {
    for (int64_t i = 0; i < queries->n; i++) queries->top[i] = -INFINITY, queries->sum[i] = 0.0f;
    memset(queries->o, 0, (size_t)(queries->n * queries->D) * sizeof(float));
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));

PTA_INLINE float larger(float a, float b) { return a > b ? a : b; }

PTA_INLINE float largest(const float *restrict s) {
    float lanes[LANES];
#pragma omp simd
    for (int l = 0; l < LANES; l++)
        lanes[l] = larger(larger(s[l], s[l + QUARTER]), larger(s[l + 2 * QUARTER], s[l + 3 * QUARTER]));
    float most[4];
#pragma omp simd
    for (int l = 0; l < 4; l++) most[l] = larger(larger(lanes[l], lanes[l + 4]), larger(lanes[l + 8], lanes[l + 12]));
    return larger(larger(most[0], most[2]), larger(most[1], most[3]));
}

/* s -> e^(s - top); returns the sum. */
PTA_INLINE float exponentials(float *restrict s, float top) {
    float lanes[LANES];
#pragma omp simd
    for (int j = 0; j < PTA_PAGE; j++) s[j] = pta_exp_score(s[j] - top);
#pragma omp simd
    for (int l = 0; l < LANES; l++)
        lanes[l] = (s[l] + s[l + QUARTER]) + (s[l + 2 * QUARTER] + s[l + 3 * QUARTER]);
    const eight half = *(eight *)lanes + *(eight *)(lanes + 8);
    const four quarter = *(const four *)&half + *((const four *)&half + 1);
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

/* Scores of m <= TOGETHER rows -> p, 0 for hidden slots; the rows' states move on to their new maxima. One loop for the
 * maxima and one for the exponentials: within a row each step waits for the one before, and short loops let the CPU work on
 * many rows at once. */
PTA_CLONES static void softmax(float *scores, float scale, const int32_t *visible, float *o, float *top, float *sum,
                               int64_t m, int64_t D) {
    float high[TOGETHER] = {0}, shrink[TOGETHER] = {0}, total[TOGETHER];
    for (int64_t i = 0; i < m; i++) {
        float *s = scores + i * PTA_PAGE;
#pragma omp simd
        for (int64_t j = 0; j < PTA_PAGE; j++) s[j] *= scale;
        for (int64_t j = visible[i]; j < PTA_PAGE; j++) s[j] = -INFINITY;
        high[i] = larger(largest(s), top[i]);
    }
    for (int64_t i = 0; i < m; i++) {
        shrink[i] = visible[i] > 0 ? top[i] - high[i] : 0.0f;
        top[i] = high[i];
        if (visible[i] <= 0) high[i] = 0.0f;
    }
    for (int64_t i = 0; i < m; i++) total[i] = exponentials(scores + i * PTA_PAGE, high[i]);
#pragma omp simd
    for (int i = 0; i < TOGETHER; i++) shrink[i] = pta_exp_score(shrink[i]);
    for (int64_t i = 0; i < m; i++) {
        sum[i] = sum[i] * shrink[i] + total[i];
        if (shrink[i] != 1.0f)
            for (int64_t d = 0; d < D; d++) o[i * D + d] *= shrink[i];
    }
}

static void attend_rows(const pta_queries *queries, int64_t first, int64_t m, pta_page page, const int32_t *visible,
                        float *scores) {
    const int64_t D = queries->D;
    int64_t seen = 0; /* no row of these sees more */
    for (int64_t i = first; i < first + m; i++) seen = visible[i] > seen ? visible[i] : seen;
    if (!seen) return;
    float *o = queries->o + first * D;
    const int64_t whole = page.keys.packed ? PTA_PAGE / 2 : LANES, wide = (seen + whole - 1) / whole * whole;
    pta_tile_product(scores, PTA_PAGE, pta_tile_rows_from(queries->q, first), page.keys, m, wide, D, false);
    softmax(scores, queries->scale, visible + first, o, queries->top + first, queries->sum + first, m, D);
    const pta_tile_a p = pta_tile_left(queries->dtype, scores, PTA_PAGE, 1, m, seen, scores + TOGETHER * PTA_PAGE);
    pta_tile_product(o, D, p, page.values, m, D, seen, true);
}

void pta_attend_page(const pta_queries *queries, int64_t first, int64_t count, pta_page page, const int32_t *visible,
                     float *scores) {
    const int64_t together = pta_tile_rows(queries->dtype);
    for (int64_t i = first; i < first + count; i += together) {
        const int64_t left = first + count - i;
        attend_rows(queries, i, left < together ? left : together, page, visible, scores);
    }
}

PTA_CLONES void pta_attend_end(const pta_queries *queries, float *lse) {
    const int64_t D = queries->D;
    for (int64_t i = 0; i < queries->n; i++) {
        const float inverse = 1.0f / queries->sum[i];
        float *o = queries->o + i * D;
        for (int64_t d = 0; d < D; d++) o[d] = o[d] * inverse + 0.0f; /* + 0: no -0, whatever keys were hidden */
        if (lse) lse[i] = queries->top[i] + logf(queries->sum[i]);
    }
}
