/* The tower's forward and backward pass, as team operations. */
#ifndef PTA_VISION_PASS_H
#define PTA_VISION_PASS_H

#include "windows.h"

typedef struct {
    const pta_tower_config *config;
    const pta_tower_tensors *weights, *grads; /* grads NULL: forward only */
    const pta_tower_matrices_store *store;
} pta_tower;

/* What forward works in, and leaves for backward: every block's input. The rest is formed again, to the same bits. */
typedef struct {
    pta_windows windows;
    bool keep;
    float *patches;      /* [T, I] in the tower's order; only while kept */
    float *inputs[PTA_TOWER_MOST_BLOCKS + 1]; /* [T, C] of each block, and the output of the last; all one where not kept */
    float *middle;       /* [T, C] residual stream behind attention */
    float *rstd1, *rstd2, *lse; /* [T], [T], [T, H] */
    pta_matrix normed;   /* [T, C] */
    float *projected;    /* [T, 3C] */
    pta_matrix qkv, attention, gate_up, product; /* [T, 3C], [T, C], [T, 2F], [T, F] */
    pta_matrix hidden, active; /* [T/M, M C] of the merger */
    float *merged;       /* [T/M, O] */
    void *pages;
} pta_tower_tape;
typedef struct {
    float *dx, *dnormed, *dqkv; /* [T, C], [T, C], [T, 3C] */
    pta_matrix dwide, dgate_up; /* [T, max(F, C)], [T, 2F] */
    float *reduce;
    void *attention;
} pta_tower_scratch;

/* Lay out, or with a NULL base only count, for the images of t->windows (of w). */
void pta_tower_tape_layout(pta_tower_tape *t, pta_cursor *cursor, const pta_tower_config *c);
void pta_tower_scratch_layout(pta_tower_scratch *s, pta_cursor *cursor, const pta_tower_config *c, const pta_windows *w);

/* out[T/M, O] in image processing's order, from pixels[T, I]. True when interrupted, for the whole team. */
bool pta_tower_forward(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, float *out,
                       const float *pixels, pta_error *err);
/* Adds to all gradients of the tower those of dout[T/M, O]. */
bool pta_tower_backward(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, const pta_tower_scratch *s,
                        const float *dout, pta_error *err);

#endif
