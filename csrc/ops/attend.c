#include "attend.h"

#include <math.h>
#include <string.h>

#include "../core/target.h"
#include "../core/vmath.h"

enum { LANES = 16 };

int64_t pta_attend_scratch(int64_t D) { return PTA_PAGE + 2 * PTA_PAGE * D; }

void pta_attend_begin(const pta_queries *queries) {
    for (int64_t i = 0; i < queries->n; i++) queries->top[i] = -INFINITY, queries->sum[i] = 0.0f;
    memset(queries->o, 0, (size_t)(queries->n * queries->D) * sizeof(float));
}

/* s[PTA_PAGE] -> p in place, hidden slots 0; the row's state moves on to the new maximum. */
PTA_INLINE void softmax_row(float *s, int64_t visible, float *o, float *top, float *sum, int64_t D) {
    float high = *top, lanes[LANES] = {0};
    for (int64_t j = visible; j < PTA_PAGE; j++) s[j] = -INFINITY;
    for (int64_t j = 0; j < PTA_PAGE; j++) high = s[j] > high ? s[j] : high;
    for (int64_t j = 0; j < PTA_PAGE; j += LANES)
        for (int64_t l = 0; l < LANES; l++) {
            s[j + l] = pta_expf(s[j + l] - high);
            lanes[l] += s[j + l];
        }
    for (int64_t half = LANES / 2; half; half /= 2)
        for (int64_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
    const float shrink = pta_expf(*top - high);
    *sum = *sum * shrink + lanes[0];
    *top = high;
    for (int64_t d = 0; d < D; d++) o[d] *= shrink;
}

PTA_CLONES static void attend_row(const pta_queries *queries, int64_t i, const float *keys, const float *values,
                                  int64_t visible, float *s) {
    const int64_t D = queries->D;
    const float *q = queries->q + i * D;
    float *o = queries->o + i * D;
    memset(s, 0, PTA_PAGE * sizeof(float));
    for (int64_t d = 0; d < D; d++)
        for (int64_t j = 0; j < PTA_PAGE; j++) s[j] += q[d] * keys[d * PTA_PAGE + j];
    softmax_row(s, visible, o, &queries->top[i], &queries->sum[i], D);
    for (int64_t j = 0; j < PTA_PAGE; j++)
        for (int64_t d = 0; d < D; d++) o[d] += s[j] * values[j * D + d];
}

PTA_CLONES static void widen(float *to, const pta_bf16 *from, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = pta_widen(from[i]);
}

void pta_attend_page(const pta_queries *queries, int64_t first, int64_t count, pta_page page, const int32_t *visible,
                     float *scratch) {
    const int64_t size = PTA_PAGE * queries->D;
    const float *keys = page.keys, *values = page.values;
    if (page.dtype == PTA_BF16) {
        float *wide = scratch + PTA_PAGE;
        widen(wide, page.keys, size);
        widen(wide + size, page.values, size);
        keys = wide, values = wide + size;
    }
    for (int64_t i = first; i < first + count; i++)
        if (visible[i] > 0) attend_row(queries, i, keys, values, visible[i], scratch);
}

void pta_attend_end(const pta_queries *queries, float *lse) {
    for (int64_t i = 0; i < queries->n; i++) {
        float *o = queries->o + i * queries->D;
        for (int64_t d = 0; d < queries->D; d++) o[d] /= queries->sum[i];
        if (lse) lse[i] = queries->top[i] + logf(queries->sum[i]);
    }
}
