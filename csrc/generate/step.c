/* The decoder's forward pass with ops/, and attention over pages in place of attention over a forest. */
#include "step.h"

#include "../core/threads.h"
#include "../model/layer.h"
#include "../ops/ops.h"

enum { LOGITS_FLOATS = 16 << 20, SHARED_QUERIES = 16 };

void pta_step_free(pta_step *s) {
    pta_buffer_free(&s->activations);
    pta_buffer_free(&s->scores);
    pta_buffer_free(&s->logits);
}

void pta_step_add(pta_step *s, const pta_cache *cache, int32_t slot, const pta_path *path, int64_t index,
                  int32_t token) {
    const pta_segment *segment = &cache->segments[slot];
    int64_t i = s->num_rows++;
    s->rows[i] = (pta_row){path, segment->pages, index};
    s->tokens[i] = token;
    s->positions[i] = (int32_t)(segment->start + index);
}

/* Rows of one path side by side, few enough that every thread has something to do. */
static pta_row_batch find_runs(pta_step *s, const pta_config *c) {
    pta_row_batch batch = {.R = s->num_rows, .rows = s->rows, .runs = s->runs};
    int64_t longest = SHARED_QUERIES / (c->H / c->K);
    if (s->num_rows * c->K < 8 * longest * pta_num_threads()) longest = 1;
    if (longest < 1) longest = 1;
    for (int64_t i = 0; i < s->num_rows; i++) {
        pta_run *last = batch.num_runs ? &s->runs[batch.num_runs - 1] : NULL;
        if (last && last->count < longest && s->rows[i].path == s->rows[last->first].path)
            last->count++;
        else
            s->runs[batch.num_runs++] = (pta_run){i, 1};
        if (i && s->rows[i].pages == s->rows[i - 1].pages) batch.rows_share_segments = true;
        int64_t spans = s->rows[i].path->num_spans + s->rows[i].index / PTA_PAGE_TOKENS + 1;
        if (spans > batch.max_spans) batch.max_spans = spans;
    }
    batch.max_run = longest;
    return batch;
}

typedef struct {
    pta_step *s;
    const pta_model *m;
    const pta_row_batch *batch;
    pta_activations a;
    pta_layer_scratch scratch;
    float *attended, *scores;
    bool stopped;
    pta_error *err;
} step_args;

static void run_step(const pta_team *team, void *arg) {
    step_args *p = arg;
    const pta_model *m = p->m;
    const pta_config *c = &m->config;
    const int64_t R = p->s->num_rows;
    pta_error *err = team->id == 0 ? p->err : NULL;
    pta_embedding_forward(team, p->a.input, m->weights.embed, p->s->tokens, R, c->C);
    pta_team_barrier(team);
    bool stop = false;
    for (int64_t l = 0; l < c->L && !stop; l++) {
        pta_layer_qkv(team, m, l, &p->a, &p->scratch, p->s->positions, R);
        if (team->id == 0) pta_attend(p->a.attention.data, p->a.qkv.data, p->batch, l, c->H, c->K, c->D, p->scores);
        pta_team_barrier(team);
        pta_layer_gate_up(team, m, l, &p->a, &p->scratch, R);
        pta_layer_out(team, m, l, &p->a, &p->scratch, p->a.input, R);
        stop = pta_team_interrupted(team, err);
    }
    if (team->id == 0) p->stopped = stop;
    pta_rmsnorm_forward(team, pta_f32(p->s->hidden, c->C), NULL, p->a.input, m->weights.norm, R, c->C, c->eps);
}

pta_code pta_step_run(pta_step *s, const pta_cache *cache, pta_error *err) {
    pta_model *m = cache->model;
    const pta_config *c = &m->config;
    const int64_t R = s->num_rows, width = pta_qkv_width(c), HD = c->H * c->D;
    const pta_row_batch batch = find_runs(s, c);
    int64_t last_position = 0;
    for (int64_t i = 0; i < R; i++)
        if (s->positions[i] > last_position) last_position = s->positions[i];
    pta_code code = pta_model_need_rope(m, last_position + 1, err);
    if (!code) code = pta_model_ready(m, err);
    if (code) return code;
    float *x = pta_buffer_reserve(&s->activations, R * (3 * c->C + 2 * width + HD + 3 * c->F), err);
    if (!x) return PTA_E_MEMORY;
    float *scores = pta_buffer_reserve(&s->scores, pta_num_threads() * pta_rows_scratch(&batch, c->H, c->K, c->D),
                                       err);
    if (!scores) return PTA_E_MEMORY;
    step_args p = {.s = s, .m = m, .batch = &batch, .scores = scores, .err = err};
    p.a.input = p.a.middle = x, x += R * c->C;
    p.a.qkv = pta_f32(x, width), x += R * width;
    p.a.attention = pta_f32(x, HD), x += R * HD;
    p.a.gate_up = pta_f32(x, 2 * c->F), x += R * 2 * c->F;
    p.scratch = (pta_layer_scratch){pta_f32(x, c->C), pta_f32(x + R * c->C, c->F), x + R * (c->C + c->F)};
    x += R * (c->C + c->F + width);
    s->hidden = x;
    code = pta_team_run(run_step, &p, 0, err);
    return code ? code : p.stopped ? err->code : PTA_OK;
}

int64_t pta_step_logits_rows(const pta_config *c) {
    int64_t rows = LOGITS_FLOATS / c->V;
    return rows < 16 ? 16 : rows > PTA_STEP_ROWS ? PTA_STEP_ROWS : rows;
}

typedef struct {
    float *logits;
    const float *hidden;
    const pta_model *m;
    int64_t R;
} logits_args;
static void run_logits(const pta_team *team, void *arg) {
    const logits_args *a = arg;
    const pta_config *c = &a->m->config;
    pta_linear_forward(team, pta_f32(a->logits, c->V), pta_f32(a->hidden, c->C), &a->m->packed.head, a->R, false);
}

pta_code pta_step_logits(pta_step *s, const pta_model *m, const float *hidden, int64_t R, pta_error *err) {
    const pta_config *c = &m->config;
    if (!pta_buffer_reserve(&s->logits, R * c->V, err)) return PTA_E_MEMORY;
    pta_code code = pta_model_ready((pta_model *)m, err);
    logits_args a = {s->logits.data, hidden, m, R};
    if (!code) code = pta_team_run(run_logits, &a, 0, err);
    if (code) return code;
    return pta_poll_interrupt(err);
}

pta_code pta_path_build(pta_path *path, const pta_cache *cache, int32_t slot, pta_error *err) {
    *path = (pta_path){0};
    int64_t n = 0;
    for (int32_t s = slot; s >= 0; s = cache->segments[s].parent)
        n += (cache->segments[s].length + PTA_PAGE_TOKENS - 1) / PTA_PAGE_TOKENS;
    path->spans = pta_alloc_uninit(n, sizeof *path->spans);
    if (!path->spans)
        return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes", (long long)(n * (int64_t)sizeof *path->spans));
    path->num_spans = n;
    for (int32_t s = slot; s >= 0; s = cache->segments[s].parent) {
        const pta_segment *segment = &cache->segments[s];
        int64_t pages = (segment->length + PTA_PAGE_TOKENS - 1) / PTA_PAGE_TOKENS;
        for (int64_t p = pages - 1; p >= 0; p--) {
            int64_t left = segment->length - p * PTA_PAGE_TOKENS;
            path->spans[--n] = (pta_span){segment->pages[p], left < PTA_PAGE_TOKENS ? left : PTA_PAGE_TOKENS};
        }
    }
    return PTA_OK;
}

void pta_path_free(pta_path *path) {
    pta_free(path->spans);
    *path = (pta_path){0};
}
