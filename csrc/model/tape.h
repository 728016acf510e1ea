/* What forward leaves for backward: the activations of every layer that are not cheap to form again. */
#ifndef PTA_MODEL_TAPE_H
#define PTA_MODEL_TAPE_H

#include "model.h"

/* One layer's activations. Normed inputs and the SwiGLU product are recomputed in backward. */
typedef struct {
    float *input;      /* [T, C] residual stream on entry */
    float *rstd_input; /* [T] */
    float *qkv;        /* [T, (H+2K)·D] after bias, norm and rotation */
    float *raw;        /* [T, (H+K)·D] q and k before their norm; NULL without qk_norm */
    float *rstd_heads; /* [T, H+K]; NULL without qk_norm */
    float *attention;  /* [T, H·D] */
    float *lse;        /* [T, H] */
    float *middle;     /* [T, C] residual stream after attention */
    float *rstd_middle; /* [T] */
    float *gate_up;    /* [T, 2F] */
} pta_activations;

struct pta_tape {
    pta_buffer memory;   /* taken from the model, given back by pta_tape_free */
    const pta_forest *forest;
    int64_t num_layers;  /* L when everything is kept, 1 when all layers share one set */
    pta_activations *layers;
    float *output;       /* [T, C] residual stream after the last layer */
    float *normed;       /* [T, C] scratch */
    float *product;      /* [T, F] scratch */
    int64_t N;           /* targets */
    int32_t *source, *target; /* [N] */
    float *lse, *entropy;     /* [N] */
    float temperature;
    uint64_t version;    /* of the weights */
};

/* Memory for a forest's activations; all layers' when `keep`, else one set that every layer overwrites. */
pta_code pta_tape_create(pta_tape **out, pta_model *m, const pta_forest *f, int64_t num_targets, bool keep,
                         pta_error *err);
void pta_tape_free(pta_tape *t, pta_model *m);

static inline pta_activations *pta_tape_layer(const pta_tape *t, int64_t l) {
    return &t->layers[t->num_layers == 1 ? 0 : l];
}

#endif
