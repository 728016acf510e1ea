#include "adamw.h"

#include <math.h>
#include <string.h>

#include "../core/target.h"
#include "../core/team.h"

enum { BLOCK = 1 << 14, LANES = 16 };

/* Σ x² of one block: LANES running sums, so that the compiler can vectorise without reordering. */
PTA_CLONES
static double block_squares(const float *x, int64_t count) {
    double lanes[LANES] = {0.0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++) lanes[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; i < count; i++, j++) lanes[j] += (double)x[i] * (double)x[i];
    double sum = 0.0;
    for (int j = 0; j < LANES; j++) sum += lanes[j];
    return sum;
}

typedef struct {
    const float *x;
    int64_t count, blocks;
    double *partial; /* [blocks] */
} norm_sum;

static void sum_squares(const pta_team *team, void *arg) {
    const norm_sum *n = arg;
    int64_t first, last;
    pta_team_share(team, n->blocks, 1, &first, &last);
    for (int64_t b = first; b < last; b++)
        n->partial[b] = block_squares(n->x + b * BLOCK, n->count - b * BLOCK < BLOCK ? n->count - b * BLOCK : BLOCK);
}

pta_code pta_global_norm(double *norm, const float *x, int64_t count, pta_error *err) {
    norm_sum n = {.x = x, .count = count, .blocks = (count + BLOCK - 1) / BLOCK};
    n.partial = pta_alloc_uninit(n.blocks, sizeof(double));
    if (!n.partial) return pta_fail(err, PTA_E_MEMORY, "no memory for the gradient norm");
    pta_code code = pta_team_run(sum_squares, &n, n.blocks > 1 ? 0 : 1, err);
    double sum = 0.0;
    for (int64_t b = 0; b < n.blocks && !code; b++) sum += n.partial[b];
    pta_free(n.partial);
    *norm = sqrt(sum);
    return code;
}

pta_code pta_adamw_create(pta_adamw **out, const pta_model *model, double beta1, double beta2, double eps,
                          pta_error *err) {
    if (!(beta1 >= 0.0 && beta1 < 1.0)) return pta_fail(err, PTA_E_VALUE, "beta1 is %g, must be in [0, 1)", beta1);
    if (!(beta2 >= 0.0 && beta2 < 1.0)) return pta_fail(err, PTA_E_VALUE, "beta2 is %g, must be in [0, 1)", beta2);
    if (!(eps > 0.0) || isinf(eps)) return pta_fail(err, PTA_E_VALUE, "eps is %g, must be positive and finite", eps);
    pta_adamw *o = pta_alloc(1, sizeof *o);
    if (!o) return pta_fail(err, PTA_E_MEMORY, "no memory for an optimizer");
    const int64_t count = pta_model_trainable(model).num_floats;
    *o = (pta_adamw){beta1, beta2, eps, 0, count, pta_alloc(count, sizeof(float)), pta_alloc(count, sizeof(float))};
    if (!o->m || !o->v) {
        pta_adamw_free(o);
        return pta_fail(err, PTA_E_MEMORY, "no memory for %.2f GiB of moments", (double)pta_adamw_bytes(model) / (1 << 30));
    }
    *out = o;
    return PTA_OK;
}

int64_t pta_adamw_bytes(const pta_model *model) {
    return 2 * pta_model_trainable(model).num_floats * (int64_t)sizeof(float);
}

void pta_adamw_free(pta_adamw *o) {
    if (!o) return;
    pta_free(o->m);
    pta_free(o->v);
    pta_free(o);
}

/* The coefficients of one step, in the precision of the weights. */
typedef struct {
    float clip, keep, one_minus_beta1, beta2, one_minus_beta2, step_size, root_correction, eps;
} coefficients;

PTA_CLONES
static void update(float *restrict w, float *restrict m, float *restrict v, const float *restrict g, int64_t count,
                   coefficients c) {
    for (int64_t i = 0; i < count; i++) {
        float gradient = g[i] * c.clip;
        m[i] += c.one_minus_beta1 * (gradient - m[i]);
        v[i] = v[i] * c.beta2 + c.one_minus_beta2 * gradient * gradient;
        w[i] = w[i] * c.keep - c.step_size * m[i] / (sqrtf(v[i]) / c.root_correction + c.eps);
    }
}

static pta_code refuse_nonfinite(const pta_trainable *trained, double norm, pta_error *err) {
    for (int64_t p = 0; p < trained->num_params; p++) {
        const pta_param *param = &trained->params[p];
        int64_t size = param->rows * (param->cols ? param->cols : 1);
        for (int64_t i = 0; i < size; i++) {
            float value = trained->grads[param->offset + i];
            if (!isfinite(value))
                return pta_fail(err, PTA_E_NONFINITE,
                                "the gradient of %s is %g at element %lld; weights and moments were left as they were",
                                param->name, (double)value, (long long)i);
        }
    }
    return pta_fail(err, PTA_E_NONFINITE, "the gradient norm is %g; weights and moments were left as they were", norm);
}

static pta_code check(const pta_adamw *o, const pta_trainable *trained, double lr, double weight_decay, double max_norm,
                      pta_error *err) {
    if (trained->num_floats != o->num_floats)
        return pta_fail(err, PTA_E_STATE,
                        "the optimizer was made for %lld numbers and the model now trains %lld: make it after the adapter was "
                        "added or removed",
                        (long long)o->num_floats, (long long)trained->num_floats);
    if (!trained->grads) return pta_fail(err, PTA_E_STATE, "the model has no gradients yet: call backward before step");
    if (!(lr >= 0.0) || isinf(lr)) return pta_fail(err, PTA_E_VALUE, "lr is %g, must be finite and 0 or more", lr);
    if (!(weight_decay >= 0.0) || isinf(weight_decay))
        return pta_fail(err, PTA_E_VALUE, "weight_decay is %g, must be finite and 0 or more", weight_decay);
    if (isnan(max_norm)) return pta_fail(err, PTA_E_VALUE, "max_grad_norm is NaN; 0 or less means no clipping");
    return PTA_OK;
}

/* One sweep over the arena. */
typedef struct {
    pta_adamw *o;
    pta_model *model;
    pta_trainable trained;
    coefficients c;
    float keep; /* 1 − lr · weight_decay, of matrices */
    bool zero_grad, repack;
} sweep;

static void update_range(const sweep *s, int64_t at, int64_t count, bool decay) {
    coefficients c = s->c;
    c.keep = decay ? s->keep : 1.0f;
    update(s->trained.weights + at, s->o->m + at, s->o->v + at, s->trained.grads + at, count, c);
    if (s->zero_grad) memset(s->trained.grads + at, 0, (size_t)count * sizeof(float));
}

/* This thread's panels of a matrix: a panel's rows are packed while they are in cache. */
static void update_matrix(const pta_team *team, const sweep *s, pta_packed *packed, const float *w) {
    int64_t first, last, at = w - s->model->weights.arena;
    pta_team_share(team, (packed->N + PTA_PANEL - 1) / PTA_PANEL, 1, &first, &last);
    for (int64_t p = first; p < last; p++) {
        int64_t row = p * PTA_PANEL, rows = packed->N - row < PTA_PANEL ? packed->N - row : PTA_PANEL;
        for (int64_t done = 0; done < rows * packed->K; done += BLOCK) {
            int64_t left = rows * packed->K - done;
            update_range(s, at + row * packed->K + done, left < BLOCK ? left : BLOCK, true);
        }
        if (s->repack) pta_linear_pack_panels(packed, w, p, 1);
    }
}

/* This thread's part of everything that is not packed in the same sweep: the embedding (unless it is the head), norms,
 * biases, an adapter's matrices. */
static void update_rest(const pta_team *team, const sweep *s) {
    for (int64_t p = 0; p < s->trained.num_params; p++) {
        const pta_param *param = &s->trained.params[p];
        if (param->packed) continue;
        int64_t size = param->rows * (param->cols ? param->cols : 1), first, last;
        pta_team_share(team, size, BLOCK, &first, &last);
        for (int64_t done = first; done < last; done += BLOCK)
            update_range(s, param->offset + done, last - done < BLOCK ? last - done : BLOCK, param->decay);
    }
}

static void run_sweep(const pta_team *team, void *arg) {
    const sweep *s = arg;
    pta_model *m = s->model;
    for (int64_t l = 0; l < m->config.L && !m->adapter; l++) {
        const pta_layer *w = &m->weights.layers[l];
        pta_packed_layer *p = &m->packed.layers[l];
        update_matrix(team, s, &p->qkv, w->qkv);
        update_matrix(team, s, &p->o, w->o);
        update_matrix(team, s, &p->gate_up, w->gate_up);
        update_matrix(team, s, &p->down, w->down);
    }
    if (!m->adapter) update_matrix(team, s, &m->packed.head, m->weights.head);
    update_rest(team, s);
}

pta_code pta_adamw_step(pta_adamw *o, pta_model *model, double lr, double weight_decay, double max_norm,
                        bool zero_grad, double *grad_norm, pta_error *err) {
    const pta_trainable trained = pta_model_trainable(model);
    pta_code code = check(o, &trained, lr, weight_decay, max_norm, err);
    double norm;
    if (!code) code = pta_global_norm(&norm, trained.grads, o->num_floats, err);
    if (!code) code = pta_model_need_packed(model, err);
    if (code) return code;
    if (!isfinite(norm)) return refuse_nonfinite(&trained, norm, err);
    double clip = max_norm > 0.0 ? fmin(1.0, max_norm / (norm + 1e-6)) : 1.0;
    if (norm * clip > 1e18)
        return pta_fail(err, PTA_E_NONFINITE,
                        "the gradient norm is %g, above 1e18: its square does not fit the moments; weights and moments "
                        "were left as they were",
                        norm);
    double t = (double)(o->step_count + 1);
    sweep s = {
        .o = o,
        .model = model,
        .trained = trained,
        .c = {.clip = (float)clip,
              .one_minus_beta1 = (float)(1.0 - o->beta1),
              .beta2 = (float)o->beta2,
              .one_minus_beta2 = (float)(1.0 - o->beta2),
              .step_size = (float)(lr / (1.0 - pow(o->beta1, t))),
              .root_correction = (float)sqrt(1.0 - pow(o->beta2, t)),
              .eps = (float)o->eps},
        .keep = (float)(1.0 - lr * weight_decay),
        .zero_grad = zero_grad,
        .repack = pta_model_packed_fresh(model),
    };
    code = pta_team_run(run_sweep, &s, 0, err);
    if (code) return code;
    o->step_count++;
    model->version++;
    model->tower_stale |= model->train_tower;
    if (s.repack) model->packed.version = model->version;
    if (zero_grad && !model->grads_seen) model->grads_zero = true;
    *grad_norm = norm;
    return PTA_OK;
}
