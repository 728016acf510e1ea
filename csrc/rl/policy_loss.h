/* The clipped policy loss with a k3 penalty over merged targets (Eq. 9 of the paper; design principle 4), in float64.
 *
 * For one response with token weight w and advantage A, Eq. 9's summand is  w·min(r·A, clip(r, 1-el, 1+eh)·A)  with
 * r = exp(logprob - old). For A >= 0 that is w·A·min(r, 1+eh), for A < 0 it is w·A·max(r, 1-el). A target that k
 * responses share therefore needs only two numbers, w_pos = Σ w·max(A, 0) and w_neg = Σ w·min(A, 0):
 *
 *     loss = -Σ_n [ w_pos·min(r, 1+eh) + w_neg·max(min(r, delta), 1-el) ] + beta·Σ_n w_kl·k3
 *     k3   = exp(ref - logprob) - (ref - logprob) - 1                      (Schulman's estimator of KL(policy‖reference))
 *
 *     dloss/dlogprob = -[ w_pos·r  where r <= 1+eh ] - [ w_neg·r  where 1-el <= r <= delta ] - beta·w_kl·(exp(ref - logprob) - 1)
 *
 * delta (two-sided clipping; infinity: none) bounds what a negative advantage can do; it must exceed 1+eh, so that it
 * never meets a positive one. Where a weight is 0, its term is left out, not multiplied by 0: a target whose three
 * weights are 0 may hold any log-probability, NaN included.
 */
#ifndef PTA_RL_POLICY_LOSS_H
#define PTA_RL_POLICY_LOSS_H

#include <stdint.h>

#include "../core/status.h"

typedef struct {
    const float *logprobs, *old, *ref; /* [N]; ref may be NULL: then there is no KL term, and beta must be 0 */
    const float *w_pos, *w_neg, *w_kl; /* [N]; w_pos >= 0, w_neg <= 0, w_kl >= 0 */
    int64_t N;
    int64_t first;                    /* number of the first target, for messages */
    double epsilon_low, epsilon_high; /* >= 0; infinite: no clipping on that side */
    double beta;                      /* >= 0 */
    double delta;                     /* > 1 + epsilon_high, or infinite */
} pta_policy_batch;

/* Sums over targets with a non-zero weight, so that those of micro-batches add up (ratio_min, ratio_max: fold). */
typedef struct {
    int64_t count;                          /* targets with a non-zero weight */
    int64_t clip_low, clip_high, clip_delta; /* targets where that bound is active */
    double ratio_sum, ratio_min, ratio_max; /* of r; of no target: 0, +inf, -inf */
    double kl_sum, kl_weight;               /* Σ w_kl·k3 and Σ w_kl; their quotient is the mean KL (ref given) */
} pta_policy_stats;

/* *loss and dlogprobs[N]. PTA_E_VALUE: a parameter or weight out of range. PTA_E_NONFINITE: a term or gradient of a
 * target with weight is NaN or infinite (the message names it). On failure the outputs are undefined. */
pta_code pta_policy_loss(double *loss, float *dlogprobs, pta_policy_stats *stats, const pta_policy_batch *batch,
                         pta_error *err);

/* Sums of one part of the targets added to those of another. */
void pta_policy_stats_add(pta_policy_stats *total, const pta_policy_stats *part);

#endif
