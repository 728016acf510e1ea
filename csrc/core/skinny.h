/* The forward product of a linear layer for few rows, as in decoding, where reading the weights is what costs. */
#ifndef PTA_CORE_SKINNY_H
#define PTA_CORE_SKINNY_H

#include <stdbool.h>
#include <stdint.h>

/* Up to this many rows, and from this k on, it beats the packed product of gemm.h (5 × at one row, even at eight). */
enum { PTA_SKINNY_ROWS = 8, PTA_SKINNY_K = 256 };

/* y[M,N] = x[M,K] · w[N,K]ᵀ, or += when accumulate, for any M. Leading dimensions count floats. A row of y is formed
 * by the same operations in the same order for every M and every number of threads. */
void pta_skinny_forward(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t m, int64_t n,
                        int64_t k, bool accumulate);

#endif
