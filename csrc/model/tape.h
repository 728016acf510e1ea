/* What forward leaves for backward: the activations of every layer that are not cheap to form again. */
#ifndef PTA_MODEL_TAPE_H
#define PTA_MODEL_TAPE_H

#include "../ops/attention.h"
#include "adapter.h"
#include "model.h"
#include "rotation.h"

/* One layer's activations; matrices are of the model's dtype. Normed inputs and the SwiGLU product are formed again in
 * backward. */
typedef struct {
    float *input;       /* [T, C] residual stream on entry */
    float *rstd_input;  /* [T] */
    pta_matrix qkv;     /* [T, (H+2K)·D] after bias, norm and rotation */
    pta_matrix raw;     /* [T, (H+K)·D] q and k before their norm; NULL without qk_norm */
    float *rstd_heads;  /* [T, H+K]; NULL without qk_norm */
    pta_matrix attention; /* [T, H·D] */
    float *lse;         /* [T, H] */
    float *middle;      /* [T, C] residual stream after attention */
    float *rstd_middle; /* [T] */
    pta_matrix gate_up; /* [T, 2F] */
} pta_activations;

struct pta_tape {
    pta_buffer memory;   /* taken from the model, given back by pta_tape_free */
    const pta_forest *forest;
    pta_rows rows;       /* the forest as attention sees it */
    pta_keep keep;
    pta_activations *layers; /* [L]; what is not kept is one set that all layers share */
    float *output;       /* [T, C] residual stream after the last layer */
    pta_matrix normed;   /* [T, C] scratch */
    pta_matrix product;  /* [T, F] scratch */
    float *projected;    /* [T, (H+2K)·D] scratch: q, k, v as the product leaves them; NULL in float32 */
    void *pages;         /* scratch of attention */
    pta_rotation_room rotation_room; /* of a forest whose rows have three positions */
    pta_rotation rotation;
    pta_adapter_scratch adapter;
    int64_t N;           /* targets */
    int32_t *source, *target; /* [N] */
    float temperature;
    uint64_t version;    /* of the weights */
};

/* Memory for a forest's activations. */
pta_code pta_tape_create(pta_tape **out, pta_model *m, const pta_forest *f, int64_t num_targets, pta_keep keep,
                         pta_error *err);
void pta_tape_free(pta_tape *t, pta_model *m);
int64_t pta_tape_bytes(const pta_model *m, const pta_forest *f, pta_keep keep);

#endif
