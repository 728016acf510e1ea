/* y = silu(g)·u with silu(g) = g·σ(g):  du = dy·silu(g),  dg = dy·u·σ(g)·(1 + g·(1 − σ(g))). */
#include "../core/target.h"
#include "../core/threads.h"
#include "../core/vmath.h"
#include "ops.h"

PTA_CLONES static void swiglu_row(float *restrict y, const float *restrict g, const float *restrict u, int64_t F) {
#pragma omp simd
    for (int64_t i = 0; i < F; i++) y[i] = g[i] / (1.0f + pta_expf(-g[i])) * u[i];
}

void pta_swiglu_forward(float *y, const float *gate_up, int64_t T, int64_t F) {
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (T * F > 8192)
    for (int64_t t = 0; t < T; t++) swiglu_row(y + t * F, gate_up + t * 2 * F, gate_up + t * 2 * F + F, F);
}

PTA_CLONES static void swiglu_row_backward(float *dg, float *du, const float *dy, const float *g, const float *u,
                                           int64_t F) {
#pragma omp simd
    for (int64_t i = 0; i < F; i++) {
        float gate = g[i], up = u[i];
        float sigma = 1.0f / (1.0f + pta_expf(-gate));
        du[i] = dy[i] * gate * sigma;
        dg[i] = dy[i] * up * sigma * (1.0f + gate * (1.0f - sigma));
    }
}

void pta_swiglu_backward(float *dgate_up, const float *dy, const float *gate_up, int64_t T, int64_t F) {
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (T * F > 8192)
    for (int64_t t = 0; t < T; t++) {
        float *dg = dgate_up + t * 2 * F;
        const float *g = gate_up + t * 2 * F;
        swiglu_row_backward(dg, dg + F, dy + t * F, g, g + F, F);
    }
}
