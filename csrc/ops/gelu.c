/* y = x·Φ(x):  dx = dy · (Φ(x) + x·φ(x)),  Φ(x) = (1 + erf(x/√2))/2,  φ(x) = e^(−x²/2)/√(2π). */
#include <math.h>

#include "ops.h"

static const float ROOT_HALF = 0.70710678118654752f, INVERSE_ROOT_TAU = 0.39894228040143268f;

static float distribution(float x) { return 0.5f * erfcf(-x * ROOT_HALF); } /* erfc: exact far to the left too */

void pta_gelu_forward(const pta_team *team, pta_matrix y, pta_matrix x, int64_t T, int64_t N) {
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        const void *from = pta_at(x, t, 0).data;
        void *to = pta_at(y, t, 0).data;
        for (int64_t i = 0; i < N; i++) {
            const float value = pta_load(from, i, x.dtype);
            pta_store(to, i, value * distribution(value), y.dtype);
        }
    }
}

void pta_gelu_backward(const pta_team *team, pta_matrix dx, pta_matrix dy, pta_matrix x, int64_t T, int64_t N) {
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        const void *from = pta_at(x, t, 0).data, *gradient = pta_at(dy, t, 0).data;
        void *to = pta_at(dx, t, 0).data;
        for (int64_t i = 0; i < N; i++) {
            const float value = pta_load(from, i, x.dtype);
            const float slope = distribution(value) + value * INVERSE_ROOT_TAU * expf(-0.5f * value * value);
            pta_store(to, i, pta_load(gradient, i, dy.dtype) * slope, dx.dtype);
        }
    }
}
