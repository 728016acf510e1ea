#include <string.h>

#include "../core/threads.h"
#include "ops.h"

void pta_embedding_forward(float *y, const float *table, const int32_t *tokens, int64_t T, int64_t C) {
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (T * C > 16384)
    for (int64_t t = 0; t < T; t++) memcpy(y + t * C, table + (int64_t)tokens[t] * C, (size_t)C * sizeof(float));
}

/* Threads own columns, so equal tokens never meet in two threads and the order of sums is the row order. */
void pta_embedding_backward(float *dtable, const float *dy, const int32_t *tokens, int64_t T, int64_t C) {
    enum { COLUMNS = 32 };
    int64_t blocks = (C + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (T * C > 16384)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * COLUMNS, width = C - first < COLUMNS ? C - first : COLUMNS;
        for (int64_t t = 0; t < T; t++) {
            float *restrict to = dtable + (int64_t)tokens[t] * C + first;
            const float *restrict from = dy + t * C + first;
            for (int64_t c = 0; c < width; c++) to[c] += from[c];
        }
    }
}
