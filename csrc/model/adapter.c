#include "adapter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../ops/rows.h"

static const char *const names[PTA_PROJECTIONS] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                   "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                   "mlp.down_proj"};
static const int first_of_group[PTA_GROUPS + 1] = {0, 3, 4, 6, 7};

static int64_t output_width(const pta_config *c, int projection) {
    const int64_t widths[] = {c->H * c->D, c->K * c->D, c->K * c->D, c->C, c->F, c->F, c->C};
    return widths[projection];
}

static int64_t input_width(const pta_config *c, pta_group group) {
    const int64_t widths[] = {c->C, c->H * c->D, c->C, c->F};
    return widths[group];
}

/* Table and layout ------------------------------------------------------------------------------------------------ */

static void add(pta_adapter *a, int64_t layer, int projection, char which, int64_t rows, int64_t cols) {
    pta_param *p = &a->params[a->num_params++];
    *p = (pta_param){.offset = a->num_floats, .rows = rows, .cols = cols, .decay = true};
    snprintf(p->name, sizeof p->name, "model.layers.%lld.%s.lora_%c.weight", (long long)layer, names[projection], which);
    a->num_floats += rows * cols;
    a->num_elements += rows * cols;
}

/* All A of a group one behind the other, then its B; bind() walks the table in this order. */
static void describe(pta_adapter *a, const pta_config *c) {
    for (int64_t l = 0; l < c->L; l++)
        for (int g = 0; g < PTA_GROUPS; g++) {
            const int64_t K = input_width(c, g);
            for (int p = first_of_group[g]; p < first_of_group[g + 1]; p++)
                if (a->targets >> p & 1) add(a, l, p, 'A', a->rank, K);
            for (int p = first_of_group[g]; p < first_of_group[g + 1]; p++)
                if (a->targets >> p & 1) add(a, l, p, 'B', output_width(c, p), a->rank);
        }
}

static void bind(pta_adapter *a, const pta_config *c) {
    const pta_param *param = a->params;
    for (int64_t l = 0; l < c->L; l++)
        for (int g = 0; g < PTA_GROUPS; g++) {
            pta_adapter_group *group = &a->groups[l * PTA_GROUPS + g];
            int64_t column = 0;
            for (int p = first_of_group[g]; p < first_of_group[g + 1]; column += output_width(c, p++))
                if (a->targets >> p & 1)
                    group->parts[group->count++] =
                        (pta_adapter_part){.first = column, .width = output_width(c, p), .projection = p};
            if (!group->count) continue;
            group->K = input_width(c, g);
            if (!a->weights) continue; /* of a plan: sizes alone */
            group->a = a->weights + param->offset;
            param += group->count;
            for (int i = 0; i < group->count; i++) {
                group->parts[i].a = group->a + i * a->rank * group->K;
                group->parts[i].b = a->weights + (param++)->offset;
            }
        }
}

static pta_packed packed_matrix(pta_cursor *cursor, pta_dtype dtype, int64_t N, int64_t K) {
    return (pta_packed){.dtype = dtype, .N = N, .K = K, .data = pta_take(cursor, pta_packed_bytes(dtype, N, K))};
}

static void packed_layout(pta_adapter *a, pta_cursor *cursor, const pta_config *c) {
    for (int64_t i = 0; i < c->L * PTA_GROUPS; i++) {
        pta_adapter_group *g = &a->groups[i];
        if (!g->count) continue;
        g->packed = packed_matrix(cursor, c->dtype, g->count * a->rank, g->K);
        for (int p = 0; p < g->count; p++) {
            g->parts[p].packed = packed_matrix(cursor, c->dtype, g->parts[p].width, a->rank);
            if (a->dropout > 0.0f) g->parts[p].packed_a = packed_matrix(cursor, c->dtype, a->rank, g->K);
        }
    }
}

static void adapter_free(pta_adapter *a) {
    if (!a) return;
    pta_free(a->params);
    pta_free(a->weights);
    pta_free(a->grads);
    pta_free(a->groups);
    pta_free(a->packed_memory);
    pta_free(a);
}

pta_code pta_model_add_adapter(pta_model *m, int64_t rank, double scale, unsigned targets, double dropout, pta_error *err) {
    const pta_config *c = &m->config;
    if (m->adapter) return pta_fail(err, PTA_E_STATE, "the model has an adapter: remove it, or merge it, first");
    if (m->train_tower)
        return pta_fail(err, PTA_E_STATE, "the vision tower is trained: an adapter is trained alone; train_tower(False) first");
    if (rank < 1 || rank > 1 << 14) return pta_fail(err, PTA_E_VALUE, "rank is %lld, must be 1 to %d", (long long)rank, 1 << 14);
    if (!isfinite(scale)) return pta_fail(err, PTA_E_VALUE, "scale is %g, must be finite", scale);
    if (!(dropout >= 0.0 && dropout < 1.0)) return pta_fail(err, PTA_E_VALUE, "dropout is %g, must be at least 0 and below 1", dropout);
    if (!targets || targets >> PTA_PROJECTIONS) return pta_fail(err, PTA_E_VALUE, "no projection to adapt");
    pta_adapter *a = pta_alloc(1, sizeof *a);
    if (!a) return pta_fail(err, PTA_E_MEMORY, "no memory for an adapter");
    *a = (pta_adapter){.rank = rank, .scale = (float)scale, .targets = targets, .dropout = (float)dropout, .enabled = true,
                       .touched = true};
    a->params = pta_alloc(2 * PTA_PROJECTIONS * c->L, sizeof(pta_param));
    a->groups = pta_alloc(PTA_GROUPS * c->L, sizeof(pta_adapter_group));
    if (a->params) describe(a, c);
    const bool planned = !m->weights.arena;
    a->weights = a->params && !planned ? pta_alloc(a->num_floats, sizeof(float)) : NULL;
    if (!a->params || !a->groups || (!a->weights && !planned)) {
        adapter_free(a);
        return pta_fail(err, PTA_E_MEMORY, "no memory for an adapter of rank %lld", (long long)rank);
    }
    bind(a, c);
    pta_cursor cursor = {0};
    packed_layout(a, &cursor, c);
    a->packed_bytes = cursor.used;
    pta_model_drop_tape(m);
    pta_model_drop_grads(m);
    m->adapter = a;
    pta_model_changed_adapter(m);
    return PTA_OK;
}

void pta_model_remove_adapter(pta_model *m) {
    if (!m->adapter) return;
    pta_model_drop_tape(m);
    adapter_free(m->adapter);
    m->adapter = NULL;
    m->grads_zero = m->grads_seen = false;
    pta_model_changed_adapter(m);
}

void pta_model_enable_adapter(pta_model *m, bool enabled) {
    if (!m->adapter || m->adapter->enabled == enabled) return;
    m->adapter->enabled = enabled;
    pta_model_changed_adapter(m);
}

void pta_model_drop_inputs(pta_model *m, const uint64_t *key) {
    if (!m->adapter) return;
    m->adapter->dropping = key && m->adapter->dropout > 0.0f;
    m->adapter->pass_key = key ? *key : 0;
}

static void pack(const pta_team *team, void *arg) {
    const pta_model *m = arg;
    for (int64_t i = 0; i < m->config.L * PTA_GROUPS; i++) {
        pta_adapter_group *g = &m->adapter->groups[i];
        if (!g->count) continue;
        pta_linear_pack(team, &g->packed, g->a);
        for (int p = 0; p < g->count; p++) {
            pta_linear_pack(team, &g->parts[p].packed, g->parts[p].b);
            if (m->adapter->dropout > 0.0f) pta_linear_pack(team, &g->parts[p].packed_a, g->parts[p].a);
        }
    }
}

pta_code pta_adapter_ready(pta_model *m, pta_error *err) {
    pta_adapter *a = m->adapter;
    if (!a) return PTA_OK;
    if (!a->packed_memory) {
        a->packed_memory = pta_alloc_uninit(a->packed_bytes, 1);
        if (!a->packed_memory) return pta_fail(err, PTA_E_MEMORY, "no memory for an adapter's packed matrices");
        packed_layout(a, &(pta_cursor){a->packed_memory, 0}, &m->config);
        a->touched = true;
    }
    if (!a->touched && !a->writers && a->packed_version == m->version) return PTA_OK;
    pta_code code = pta_team_run(pack, m, 0, err);
    if (code) return code;
    a->packed_version = m->version;
    a->touched = false;
    return PTA_OK;
}

/* Computing --------------------------------------------------------------------------------------------------------- */

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

void pta_adapter_layout(pta_adapter_scratch *s, pta_cursor *cursor, const pta_model *m, int64_t T) {
    *s = (pta_adapter_scratch){0};
    const pta_config *c = &m->config;
    if (!m->adapter) return;
    s->low = pta_take_floats(cursor, T * 3 * m->adapter->rank);
    s->z = pta_take_matrix(cursor, T, 3 * m->adapter->rank, c->dtype);
    const bool drops = m->adapter->dropout > 0.0f;
    const int64_t widest = larger(c->F, c->H * c->D), input = larger(widest, c->C);
    if (c->dtype != PTA_F32 || drops) s->wide = pta_take_floats(cursor, T * (drops ? input : widest));
    if (drops) s->dropped = pta_take_matrix(cursor, T, input, c->dtype);
}

/* This thread's rows of z = scale · low. */
static void scale_rows(const pta_team *team, const pta_adapter *a, const pta_adapter_scratch *s, int64_t n, int64_t T) {
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        float *row = s->low + t * n;
        for (int64_t i = 0; i < n; i++) row[i] *= a->scale;
        pta_matrix to = s->z;
        to.ld = n;
        pta_rows_store(pta_at(to, t, 0), row, 1, n);
    }
}

/* This thread's rows of y += wide, in float32, rounded once. */
static void add_rows(const pta_team *team, pta_matrix y, const float *wide, int64_t n, int64_t T) {
    int64_t first, last;
    float *sum = team->scratch;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        pta_rows_load(sum, pta_at(y, t, 0), 1.0f, 1, n);
        pta_row_add(sum, wide + t * n, n);
        pta_rows_store(pta_at(y, t, 0), sum, 1, n);
    }
}

static pta_dropout dropout_of(const pta_adapter *a, int64_t layer, const pta_adapter_part *p) {
    return (pta_dropout){a->dropout, pta_dropout_key(a->pass_key, (uint64_t)(layer * PTA_PROJECTIONS + p->projection))};
}

/* s->dropped = what dropout leaves of a part's input. Ends with a barrier. */
static pta_matrix drop(const pta_team *team, const pta_adapter *a, int64_t layer, const pta_adapter_part *p, pta_matrix x,
                       const pta_adapter_scratch *s, int64_t T, int64_t K) {
    pta_matrix dropped = s->dropped;
    dropped.ld = K;
    pta_dropout_rows(team, dropped, x, dropout_of(a, layer, p), T, K);
    pta_team_barrier(team);
    return dropped;
}

/* s->z = scale · low [T, n]. */
static pta_matrix scaled(const pta_team *team, const pta_adapter *a, const pta_adapter_scratch *s, int64_t n, int64_t T) {
    scale_rows(team, a, s, n, T);
    pta_team_barrier(team);
    return (pta_matrix){s->z.data, n, s->z.dtype};
}

/* s->z = scale · A x, [T, count · r]. */
static pta_matrix project(const pta_team *team, const pta_adapter *a, int64_t layer, const pta_adapter_group *g, pta_matrix x,
                          const pta_adapter_scratch *s, int64_t T) {
    const int64_t n = g->count * a->rank;
    const pta_matrix low = pta_f32(s->low, n);
    if (!a->dropping) {
        pta_linear_forward(team, low, x, &g->packed, T, false);
        pta_team_barrier(team);
    }
    for (int i = 0; a->dropping && i < g->count; i++) {
        const pta_matrix dropped = drop(team, a, layer, &g->parts[i], x, s, T, g->K);
        pta_linear_forward(team, pta_at(low, 0, i * a->rank), dropped, &g->parts[i].packed_a, T, false);
        pta_team_barrier(team);
    }
    return scaled(team, a, s, n, T);
}

void pta_adapter_forward(const pta_team *team, const pta_model *m, int64_t layer, pta_group group, pta_matrix y, pta_matrix x,
                         const pta_adapter_scratch *s, int64_t T) {
    const pta_adapter *a = pta_adapter_of(m);
    const pta_adapter_group *g = a ? &a->groups[layer * PTA_GROUPS + group] : NULL;
    if (!g || !g->count) return;
    const pta_matrix z = project(team, a, layer, g, x, s, T);
    for (int i = 0; i < g->count; i++) {
        const pta_adapter_part *p = &g->parts[i];
        const pta_matrix to = pta_at(y, 0, p->first), from = pta_at(z, 0, i * a->rank);
        const bool direct = to.dtype == PTA_F32;
        pta_linear_forward(team, direct ? to : pta_f32(s->wide, p->width), from, &p->packed, T, direct);
        pta_team_barrier(team);
        if (direct) continue;
        add_rows(team, to, s->wide, p->width, T);
        pta_team_barrier(team);
    }
}

/* Part by part: each has an input of its own. */
static void backward_dropping(const pta_team *team, const pta_adapter *a, int64_t layer, const pta_adapter_group *g, pta_matrix dx,
                              pta_matrix dy, pta_matrix x, const pta_adapter_scratch *s, int64_t T, pta_dtype compute) {
    const int64_t r = a->rank, grads = a->grads - a->weights;
    const pta_matrix low = pta_f32(s->low, r), wide = pta_f32(s->wide, g->K);
    for (int i = 0; i < g->count; i++) {
        const pta_adapter_part *p = &g->parts[i];
        const pta_matrix from = pta_at(dy, 0, p->first), dropped = drop(team, a, layer, p, x, s, T, g->K);
        pta_linear_forward(team, low, dropped, &p->packed_a, T, false);
        pta_team_barrier(team);
        pta_linear_dweight(team, p->b + grads, from, scaled(team, a, s, r, T), T, p->width, r, compute);
        pta_team_barrier(team);
        pta_linear_dinput(team, low, from, p->b, T, p->width, r, compute, false);
        pta_team_barrier(team);
        const pta_matrix z = scaled(team, a, s, r, T); /* the gradient of A times what was left of x */
        pta_linear_dweight(team, p->a + grads, z, dropped, T, r, g->K, compute);
        pta_team_barrier(team);
        pta_linear_dinput(team, wide, z, p->a, T, r, g->K, compute, false);
        pta_team_barrier(team);
        pta_dropout_add_rows(team, dx, wide, dropout_of(a, layer, p), T, g->K);
        pta_team_barrier(team);
    }
}

void pta_adapter_backward(const pta_team *team, const pta_model *m, int64_t layer, pta_group group, pta_matrix dx,
                          pta_matrix dy, pta_matrix x, const pta_adapter_scratch *s, int64_t T) {
    const pta_adapter *a = pta_adapter_of(m);
    const pta_adapter_group *g = a ? &a->groups[layer * PTA_GROUPS + group] : NULL;
    if (!g || !g->count) return;
    const pta_dtype compute = m->config.dtype;
    if (a->dropping) {
        backward_dropping(team, a, layer, g, dx, dy, x, s, T, compute);
        return;
    }
    const int64_t n = g->count * a->rank, r = a->rank, grads = a->grads - a->weights;
    const pta_matrix z = project(team, a, layer, g, x, s, T);
    for (int i = 0; i < g->count; i++) {
        const pta_adapter_part *p = &g->parts[i];
        const pta_matrix from = pta_at(dy, 0, p->first);
        pta_linear_dweight(team, p->b + grads, from, pta_at(z, 0, i * r), T, p->width, r, compute);
        pta_team_barrier(team);
        pta_linear_dinput(team, pta_at(pta_f32(s->low, n), 0, i * r), from, p->b, T, p->width, r, compute, false);
        pta_team_barrier(team);
    }
    scaled(team, a, s, n, T); /* z: the gradient of A x */
    pta_linear_dweight(team, g->a + grads, z, x, T, n, g->K, compute);
    pta_team_barrier(team);
    const bool direct = dx.dtype == PTA_F32;
    pta_linear_dinput(team, direct ? dx : pta_f32(s->wide, g->K), z, g->a, T, n, g->K, compute, direct);
    pta_team_barrier(team);
    if (direct) return;
    add_rows(team, dx, s->wide, g->K, T);
    pta_team_barrier(team);
}
