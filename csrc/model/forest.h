/* A batch is a forest of segments of tokens (design principle 3).
 *
 * Segments stand in depth-first order: parent[s] < s, and the rows of a segment's subtree are one contiguous range.
 * A token attends to its ancestors' tokens and causally to its own segment. In this order that whole mask is one
 * rule: key j is visible to query i  iff  j <= i < until[segment[j]].
 */
#ifndef PTA_MODEL_FOREST_H
#define PTA_MODEL_FOREST_H

#include <stdint.h>

#include "../core/status.h"
#include "../ops/attention.h"

enum { PTA_MOST_POSITIONS = 1 << 24 }; /* that a caller may give: each has a line in the model's table of angles */

/* What rows have beside their tokens, where there are images. All NULL and 0: nothing. */
typedef struct {
    const int32_t *axes;  /* [3, T] rotary positions along time, height and width; NULL: one, the distance from the root */
    int64_t num_inputs, width;
    const int32_t *rows;  /* [num_inputs] increasing: rows whose embedding is given, not looked up */
    const float *inputs;  /* [num_inputs, width] those embeddings */
} pta_extra;

typedef struct {
    int32_t T, S;       /* tokens (rows), segments */
    int32_t max_position; /* largest rotary position + 1 */
    int32_t *tokens;    /* [T] */
    int32_t *offsets;   /* [S+1] row where a segment begins; offsets[S] = T */
    int32_t *parent;    /* [S] -1 for a root */
    int32_t *segment;   /* [T] segment of a row */
    int32_t *position;  /* [T] distance from the root's first token */
    int32_t *until;     /* [S] one past the last row of the segment's subtree */
    pta_extra extra;    /* axes and rows are the forest's own, inputs are the caller's and outlive it */
} pta_forest;

/* Copy and validate the arrays (not extra->inputs, which are only referred to). On failure *out is untouched and nothing
 * is leaked. extra may be NULL. PTA_E_VALUE: not depth-first, decreasing offsets, T or S out of range, a negative position,
 * rows that do not increase. Token values and the width of inputs are checked when a model sees them. */
pta_code pta_forest_create(pta_forest **out, const int32_t *tokens, int64_t num_tokens, const int32_t *offsets,
                           const int32_t *parent, int64_t num_segments, const pta_extra *extra, pta_error *err);
void pta_forest_free(pta_forest *f);
/* The checks of an extra of T rows; `what` begins the message. *limit grows to the largest position + 1. */
pta_code pta_extra_check(const pta_extra *extra, int64_t T, const char *what, int32_t *limit, pta_error *err);

/* The forest as attention sees it. */
static inline pta_rows pta_forest_rows(const pta_forest *f) {
    return (pta_rows){f->T, f->S, f->offsets, f->parent, f->until};
}

#endif
