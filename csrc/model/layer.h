/* A decoder layer around its attention, forward; what training and decoding share. Pre-norm blocks:
 *   x += O·attention(norm(x)),   x += down·swiglu(norm(x)).
 *
 * Team operations; each ends with a barrier. They read the packed weights (pta_model_ready).
 */
#ifndef PTA_MODEL_LAYER_H
#define PTA_MODEL_LAYER_H

#include "../ops/ops.h"
#include "rotation.h"
#include "tape.h"

/* Scratch of T rows. */
typedef struct {
    pta_matrix normed, product; /* [T, C], [T, F], of the model's dtype */
    float *projected;           /* [T, (H+2K)·D]; not used in float32 */
    pta_adapter_scratch adapter;
} pta_layer_scratch;

/* a->input -> a->qkv (and rstd_input, raw, rstd_heads where they are not NULL), and a->middle, which is the input so far (may
 * be a->input). */
void pta_layer_qkv(const pta_team *team, const pta_model *m, int64_t layer, const pta_activations *a,
                   const pta_layer_scratch *s, pta_rotation rotation, int64_t T);
/* a->attention, added to a->middle; then a->gate_up. */
void pta_layer_gate_up(const pta_team *team, const pta_model *m, int64_t layer, const pta_activations *a,
                       const pta_layer_scratch *s, int64_t T);
/* a->middle and a->gate_up -> out[T, C] (may be a->middle). */
void pta_layer_out(const pta_team *team, const pta_model *m, int64_t layer, const pta_activations *a,
                   const pta_layer_scratch *s, float *out, int64_t T);
/* The heads of a layer as the operations see them, and the rotation that they turn by: the rows', or none at all. */
pta_heads pta_layer_heads(const pta_model *m, int64_t layer, pta_rotation rotation);
pta_rotation pta_layer_rotation(const pta_model *m, int64_t layer, pta_rotation rotation);

#endif
