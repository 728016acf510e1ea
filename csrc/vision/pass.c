/* A block is a decoder layer's shape with biases and without causality; see tower.h. */
#include "pass.h"

#include <string.h>

#include "../core/vmath.h"
#include "../ops/ops.h"

static const float EPS = 1e-6f; /* of every norm of the tower; no configuration file changes it */

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t squares_of(const pta_tower_config *c, const pta_windows *w) { return w->T / (c->merge * c->merge); }

/* Room for attention over windows or over images, whichever takes more. */
static int64_t room(const pta_windows *w, const pta_tower_config *c, bool backward) {
    const pta_rows rows[2] = {pta_windows_rows(w, false), pta_windows_rows(w, true)};
    int64_t bytes[2];
    for (int i = 0; i < 2; i++)
        bytes[i] = backward ? pta_attention_backward_bytes(&rows[i], c->H, c->H, c->C / c->H)
                            : pta_attention_pages(&rows[i], c->H, c->C / c->H);
    return larger(bytes[0], bytes[1]);
}

void pta_tower_tape_layout(pta_tower_tape *t, pta_cursor *cursor, const pta_tower_config *c) {
    const int64_t T = t->windows.T, squares = squares_of(c, &t->windows), joined = c->merge * c->merge * c->C;
    t->patches = pta_take_floats(cursor, T * c->patch);
    for (int64_t b = 0; b <= c->depth; b++)
        t->inputs[b] = b && !t->keep ? t->inputs[0] : pta_take_floats(cursor, T * c->C);
    t->middle = t->keep ? pta_take_floats(cursor, T * c->C) : t->inputs[0];
    t->rstd1 = pta_take_floats(cursor, T);
    t->rstd2 = pta_take_floats(cursor, T);
    t->lse = pta_take_floats(cursor, T * c->H);
    t->normed = pta_take_matrix(cursor, T, c->C, c->dtype);
    t->projected = pta_take_floats(cursor, T * 3 * c->C);
    t->qkv = pta_take_matrix(cursor, T, 3 * c->C, c->dtype);
    t->attention = pta_take_matrix(cursor, T, c->C, c->dtype);
    t->gate_up = pta_take_matrix(cursor, T, 2 * c->F, c->dtype);
    t->product = pta_take_matrix(cursor, T, c->F, c->dtype);
    t->hidden = pta_take_matrix(cursor, squares, joined, c->dtype);
    t->active = pta_take_matrix(cursor, squares, joined, c->dtype);
    t->merged = pta_take_floats(cursor, squares * c->O);
    t->pages = pta_take(cursor, room(&t->windows, c, false));
}

void pta_tower_scratch_layout(pta_tower_scratch *s, pta_cursor *cursor, const pta_tower_config *c, const pta_windows *w) {
    const int64_t T = w->T, joined = c->merge * c->merge * c->C;
    s->dx = pta_take_floats(cursor, T * c->C);
    s->dnormed = pta_take_floats(cursor, T * c->C);
    s->dqkv = pta_take_floats(cursor, T * 3 * c->C);
    s->dwide = pta_take_matrix(cursor, T, larger(c->F, c->C), c->dtype);
    s->dgate_up = pta_take_matrix(cursor, T, 2 * c->F, c->dtype);
    s->reduce = pta_take_floats(cursor, PTA_ROW_BLOCKS * larger(larger(3 * c->C + 2 * (c->C / c->H), 2 * c->F), larger(joined, c->O)));
    s->attention = pta_take(cursor, room(w, c, true));
}

/* Products ---------------------------------------------------------------------------------------------------------- */

/* y[T, N] = or += x[T, K] · Wᵀ; ends with a barrier. */
static void product(const pta_team *team, const pta_tower *tower, int64_t matrix, pta_matrix y, pta_matrix x, int64_t T,
                    bool accumulate) {
    if (tower->config->frozen)
        pta_frozen_forward(team, y, x, &tower->store->frozen[matrix], T, tower->config->dtype, accumulate);
    else
        pta_linear_forward(team, y, x, &tower->store->packed[matrix], T, accumulate);
    pta_team_barrier(team);
}

/* dW += dyᵀ · x, and, unless dx has no data, dx = dy · W; ends with a barrier. */
static void product_backward(const pta_team *team, const pta_tower *tower, int64_t matrix, pta_matrix dx, pta_matrix dy,
                             pta_matrix x, int64_t T) {
    int64_t N, K;
    pta_tower_shape(tower->config, matrix, &N, &K);
    pta_linear_dweight(team, tower->grads->matrices[matrix], dy, x, T, N, K, tower->config->dtype);
    if (dx.data) pta_linear_dinput(team, dx, dy, tower->weights->matrices[matrix], T, N, K, tower->config->dtype, false);
    pta_team_barrier(team);
}

/* A block ------------------------------------------------------------------------------------------------------------ */

static pta_heads heads_of(const pta_tower *tower, const pta_tower_tape *t, int64_t b) {
    const pta_tower_config *c = tower->config;
    return (pta_heads){c->H, c->H, c->C / c->H, tower->weights->blocks[b].qkv_bias, NULL, NULL, t->windows.angles, EPS};
}

/* From its input up to t->gate_up: all that backward needs. */
static void activations(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, int64_t b) {
    const pta_tower_config *c = tower->config;
    const pta_tower_block *w = &tower->weights->blocks[b];
    const pta_heads heads = heads_of(tower, t, b);
    const pta_rows rows = pta_windows_rows(&t->windows, c->full[b]);
    const int64_t T = t->windows.T, C = c->C;
    pta_rmsnorm_forward(team, t->normed, t->rstd1, t->inputs[b], w->norm1, T, C, EPS);
    pta_team_barrier(team);
    product(team, tower, pta_tower_block_matrix(b, PTA_TOWER_QKV), pta_f32(t->projected, 3 * C), t->normed, T, false);
    pta_heads_forward(team, t->qkv, (pta_matrix){0}, NULL, t->projected, &heads, t->windows.line, T);
    pta_team_barrier(team);
    pta_attention_forward(team, t->attention, t->lse, t->qkv, &rows, c->H, c->H, C / c->H, t->pages);
    pta_copy_rows(team, t->middle, t->inputs[b], T, C);
    pta_team_barrier(team);
    product(team, tower, pta_tower_block_matrix(b, PTA_TOWER_PROJ), pta_f32(t->middle, C), t->attention, T, true);
    pta_bias_forward(team, pta_f32(t->middle, C), w->proj_bias, T, C);
    pta_team_barrier(team);
    pta_rmsnorm_forward(team, t->normed, t->rstd2, t->middle, w->norm2, T, C, EPS);
    pta_team_barrier(team);
    product(team, tower, pta_tower_block_matrix(b, PTA_TOWER_GATE_UP), t->gate_up, t->normed, T, false);
    pta_bias_forward(team, t->gate_up, w->gate_up_bias, T, 2 * c->F);
    pta_team_barrier(team);
}

static void block_out(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, int64_t b) {
    const pta_tower_config *c = tower->config;
    const int64_t T = t->windows.T;
    float *out = t->inputs[b + 1];
    pta_swiglu_forward(team, t->product, t->gate_up, T, c->F);
    pta_copy_rows(team, out, t->middle, T, c->C);
    pta_team_barrier(team);
    product(team, tower, pta_tower_block_matrix(b, PTA_TOWER_DOWN), pta_f32(out, c->C), t->product, T, true);
    pta_bias_forward(team, pta_f32(out, c->C), tower->weights->blocks[b].down_bias, T, c->C);
    pta_team_barrier(team);
}

/* x += down·swiglu(norm(x)) + b: s->dx from the gradient of the block's output to that of t->middle. */
static void mlp_backward(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, int64_t b,
                         const pta_tower_scratch *s) {
    const pta_tower_config *c = tower->config;
    const pta_tower_block *w = &tower->weights->blocks[b], *g = &tower->grads->blocks[b];
    const int64_t T = t->windows.T, C = c->C, F = c->F;
    const pta_matrix dx = pta_f32(s->dx, C);
    pta_matrix dproduct = s->dwide;
    dproduct.ld = F;
    pta_bias_backward(team, g->down_bias, dx, s->reduce, T, C);
    pta_swiglu_forward(team, t->product, t->gate_up, T, F);
    pta_team_barrier(team);
    product_backward(team, tower, pta_tower_block_matrix(b, PTA_TOWER_DOWN), dproduct, dx, t->product, T);
    pta_swiglu_backward(team, s->dgate_up, (pta_matrix){0}, dproduct, t->gate_up, T, F);
    pta_team_barrier(team);
    pta_bias_backward(team, g->gate_up_bias, s->dgate_up, s->reduce, T, 2 * F);
    product_backward(team, tower, pta_tower_block_matrix(b, PTA_TOWER_GATE_UP), pta_f32(s->dnormed, C), s->dgate_up,
                     t->normed, T);
    pta_rmsnorm_backward(team, s->dx, g->norm2, s->dnormed, t->middle, t->rstd2, w->norm2, s->reduce, T, C);
    pta_team_barrier(team);
}

/* x += proj·attention(norm(x)) + b: s->dx from the gradient of t->middle to that of the block's input. */
static void attention_backward(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, int64_t b,
                               const pta_tower_scratch *s) {
    const pta_tower_config *c = tower->config;
    const pta_tower_block *w = &tower->weights->blocks[b], *g = &tower->grads->blocks[b];
    const pta_heads heads = heads_of(tower, t, b);
    const pta_rows rows = pta_windows_rows(&t->windows, c->full[b]);
    const int64_t T = t->windows.T, C = c->C;
    const pta_matrix dx = pta_f32(s->dx, C), dqkv = pta_f32(s->dqkv, 3 * C);
    pta_matrix dout = s->dwide;
    dout.ld = C;
    pta_bias_backward(team, g->proj_bias, dx, s->reduce, T, C);
    product_backward(team, tower, pta_tower_block_matrix(b, PTA_TOWER_PROJ), dout, dx, t->attention, T);
    pta_attention_backward(team, dqkv, dout, t->attention, t->lse, t->qkv, &rows, c->H, c->H, C / c->H, s->attention);
    pta_team_barrier(team);
    pta_heads_backward(team, s->dqkv, g->qkv_bias, NULL, NULL, (pta_matrix){0}, NULL, &heads, t->windows.line, s->reduce, T);
    pta_rmsnorm_forward(team, t->normed, NULL, t->inputs[b], w->norm1, T, C, EPS);
    pta_team_barrier(team);
    product_backward(team, tower, pta_tower_block_matrix(b, PTA_TOWER_QKV), pta_f32(s->dnormed, C), dqkv, t->normed, T);
    pta_rmsnorm_backward(team, s->dx, g->norm1, s->dnormed, t->inputs[b], t->rstd1, w->norm1, s->reduce, T, C);
    pta_team_barrier(team);
}

/* The merger ----------------------------------------------------------------------------------------------------------- */

/* The normed patches of a square as one row. */
static pta_matrix joined_rows(const pta_tower_tape *t, const pta_tower_config *c) {
    pta_matrix rows = t->normed;
    rows.ld = c->merge * c->merge * c->C;
    return rows;
}

/* Up to t->active; t->rstd1 is the norm's. */
static void merge(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t) {
    const pta_tower_config *c = tower->config;
    const int64_t squares = squares_of(c, &t->windows), joined = c->merge * c->merge * c->C;
    pta_rmsnorm_forward(team, t->normed, t->rstd1, t->inputs[c->depth], tower->weights->norm, t->windows.T, c->C, EPS);
    pta_team_barrier(team);
    product(team, tower, pta_tower_merger_matrix(c, 0), t->hidden, joined_rows(t, c), squares, false);
    pta_bias_forward(team, t->hidden, tower->weights->bias1, squares, joined);
    pta_team_barrier(team);
    pta_gelu_forward(team, t->active, t->hidden, squares, joined);
    pta_team_barrier(team);
}

static void merge_backward(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, const pta_tower_scratch *s) {
    const pta_tower_config *c = tower->config;
    const int64_t T = t->windows.T, squares = squares_of(c, &t->windows), joined = c->merge * c->merge * c->C;
    const pta_matrix dmerged = pta_f32(t->merged, c->O), dhidden = pta_f32(s->dqkv, joined);
    merge(team, tower, t);
    pta_bias_backward(team, tower->grads->bias2, dmerged, s->reduce, squares, c->O);
    product_backward(team, tower, pta_tower_merger_matrix(c, 1), dhidden, dmerged, t->active, squares);
    pta_gelu_backward(team, dhidden, dhidden, t->hidden, squares, joined);
    pta_team_barrier(team);
    pta_bias_backward(team, tower->grads->bias1, dhidden, s->reduce, squares, joined);
    product_backward(team, tower, pta_tower_merger_matrix(c, 0), pta_f32(s->dnormed, joined), dhidden, joined_rows(t, c), squares);
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    memset(s->dx + first * c->C, 0, (size_t)((last - first) * c->C) * sizeof(float));
    pta_team_barrier(team);
    pta_rmsnorm_backward(team, s->dx, tower->grads->norm, s->dnormed, t->inputs[c->depth], t->rstd1, tower->weights->norm,
                         s->reduce, T, c->C);
    pta_team_barrier(team);
}

/* Both passes ---------------------------------------------------------------------------------------------------------- */

/* Rows of squares from image processing's order into the tower's (inwards), or back. `width` numbers of a square. */
static void move_squares(const pta_team *team, const pta_windows *w, float *inside, float *outside, int64_t squares,
                         int64_t width, bool inwards) {
    int64_t first, last;
    pta_team_share(team, squares, 1, &first, &last);
    for (int64_t i = first; i < last; i++) {
        float *in = inside + i * width, *out = outside + w->squares[i] * width;
        memcpy(inwards ? in : out, inwards ? out : in, (size_t)width * sizeof(float));
    }
    pta_team_barrier(team);
}

bool pta_tower_forward(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, float *out,
                       const float *pixels, pta_error *err) {
    const pta_tower_config *c = tower->config;
    const int64_t T = t->windows.T, squares = squares_of(c, &t->windows);
    move_squares(team, &t->windows, t->patches, (float *)pixels, squares, c->merge * c->merge * c->patch, true);
    product(team, tower, 0, pta_f32(t->inputs[0], c->C), pta_f32(t->patches, c->patch), T, false);
    for (int64_t b = 0; b < c->depth; b++) {
        activations(team, tower, t, b);
        block_out(team, tower, t, b);
        if (pta_team_interrupted(team, err)) return true;
    }
    merge(team, tower, t);
    const pta_matrix merged = pta_f32(t->merged, c->O);
    product(team, tower, pta_tower_merger_matrix(c, 1), merged, t->active, squares, false);
    pta_bias_forward(team, merged, tower->weights->bias2, squares, c->O);
    pta_team_barrier(team);
    move_squares(team, &t->windows, t->merged, out, squares, c->O, false);
    return false;
}

bool pta_tower_backward(const pta_team *team, const pta_tower *tower, const pta_tower_tape *t, const pta_tower_scratch *s,
                        const float *dout, pta_error *err) {
    const pta_tower_config *c = tower->config;
    move_squares(team, &t->windows, t->merged, (float *)dout, squares_of(c, &t->windows), c->O, true);
    merge_backward(team, tower, t, s);
    for (int64_t b = c->depth - 1; b >= 0; b--) {
        activations(team, tower, t, b);
        mlp_backward(team, tower, t, b, s);
        attention_backward(team, tower, t, b, s);
        if (pta_team_interrupted(team, err)) return true;
    }
    product_backward(team, tower, 0, (pta_matrix){0}, pta_f32(s->dx, c->C), pta_f32(t->patches, c->patch), t->windows.T);
    return false;
}
