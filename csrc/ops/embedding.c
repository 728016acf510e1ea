#include "ops.h"
#include "rows.h"

void pta_embedding_forward(const pta_team *team, float *y, pta_matrix table, const int32_t *tokens, int64_t T, int64_t C) {
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) pta_rows_load(y + t * C, pta_at(table, tokens[t], 0), 1.0f, 1, C);
}

/* Threads own columns, so equal tokens never meet in two threads and the order of sums is the row order. */
void pta_embedding_backward(const pta_team *team, float *dtable, const float *dy, const int32_t *tokens, int64_t T,
                            int64_t C) {
    int64_t first, last;
    pta_team_share(team, C, 16, &first, &last);
    for (int64_t t = 0; t < T; t++) {
        float *restrict to = dtable + (int64_t)tokens[t] * C;
        const float *restrict from = dy + t * C;
        for (int64_t c = first; c < last; c++) to[c] += from[c];
    }
}
