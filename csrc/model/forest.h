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

typedef struct {
    int32_t T, S;       /* tokens (rows), segments */
    int32_t max_position; /* largest position + 1 */
    int32_t *tokens;    /* [T] */
    int32_t *offsets;   /* [S+1] row where a segment begins; offsets[S] = T */
    int32_t *parent;    /* [S] -1 for a root */
    int32_t *segment;   /* [T] segment of a row */
    int32_t *position;  /* [T] distance from the root's first token */
    int32_t *until;     /* [S] one past the last row of the segment's subtree */
} pta_forest;

/* Copy and validate the three arrays. On failure *out is untouched and nothing is leaked.
 * PTA_E_VALUE: not depth-first, decreasing offsets, T or S out of range. Token values are checked against a
 * vocabulary when a model sees them. */
pta_code pta_forest_create(pta_forest **out, const int32_t *tokens, int64_t num_tokens, const int32_t *offsets,
                           const int32_t *parent, int64_t num_segments, pta_error *err);
void pta_forest_free(pta_forest *f);

/* The forest as attention sees it. */
static inline pta_rows pta_forest_rows(const pta_forest *f) {
    return (pta_rows){f->T, f->S, f->offsets, f->parent, f->until};
}

#endif
