#include "rows.h"

PTA_CLONES void pta_row_load(float *restrict to, pta_matrix from, float scale, int64_t n) {
    if (from.dtype == PTA_BF16)
        for (int64_t i = 0; i < n; i++) to[i] = pta_widen(((const pta_bf16 *)from.data)[i]) * scale;
    else
        for (int64_t i = 0; i < n; i++) to[i] = ((const float *)from.data)[i] * scale;
}

PTA_CLONES void pta_row_store(pta_matrix to, const float *restrict from, int64_t n) {
    if (to.dtype == PTA_BF16)
        for (int64_t i = 0; i < n; i++) ((pta_bf16 *)to.data)[i] = pta_round_bf16(from[i]);
    else
        for (int64_t i = 0; i < n; i++) ((float *)to.data)[i] = from[i];
}
