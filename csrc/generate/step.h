/* A batch of tokens through the model, each at the end of its own cached history. */
#ifndef PTA_GENERATE_STEP_H
#define PTA_GENERATE_STEP_H

#include "attend.h"

enum { PTA_STEP_ROWS = 512 }; /* rows per batch: enough to keep the matrix products busy, small enough for the caches */

/* Everything a call needs again and again; reserved before its loop starts. Zero-initialise. */
typedef struct {
    pta_buffer activations, scores, logits;
    pta_row rows[PTA_STEP_ROWS];
    pta_run runs[PTA_STEP_ROWS];
    int32_t tokens[PTA_STEP_ROWS], positions[PTA_STEP_ROWS];
    int64_t num_rows;
    float *hidden; /* [num_rows, C] after pta_step_run */
} pta_step;

void pta_step_free(pta_step *step);

/* Append a row: `token` becomes token `index` of segment `slot` (whose pages must have room), seeing `path` before. */
void pta_step_add(pta_step *step, const pta_cache *cache, int32_t slot, const pta_path *path, int64_t index,
                  int32_t token);

/* Run the rows that were added through all layers: stores their keys and values, leaves step->hidden, the normed final
 * states. Rows of one segment must be added in order, and rows of one path together for speed. The caller empties the
 * batch (num_rows = 0). PTA_E_MEMORY, PTA_E_INTERRUPTED. */
pta_code pta_step_run(pta_step *step, const pta_cache *cache, pta_error *err);

/* Logits of hidden[R, C] in step->logits [R, V]; R at most pta_step_logits_rows. */
int64_t pta_step_logits_rows(const pta_config *config);
pta_code pta_step_logits(pta_step *step, const pta_model *model, const float *hidden, int64_t R, pta_error *err);

/* The path that continuations of segment `slot` see: itself and its ancestors (slot -1: nothing). */
pta_code pta_path_build(pta_path *path, const pta_cache *cache, int32_t slot, pta_error *err);
void pta_path_free(pta_path *path);

#endif
