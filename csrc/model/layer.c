#include "layer.h"

#include "../ops/ops.h"
#include "products.h"

pta_heads pta_layer_heads(const pta_model *m, int64_t layer, pta_rotation rotation) {
    const pta_config *c = &m->config;
    const pta_layer *w = &m->weights.layers[layer];
    return (pta_heads){c->H, c->K, c->D, w->qkv_bias, w->q_norm, w->k_norm, rotation.table, c->eps};
}

pta_rotation pta_layer_rotation(const pta_model *m, int64_t layer, pta_rotation rotation) {
    const bool still = layer < PTA_MOST_UNROTATED && m->config.unrotated[layer];
    return still ? (pta_rotation){m->rope, NULL} : rotation;
}

void pta_layer_qkv(const pta_team *team, const pta_model *m, int64_t layer, const pta_activations *a,
                   const pta_layer_scratch *s, pta_rotation rotation, int64_t T) {
    const pta_config *c = &m->config;
    rotation = pta_layer_rotation(m, layer, rotation);
    const pta_heads heads = pta_layer_heads(m, layer, rotation);
    pta_rmsnorm_forward(team, s->normed, a->rstd_input, a->input, m->weights.layers[layer].input_norm, T, c->C, c->eps);
    pta_copy_rows(team, a->middle, a->input, T, c->C);
    pta_team_barrier(team);
    float *to = a->qkv.dtype == PTA_F32 ? a->qkv.data : s->projected; /* floats turn where they lie */
    const pta_matrix projected = pta_f32(to, pta_qkv_width(c));
    pta_product_forward(team, m, layer, PTA_QKV, projected, s->normed, T, false);
    pta_team_barrier(team);
    pta_adapter_forward(team, m, layer, PTA_GROUP_QKV, projected, s->normed, &s->adapter, T);
    pta_heads_forward(team, a->qkv, a->raw, a->rstd_heads, to, &heads, rotation.line, T);
    pta_team_barrier(team);
}

void pta_layer_gate_up(const pta_team *team, const pta_model *m, int64_t layer, const pta_activations *a,
                       const pta_layer_scratch *s, int64_t T) {
    const pta_config *c = &m->config;
    pta_product_forward(team, m, layer, PTA_O, pta_f32(a->middle, c->C), a->attention, T, true);
    pta_team_barrier(team);
    pta_adapter_forward(team, m, layer, PTA_GROUP_O, pta_f32(a->middle, c->C), a->attention, &s->adapter, T);
    pta_rmsnorm_forward(team, s->normed, a->rstd_middle, a->middle, m->weights.layers[layer].post_norm, T, c->C, c->eps);
    pta_team_barrier(team);
    pta_product_forward(team, m, layer, PTA_GATE_UP, a->gate_up, s->normed, T, false);
    pta_team_barrier(team);
    pta_adapter_forward(team, m, layer, PTA_GROUP_GATE_UP, a->gate_up, s->normed, &s->adapter, T);
}

void pta_layer_out(const pta_team *team, const pta_model *m, int64_t layer, const pta_activations *a,
                   const pta_layer_scratch *s, float *out, int64_t T) {
    const pta_config *c = &m->config;
    pta_swiglu_forward(team, s->product, a->gate_up, T, c->F);
    pta_copy_rows(team, out, a->middle, T, c->C);
    pta_team_barrier(team);
    pta_product_forward(team, m, layer, PTA_DOWN, pta_f32(out, c->C), s->product, T, true);
    pta_team_barrier(team);
    pta_adapter_forward(team, m, layer, PTA_GROUP_DOWN, pta_f32(out, c->C), s->product, &s->adapter, T);
}
