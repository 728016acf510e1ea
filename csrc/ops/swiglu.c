/* y = silu(g)·u with silu(g) = g·σ(g):  du = dy·silu(g),  dg = dy·u·σ(g)·(1 + g·(1 − σ(g))). */
#include "../core/vmath.h"
#include "ops.h"

PTA_INLINE float sigmoid(float x) { return 1.0f / (1.0f + pta_expf(-x)); }

PTA_INLINE void row_forward(void *restrict y, const void *restrict g, const void *restrict u, int64_t F,
                            const pta_dtype to, const pta_dtype from) {
#pragma omp simd
    for (int64_t i = 0; i < F; i++) {
        float gate = pta_load(g, i, from);
        pta_store(y, i, gate * sigmoid(gate) * pta_load(u, i, from), to);
    }
}

PTA_CLONES static void row(pta_matrix y, pta_matrix g, pta_matrix u, int64_t F) {
    if (g.dtype == PTA_BF16)
        row_forward(y.data, g.data, u.data, F, PTA_BF16, PTA_BF16);
    else
        row_forward(y.data, g.data, u.data, F, PTA_F32, PTA_F32);
}

void pta_swiglu_forward(const pta_team *team, pta_matrix y, pta_matrix gate_up, int64_t T, int64_t F) {
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) row(pta_at(y, t, 0), pta_at(gate_up, t, 0), pta_at(gate_up, t, F), F);
}

/* The product is rounded as forward rounded it. */
PTA_INLINE void row_backward(void *dg, void *du, void *product, const void *dy, const void *g, const void *u, int64_t F,
                             const pta_dtype type, const bool form) {
#pragma omp simd
    for (int64_t i = 0; i < F; i++) {
        float gate = pta_load(g, i, type), up = pta_load(u, i, type), d = pta_load(dy, i, type);
        float sigma = sigmoid(gate), silu = gate * sigma;
        if (form) pta_store(product, i, silu * up, type);
        pta_store(du, i, d * silu, type);
        pta_store(dg, i, d * up * sigma * (1.0f + gate * (1.0f - sigma)), type);
    }
}

PTA_CLONES static void row_gradient(pta_matrix dg, pta_matrix du, void *product, pta_matrix dy, pta_matrix g,
                                    pta_matrix u, int64_t F) {
    const bool half = g.dtype == PTA_BF16;
    if (half && product)
        row_backward(dg.data, du.data, product, dy.data, g.data, u.data, F, PTA_BF16, true);
    else if (half)
        row_backward(dg.data, du.data, product, dy.data, g.data, u.data, F, PTA_BF16, false);
    else if (product)
        row_backward(dg.data, du.data, product, dy.data, g.data, u.data, F, PTA_F32, true);
    else
        row_backward(dg.data, du.data, product, dy.data, g.data, u.data, F, PTA_F32, false);
}

void pta_swiglu_backward(const pta_team *team, pta_matrix dgate_up, pta_matrix product, pta_matrix dy,
                         pta_matrix gate_up, int64_t T, int64_t F) {
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        row_gradient(pta_at(dgate_up, t, 0), pta_at(dgate_up, t, F), product.data ? pta_at(product, t, 0).data : NULL,
                     pta_at(dy, t, 0), pta_at(gate_up, t, 0), pta_at(gate_up, t, F), F);
}
