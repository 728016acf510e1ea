/* Packing for CPUs with AVX-512-BF16, whose conversions do two vectors at once (they take subnormals as zero, as the
 * products of these CPUs do). Defined in avx512_dot.c; amx.c uses them too. */
#ifndef PTA_KERNELS_BF16_PACK_H
#define PTA_KERNELS_BF16_PACK_H

#include "kernel.h"

#define PTA_TARGET_DOT __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")))

void pta_dot_rows(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth, int64_t padded);
void pta_dot_across(uint32_t *to, int64_t width, pta_matrix from, int64_t columns, int64_t depth, int64_t padded);
void pta_dot_panel(void *to, pta_matrix from, int64_t columns, int64_t depth, int64_t padded);
void pta_dot_weights(void *to, const float *w, int64_t ld, int64_t columns, int64_t depth, int64_t padded);
void pta_dot_round(pta_bf16 *to, const float *from, int64_t count);
void pta_dot_widen(uint32_t *to, const pta_bf16 *scales, const int8_t *q, bool four_bits, int64_t count);
/* 16 rows of 16 words, `stride` words apart, to 16 rows `to_stride` apart, transposed. */
void pta_dot_transpose(uint32_t *to, int64_t to_stride, const uint32_t *from, int64_t stride);

#endif
