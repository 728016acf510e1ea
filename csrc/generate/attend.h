/* Attention of single rows over cached pages: the ancestors' pages, shared by all rows of a path, then the row's own.
 *
 * A row's result is formed by the same operations in the same order whatever other rows are computed beside it.
 */
#ifndef PTA_GENERATE_ATTEND_H
#define PTA_GENERATE_ATTEND_H

#include <stdint.h>

#include "kvcache.h"

/* `count` tokens of one page. */
typedef struct {
    const float *page;
    int64_t count;
} pta_span;

/* What rows of one parent share: the pages of the whole chain of ancestors, from the root. */
typedef struct {
    int64_t num_spans;
    pta_span *spans;
} pta_path;

/* One token on its way through the model: it is token `index` of a segment with these pages, and sees the path and
 * the segment's tokens 0 .. index. */
typedef struct {
    const pta_path *path;
    float *const *pages;
    int64_t index;
} pta_row;

/* Consecutive rows with the same path, computed together. */
typedef struct {
    int64_t first, count;
} pta_run;

typedef struct {
    int64_t R;              /* rows */
    const pta_row *rows;    /* [R] */
    int64_t num_runs;
    const pta_run *runs;    /* [num_runs] cover the rows in order */
    int64_t max_spans;      /* over the rows: spans of the path plus own pages */
    int64_t max_run;        /* largest count of a run */
    bool rows_share_segments; /* some rows are tokens of one segment (then next to each other, in order) */
} pta_row_batch;

/* Floats of scratch per thread. */
int64_t pta_rows_scratch(const pta_row_batch *batch, int64_t H, int64_t K, int64_t D);

/* Store every row's key and value of layer `layer` in its page, then out[R, H·D] = attention. qkv is [R, (H+2K)·D]
 * (rotated). scratch: pta_num_threads() · pta_rows_scratch floats. */
void pta_attend(float *out, const float *qkv, const pta_row_batch *batch, int64_t layer, int64_t H, int64_t K,
                int64_t D, float *scratch);

#endif
