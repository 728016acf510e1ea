/* Log-softmax of chunk rows. With z = logits/temperature, p = softmax(z), H = −Σ p log p:
 *   d logprob[t] / dz_j = 1[j = t] − p_j,   dH / dz_j = −p_j (log p_j + H). */
#include "logprobs.h"

#include <math.h>

#include "../core/target.h"
#include "../core/vmath.h"

enum { BLOCK = 256 }; /* float sums run over at most this many terms, then go on in double */

PTA_CLONES pta_logits_row pta_logits_row_stats(const float *z, int64_t V, float scale) {
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
    return (pta_logits_row){top, log_total, (float)(log_total - weighted / total)};
}

void pta_logprobs_forward(const pta_team *team, float *logprobs, float *entropies, float *lse, const float *logits,
                          const int32_t *target, int64_t R, int64_t V, float scale) {
    int64_t first, last;
    pta_team_share(team, R, 1, &first, &last);
    for (int64_t r = first; r < last; r++) {
        const float *z = logits + r * V;
        const pta_logits_row row = pta_logits_row_stats(z, V, scale);
        logprobs[r] = pta_logits_row_logprob(&row, z[target[r]], scale);
        entropies[r] = row.entropy;
        lse[r] = (float)((double)row.top * scale + row.log_total);
    }
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

void pta_logprobs_backward(const pta_team *team, float *logits, const float *dlogprobs, const float *dentropies,
                           const float *lse, const float *entropies, const int32_t *target, int64_t R, int64_t V,
                           float scale) {
    int64_t first, last;
    pta_team_share(team, R, 1, &first, &last);
    for (int64_t r = first; r < last; r++)
        row_backward(logits + r * V, dlogprobs[r], dentropies ? dentropies[r] : 0.0f, lse[r], entropies[r], target[r],
                     V, scale);
}
