/* A model whose matrices are frozen: what they are called, where they lie, and how rows of them get in and out. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../core/cursor.h"
#include "../ops/rows.h"
#include "model.h"

static pta_frozen *matrix_of(pta_model *m, const pta_frozen_param *p) {
    pta_frozen_tensors *t = &m->frozen;
    if (p->which == PTA_TOWER) return &m->tower.frozen[p->layer];
    return p->which == PTA_HEAD ? &t->head : &t->layers[p->layer * PTA_LAYER_MATRICES + p->which];
}

/* Shapes, and with a base pointers. The head is bfloat16 whatever the layers are: it is read once a token, and its error
 * would go into the probabilities directly. */
static void lay_out(pta_frozen_tensors *t, pta_cursor *cursor, const pta_config *c) {
    const pta_frozen_kind kind = (pta_frozen_kind)(c->frozen - 1);
    const int64_t shapes[PTA_LAYER_MATRICES][2] = {
        {pta_qkv_width(c), c->C}, {c->C, c->H * c->D}, {2 * c->F, c->C}, {c->C, c->F}};
    for (int64_t i = 0; i < c->L * PTA_LAYER_MATRICES; i++) {
        const int64_t *shape = shapes[i % PTA_LAYER_MATRICES];
        t->layers[i] = (pta_frozen){kind, shape[0], shape[1], pta_take(cursor, pta_frozen_bytes(kind, shape[0], shape[1]))};
    }
    t->head = (pta_frozen){PTA_FROZEN_BF16, c->V, c->C, pta_take(cursor, pta_frozen_bytes(PTA_FROZEN_BF16, c->V, c->C))};
    t->embed = pta_take(cursor, c->V * c->C * (int64_t)sizeof(pta_bf16));
}

static void add(pta_frozen_tensors *t, int64_t layer, const char *suffix, pta_matrix_id which, int64_t first, int64_t rows,
                int64_t cols) {
    pta_frozen_param *p = &t->params[t->num_params++];
    *p = (pta_frozen_param){.layer = layer, .which = which, .first = first, .rows = rows, .cols = cols};
    if (layer < 0)
        snprintf(p->name, sizeof p->name, "%s", suffix);
    else
        snprintf(p->name, sizeof p->name, "model.layers.%lld.%s", (long long)layer, suffix);
}

static void add_vision(void *context, const char *name, int64_t rows, int64_t cols, bool join, int64_t matrix, int64_t first) {
    pta_frozen_tensors *t = context;
    (void)join;
    if (matrix < 0) return;
    add(t, -1, name, PTA_TOWER, first, rows, cols);
    t->params[t->num_params - 1].layer = matrix;
}

static void describe(pta_frozen_tensors *t, const pta_config *c) {
    const int64_t q = c->H * c->D, kv = c->K * c->D;
    add(t, -1, "model.embed_tokens.weight", PTA_EMBED, 0, c->V, c->C);
    for (int64_t l = 0; l < c->L; l++) {
        add(t, l, "self_attn.q_proj.weight", PTA_QKV, 0, q, c->C);
        add(t, l, "self_attn.k_proj.weight", PTA_QKV, q, kv, c->C);
        add(t, l, "self_attn.v_proj.weight", PTA_QKV, q + kv, kv, c->C);
        add(t, l, "self_attn.o_proj.weight", PTA_O, 0, c->C, q);
        add(t, l, "mlp.gate_proj.weight", PTA_GATE_UP, 0, c->F, c->C);
        add(t, l, "mlp.up_proj.weight", PTA_GATE_UP, c->F, c->F, c->C);
        add(t, l, "mlp.down_proj.weight", PTA_DOWN, 0, c->C, c->F);
    }
    if (!c->tied) add(t, -1, "lm_head.weight", PTA_HEAD, 0, c->V, c->C);
    pta_tower_describe(&c->vision, add_vision, t);
}

pta_code pta_frozen_plan(pta_model *m, pta_error *err) {
    const pta_config *c = &m->config;
    pta_frozen_tensors *t = &m->frozen;
    pta_cursor cursor = {0};
    t->params = pta_alloc(2 + 7 * c->L + 3 + 5 * c->vision.depth, sizeof *t->params);
    t->layers = pta_alloc(PTA_LAYER_MATRICES * c->L, sizeof *t->layers);
    if (!t->params || !t->layers) return pta_fail(err, PTA_E_MEMORY, "no memory for a table of frozen weights");
    lay_out(t, &cursor, c);
    t->bytes = cursor.used;
    describe(t, c);
    return PTA_OK;
}

pta_code pta_frozen_create(pta_model *m, pta_error *err) {
    pta_frozen_tensors *t = &m->frozen;
    t->memory = pta_alloc(t->bytes, 1);
    if (!t->memory)
        return pta_fail(err, PTA_E_MEMORY, "no memory for %.2f GiB of frozen weights", (double)t->bytes / (1 << 30));
    lay_out(t, &(pta_cursor){t->memory, 0}, &m->config);
    return m->config.vision.depth ? pta_tower_store_create(&m->tower, &m->config.vision, err) : PTA_OK;
}

void pta_frozen_free(pta_frozen_tensors *t) {
    pta_free(t->memory);
    pta_free(t->layers);
    pta_free(t->params);
}

int64_t pta_frozen_find(const pta_model *m, const char *name) {
    for (int64_t i = 0; i < m->frozen.num_params; i++)
        if (!strcmp(m->frozen.params[i].name, name)) return i;
    return -1;
}

/* One range of rows, shared by a team: whole panels to one thread, since rows of a panel lie side by side. */
typedef struct {
    pta_model *m;
    const pta_frozen_param *p;
    float *w;
    int64_t first, count;
    bool set;
} rows_job;

static void embed_rows(const rows_job *j, int64_t at, int64_t count) {
    const pta_matrix rows = {j->m->frozen.embed + (j->first + at) * j->p->cols, j->p->cols, PTA_BF16};
    if (j->set)
        pta_rows_store(rows, j->w + at * j->p->cols, count, j->p->cols);
    else
        pta_rows_load(j->w + at * j->p->cols, rows, 1.0f, count, j->p->cols);
}

static void matrix_rows(const rows_job *j, pta_frozen *f, int64_t at, int64_t count) {
    const int64_t row = j->p->first + j->first + at;
    if (j->set)
        pta_frozen_set(f, j->w + at * j->p->cols, row, count);
    else
        pta_frozen_get(f, j->w + at * j->p->cols, row, count);
}

static void move_rows(const pta_team *team, void *arg) {
    const rows_job *j = arg;
    pta_frozen_tensors *t = &j->m->frozen;
    const int64_t base = j->p->first + j->first, end = base + j->count;
    int64_t first, last; /* panels */
    pta_team_share(team, (end + PTA_PANEL - 1) / PTA_PANEL - base / PTA_PANEL, 1, &first, &last);
    int64_t from = (base / PTA_PANEL + first) * PTA_PANEL, to = (base / PTA_PANEL + last) * PTA_PANEL;
    from = from < base ? base : from, to = to > end ? end : to;
    if (from >= to) return;
    if (j->p->which == PTA_EMBED) {
        if (j->set && j->m->config.tied) matrix_rows(j, &t->head, from - base, to - from);
        embed_rows(j, from - base, to - from);
    } else {
        matrix_rows(j, matrix_of(j->m, j->p), from - base, to - from);
    }
}

static pta_code move(pta_model *m, int64_t index, float *w, int64_t first, int64_t count, bool set, pta_error *err) {
    const pta_frozen_param *p = &m->frozen.params[index];
    if (first < 0 || count < 0 || first > p->rows - count)
        return pta_fail(err, PTA_E_VALUE, "%s: rows %lld to %lld are not in its %lld", p->name, (long long)first,
                        (long long)(first + count), (long long)p->rows);
    for (int64_t i = 0; set && i < count * p->cols; i++)
        if (!isfinite(w[i]))
            return pta_fail(err, PTA_E_NONFINITE, "%s is %g at row %lld, column %lld", p->name, (double)w[i],
                            (long long)(first + i / p->cols), (long long)(i % p->cols));
    rows_job j = {m, p, w, first, count, set};
    pta_code code = pta_team_run(move_rows, &j, 0, err);
    if (set) m->version++;
    return code;
}

pta_code pta_frozen_set_rows(pta_model *m, int64_t index, const float *w, int64_t first, int64_t count, pta_error *err) {
    return move(m, index, (float *)w, first, count, true, err);
}

pta_code pta_frozen_get_rows(pta_model *m, int64_t index, float *w, int64_t first, int64_t count, pta_error *err) {
    return move(m, index, w, first, count, false, err);
}
