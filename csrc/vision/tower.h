/* A vision tower (Qwen2.5-VL, arXiv 2502.13923, section 2.1): patches of images -> rows of a language model.
 *
 *     x = patches · Wᵀ                                       patch embedding, no bias
 *     for each block:  x += proj·attention(norm(x)) + b      2-D rotary; over windows, or over the image in `full` blocks
 *                      x += down·swiglu(norm(x)) + b         gate, up and down with bias
 *     y = W₂·gelu(W₁·norm(x) + b₁) + b₂                      over the patches of a merged square, joined
 *
 * Patches stand square by square, as image processing leaves them (ptagrpo/vision). Inside the tower, squares stand window
 * by window (windows.h), so that attention is over ranges of rows.
 *
 * The residual stream, norms and sums are float32; `dtype` is that of packed weights and other activations. Matrices have
 * float32 masters and packed copies, or, frozen, are kept in bfloat16 alone.
 *
 * Size letters: T patches, C hidden, H heads, D head size, F MLP size, I numbers of a patch, M patches of a merged square,
 * O hidden size of the language model.
 */
#ifndef PTA_VISION_TOWER_H
#define PTA_VISION_TOWER_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/cursor.h"
#include "../core/memory.h"
#include "../core/status.h"
#include "../kernels/frozen.h"
#include "../kernels/linear.h"

enum { PTA_TOWER_MOST_BLOCKS = 256 };

typedef struct {
    int64_t depth;    /* blocks; 0: no tower */
    int64_t C, F, H, O;
    int64_t patch;    /* numbers of a patch: I */
    int64_t merge;    /* side of a merged square; M = merge² */
    int64_t window;   /* side of a window, in merged squares */
    uint8_t full[PTA_TOWER_MOST_BLOCKS]; /* blocks whose rows see the whole image */
    pta_dtype dtype;
    bool frozen;      /* matrices are kept in bfloat16 alone */
} pta_tower_config;

/* Matrices in the order of the table: the patch embedding, four of each block, two of the merger. */
typedef enum { PTA_TOWER_QKV, PTA_TOWER_PROJ, PTA_TOWER_GATE_UP, PTA_TOWER_DOWN, PTA_TOWER_PER_BLOCK } pta_tower_matrix;
static inline int64_t pta_tower_matrices(const pta_tower_config *c) { return c->depth ? 3 + PTA_TOWER_PER_BLOCK * c->depth : 0; }
static inline int64_t pta_tower_block_matrix(int64_t block, pta_tower_matrix which) { return 1 + PTA_TOWER_PER_BLOCK * block + which; }
static inline int64_t pta_tower_merger_matrix(const pta_tower_config *c, int64_t which) { return 1 + PTA_TOWER_PER_BLOCK * c->depth + which; }
/* Its shape [N, K]. */
void pta_tower_shape(const pta_tower_config *c, int64_t matrix, int64_t *N, int64_t *K);

/* One block's vectors, weights or gradients. */
typedef struct {
    float *norm1, *norm2;      /* [C] */
    float *qkv_bias;           /* [3C] */
    float *proj_bias, *down_bias; /* [C] */
    float *gate_up_bias;       /* [2F] */
} pta_tower_block;

/* Pointers into an arena. matrices[i]: masters or their gradients, NULL where they are frozen. */
typedef struct {
    float **matrices;          /* [pta_tower_matrices] */
    pta_tower_block *blocks;   /* [depth] */
    float *norm;               /* [C] */
    float *bias1, *bias2;      /* [M C], [O] */
} pta_tower_tensors;

/* The table of parameters, in order: visit(context, name, rows, cols (0: a vector), join: directly behind the one before,
 * matrix: that it is a part of, or -1, first: its first row there). Matrices are visited where they are frozen too. */
typedef void (*pta_tower_visit)(void *context, const char *name, int64_t rows, int64_t cols, bool join, int64_t matrix,
                                int64_t first);
void pta_tower_describe(const pta_tower_config *c, pta_tower_visit visit, void *context);

/* Allocate the two tables of pointers; fill them, walking the table: next(context) gives the place of each tensor that is
 * not a frozen matrix. */
pta_code pta_tower_tensors_create(pta_tower_tensors *t, const pta_tower_config *c, float *(*next)(void *context),
                                  void *context, pta_error *err);
void pta_tower_tensors_free(pta_tower_tensors *t);

/* Packed copies, or the frozen form. */
typedef struct {
    void *memory;       /* NULL: none yet */
    int64_t bytes;
    pta_packed *packed; /* [pta_tower_matrices], or NULL where they are frozen */
    pta_frozen *frozen;
} pta_tower_matrices_store;
pta_code pta_tower_store_create(pta_tower_matrices_store *s, const pta_tower_config *c, pta_error *err);
void pta_tower_store_free(pta_tower_matrices_store *s);
int64_t pta_tower_store_bytes(const pta_tower_config *c);
/* Team operation: packed copies from the masters. */
void pta_tower_pack(const pta_team *team, const pta_tower_matrices_store *s, const pta_tower_config *c,
                    const pta_tower_tensors *weights);

/* PTA_E_VALUE names the size that is out of range. */
pta_code pta_tower_check(const pta_tower_config *c, pta_error *err);

#endif
