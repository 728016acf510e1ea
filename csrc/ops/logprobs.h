/* Log-softmax of rows of logits: what the training head and the sampler share, so that both give the same bits. */
#ifndef PTA_OPS_LOGPROBS_H
#define PTA_OPS_LOGPROBS_H

#include <stdint.h>

#include "../core/team.h"

/* softmax(z · scale) of one row, scale = 1 / temperature. */
typedef struct {
    float top;        /* max z */
    double log_total; /* log Σ e^((z − top) · scale) */
    float entropy;    /* nats */
} pta_logits_row;
pta_logits_row pta_logits_row_stats(const float *z, int64_t V, float scale);
/* log softmax(z · scale) at a logit z_target. */
static inline float pta_logits_row_logprob(const pta_logits_row *row, float z_target, float scale) {
    return (float)(((double)z_target - (double)row->top) * scale - row->log_total);
}

/* Team operations on a chunk logits[R, V]. Outputs logprobs, entropies and lse (all [R]) of softmax(logits · scale) for
 * target[r]; nothing is normalised in place. */
void pta_logprobs_forward(const pta_team *team, float *logprobs, float *entropies, float *lse, const float *logits,
                          const int32_t *target, int64_t R, int64_t V, float scale);
/* logits[R, V] in place -> dlogits of Σ dlogprobs·logprobs + Σ dentropies·entropies (dentropies may be NULL). */
void pta_logprobs_backward(const pta_team *team, float *logits, const float *dlogprobs, const float *dentropies,
                           const float *lse, const float *entropies, const int32_t *target, int64_t R, int64_t V,
                           float scale);

#endif
