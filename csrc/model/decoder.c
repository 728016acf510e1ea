/* The layers over a forest, and their mirror. */
#include "decoder.h"

#include <string.h>

#include "../core/vmath.h"
#include "../ops/attention.h"
#include "../ops/ops.h"
#include "layer.h"
#include "products.h"

static pta_layer_scratch scratch_of(const pta_tape *t) {
    return (pta_layer_scratch){t->normed, t->product, t->projected, t->adapter};
}

/* A layer's gradients; all NULL where the weights are not trained. */
static const pta_layer *gradients_of(const pta_model *m, int64_t l) {
    static const pta_layer none = {0};
    return m->adapter ? &none : &m->grads.layers[l];
}

/* dw += …, where W is trained. */
static void weight_gradient(const pta_team *team, const pta_model *m, float *dw, pta_matrix dy, pta_matrix x, int64_t T,
                            int64_t N, int64_t K) {
    if (dw) pta_linear_dweight(team, dw, dy, x, T, N, K, m->config.dtype);
}

/* From a->input up to a->gate_up: all that backward needs. */
static bool layer_activations(const pta_team *team, const pta_model *m, const pta_tape *t, int64_t l, pta_error *err) {
    const pta_config *c = &m->config;
    const pta_activations *a = &t->layers[l];
    const pta_layer_scratch s = scratch_of(t);
    int64_t T = t->forest->T;
    pta_layer_qkv(team, m, l, a, &s, t->rotation, T);
    pta_attention_forward(team, a->attention, a->lse, a->qkv, &t->rows, c->H, c->K, c->D, t->pages);
    if (pta_team_interrupted(team, err)) return true;
    pta_layer_gate_up(team, m, l, a, &s, T);
    return false;
}

/* Given embeddings take the place of their rows' tokens. By whole rows: each is written by one thread. */
static void place_inputs(const pta_team *team, float *x, const pta_extra *extra, int64_t C) {
    if (!extra->num_inputs) return;
    int64_t first, last;
    pta_team_share(team, extra->num_inputs, 1, &first, &last);
    for (int64_t i = first; i < last; i++)
        memcpy(x + extra->rows[i] * C, extra->inputs + i * C, (size_t)C * sizeof(float));
    pta_team_barrier(team);
}

/* Their gradients are kept, and do not reach the table of embeddings. */
static void take_input_gradients(const pta_team *team, const pta_model *m, float *dx, const pta_extra *extra) {
    if (!extra->num_inputs) return;
    const int64_t C = m->config.C;
    int64_t first, last;
    pta_team_share(team, extra->num_inputs, 1, &first, &last);
    for (int64_t i = first; i < last; i++) {
        memcpy(m->input_gradients.data + i * C, dx + extra->rows[i] * C, (size_t)C * sizeof(float));
        memset(dx + extra->rows[i] * C, 0, (size_t)C * sizeof(float));
    }
    pta_team_barrier(team);
}

bool pta_layers_forward(const pta_team *team, const pta_model *m, const pta_tape *t, pta_error *err) {
    const pta_config *c = &m->config;
    const pta_layer_scratch s = scratch_of(t);
    pta_embedding_forward(team, t->layers[0].input, pta_model_embedding(m), t->forest->tokens, t->forest->T, c->C);
    pta_team_barrier(team);
    place_inputs(team, t->layers[0].input, &t->forest->extra, c->C);
    for (int64_t l = 0; l < c->L; l++) {
        if (layer_activations(team, m, t, l, err)) return true;
        float *out = l + 1 < c->L ? t->layers[l + 1].input : t->output;
        pta_layer_out(team, m, l, &t->layers[l], &s, out, t->forest->T);
        if (pta_team_interrupted(team, err)) return true;
    }
    return false;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

void pta_backward_layout(pta_backward_scratch *s, pta_cursor *cursor, const pta_model *m, const pta_rows *rows) {
    const pta_config *c = &m->config;
    int64_t T = rows->T, width = pta_qkv_width(c);
    s->dx = pta_take_floats(cursor, T * c->C);
    s->dnormed = pta_take_floats(cursor, T * c->C);
    s->dqkv = pta_take_floats(cursor, T * width);
    s->dwide = pta_take_matrix(cursor, T, larger(c->F, c->H * c->D), c->dtype);
    s->reduce = pta_take_floats(cursor, PTA_ROW_BLOCKS * larger(c->C, width + 2 * c->D));
    s->attention = pta_take(cursor, pta_attention_backward_bytes(rows, c->H, c->K, c->D));
}

/* x += down·swiglu(norm(x)): s->dx from the gradient of the layer's output to that of a->middle. Of the widest matrices none is
 * there twice: the product takes the place of its gradient, and the gradient of gate and up that of a->gate_up. */
static void mlp_backward(const pta_team *team, const pta_model *m, const pta_tape *t, int64_t l,
                         const pta_backward_scratch *s) {
    const pta_config *c = &m->config;
    const pta_activations *a = &t->layers[l];
    const pta_layer *w = &m->weights.layers[l], *g = gradients_of(m, l);
    int64_t T = t->forest->T, C = c->C, F = c->F;
    const pta_matrix dx = pta_f32(s->dx, C), dgate_up = a->gate_up;
    pta_matrix dproduct = s->dwide;
    dproduct.ld = F;
    const pta_matrix product = dproduct;
    pta_product_dinput(team, m, l, PTA_DOWN, dproduct, dx, T);
    if (pta_adapter_of(m)) pta_swiglu_forward(team, t->product, a->gate_up, T, F);
    pta_team_barrier(team);
    pta_adapter_backward(team, m, l, PTA_GROUP_DOWN, dproduct, dx, t->product, &t->adapter, T);
    pta_swiglu_backward(team, dgate_up, product, dproduct, a->gate_up, T, F);
    pta_rmsnorm_forward(team, t->normed, NULL, a->middle, w->post_norm, T, C, c->eps);
    pta_team_barrier(team);
    weight_gradient(team, m, g->down, dx, product, T, C, F);
    weight_gradient(team, m, g->gate_up, dgate_up, t->normed, T, 2 * F, C);
    pta_product_dinput(team, m, l, PTA_GATE_UP, pta_f32(s->dnormed, C), dgate_up, T);
    pta_team_barrier(team);
    pta_adapter_backward(team, m, l, PTA_GROUP_GATE_UP, pta_f32(s->dnormed, C), dgate_up, t->normed, &t->adapter, T);
    pta_rmsnorm_backward(team, s->dx, g->post_norm, s->dnormed, a->middle, a->rstd_middle, w->post_norm, s->reduce, T, C);
}

/* x += O·attention(norm(x)): s->dx from the gradient of a->middle to that of a->input. */
static void attention_backward(const pta_team *team, const pta_model *m, const pta_tape *t, int64_t l,
                               const pta_backward_scratch *s) {
    const pta_config *c = &m->config;
    const pta_activations *a = &t->layers[l];
    const pta_layer *w = &m->weights.layers[l], *g = gradients_of(m, l);
    const pta_rotation rotation = pta_layer_rotation(m, l, t->rotation);
    const pta_heads heads = pta_layer_heads(m, l, rotation);
    int64_t T = t->forest->T, C = c->C, HD = c->H * c->D, width = pta_qkv_width(c);
    pta_matrix dx = pta_f32(s->dx, C), dqkv = pta_f32(s->dqkv, width), dout = s->dwide;
    dout.ld = HD;
    weight_gradient(team, m, g->o, dx, a->attention, T, C, HD);
    pta_product_dinput(team, m, l, PTA_O, dout, dx, T);
    pta_team_barrier(team);
    pta_adapter_backward(team, m, l, PTA_GROUP_O, dout, dx, a->attention, &t->adapter, T);
    pta_attention_backward(team, dqkv, dout, a->attention, a->lse, a->qkv, &t->rows, c->H, c->K, c->D, s->attention);
    pta_team_barrier(team);
    pta_heads_backward(team, s->dqkv, g->qkv_bias, g->q_norm, g->k_norm, a->raw, a->rstd_heads, &heads,
                       rotation.line, s->reduce, T);
    pta_rmsnorm_forward(team, t->normed, NULL, a->input, w->input_norm, T, C, c->eps);
    pta_team_barrier(team);
    weight_gradient(team, m, g->qkv, dqkv, t->normed, T, width, C);
    pta_product_dinput(team, m, l, PTA_QKV, pta_f32(s->dnormed, C), dqkv, T);
    pta_team_barrier(team);
    pta_adapter_backward(team, m, l, PTA_GROUP_QKV, pta_f32(s->dnormed, C), dqkv, t->normed, &t->adapter, T);
    pta_rmsnorm_backward(team, s->dx, g->input_norm, s->dnormed, a->input, a->rstd_input, w->input_norm, s->reduce, T, C);
}

bool pta_layers_backward(const pta_team *team, const pta_model *m, const pta_tape *t, const pta_backward_scratch *s,
                         pta_error *err) {
    for (int64_t l = m->config.L - 1; l >= 0; l--) {
        if (t->keep == PTA_KEEP_INPUTS && layer_activations(team, m, t, l, err)) return true;
        mlp_backward(team, m, t, l, s);
        if (pta_team_interrupted(team, err)) return true;
        attention_backward(team, m, t, l, s);
        if (pta_team_interrupted(team, err)) return true;
    }
    take_input_gradients(team, m, s->dx, &t->forest->extra);
    if (!m->adapter) pta_embedding_backward(team, m->grads.embed, s->dx, t->forest->tokens, t->forest->T, m->config.C);
    return false;
}
