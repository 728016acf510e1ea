#include "rows.h"

enum { AHEAD = 4 /* rows lie far apart: the CPU does not guess where the next one is */, SIDE = 16 };

PTA_INLINE void prefetch_row(pta_matrix m, int64_t row, int64_t n) {
    const char *p = pta_at(m, row, 0).data;
    for (int64_t at = 0; at < n * pta_dtype_size(m.dtype); at += 64) __builtin_prefetch(p + at);
}

PTA_CLONES void pta_rows_load(float *restrict to, pta_matrix from, float scale, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r++, to += n) {
        const void *row = pta_at(from, r, 0).data;
        if (r + AHEAD < rows) prefetch_row(from, r + AHEAD, n);
        if (from.dtype == PTA_BF16)
            for (int64_t i = 0; i < n; i++) to[i] = pta_load(row, i, PTA_BF16) * scale;
        else
            for (int64_t i = 0; i < n; i++) to[i] = pta_load(row, i, PTA_F32) * scale;
    }
}

PTA_CLONES void pta_rows_store(pta_matrix to, const float *restrict from, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r++, from += n) {
        void *row = pta_at(to, r, 0).data;
        if (to.dtype == PTA_BF16)
            for (int64_t i = 0; i < n; i++) pta_store(row, i, from[i], PTA_BF16);
        else
            for (int64_t i = 0; i < n; i++) pta_store(row, i, from[i], PTA_F32);
    }
}

/* In squares that stay in the nearest cache. */
PTA_CLONES void pta_rows_across(float *restrict to, const float *restrict from, int64_t rows, int64_t n) {
    for (int64_t i0 = 0; i0 < n; i0 += SIDE)
        for (int64_t r0 = 0; r0 < rows; r0 += SIDE)
            for (int64_t i = i0; i < (i0 + SIDE < n ? i0 + SIDE : n); i++)
                for (int64_t r = r0; r < r0 + SIDE; r++) to[i * rows + r] = from[r * n + i];
}

PTA_CLONES void pta_row_add(float *restrict to, const float *restrict from, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}
