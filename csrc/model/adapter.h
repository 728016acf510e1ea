/* Low-rank adapters (LoRA, Hu et al. 2021) on a model's projections:  y = W x + scale · B A x,  A[r, in], B[out, r].
 *
 * While a model has one, the adapter's matrices are what is trained: gradients, moments and updates are theirs, the base stays
 * as it is. Projections with a common input (q, k, v; gate, up) form a group whose A are one matrix. A and B are float32
 * masters; products compute in the model's dtype on packed copies, A x rounded to it once, after the scale.
 *
 * With dropout, a training pass that brings a key computes A (mask ∘ x) / (1 − p) instead, with a mask of its own for every
 * projection (dropout.h); everything else, sampling among it, never does.
 */
#ifndef PTA_MODEL_ADAPTER_H
#define PTA_MODEL_ADAPTER_H

#include "../core/cursor.h"
#include "dropout.h"
#include "model.h"

typedef enum { PTA_GROUP_QKV, PTA_GROUP_O, PTA_GROUP_GATE_UP, PTA_GROUP_DOWN, PTA_GROUPS } pta_group;
enum { PTA_PROJECTIONS = 7 }; /* q, k, v, o, gate, up, down: bits of `targets` in this order */

typedef struct {
    int64_t first, width; /* columns of the group's output */
    int projection;
    float *a, *b;         /* [r, K], [width, r] */
    pta_packed packed, packed_a; /* of b; of a alone, where there is dropout */
} pta_adapter_part;

/* Empty (count 0) where no projection of the group is adapted. */
typedef struct {
    int count;
    int64_t K;        /* inputs */
    float *a;         /* [count · r, K] */
    pta_packed packed;
    pta_adapter_part parts[3];
} pta_adapter_group;

struct pta_adapter {
    int64_t rank;
    float scale;
    unsigned targets;
    float dropout;    /* probability, of the inputs of each A while training; 0: none */
    bool enabled, dropping; /* dropping: within a pass that has a key */
    uint64_t pass_key;
    int64_t num_params, num_floats, num_elements;
    pta_param *params;
    float *weights, *grads;     /* arenas of one layout; grads NULL until needed */
    pta_adapter_group *groups;  /* [L, PTA_GROUPS] */
    void *packed_memory;        /* packed_bytes; NULL until needed */
    int64_t packed_bytes;
    uint64_t packed_version;    /* of the model, when they were packed */
    int64_t writers;            /* as the model's */
    bool touched;
};

/* Room for T rows. */
typedef struct {
    float *low;     /* [T, widest count · r] A x, or its gradient */
    pta_matrix z;   /* the same, scaled, in the model's dtype */
    float *wide;    /* [T, widest part or input] what is added to a bfloat16 matrix, or what dropout passes through */
    pta_matrix dropped; /* [T, widest input] what dropout leaves of an input */
} pta_adapter_scratch;
void pta_adapter_layout(pta_adapter_scratch *s, pta_cursor *cursor, const pta_model *m, int64_t T);

/* A model's adapter in use, or NULL. */
static inline const pta_adapter *pta_adapter_of(const pta_model *m) {
    return m->adapter && m->adapter->enabled ? m->adapter : NULL;
}
/* Allocate packed copies at first use, and pack when the masters changed or may have. Outside of teams. */
pta_code pta_adapter_ready(pta_model *m, pta_error *err);

/* Team operations; each ends with a barrier, and does nothing where nothing is adapted. */
/* y[T, outputs of the group] += the adapters' part. */
void pta_adapter_forward(const pta_team *team, const pta_model *m, int64_t layer, pta_group group, pta_matrix y, pta_matrix x,
                         const pta_adapter_scratch *s, int64_t T);
/* Adds to the gradients of A and B, and dx += the adapters' part, from dy and forward's x. */
void pta_adapter_backward(const pta_team *team, const pta_model *m, int64_t layer, pta_group group, pta_matrix dx,
                          pta_matrix dy, pta_matrix x, const pta_adapter_scratch *s, int64_t T);

#endif
