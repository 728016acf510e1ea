/* Inside csrc/model: the layers, forward and backward, as team operations; head.h puts the head around them. */
#ifndef PTA_MODEL_DECODER_H
#define PTA_MODEL_DECODER_H

#include "tape.h"

/* Scratch of the backward pass. */
typedef struct {
    float *dx;        /* [T, C] gradient of the residual stream */
    float *dnormed;   /* [T, C] */
    float *dqkv;      /* [T, (H+2K)·D] */
    pta_matrix dwide; /* [T, max(F, H·D)] gradient of the product, or of the attention's output */
    float *reduce;    /* partial sums over rows */
    void *attention;  /* scratch of attention's backward */
} pta_backward_scratch;

/* Lay out, or with a NULL base only count. */
void pta_backward_layout(pta_backward_scratch *s, pta_cursor *cursor, const pta_model *m, const pta_rows *rows);

/* Embedding and all layers: fills the tape up to t->output. True when interrupted (for the whole team). */
bool pta_layers_forward(const pta_team *team, const pta_model *m, const pta_tape *t, pta_error *err);
/* s->dx: gradient of t->output -> all gradients of the layers and of the embedding. Uses the tape up. */
bool pta_layers_backward(const pta_team *team, const pta_model *m, const pta_tape *t, const pta_backward_scratch *s,
                         pta_error *err);

#endif
