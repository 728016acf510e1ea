/* The decoder's forward pass with ops/, and attention over pages in place of attention over a forest. */
#include "step.h"

#include "../core/gemm.h"
#include "../core/skinny.h"
#include "../core/threads.h"
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

/* y[R,n] = x[R,k] · wᵀ, or += */
static void project(float *y, const float *x, const float *w, int64_t R, int64_t n, int64_t k, bool accumulate) {
    if (R <= PTA_SKINNY_ROWS && k >= PTA_SKINNY_K)
        pta_skinny_forward(y, n, x, k, w, R, n, k, accumulate);
    else
        pta_gemm_forward(y, n, x, k, w, R, n, k, accumulate);
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

pta_code pta_step_run(pta_step *s, const pta_cache *cache, pta_error *err) {
    pta_model *m = cache->model;
    const pta_config *c = &m->config;
    const int64_t R = s->num_rows, width = pta_qkv_width(c), HD = c->H * c->D;
    const pta_row_batch batch = find_runs(s, c);
    int64_t last_position = 0;
    for (int64_t i = 0; i < R; i++)
        if (s->positions[i] > last_position) last_position = s->positions[i];
    pta_code code = pta_model_need_rope(m, last_position + 1, err);
    if (code) return code;
    int64_t wide = width > 2 * c->F ? width : 2 * c->F, product = HD > c->F ? HD : c->F;
    float *x = pta_buffer_reserve(&s->activations, R * (2 * c->C + wide + product), err);
    if (!x) return PTA_E_MEMORY;
    float *scores = pta_buffer_reserve(&s->scores, pta_num_threads() * pta_attend_scratch(&batch, c->H, c->K, c->D),
                                       err);
    if (!scores) return PTA_E_MEMORY;
    float *normed = x + R * c->C, *middle = normed + R * c->C, *out = middle + R * wide;
    pta_embedding_forward(x, m->weights.embed, s->tokens, R, c->C);
    for (int64_t l = 0; l < c->L; l++) {
        const pta_layer *w = &m->weights.layers[l];
        pta_rmsnorm_forward(normed, NULL, x, w->input_norm, R, c->C, c->eps);
        project(middle, normed, w->qkv, R, width, c->C, false);
        pta_heads_forward(middle, NULL, NULL, w->qkv_bias, w->q_norm, w->k_norm, m->rope, s->positions, R, c->H, c->K,
                          c->D, c->eps);
        pta_attend(out, middle, &batch, l, c->H, c->K, c->D, scores);
        project(x, out, w->o, R, c->C, HD, true);
        pta_rmsnorm_forward(normed, NULL, x, w->post_norm, R, c->C, c->eps);
        project(middle, normed, w->gate_up, R, 2 * c->F, c->C, false);
        pta_swiglu_forward(out, middle, R, c->F);
        project(x, out, w->down, R, c->C, c->F, true);
        if ((code = pta_poll_interrupt(err))) return code;
    }
    pta_rmsnorm_forward(normed, NULL, x, m->weights.norm, R, c->C, c->eps);
    s->hidden = normed;
    return PTA_OK;
}

int64_t pta_step_logits_rows(const pta_config *c) {
    int64_t rows = LOGITS_FLOATS / c->V;
    return rows < 16 ? 16 : rows > PTA_STEP_ROWS ? PTA_STEP_ROWS : rows;
}

pta_code pta_step_logits(pta_step *s, const pta_model *m, const float *hidden, int64_t R, pta_error *err) {
    const pta_config *c = &m->config;
    if (!pta_buffer_reserve(&s->logits, R * c->V, err)) return PTA_E_MEMORY;
    project(s->logits.data, hidden, m->weights.head, R, c->V, c->C, false);
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
