/* Inside csrc/model: a model's vision tower: its part of the table of parameters, and its passes. */
#ifndef PTA_MODEL_VISION_H
#define PTA_MODEL_VISION_H

#include "../vision/pass.h"
#include "model.h"

/* The last forward that was kept for backward. */
struct pta_seen {
    pta_tower_tape tape;
    pta_buffer memory;
    uint64_t version; /* of the weights */
};

/* Set the tower's pointers from the table's entries [first, num_params), into an arena of the table's layout. */
pta_code pta_vision_bind(pta_tower_tensors *t, const pta_model *m, float *arena, int64_t first, pta_error *err);
void pta_vision_free(pta_model *m);

#endif
