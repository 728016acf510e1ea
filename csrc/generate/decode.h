/* Storing prompts and sampling continuations: what the Python type Cache does. */
#ifndef PTA_GENERATE_DECODE_H
#define PTA_GENERATE_DECODE_H

#include <stdbool.h>

#include "kvcache.h"
#include "sampler.h"
#include "stop.h"

typedef enum { PTA_FINISH_LENGTH = 0, PTA_FINISH_EOS = 1, PTA_FINISH_STOP = 2 } pta_finish;

/* A run of tokens to store after the segment `parent` (a handle, -1: a root). extra.axes: rotary positions of its own; what
 * comes behind goes on at the largest of them plus one. */
typedef struct {
    const int32_t *tokens;
    int64_t length, parent;
    pta_extra extra;
} pta_prompt;

/* Store n runs; handles[n]. Tokens of all runs go through the model together. Empty runs are allowed.
 * PTA_E_VALUE: token, position or row out of range. PTA_E_STATE: freed parent, weights changed. On failure nothing has been
 * stored. */
pta_code pta_cache_prefill(pta_cache *cache, int64_t *handles, const pta_prompt *prompts, int64_t n, pta_error *err);

typedef struct {
    pta_sampling sampling;
    const int32_t *eos; /* [num_eos] tokens that end a chain; the token belongs to the chain */
    int64_t num_eos;
    const pta_stop_table *stops; /* NULL: none. Sees only what this call generates */
    int32_t max_rows; /* chains that decode side by side, 1 to PTA_STEP_ROWS; the others wait for one to end */
    bool keep;        /* false: a chain's segment is released when it ends, and its handle is -1 */
} pta_sample_options;

/* handles, lengths, finish are the caller's [B]; the rest is allocated by the call, chain after chain [total]. */
typedef struct {
    int64_t *handles;
    int32_t *lengths;
    uint8_t *finish;
    int64_t total;
    int32_t *tokens;
    float *logprobs, *sampling_logprobs, *entropies; /* see sampler.h */
} pta_samples;

/* Continue parents[b] by up to max_new[b] tokens; each chain becomes a new segment of the cache. Draw i of
 * chain b is pta_uniform(keys[b], i). A parent without any token before it cannot be continued (PTA_E_VALUE), unless
 * max_new[b] is 0. PTA_E_NONFINITE: a logit is NaN or +infinity. On failure no segment has been made, and nothing of
 * *out has been allocated. */
pta_code pta_cache_sample(pta_cache *cache, pta_samples *out, const int64_t *parents, const uint64_t *keys,
                          const int32_t *max_new, int64_t B, const pta_sample_options *options, pta_error *err);
void pta_samples_free(pta_samples *out);

#endif
