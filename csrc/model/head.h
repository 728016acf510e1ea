/* Final norm, head and log-softmax of the target rows, in chunks, forward and backward. */
#ifndef PTA_MODEL_HEAD_H
#define PTA_MODEL_HEAD_H

#include "tape.h"

/* Fill logprobs[N], entropies[N] and the tape's lse and entropy from tape->output and tape->source/target. */
pta_code pta_head_forward(pta_model *m, pta_tape *t, float *logprobs, float *entropies, pta_error *err);
/* dx[T, C] (overwritten): gradient of tape->output. Adds to the gradients of head and final norm. */
pta_code pta_head_backward(pta_model *m, const pta_tape *t, float *dx, const float *dlogprobs, const float *dentropies,
                           pta_error *err);
/* logits[R, V] of rows of tape->output. */
pta_code pta_head_logits(pta_model *m, const pta_tape *t, const int32_t *rows, int64_t R, float *logits,
                         pta_error *err);

#endif
