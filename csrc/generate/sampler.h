/* One draw from the next-token distribution, and what it cost in log-probability.
 *
 * The distribution: softmax(logits / temperature), then filtered in this order, each filter acting on what the one
 * before left (renormalised), and each defined without reference to an order among equals:
 *   top-k   keep a token iff fewer than k tokens are strictly more probable (as transformers: ties at the k-th stay);
 *   top-p   keep a token iff the total probability of the strictly more probable tokens is below p;
 *   min-p   keep a token iff its probability is at least min_p times the largest.
 * The most probable token always survives. A draw is the inverse of the cumulative distribution, in vocabulary order,
 * at the caller's uniform number: it depends on the logits and that number alone.
 */
#ifndef PTA_GENERATE_SAMPLER_H
#define PTA_GENERATE_SAMPLER_H

#include <stdint.h>

#include "../core/status.h"

typedef struct {
    double temperature; /* 0: greedy, ties go to the lowest id; the filters then do nothing */
    int32_t top_k;     /* 0: off */
    double top_p;      /* 1: off */
    double min_p;      /* 0: off */
} pta_sampling;

typedef struct {
    int32_t token;
    float logprob;          /* under softmax(logits / temperature), before any filter; temperature 1 when greedy */
    float sampling_logprob; /* under the distribution actually drawn from; 0 when greedy */
    float entropy;          /* of the distribution of `logprob`, nats */
} pta_draw;

/* PTA_E_VALUE unless 0 <= temperature < inf, top_k >= 0, 0 < top_p <= 1, 0 <= min_p <= 1. */
pta_code pta_sampling_check(const pta_sampling *sampling, pta_error *err);

/* Bytes of scratch pta_sample_row needs for a vocabulary of V (one scratch per thread, 64-byte aligned). */
int64_t pta_sampler_scratch(int64_t V);

/* Draw from logits[V] at the uniform number u in [0, 1). Returns 0, or -1 when the logits hold a NaN or +infinity
 * (or nothing but -infinity); then *draw is undefined. Minus infinity is a legal logit: probability 0. */
int pta_sample_row(pta_draw *draw, const float *logits, int64_t V, const pta_sampling *sampling, double u,
                   void *scratch);

#endif
