/* The three matrix products of a linear layer, row-major, over all threads.
 *
 * Weights are W[N, K] (out, in) as in the checkpoints. Work is split over rows or over columns of the result, never
 * over the summed dimension, so a result's sums are formed by one thread. Leading dimensions count floats.
 * `accumulate`: add to the result instead of overwriting it. None of them fails; m, n, k may be 0.
 */
#ifndef PTA_CORE_GEMM_H
#define PTA_CORE_GEMM_H

#include <stdbool.h>
#include <stdint.h>

/* y[M,N] = x[M,K] · w[N,K]ᵀ   (forward) */
void pta_gemm_forward(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t m, int64_t n,
                      int64_t k, bool accumulate);
/* dx[M,K] = dy[M,N] · w[N,K]   (gradient of the input) */
void pta_gemm_dinput(float *dx, int64_t lddx, const float *dy, int64_t lddy, const float *w, int64_t m, int64_t n,
                     int64_t k, bool accumulate);
/* dw[N,K] = dy[M,N]ᵀ · x[M,K]   (gradient of the weight) */
void pta_gemm_dweight(float *dw, const float *dy, int64_t lddy, const float *x, int64_t ldx, int64_t m, int64_t n,
                      int64_t k, bool accumulate);

/* C[m,n] = alpha · op(A) · op(B) + beta · C by the calling thread alone, for tiles inside a parallel region. */
void pta_gemm_tile(float *c, int64_t ldc, const float *a, int64_t lda, bool transpose_a, const float *b, int64_t ldb,
                   bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, float beta);

/* Set up the BLAS (one thread per call); call once at module start. Its name and kernel, for build_info. */
void pta_blas_init(void);
const char *pta_blas_config(void);
const char *pta_blas_corename(void);

#endif
