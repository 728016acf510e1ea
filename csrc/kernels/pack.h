/* Packing, as templates: inlined into functions that are compiled for one instruction set each. */
#ifndef PTA_KERNELS_PACK_H
#define PTA_KERNELS_PACK_H

#include <string.h>

#include "kernel.h"

PTA_INLINE float pta_as(float value, const bool round) { return round ? pta_widen(pta_round_bf16(value)) : value; }

/* [rows, depth] to rows of floats, `stride` apart; rounded to bfloat16 values when `round`. */
PTA_INLINE void pta_rows_as_floats(float *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth,
                                   int64_t padded, const bool round) {
    for (int64_t i = 0; i < rows; i++) {
        float *row = to + i * stride;
        if (from.dtype == PTA_BF16) {
            const pta_bf16 *x = (const pta_bf16 *)from.data + i * from.ld;
            for (int64_t k = 0; k < depth; k++) row[k] = pta_widen(x[k]);
        } else {
            const float *x = (const float *)from.data + i * from.ld;
            for (int64_t k = 0; k < depth; k++) row[k] = pta_as(x[k], round);
        }
        for (int64_t k = depth; k < padded; k++) row[k] = 0.0f;
    }
}

/* [depth, columns] to [depth][width] floats. */
PTA_INLINE void pta_across_as_floats(float *to, const int width, pta_matrix from, int64_t columns, int64_t depth,
                                     int64_t padded, const bool round) {
    for (int64_t k = 0; k < depth; k++) {
        float *row = to + k * width;
        if (from.dtype == PTA_BF16) {
            const pta_bf16 *x = (const pta_bf16 *)from.data + k * from.ld;
            if (columns == width)
                for (int j = 0; j < width; j++) row[j] = pta_widen(x[j]);
            else
                for (int j = 0; j < width; j++) row[j] = j < columns ? pta_widen(x[j]) : 0.0f;
        } else {
            const float *x = (const float *)from.data + k * from.ld;
            if (columns == width)
                for (int j = 0; j < width; j++) row[j] = pta_as(x[j], round);
            else
                for (int j = 0; j < width; j++) row[j] = j < columns ? pta_as(x[j], round) : 0.0f;
        }
    }
    memset(to + depth * width, 0, (size_t)((padded - depth) * width) * sizeof(float));
}

/* [depth, columns] to [depth/2][width] pairs of bfloat16, the even depth in the lower half. */
PTA_INLINE void pta_across_as_pairs(uint32_t *to, const int width, pta_matrix from, int64_t columns, int64_t depth,
                                    int64_t padded) {
    for (int64_t k = 0; k < padded; k += 2) {
        uint32_t *row = to + k / 2 * width;
        int64_t count = k < depth ? columns : 0;
        bool odd = k + 1 < depth;
        if (from.dtype == PTA_BF16) {
            const pta_bf16 *x = (const pta_bf16 *)from.data + k * from.ld, *y = odd ? x + from.ld : x;
            const uint32_t mask = odd ? 0xffffu : 0;
            for (int64_t j = 0; j < count; j++) row[j] = x[j] | (y[j] & mask) << 16;
        } else {
            const float *x = (const float *)from.data + k * from.ld, *y = odd ? x + from.ld : x;
            const uint32_t mask = odd ? 0xffffu : 0;
            for (int64_t j = 0; j < count; j++) row[j] = pta_round_bf16(x[j]) | (pta_round_bf16(y[j]) & mask) << 16;
        }
        for (int64_t j = count; j < width; j++) row[j] = 0;
    }
}

typedef float pta_four __attribute__((vector_size(16), aligned(4), may_alias));

/* Four rows of four floats of w to four columns of a panel. */
PTA_INLINE void pta_square_across(float *to, const float *w, int64_t ld) {
    const pta_four a = *(const pta_four *)w, b = *(const pta_four *)(w + ld);
    const pta_four c = *(const pta_four *)(w + 2 * ld), d = *(const pta_four *)(w + 3 * ld);
    const pta_four ac = {a[0], c[0], a[1], c[1]}, bd = {b[0], d[0], b[1], d[1]};
    const pta_four ac2 = {a[2], c[2], a[3], c[3]}, bd2 = {b[2], d[2], b[3], d[3]};
    *(pta_four *)to = (pta_four){ac[0], bd[0], ac[1], bd[1]};
    *(pta_four *)(to + PTA_PANEL) = (pta_four){ac[2], bd[2], ac[3], bd[3]};
    *(pta_four *)(to + 2 * PTA_PANEL) = (pta_four){ac2[0], bd2[0], ac2[1], bd2[1]};
    *(pta_four *)(to + 3 * PTA_PANEL) = (pta_four){ac2[2], bd2[2], ac2[3], bd2[3]};
}

/* w[columns, depth] to a panel of floats or of pairs: blocks of 16 depths at a time, which are a cache line of w. */
PTA_INLINE void pta_weights_as_floats(float *to, const float *w, int64_t ld, int64_t columns, int64_t depth) {
    for (int64_t k0 = 0; k0 < depth; k0 += 16) {
        const bool whole = columns == PTA_PANEL && k0 + 16 <= depth;
        for (int64_t j = 0; whole && j < PTA_PANEL; j += 4)
            for (int64_t k = k0; k < k0 + 16; k += 4) pta_square_across(to + k * PTA_PANEL + j, w + j * ld + k, ld);
        for (int64_t j = 0; !whole && j < PTA_PANEL; j++)
            for (int64_t k = k0; k < depth && k < k0 + 16; k++)
                to[k * PTA_PANEL + j] = j < columns ? w[j * ld + k] : 0.0f;
    }
}

PTA_INLINE void pta_weights_as_pairs(uint32_t *to, const float *w, int64_t ld, int64_t columns, int64_t depth,
                                     int64_t padded) {
    for (int64_t k0 = 0; k0 < padded; k0 += 16)
        for (int64_t j = 0; j < PTA_PANEL; j++) {
            const float *x = w + j * ld;
            for (int64_t k = k0; k < padded && k < k0 + 16; k += 2) {
                uint32_t low = j < columns && k < depth ? pta_round_bf16(x[k]) : 0;
                uint32_t high = j < columns && k + 1 < depth ? pta_round_bf16(x[k + 1]) : 0;
                to[k / 2 * PTA_PANEL + j] = low | high << 16;
            }
        }
}

PTA_INLINE void pta_round_row(pta_bf16 *to, const float *from, int64_t count) {
    for (int64_t j = 0; j < count; j++) to[j] = pta_round_bf16(from[j]);
}

/* The packing functions of kernels that add float products, for one instruction set: a is floats in both compute
 * types, b floats or pairs. Each of PREFIX##... is a member of pta_kernel. */
#define PTA_FLOAT_PACKING(PREFIX, TARGET, ROWS)                                                                        \
    TARGET static void PREFIX##_rows(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth,           \
                                     int64_t padded) {                                                                 \
        pta_rows_as_floats(to, stride, from, rows, depth, padded, false);                                              \
    }                                                                                                                  \
    TARGET static void PREFIX##_rounded_rows(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth,   \
                                             int64_t padded) {                                                         \
        pta_rows_as_floats(to, stride, from, rows, depth, padded, true);                                               \
    }                                                                                                                  \
    TARGET static void PREFIX##_columns(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth,        \
                                        int64_t padded) {                                                              \
        (void)stride;                                                                                                  \
        pta_across_as_floats(to, ROWS, from, rows, depth, padded, false);                                              \
    }                                                                                                                  \
    TARGET static void PREFIX##_rounded_columns(void *to, int64_t stride, pta_matrix from, int64_t rows,               \
                                                int64_t depth, int64_t padded) {                                       \
        (void)stride;                                                                                                  \
        pta_across_as_floats(to, ROWS, from, rows, depth, padded, true);                                               \
    }                                                                                                                  \
    TARGET static void PREFIX##_panel(void *to, pta_matrix from, int64_t columns, int64_t depth, int64_t padded) {     \
        pta_across_as_floats(to, PTA_PANEL, from, columns, depth, padded, false);                                      \
    }                                                                                                                  \
    TARGET static void PREFIX##_paired_panel(void *to, pta_matrix from, int64_t columns, int64_t depth,                \
                                             int64_t padded) {                                                         \
        pta_across_as_pairs(to, PTA_PANEL, from, columns, depth, padded);                                              \
    }                                                                                                                  \
    TARGET static void PREFIX##_weights(void *to, const float *w, int64_t ld, int64_t columns, int64_t depth,          \
                                        int64_t padded) {                                                              \
        (void)padded;                                                                                                  \
        pta_weights_as_floats(to, w, ld, columns, depth);                                                              \
    }                                                                                                                  \
    TARGET static void PREFIX##_paired_weights(void *to, const float *w, int64_t ld, int64_t columns, int64_t depth,   \
                                               int64_t padded) {                                                       \
        pta_weights_as_pairs(to, w, ld, columns, depth, padded);                                                       \
    }                                                                                                                  \
    TARGET static void PREFIX##_round(pta_bf16 *to, const float *from, int64_t count) { pta_round_row(to, from, count); }

/* The two kernels of one instruction set whose tile functions are PREFIX##_tile_f32 and PREFIX##_tile_bf16. */
#define PTA_FLOAT_KERNELS(PREFIX, NAME, ROWS)                                                                          \
    const pta_kernel pta_##PREFIX##_f32 = {.name = NAME, .rows = ROWS, .row_step = 1, .step = 1, .a_size = 4,          \
                                           .b_size = 4, .block = 768, .tile = PREFIX##_tile_f32,                       \
                                           .pack_rows = PREFIX##_rows, .pack_columns = PREFIX##_columns,               \
                                           .pack_panel = PREFIX##_panel, .pack_weights = PREFIX##_weights,             \
                                           .round = PREFIX##_round};                                                   \
    const pta_kernel pta_##PREFIX##_bf16 = {.name = NAME "-widen", .rows = ROWS, .row_step = 1, .step = 2, .a_size = 4,\
                                            .b_size = 2, .block = 768, .tile = PREFIX##_tile_bf16,                     \
                                            .pack_rows = PREFIX##_rounded_rows,                                        \
                                            .pack_columns = PREFIX##_rounded_columns,                                  \
                                            .pack_panel = PREFIX##_paired_panel,                                       \
                                            .pack_weights = PREFIX##_paired_weights, .round = PREFIX##_round};

#endif
