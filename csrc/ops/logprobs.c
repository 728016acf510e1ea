/* Log-softmax of chunk rows. With z = logits/temperature, p = softmax(z), H = −Σ p log p:
 *   d logprob[t] / dz_j = 1[j = t] − p_j,   dH / dz_j = −p_j (log p_j + H). */
#include "logprobs.h"

#include <math.h>

#include "../core/target.h"
#include "../core/threads.h"
#include "../core/vmath.h"

enum { BLOCK = 1024 }; /* float sums run over at most this many terms, then go on in double */

PTA_CLONES static void row_forward(float *logprob, float *entropy, float *lse, const float *z, int32_t target,
                                   int64_t V, float scale) {
    float top = -INFINITY;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < V; j++) top = z[j] > top ? z[j] : top;
    double total = 0.0, weighted = 0.0; /* Σ e^x and Σ e^x·x with x = (z − top)·scale */
    for (int64_t first = 0; first < V; first += BLOCK) {
        int64_t last = first + BLOCK < V ? first + BLOCK : V;
        float sum = 0.0f, sum_x = 0.0f;
#pragma omp simd reduction(+ : sum, sum_x)
        for (int64_t j = first; j < last; j++) {
            float x = (z[j] - top) * scale, e = pta_expf(x);
            sum += e;
            sum_x += e * x;
        }
        total += sum;
        weighted += sum_x;
    }
    double log_total = log(total);
    *logprob = (float)(((double)z[target] - (double)top) * scale - log_total);
    *entropy = (float)(log_total - weighted / total);
    *lse = (float)((double)top * scale + log_total);
}

void pta_logprobs_forward(float *logprobs, float *entropies, float *lse, const float *logits, const int32_t *target,
                          int64_t R, int64_t V, float temperature) {
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (R * V > 8192)
    for (int64_t r = 0; r < R; r++)
        row_forward(logprobs + r, entropies + r, lse + r, logits + r * V, target[r], V, 1.0f / temperature);
}

PTA_CLONES static void row_backward(float *z, float dlogprob, float dentropy, float lse, float entropy, int32_t target,
                                    int64_t V, float scale) {
    float at_target = scale * dlogprob;
    if (dentropy == 0.0f) {
#pragma omp simd
        for (int64_t j = 0; j < V; j++) z[j] = -at_target * pta_expf(z[j] * scale - lse);
    } else {
#pragma omp simd
        for (int64_t j = 0; j < V; j++) {
            float logp = z[j] * scale - lse;
            z[j] = -scale * pta_expf(logp) * (dlogprob + dentropy * (logp + entropy));
        }
    }
    z[target] += at_target;
}

void pta_logprobs_backward(float *logits, const float *dlogprobs, const float *dentropies, const float *lse,
                           const float *entropies, const int32_t *target, int64_t R, int64_t V, float temperature) {
#pragma omp parallel for num_threads(pta_num_threads()) schedule(static) if (R * V > 8192)
    for (int64_t r = 0; r < R; r++)
        row_backward(logits + r * V, dlogprobs[r], dentropies ? dentropies[r] : 0.0f, lse[r], entropies[r], target[r],
                     V, 1.0f / temperature);
}
