/* The three products of a linear layer, weights packed once, by a whole team.
 *
 * W is [N, K] (out, in), row-major float32 (the master). The compute type is the packed weight's: PTA_F32 multiplies
 * floats; PTA_BF16 rounds both operands to bfloat16 and sums in float32.
 *
 * Bits: an element of a result is one chain of fused multiply-adds (or one chain of the CPU's bf16 dot-product steps) over the summed
 * dimension, in order, beginning at 0 or, when `accumulate`, at the old value. It depends on its row, its column and the
 * kernel alone: not on M, not on the neighbours, not on the number of threads, not on blocking.
 *
 * No operation fails. All are team operations (core/team.h): barriers inside where shared scratch is used, the first before
 * it is written, so that products which do not read each other's results need none between them; the caller puts one
 * after. m, n, k of 0 are allowed.
 */
#ifndef PTA_KERNELS_LINEAR_H
#define PTA_KERNELS_LINEAR_H

#include <stdbool.h>

#include "../core/dtype.h"
#include "../core/team.h"

typedef struct {
    pta_dtype dtype;
    int64_t N, K;
    void *data; /* pta_packed_bytes, 64-byte aligned; layout private to csrc/kernels */
} pta_packed;

/* Bytes of a packed [N, K]; 0 when N or K is 0. */
int64_t pta_packed_bytes(pta_dtype dtype, int64_t N, int64_t K);
/* Fill packed->data from w[N, K]. */
void pta_linear_pack(const pta_team *team, pta_packed *packed, const float *w);
/* The same for panels first .. first+count-1 by the calling thread alone; panel i holds rows [i·PTA_PANEL, (i+1)·PTA_PANEL)
 * of w. */
enum { PTA_PANEL = 32 };
void pta_linear_pack_panels(pta_packed *packed, const float *w, int64_t first, int64_t count);

/* y[M,N] = x[M,K] · wᵀ, or += when `accumulate` (then y is PTA_F32). x and y may be of either type. */
void pta_linear_forward(const pta_team *team, pta_matrix y, pta_matrix x, const pta_packed *w, int64_t M, bool accumulate);
/* dx[M,K] = dy[M,N] · w[N,K], from the master weights. compute: as the packed weight's type. */
void pta_linear_dinput(const pta_team *team, pta_matrix dx, pta_matrix dy, const float *w, int64_t M, int64_t N, int64_t K,
                       pta_dtype compute, bool accumulate);
/* dw[N,K] += dy[M,N]ᵀ · x[M,K]; rows of dw begin K floats apart. */
void pta_linear_dweight(const pta_team *team, float *dw, pta_matrix dy, pta_matrix x, int64_t M, int64_t N, int64_t K,
                        pta_dtype compute);

/* Which kernels this process uses ("avx512", "amx-bf16", "openblas" …), for build_info and doctor. */
const char *pta_kernels_name(pta_dtype dtype);
/* Choose by CPU and by the variables PTAGRPO_SIMD, PTAGRPO_GEMM; once, at module start. PTA_E_VALUE names a variable
 * that asks for what this machine or build does not have, and lists what there is. */
pta_code pta_kernels_init(pta_error *err);

#endif
