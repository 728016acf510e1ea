#include "step.h"

#include <string.h>

#include "../core/threads.h"
#include "../model/layer.h"
#include "../model/products.h"
#include "attend.h"

enum { LOGITS_FLOATS = 16 << 20 };
static const double POLL_FLOPS = 1e8; /* a layer of this work is worth a look at the interrupt flag */

void pta_step_free(pta_step *s) {
    pta_buffer_free(&s->memory);
    pta_buffer_free(&s->logit_memory);
}

void pta_step_add_row(pta_step *s, const pta_cache *cache, int32_t slot, int64_t index, int32_t token, const int32_t *axes,
                      int64_t stride, const float *input) {
    const pta_segment *segment = &cache->segments[slot];
    const int64_t i = s->num_rows++, position = segment->start + index;
    if (i == 0) s->apart = false;
    s->rows[i] = (pta_row){segment->pages, position};
    s->tokens[i] = token;
    s->inputs[i] = input;
    for (int axis = 0; axis < 3; axis++)
        s->axes[axis][i] = axes ? axes[axis * stride] : (int32_t)(position + segment->shift);
    s->apart |= s->axes[0][i] != s->axes[1][i] || s->axes[0][i] != s->axes[2][i];
}

void pta_step_add(pta_step *s, const pta_cache *cache, int32_t slot, int64_t index, int32_t token) {
    pta_step_add_row(s, cache, slot, index, token, NULL, 0, NULL);
}

static void lay_out(pta_step *s, pta_cursor *cursor, const pta_model *m, int64_t more) {
    const pta_config *c = &m->config;
    const int64_t R = s->num_rows, width = pta_qkv_width(c);
    s->hidden = pta_take_matrix(cursor, R + more, c->C, c->dtype);
    s->x = pta_take_floats(cursor, R * c->C);
    s->attention = pta_take_matrix(cursor, R, c->H * c->D, c->dtype);
    s->gate_up = pta_take_matrix(cursor, R, 2 * c->F, c->dtype);
    s->product = pta_take_matrix(cursor, R, c->F, c->dtype);
    s->projected = pta_take_floats(cursor, R * width);
    s->qkv = c->dtype == PTA_F32 ? pta_f32(s->projected, width) : pta_take_matrix(cursor, R, width, c->dtype);
    pta_adapter_layout(&s->adapter, cursor, m, R);
    if (s->apart) pta_rotation_layout(&s->rotation_room, cursor, c, R);
}

pta_code pta_step_prepare(pta_step *s, const pta_cache *cache, int64_t more, pta_error *err) {
    pta_model *m = cache->model;
    int32_t last_position = 0;
    if (!s->num_rows) s->apart = false;
    for (int axis = 0; axis < (s->apart ? 3 : 1); axis++)
        for (int64_t i = 0; i < s->num_rows; i++)
            if (s->axes[axis][i] > last_position) last_position = s->axes[axis][i];
    pta_code code = pta_model_need_rope(m, (int64_t)last_position + 1, err);
    if (code) return code;
    pta_cursor cursor = {0};
    lay_out(s, &cursor, m, more);
    cursor.base = (char *)pta_buffer_reserve(&s->memory, cursor.used / 4, err);
    if (!cursor.base) return PTA_E_MEMORY;
    cursor.used = 0;
    lay_out(s, &cursor, m, more);
    s->rotation = s->apart ? pta_rotation_of_axes(&s->rotation_room, m, s->axes[0], PTA_STEP_ROWS, s->num_rows)
                           : (pta_rotation){m->rope, s->axes[0]};
    s->interrupted = false;
    return PTA_OK;
}

/* By the thread that looked the row's token up: rows are shared as in pta_embedding_forward. */
static void place_inputs(const pta_team *team, const pta_step *s, int64_t C) {
    int64_t first, last;
    pta_team_share(team, s->num_rows, 1, &first, &last);
    for (int64_t i = first; i < last; i++)
        if (s->inputs[i]) memcpy(s->x + i * C, s->inputs[i], (size_t)C * sizeof(float));
}

bool pta_step_layers(const pta_team *team, pta_step *s, const pta_cache *cache, pta_error *err) {
    const pta_model *m = cache->model;
    const pta_config *c = &m->config;
    const double flops = 2.0 * (double)s->num_rows * (double)(pta_qkv_width(c) * c->C + c->C * c->H * c->D + 3 * c->C * c->F);
    const pta_activations a = {.input = s->x, .middle = s->x, .qkv = s->qkv, .attention = s->attention,
                               .gate_up = s->gate_up};
    const pta_layer_scratch scratch = {s->hidden, s->product, s->projected, s->adapter};
    pta_embedding_forward(team, s->x, pta_model_embedding(m), s->tokens, s->num_rows, c->C);
    place_inputs(team, s, c->C);
    pta_team_barrier(team);
    for (int64_t l = 0; l < c->L; l++) {
        pta_layer_qkv(team, m, l, &a, &scratch, s->rotation, s->num_rows);
        pta_store_keys(team, s, c, l);
        pta_team_barrier(team);
        pta_attend(team, s, c, l);
        pta_team_barrier(team);
        pta_layer_gate_up(team, m, l, &a, &scratch, s->num_rows);
        pta_layer_out(team, m, l, &a, &scratch, s->x, s->num_rows);
        if (flops > POLL_FLOPS && pta_team_interrupted(team, err)) {
            if (team->id == 0) s->interrupted = true;
            return true;
        }
    }
    pta_rmsnorm_forward(team, s->hidden, NULL, s->x, m->weights.norm, s->num_rows, c->C, c->eps);
    pta_team_barrier(team);
    return false;
}

typedef struct {
    pta_step *step;
    const pta_cache *cache;
    pta_error *err;
} run_args;

static void run_body(const pta_team *team, void *arg) {
    const run_args *a = arg;
    pta_step_layers(team, a->step, a->cache, team->id == 0 ? a->err : NULL);
}

pta_code pta_step_run(pta_step *s, const pta_cache *cache, pta_error *err) {
    pta_code code = pta_step_prepare(s, cache, 0, err);
    if (!code) code = pta_team_run(run_body, &(run_args){s, cache, err}, 0, err);
    if (code) return code;
    return s->interrupted ? PTA_E_INTERRUPTED : pta_poll_interrupt(err);
}

int64_t pta_step_logits_rows(const pta_config *c) {
    int64_t rows = LOGITS_FLOATS / c->V;
    return rows < 16 ? 16 : rows > PTA_STEP_ROWS ? PTA_STEP_ROWS : rows;
}

int64_t pta_step_bytes(const pta_model *m, int64_t rows, int64_t more) {
    const int64_t most = pta_step_logits_rows(&m->config), logits = rows + more;
    pta_step s = {.num_rows = rows};
    pta_cursor cursor = {0};
    lay_out(&s, &cursor, m, more);
    return (int64_t)sizeof s + cursor.used + (logits < most ? logits : most) * m->config.V * (int64_t)sizeof(float);
}

pta_code pta_step_need_logits(pta_step *s, const pta_model *m, int64_t R, pta_error *err) {
    s->logits = pta_buffer_reserve(&s->logit_memory, R * m->config.V, err);
    return s->logits ? PTA_OK : PTA_E_MEMORY;
}

void pta_step_logits(const pta_team *team, pta_step *s, const pta_model *m, int64_t first, int64_t R) {
    pta_product_forward(team, m, 0, PTA_HEAD, pta_f32(s->logits, m->config.V), pta_at(s->hidden, first, 0), R, false);
    pta_team_barrier(team);
}
