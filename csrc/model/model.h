/* A decoder: its configuration, its table of parameters, its weights and gradients, and its tape.
 *
 * Master weights and gradients are float32. `config.dtype` is the type of the packed working weights and of stored
 * activations; the residual stream, norms, softmax and sums are float32 in either case.
 *
 * Size letters: T tokens, C hidden, H query heads, K key/value heads, D head size, F MLP size, V vocabulary, L layers.
 */
#ifndef PTA_MODEL_MODEL_H
#define PTA_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/memory.h"
#include "../core/status.h"
#include "../kernels/frozen.h"
#include "../kernels/linear.h"
#include "../vision/tower.h"
#include "forest.h"

enum { PTA_MOST_UNROTATED = 256 };

typedef struct {
    int64_t V, C, F, L, H, K, D;
    float eps;
    bool tied;      /* the head is the embedding table */
    bool qkv_bias;  /* q, k, v projections have a bias */
    bool qk_norm;   /* RMSNorm over each query and key head before the rotation */
    pta_dtype dtype; /* of working weights and stored activations */
    int frozen;      /* 0: the matrices are float32 masters; else 1 + the pta_frozen_kind that they are kept in alone */
    double *inv_freq; /* [D/2] rotary frequencies; owned by the model after pta_model_create */
    uint8_t unrotated[PTA_MOST_UNROTATED]; /* layers whose heads do not turn (NoPE): those below this many can be */
    pta_tower_config vision; /* depth 0: none; dtype and frozen follow from the fields above */
    int64_t rope_sections[3]; /* pairs that turn by time, height, width (rotation.h); all 0: rows have one position */
} pta_config;

/* One named tensor of the arena. cols == 0: a vector. `decay`: weight decay applies (matrices). */
typedef struct {
    char name[80];
    int64_t offset;     /* floats from the start of the arena */
    int64_t rows, cols; /* shape [rows, cols] or [rows] */
    bool decay;
    bool packed;        /* part of a packed matrix */
} pta_param;

/* Where a layer's tensors lie. q, k, v are adjacent (one matrix qkv[(H+2K)·D, C], one bias), and so are gate and up. */
typedef struct {
    float *input_norm;  /* [C] */
    float *qkv;         /* [(H+2K)·D, C] */
    float *qkv_bias;    /* [(H+2K)·D] or NULL */
    float *q_norm, *k_norm; /* [D] or NULL */
    float *o;           /* [C, H·D] */
    float *post_norm;   /* [C] */
    float *gate_up;     /* [2F, C] */
    float *down;        /* [C, F] */
} pta_layer;

/* Weights, or gradients, as pointers into one arena of the same layout. */
typedef struct {
    float *arena;       /* [num_floats], padding between groups included (always zero) */
    float *embed;       /* [V, C] */
    pta_layer *layers;  /* [L] */
    float *norm;        /* [C] */
    float *head;        /* [V, C]; == embed when tied */
    pta_tower_tensors tower; /* empty without one, or where it is not trained (of gradients) */
} pta_tensors;

/* Working copies of the matrices in the layout and type of the kernels; see pta_model_ready. */
typedef struct {
    pta_packed qkv, o, gate_up, down;
} pta_packed_layer;
typedef struct {
    void *memory;            /* NULL: none yet */
    pta_packed_layer *layers; /* [L] */
    pta_packed head;
    uint64_t version;        /* of the weights that were packed */
} pta_packed_tensors;

/* The matrices of a model by what they multiply; the last two are not of a layer. */
typedef enum {
    PTA_QKV, PTA_O, PTA_GATE_UP, PTA_DOWN, PTA_LAYER_MATRICES, PTA_HEAD = PTA_LAYER_MATRICES, PTA_EMBED,
    PTA_TOWER /* of the vision tower: `layer` is then the number of the matrix there */
} pta_matrix_id;

/* A named tensor of a model whose matrices are frozen: rows first .. first+rows-1 of a matrix. */
typedef struct {
    char name[80];
    int64_t layer; /* -1: of no layer */
    pta_matrix_id which;
    int64_t first, rows, cols;
} pta_frozen_param;
typedef struct {
    void *memory;       /* NULL: nothing is frozen */
    int64_t bytes;
    pta_frozen *layers; /* [L, PTA_LAYER_MATRICES] */
    pta_frozen head;
    pta_bf16 *embed;    /* [V, C] */
    int64_t num_params;
    pta_frozen_param *params;
} pta_frozen_tensors;

typedef struct pta_tape pta_tape;
typedef struct pta_adapter pta_adapter; /* adapter.h */
typedef struct pta_seen pta_seen;       /* vision.h */

typedef struct {
    pta_config config;
    int64_t num_params;     /* entries of params */
    pta_param *params;
    int64_t num_floats;     /* arena length with padding */
    int64_t num_elements;   /* numbers without padding */
    struct {
        int64_t params, floats, elements;
    } decoder;              /* the same three without the vision tower, whose tensors stand last */
    pta_tensors weights;
    pta_tensors grads;      /* grads.arena == NULL until pta_model_need_grads */
    pta_packed_tensors packed;
    pta_frozen_tensors frozen; /* with config.frozen, instead of masters and packed copies */
    int64_t writers;        /* who may be writing into the weights right now (views seen from Python) */
    bool touched;           /* a writer has gone since the weights were packed */
    bool grads_zero;        /* the gradients are zero, and nobody outside has seen them */
    bool grads_seen;        /* somebody outside may write into them */
    pta_adapter *adapter;   /* NULL: none; the weights themselves are trained */
    pta_tower_matrices_store tower; /* packed or frozen matrices of the vision tower */
    bool train_tower;       /* false: the tower has no gradients and no moments */
    bool tower_stale;       /* its packed copies may not agree with the masters */
    pta_seen *seen;         /* NULL: nothing of the tower is recorded */
    pta_buffer vision_memory;
    float *rope;            /* [rope_capacity, 2, D/2] cos then sin of each position */
    int64_t rope_capacity;
    pta_tape *tape;         /* NULL: nothing recorded */
    /* Memory kept from call to call, since fresh pages cost more than the arithmetic of a small model: that of the last
     * tape, of the head's chunks, of backward. */
    pta_buffer tape_memory, head_memory, backward_memory;
    pta_buffer input_gradients; /* [num_inputs, C] of the last backward over a forest with inputs */
    int64_t num_input_gradients; /* 0: none */
    uint64_t version;       /* increases with every change of the weights that goes through the core */
} pta_model;

/* Allocate a model of zero weights. Takes a copy of config->inv_freq. */
pta_code pta_model_create(pta_model **out, const pta_config *config, pta_error *err);
void pta_model_free(pta_model *m);
/* A model without memory for its weights, however large: pta_model_get_memory, pta_model_train_bytes and the like say of it
 * what they would say of a real one, and an adapter can be added. Nothing else may be called but pta_model_free. */
pta_code pta_model_plan(pta_model **out, const pta_config *config, pta_error *err);

/* What is trained: the weights, or the adapter's. grads: NULL until pta_model_need_grads. */
typedef struct {
    int64_t num_params, num_floats, num_elements;
    const pta_param *params;
    float *weights, *grads;
} pta_trainable;
pta_trainable pta_model_trainable(const pta_model *m);
/* Allocate zeroed gradients of what is trained if there are none. */
pta_code pta_model_need_grads(pta_model *m, pta_error *err);
/* Free the gradients. */
void pta_model_drop_grads(pta_model *m);

/* Give the model an adapter (adapter.h) with zero matrices, scale on B A, on the projections whose bits are set in
 * `targets`: q, k, v, o, gate, up, down. dropout: of their inputs in training passes that bring a key. Gradients of the base
 * are freed. PTA_E_STATE: it has one; PTA_E_VALUE. */
pta_code pta_model_add_adapter(pta_model *m, int64_t rank, double scale, unsigned targets, double dropout, pta_error *err);
/* From here on passes draw masks from this key; NULL: no dropout, as at first. Nothing where there is no adapter. */
void pta_model_drop_inputs(pta_model *m, const uint64_t *key);
void pta_model_remove_adapter(pta_model *m);
/* Without it the model computes what the base computes, to the bit. */
void pta_model_enable_adapter(pta_model *m, bool enabled);
/* The adapter changed, the base did not: the version moves on, packed weights stay good. */
void pta_model_changed_adapter(pta_model *m);

/* The vision tower (vision.c). Whether it is trained with the rest: false at first; changing it frees the gradients.
 * PTA_E_STATE: no tower, an adapter, or frozen weights. */
pta_code pta_model_train_tower(pta_model *m, bool train, pta_error *err);
/* out[rows, C]: the images' rows, one a merged square, image by image, from pixels[patches, numbers of a patch] and
 * grids[images] = {rows, columns} of patches. keep: record what pta_model_see_backward consumes (one record; a new call
 * drops it). PTA_E_STATE: no tower, or keep for a frozen one; PTA_E_VALUE: grids. */
pta_code pta_model_see(pta_model *m, const float *pixels, const int32_t (*grids)[2], int64_t images, bool keep, float *out,
                       pta_error *err);
/* Bytes that see, and with keep see_backward, take beyond the weights and what they return; -1: no memory, or bad grids. */
int64_t pta_model_see_bytes(const pta_model *m, const int32_t (*grids)[2], int64_t images, bool keep);
/* Rows of the record, or -1 without one. */
int64_t pta_model_seen_rows(const pta_model *m);
/* Add the tower's gradients of dout[rows, C]. Consumes the record. PTA_E_STATE: none, or the weights changed since. */
pta_code pta_model_see_backward(pta_model *m, const float *dout, pta_error *err);

/* Set the gradients to zero, unless they are known to be. */
void pta_model_zero_grads(pta_model *m);
/* Make m->packed agree with the weights: allocate it at first use, pack when the weights changed, or may have changed
 * (writers), since. Called before every use of m->packed, outside of teams. */
pta_code pta_model_ready(pta_model *m, pta_error *err);
/* Its two halves: allocate (contents undefined), and whether what is there agrees with the weights. */
pta_code pta_model_need_packed(pta_model *m, pta_error *err);
bool pta_model_packed_fresh(const pta_model *m);
/* Whether an extra of rows fits the model: PTA_E_VALUE when it has three positions and the model one, or another width. */
pta_code pta_model_check_extra(const pta_model *m, const pta_extra *extra, pta_error *err);
/* Make m->rope cover positions [0, count), and the bytes that it then has. */
pta_code pta_model_need_rope(pta_model *m, int64_t count, pta_error *err);
int64_t pta_model_rope_bytes(const pta_model *m, int64_t count);

/* Frozen matrices (model/frozen.c): shapes, memory, the number of a tensor by its name (-1: none), rows of it in and out as float32.
 * PTA_E_VALUE: rows outside; PTA_E_NONFINITE names the element, and nothing has changed. */
pta_code pta_frozen_plan(pta_model *m, pta_error *err); /* shapes and bytes, no memory */
pta_code pta_frozen_create(pta_model *m, pta_error *err); /* a plan's memory */
void pta_frozen_free(pta_frozen_tensors *t);
int64_t pta_frozen_find(const pta_model *m, const char *name);
pta_code pta_frozen_set_rows(pta_model *m, int64_t index, const float *w, int64_t first, int64_t count, pta_error *err);
pta_code pta_frozen_get_rows(pta_model *m, int64_t index, float *w, int64_t first, int64_t count, pta_error *err);
/* [V, C] */
static inline pta_matrix pta_model_embedding(const pta_model *m) {
    return m->config.frozen ? (pta_matrix){m->frozen.embed, m->config.C, PTA_BF16} : pta_f32(m->weights.embed, m->config.C);
}
static inline int64_t pta_qkv_width(const pta_config *c) { return (c->H + 2 * c->K) * c->D; }

/* How much of the activations forward keeps for backward. */
typedef enum {
    PTA_KEEP_NOTHING,
    PTA_KEEP_INPUTS, /* every layer's input; backward computes the rest again, to the same bits */
    PTA_KEEP_ALL
} pta_keep;

/* Log-probabilities of targets.
 *   logprobs[n], entropies[n] [N]: log softmax(logits[source[n]] / temperature)[target[n]], and the entropy (nats)
 *   of that distribution.
 * keep: record the tape that pta_model_backward consumes (the forest must outlive it). Logits are formed in chunks
 * of rows and never stored. PTA_E_VALUE: token, source or target out of range; PTA_E_NONFINITE: a log-probability is
 * NaN. After a failure there is no tape and the outputs are undefined. */
pta_code pta_model_forward(pta_model *m, const pta_forest *f, const int32_t *source, const int32_t *target, int64_t n,
                           float temperature, pta_keep keep, float *logprobs, float *entropies, pta_error *err);

/* Add to the gradients: the derivative of  Σ dlogprobs·logprobs + Σ dentropies·entropies. dentropies may be NULL.
 * Consumes the tape. Interrupted or out of memory: the gradients are undefined (callers zero them and start over). */
pta_code pta_model_backward(pta_model *m, const float *dlogprobs, const float *dentropies, pta_error *err);
void pta_model_drop_tape(pta_model *m);
/* Targets of the recorded tape (the N of forward), or -1 without one. */
int64_t pta_model_num_targets(const pta_model *m);

/* The loss of targets first .. first+count-1 and its derivatives, from their log-probabilities; every array begins at
 * `first`. Called chunk after chunk, in order, by one thread. */
typedef pta_code (*pta_loss)(void *context, int64_t first, int64_t count, const float *logprobs, const float *entropies,
                             float *dlogprobs, pta_error *err);
/* Forward and backward in one go: the gradients of a loss that is a sum over targets are formed while a chunk of logits
 * is at hand, so the head's product is computed once. Otherwise as forward (PTA_KEEP_ALL or PTA_KEEP_INPUTS) followed by
 * backward. Whatever fails, no tape is left and the gradients are undefined. */
pta_code pta_model_train(pta_model *m, const pta_forest *f, const int32_t *source, const int32_t *target, int64_t n,
                         float temperature, pta_keep keep, pta_loss loss, void *context, float *logprobs,
                         float *entropies, pta_error *err);
/* Bytes that pta_model_train allocates beyond weights, gradients and packed weights. PTA_KEEP_NOTHING: those of a
 * forward pass alone. */
int64_t pta_model_train_bytes(const pta_model *m, const pta_forest *f, int64_t n, pta_keep keep);

/* Bytes of what is allocated now, and of what training will allocate besides activations. */
typedef struct {
    int64_t weights, packed, gradients, scratch, to_allocate;
} pta_model_memory;
pta_model_memory pta_model_get_memory(const pta_model *m);

/* logits[r, :] of rows[r]; logits is [R, V]. */
pta_code pta_model_logits(pta_model *m, const pta_forest *f, const int32_t *rows, int64_t R, float *logits,
                          pta_error *err);

#endif
