/* A batch of tokens through the model, each at the end of its own cached history: the training forward's operations
 * (model/decoder.c) in its order, with keys and values in the cache's pages. */
#ifndef PTA_GENERATE_STEP_H
#define PTA_GENERATE_STEP_H

#include "../model/adapter.h"
#include "../model/rotation.h"
#include "kvcache.h"

enum { PTA_STEP_ROWS = 512 }; /* rows per batch: enough to keep the matrix products busy, small enough for the caches */

/* One token on its way: it stands at `position` from the root and sees the positions 0 .. position of a segment's page
 * table. What its heads turn by is another matter (rotation.h). */
typedef struct {
    char *const *pages;
    int64_t position;
} pta_row;

/* Everything a call needs again and again. Zero-initialise. */
typedef struct {
    pta_row rows[PTA_STEP_ROWS];
    int32_t tokens[PTA_STEP_ROWS];
    int32_t axes[3][PTA_STEP_ROWS];        /* rotary positions; equal but where an image is */
    const float *inputs[PTA_STEP_ROWS];    /* [C] given embedding, or NULL: that of the token */
    bool apart;                            /* some row's three positions differ */
    int64_t num_rows;
    pta_rotation_room rotation_room;
    pta_rotation rotation;
    pta_buffer memory, logit_memory;
    float *x;         /* [num_rows, C] residual stream */
    float *projected; /* [num_rows, (H+2K)·D] */
    float *logits;    /* [logits rows, V] */
    pta_matrix hidden; /* [hidden rows, C] normed input of a product; after the layers the final states */
    pta_matrix qkv, attention, gate_up, product;
    pta_adapter_scratch adapter;
    bool interrupted;
} pta_step;

void pta_step_free(pta_step *step);

/* Append a row: `token` becomes token `index` of segment `slot`, whose pages must have room and may not move until the
 * batch has run. Rows of one segment must be added in order, and rows with common ancestors together for speed. */
void pta_step_add(pta_step *step, const pta_cache *cache, int32_t slot, int64_t index, int32_t token);
/* The same for a row with three positions of its own (axes, `stride` apart; NULL: as above), or with a given embedding
 * (NULL: the token's), which stays the caller's. */
void pta_step_add_row(pta_step *step, const pta_cache *cache, int32_t slot, int64_t index, int32_t token,
                      const int32_t *axes, int64_t stride, const float *input);

/* Memory for the rows that were added, and for `more` rows of step->hidden after theirs, and rotary angles. Packed weights
 * must be ready (pta_model_ready). */
pta_code pta_step_prepare(pta_step *step, const pta_cache *cache, int64_t more, pta_error *err);
/* Team operation: the prepared rows through all layers. Stores their keys and values, leaves the first num_rows rows of
 * step->hidden. Complete after its last barrier. True for all threads when interrupted: then step->interrupted, and *err
 * of thread 0. */
bool pta_step_layers(const pta_team *team, pta_step *step, const pta_cache *cache, pta_error *err);
/* Bytes of a step of `rows` rows, with `more` rows of step->hidden, and logits for all of them. */
int64_t pta_step_bytes(const pta_model *model, int64_t rows, int64_t more);
/* Prepare and run as a team of its own. The caller empties the batch (num_rows = 0). */
pta_code pta_step_run(pta_step *step, const pta_cache *cache, pta_error *err);

/* Room for logits of R rows, R at most pta_step_logits_rows. */
int64_t pta_step_logits_rows(const pta_config *config);
pta_code pta_step_need_logits(pta_step *step, const pta_model *model, int64_t R, pta_error *err);
/* Team operation: logits of R rows of step->hidden from `first` on. Complete after its last barrier. */
void pta_step_logits(const pta_team *team, pta_step *step, const pta_model *model, int64_t first, int64_t R);

#endif
