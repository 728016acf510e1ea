/* The decoder's forward pass and its mirror. Pre-norm blocks:  x += O·attention(norm(x)),  x += down·swiglu(norm(x)). */
#include <math.h>
#include <string.h>

#include "../core/gemm.h"
#include "../core/threads.h"
#include "../core/vmath.h"
#include "../ops/attention.h"
#include "../ops/ops.h"
#include "head.h"
#include "tape.h"

static pta_rows forest_rows(const pta_forest *f) {
    return (pta_rows){f->T, f->S, f->offsets, f->parent, f->until};
}

static pta_code check_tokens(const pta_model *m, const pta_forest *f, pta_error *err) {
    for (int32_t t = 0; t < f->T; t++)
        if (f->tokens[t] < 0 || f->tokens[t] >= m->config.V)
            return pta_fail(err, PTA_E_VALUE, "tokens[%d] is %d, must be 0 to %lld (vocab_size - 1)", t, f->tokens[t],
                            (long long)m->config.V - 1);
    return PTA_OK;
}

static pta_code check_rows(const char *name, const int32_t *rows, int64_t n, int64_t limit, pta_error *err) {
    for (int64_t i = 0; i < n; i++)
        if (rows[i] < 0 || rows[i] >= limit)
            return pta_fail(err, PTA_E_VALUE, "%s[%lld] is %d, must be 0 to %lld", name, (long long)i, rows[i],
                            (long long)limit - 1);
    return PTA_OK;
}

/* a->input -> out (the next layer's input, or the tape's output; may not be a->input) */
static pta_code layer_forward(const pta_model *m, const pta_layer *w, const pta_activations *a, const pta_tape *t,
                              float *out, pta_error *err) {
    const pta_config *c = &m->config;
    const pta_forest *f = t->forest;
    const pta_rows rows = forest_rows(f);
    int64_t T = f->T, width = pta_qkv_width(c);
    pta_rmsnorm_forward(t->normed, a->rstd_input, a->input, w->input_norm, T, c->C, c->eps);
    pta_gemm_forward(a->qkv, width, t->normed, c->C, w->qkv, T, width, c->C, false);
    pta_heads_forward(a->qkv, a->raw, a->rstd_heads, w->qkv_bias, w->q_norm, w->k_norm, m->rope, f->position, T, c->H,
                      c->K, c->D, c->eps);
    pta_code code = pta_attention_forward(a->attention, a->lse, a->qkv, &rows, c->H, c->K, c->D, err);
    if (code) return code;
    code = pta_poll_interrupt(err);
    if (code) return code;
    memcpy(a->middle, a->input, (size_t)(T * c->C) * sizeof(float));
    pta_gemm_forward(a->middle, c->C, a->attention, c->H * c->D, w->o, T, c->C, c->H * c->D, true);
    pta_rmsnorm_forward(t->normed, a->rstd_middle, a->middle, w->post_norm, T, c->C, c->eps);
    pta_gemm_forward(a->gate_up, 2 * c->F, t->normed, c->C, w->gate_up, T, 2 * c->F, c->C, false);
    pta_swiglu_forward(t->product, a->gate_up, T, c->F);
    memcpy(out, a->middle, (size_t)(T * c->C) * sizeof(float));
    pta_gemm_forward(out, c->C, t->product, c->F, w->down, T, c->C, c->F, true);
    return pta_poll_interrupt(err);
}

/* Fill a new tape up to tape->output. */
static pta_code run_layers(pta_model *m, pta_tape *t, pta_error *err) {
    const pta_config *c = &m->config;
    pta_embedding_forward(pta_tape_layer(t, 0)->input, m->weights.embed, t->forest->tokens, t->forest->T, c->C);
    bool kept = t->num_layers == c->L;
    for (int64_t l = 0; l < c->L; l++) {
        const pta_activations *a = pta_tape_layer(t, l);
        bool last = l == c->L - 1;
        float *out = last || !kept ? t->output : pta_tape_layer(t, l + 1)->input;
        pta_code code = layer_forward(m, &m->weights.layers[l], a, t, out, err);
        if (code) return code;
        if (!last && !kept) memcpy(a->input, t->output, (size_t)(t->forest->T * c->C) * sizeof(float));
    }
    return PTA_OK;
}

static pta_code start(pta_tape **out, pta_model *m, const pta_forest *f, int64_t N, bool keep, pta_error *err) {
    pta_code code = check_tokens(m, f, err);
    if (!code) code = pta_model_need_rope(m, f->max_position, err);
    if (!code) code = pta_tape_create(out, m, f, N, keep, err);
    return code;
}

pta_code pta_model_forward(pta_model *m, const pta_forest *f, const int32_t *source, const int32_t *target, int64_t n,
                           float temperature, bool keep, float *logprobs, float *entropies, pta_error *err) {
    pta_model_drop_tape(m);
    if (!(temperature > 0.0f) || !isfinite(temperature))
        return pta_fail(err, PTA_E_VALUE, "temperature is %g, must be positive and finite", (double)temperature);
    pta_tape *t = NULL;
    pta_code code = check_rows("source", source, n, f->T, err);
    if (!code) code = check_rows("target", target, n, m->config.V, err);
    if (!code) code = start(&t, m, f, n, keep, err);
    if (code) return code;
    memcpy(t->source, source, (size_t)n * sizeof(int32_t));
    memcpy(t->target, target, (size_t)n * sizeof(int32_t));
    t->temperature = temperature;
    code = run_layers(m, t, err);
    if (!code) code = pta_head_forward(m, t, logprobs, entropies, err);
    if (code || !keep)
        pta_tape_free(t, m);
    else
        m->tape = t;
    return code;
}

pta_code pta_model_logits(pta_model *m, const pta_forest *f, const int32_t *rows, int64_t R, float *logits,
                          pta_error *err) {
    pta_tape *t = NULL;
    pta_code code = check_rows("rows", rows, R, f->T, err);
    if (!code) code = start(&t, m, f, 0, false, err);
    if (code) return code;
    code = run_layers(m, t, err);
    if (!code) code = pta_head_logits(m, t, rows, R, logits, err);
    pta_tape_free(t, m);
    return code;
}

/* Scratch of the backward pass. */
typedef struct {
    float *dx;       /* [T, C] gradient of the residual stream */
    float *dnormed;  /* [T, C] */
    float *dwide;    /* [T, max(F, H·D)] gradient of the product, or of the attention's output */
    float *dmiddle;  /* [T, max(2F, (H+2K)·D)] gradient of gate_up, or of qkv */
    float *reduce;   /* partial sums over rows */
} backward_scratch;

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static pta_code scratch_create(backward_scratch *s, pta_model *m, int64_t T, pta_error *err) {
    const pta_config *c = &m->config;
    int64_t width = pta_qkv_width(c), wide = larger(c->F, c->H * c->D), middle = larger(2 * c->F, width);
    int64_t reduce = PTA_ROW_BLOCKS * larger(c->C, width + 2 * c->D);
    int64_t total = T * (2 * c->C + wide + middle) + reduce;
    float *p = pta_buffer_reserve(&m->backward_memory, total, err);
    if (!p) return err->code;
    s->dmiddle = p, p += T * middle;
    s->dwide = p, p += T * wide;
    s->dx = p, p += T * c->C;
    s->dnormed = p, p += T * c->C;
    s->reduce = p;
    return PTA_OK;
}

/* s->dx: gradient of the layer's output -> gradient of its input */
static pta_code layer_backward(const pta_model *m, const pta_layer *w, const pta_layer *g, const pta_activations *a,
                               const pta_tape *t, backward_scratch *s, pta_error *err) {
    const pta_config *c = &m->config;
    const pta_forest *f = t->forest;
    const pta_rows rows = forest_rows(f);
    int64_t T = f->T, C = c->C, F = c->F, HD = c->H * c->D, width = pta_qkv_width(c);

    pta_swiglu_forward(t->product, a->gate_up, T, F);
    pta_gemm_dweight(g->down, s->dx, C, t->product, F, T, C, F, true);
    pta_gemm_dinput(s->dwide, F, s->dx, C, w->down, T, C, F, false);
    pta_swiglu_backward(s->dmiddle, s->dwide, a->gate_up, T, F);
    pta_rmsnorm_forward(t->normed, NULL, a->middle, w->post_norm, T, C, c->eps);
    pta_gemm_dweight(g->gate_up, s->dmiddle, 2 * F, t->normed, C, T, 2 * F, C, true);
    pta_gemm_dinput(s->dnormed, C, s->dmiddle, 2 * F, w->gate_up, T, 2 * F, C, false);
    pta_rmsnorm_backward(s->dx, g->post_norm, s->dnormed, a->middle, a->rstd_middle, w->post_norm, s->reduce, T, C);

    pta_code code = pta_poll_interrupt(err);
    if (code) return code;
    pta_gemm_dweight(g->o, s->dx, C, a->attention, HD, T, C, HD, true);
    pta_gemm_dinput(s->dwide, HD, s->dx, C, w->o, T, C, HD, false);
    code = pta_attention_backward(s->dmiddle, s->dwide, a->attention, a->lse, a->qkv, &rows, c->H, c->K, c->D,
                                           err);
    if (code) return code;
    pta_heads_backward(s->dmiddle, g->qkv_bias, g->q_norm, g->k_norm, a->raw, a->rstd_heads, w->q_norm, w->k_norm,
                       m->rope, f->position, s->reduce, T, c->H, c->K, c->D);
    pta_rmsnorm_forward(t->normed, NULL, a->input, w->input_norm, T, C, c->eps);
    pta_gemm_dweight(g->qkv, s->dmiddle, width, t->normed, C, T, width, C, true);
    pta_gemm_dinput(s->dnormed, C, s->dmiddle, width, w->qkv, T, width, C, false);
    pta_rmsnorm_backward(s->dx, g->input_norm, s->dnormed, a->input, a->rstd_input, w->input_norm, s->reduce, T, C);
    return pta_poll_interrupt(err);
}

pta_code pta_model_backward(pta_model *m, const float *dlogprobs, const float *dentropies, pta_error *err) {
    pta_tape *t = m->tape;
    if (!t) return pta_fail(err, PTA_E_STATE, "backward without a forward: call forward(..., keep=True) first");
    if (t->version != m->version)
        return pta_fail(err, PTA_E_STATE, "the weights changed since forward: call forward again");
    backward_scratch s = {0};
    pta_code code = pta_model_need_grads(m, err);
    if (!code) code = scratch_create(&s, m, t->forest->T, err);
    if (code) return code;
    code = pta_head_backward(m, t, s.dx, dlogprobs, dentropies, err);
    for (int64_t l = m->config.L - 1; l >= 0 && !code; l--)
        code = layer_backward(m, &m->weights.layers[l], &m->grads.layers[l], &t->layers[l], t, &s, err);
    if (!code) pta_embedding_backward(m->grads.embed, s.dx, t->forest->tokens, t->forest->T, m->config.C);
    pta_model_drop_tape(m);
    return code;
}
