#include "step.h"

#include "../core/threads.h"
#include "../ops/ops.h"
#include "attend.h"

enum { LOGITS_FLOATS = 16 << 20, LINE = 64 };
static const double POLL_FLOPS = 1e8; /* a layer of this work is worth a look at the interrupt flag */

void pta_step_free(pta_step *s) {
    pta_buffer_free(&s->memory);
    pta_buffer_free(&s->logit_memory);
}

void pta_step_add(pta_step *s, const pta_cache *cache, int32_t slot, int64_t index, int32_t token) {
    const pta_segment *segment = &cache->segments[slot];
    const int64_t i = s->num_rows++, position = segment->start + index;
    s->rows[i] = (pta_row){segment->pages, position};
    s->tokens[i] = token;
    s->positions[i] = (int32_t)position;
}

/* A matrix of R rows at the end of the memory in use; with NULL memory only counts. */
static pta_matrix place(char *memory, int64_t *used, int64_t R, int64_t width, pta_dtype dtype) {
    pta_matrix m = {memory ? memory + *used : NULL, width, dtype};
    *used += (R * width * pta_dtype_size(dtype) + LINE - 1) / LINE * LINE;
    return m;
}

static int64_t lay_out(pta_step *s, char *memory, const pta_config *c, int64_t more) {
    const int64_t R = s->num_rows, width = pta_qkv_width(c);
    int64_t used = 0;
    s->hidden = place(memory, &used, R + more, c->C, c->dtype);
    s->x = place(memory, &used, R, c->C, PTA_F32).data;
    s->attention = place(memory, &used, R, c->H * c->D, c->dtype);
    s->gate_up = place(memory, &used, R, 2 * c->F, c->dtype);
    s->product = place(memory, &used, R, c->F, c->dtype);
    s->projected = place(memory, &used, R, width, PTA_F32).data;
    s->qkv = c->dtype == PTA_F32 ? pta_f32(s->projected, width) : place(memory, &used, R, width, c->dtype);
    return used;
}

pta_code pta_step_prepare(pta_step *s, const pta_cache *cache, int64_t more, pta_error *err) {
    pta_model *m = cache->model;
    int64_t last_position = 0;
    for (int64_t i = 0; i < s->num_rows; i++)
        if (s->positions[i] > last_position) last_position = s->positions[i];
    pta_code code = pta_model_need_rope(m, last_position + 1, err);
    if (code) return code;
    const int64_t bytes = lay_out(s, NULL, &m->config, more);
    char *memory = (char *)pta_buffer_reserve(&s->memory, bytes / 4, err);
    if (!memory) return PTA_E_MEMORY;
    lay_out(s, memory, &m->config, more);
    s->interrupted = false;
    return PTA_OK;
}

static void layer(const pta_team *team, pta_step *s, const pta_model *m, int64_t l) {
    const pta_config *c = &m->config;
    const pta_layer *w = &m->weights.layers[l];
    const pta_packed_layer *p = &m->packed.layers[l];
    const int64_t R = s->num_rows;
    const pta_heads heads = {c->H, c->K, c->D, w->qkv_bias, w->q_norm, w->k_norm, m->rope, c->eps};
    pta_rmsnorm_forward(team, s->hidden, NULL, s->x, w->input_norm, R, c->C, c->eps);
    pta_team_barrier(team);
    pta_linear_forward(team, pta_f32(s->projected, pta_qkv_width(c)), s->hidden, &p->qkv, R, false);
    pta_team_barrier(team);
    pta_heads_forward(team, s->qkv, (pta_matrix){0}, NULL, s->projected, &heads, s->positions, R);
    pta_store_keys(team, s, c, l);
    pta_team_barrier(team);
    pta_attend(team, s, c, l);
    pta_team_barrier(team);
    pta_linear_forward(team, pta_f32(s->x, c->C), s->attention, &p->o, R, true);
    pta_team_barrier(team);
    pta_rmsnorm_forward(team, s->hidden, NULL, s->x, w->post_norm, R, c->C, c->eps);
    pta_team_barrier(team);
    pta_linear_forward(team, s->gate_up, s->hidden, &p->gate_up, R, false);
    pta_team_barrier(team);
    pta_swiglu_forward(team, s->product, s->gate_up, R, c->F);
    pta_team_barrier(team);
    pta_linear_forward(team, pta_f32(s->x, c->C), s->product, &p->down, R, true);
    pta_team_barrier(team);
}

bool pta_step_layers(const pta_team *team, pta_step *s, const pta_cache *cache, pta_error *err) {
    const pta_model *m = cache->model;
    const pta_config *c = &m->config;
    const double flops = 2.0 * (double)s->num_rows * (double)(m->num_floats / c->L);
    pta_embedding_forward(team, s->x, m->weights.embed, s->tokens, s->num_rows, c->C, c->dtype == PTA_BF16);
    pta_team_barrier(team);
    for (int64_t l = 0; l < c->L; l++) {
        layer(team, s, m, l);
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

pta_code pta_step_need_logits(pta_step *s, const pta_model *m, int64_t R, pta_error *err) {
    s->logits = pta_buffer_reserve(&s->logit_memory, R * m->config.V, err);
    return s->logits ? PTA_OK : PTA_E_MEMORY;
}

void pta_step_logits(const pta_team *team, pta_step *s, const pta_model *m, int64_t first, int64_t R) {
    pta_linear_forward(team, pta_f32(s->logits, m->config.V), pta_at(s->hidden, first, 0), &m->packed.head, R, false);
    pta_team_barrier(team);
}
