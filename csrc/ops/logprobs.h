/* The head and the log-softmax over chunks of target rows: logits [T, V] are never stored. */
#ifndef PTA_OPS_LOGPROBS_H
#define PTA_OPS_LOGPROBS_H

#include <stdint.h>

/* In place on one chunk logits[R, V]: nothing is normalised; outputs logprobs, entropies, and lse (all [R]) of
 * softmax(logits / temperature) for target[r]. */
void pta_logprobs_forward(float *logprobs, float *entropies, float *lse, const float *logits, const int32_t *target,
                          int64_t R, int64_t V, float temperature);
/* logits[R, V] in place -> dlogits of Σ dlogprobs·logprobs + Σ dentropies·entropies (dentropies may be NULL). */
void pta_logprobs_backward(float *logits, const float *dlogprobs, const float *dentropies, const float *lse,
                           const float *entropies, const int32_t *target, int64_t R, int64_t V, float temperature);

#endif
