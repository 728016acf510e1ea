/* Inside csrc/model: final norm, head and log-softmax of the target rows, in chunks, as team operations. */
#ifndef PTA_MODEL_HEAD_H
#define PTA_MODEL_HEAD_H

#include "tape.h"

/* Scratch of one chunk of `rows` target rows. Logits exist for one chunk at a time. */
typedef struct {
    int64_t rows;
    pta_matrix normed;                               /* [rows, C] of the model's dtype */
    float *gathered, *rstd, *logits;                 /* [rows, C], [rows], [rows, V] */
    float *lse, *dlogprobs, *dnormed, *dgathered, *reduce; /* of training passes */
} pta_head_chunk;

/* Lay out for N targets, or with a NULL base only count. */
void pta_head_layout(pta_head_chunk *k, pta_cursor *cursor, const pta_config *c, int64_t N, bool train);

/* What a pass over the targets computes; set up by the caller before the team runs. */
typedef struct {
    pta_model *m;
    const pta_tape *t;
    pta_head_chunk chunk;
    float *logprobs, *entropies; /* [N] */
    pta_loss loss;               /* NULL: log-probabilities only */
    void *context;
    const float *dentropies;     /* [N] or NULL: added to what the loss says */
    float *dx;                   /* [T, C] with a loss: gradient of t->output (overwritten) */
    pta_code code;               /* of the loss or the check for NaN; written by thread 0 */
} pta_head_pass;

/* True when the pass failed or was interrupted, for the whole team: then pass->code or *err says why. With a loss, adds
 * to the gradients of head and final norm. */
bool pta_head_run(const pta_team *team, pta_head_pass *pass, pta_error *err);

/* logits[R, V] of rows[R] of t->output; R at most chunk->rows. Ends with a barrier. */
void pta_head_logits(const pta_team *team, const pta_model *m, const pta_tape *t, const pta_head_chunk *k,
                     const int32_t *rows, int64_t R, float *logits);

#endif
