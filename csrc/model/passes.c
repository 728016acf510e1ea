/* The entry points of a model: checks and memory first, then one team that does all the computing. */
#include <math.h>
#include <string.h>

#include "decoder.h"
#include "head.h"

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

pta_code pta_model_check_extra(const pta_model *m, const pta_extra *extra, pta_error *err) {
    if (extra->axes && !m->config.rope_sections[0])
        return pta_fail(err, PTA_E_VALUE, "positions: three for each row, but the rotary embedding of this model takes one");
    if (extra->num_inputs && extra->width != m->config.C)
        return pta_fail(err, PTA_E_VALUE, "inputs: rows of %lld numbers, must be hidden_size (%lld)", (long long)extra->width,
                        (long long)m->config.C);
    return PTA_OK;
}

static pta_code start(pta_tape **out, pta_model *m, const pta_forest *f, int64_t N, pta_keep keep, pta_error *err) {
    pta_code code = check_tokens(m, f, err);
    if (!code) code = pta_model_check_extra(m, &f->extra, err);
    if (!code) code = pta_model_need_rope(m, f->max_position, err);
    if (!code) code = pta_model_ready(m, err);
    if (!code) code = pta_tape_create(out, m, f, N, keep, err);
    return code;
}

static pta_code start_targets(pta_tape **out, pta_model *m, const pta_forest *f, const int32_t *source,
                              const int32_t *target, int64_t n, float temperature, pta_keep keep, pta_error *err) {
    pta_model_drop_tape(m);
    if (!(temperature > 0.0f) || !isfinite(temperature))
        return pta_fail(err, PTA_E_VALUE, "temperature is %g, must be positive and finite", (double)temperature);
    pta_code code = check_rows("source", source, n, f->T, err);
    if (!code) code = check_rows("target", target, n, m->config.V, err);
    if (!code) code = start(out, m, f, n, keep, err);
    if (code) return code;
    memcpy((*out)->source, source, (size_t)n * sizeof(int32_t));
    memcpy((*out)->target, target, (size_t)n * sizeof(int32_t));
    (*out)->temperature = temperature;
    return PTA_OK;
}

/* Memory of the head's chunk (kept by the model). */
static pta_code need_chunk(pta_head_chunk *k, pta_model *m, int64_t N, bool train, pta_error *err) {
    pta_cursor counter = {0};
    pta_head_layout(k, &counter, &m->config, N, train);
    char *base = (char *)pta_buffer_reserve(&m->head_memory, (counter.used + 3) / 4, err);
    if (!base) return err->code;
    pta_head_layout(k, &(pta_cursor){base, 0}, &m->config, N, train);
    return PTA_OK;
}

static pta_code need_backward(pta_backward_scratch *s, pta_model *m, const pta_tape *t, pta_error *err) {
    pta_cursor counter = {0};
    const int64_t inputs = t->forest->extra.num_inputs;
    m->num_input_gradients = 0;
    if (inputs && !pta_buffer_reserve(&m->input_gradients, inputs * m->config.C, err)) return err->code;
    m->num_input_gradients = inputs;
    pta_backward_layout(s, &counter, m, &t->rows);
    char *base = (char *)pta_buffer_reserve(&m->backward_memory, (counter.used + 3) / 4, err);
    if (!base) return err->code;
    pta_backward_layout(s, &(pta_cursor){base, 0}, m, &t->rows);
    return PTA_OK;
}

/* One computation of a team. */
typedef struct {
    const pta_model *m;
    const pta_tape *t;
    pta_head_pass *head;                  /* NULL: no pass over the targets */
    const pta_backward_scratch *backward; /* NULL: forward only */
    bool forward;                         /* run the layers first; otherwise the tape is there */
    bool stopped;                         /* written by thread 0 */
    pta_error *err;
} computation;

static void compute(const pta_team *team, void *arg) {
    computation *c = arg;
    pta_error *err = team->id == 0 ? c->err : NULL;
    bool stop = c->forward && pta_layers_forward(team, c->m, c->t, err);
    if (!stop && c->head) stop = pta_head_run(team, c->head, err);
    if (!stop && c->backward) stop = pta_layers_backward(team, c->m, c->t, c->backward, err);
    if (team->id == 0) c->stopped = stop;
}

static pta_code run(computation *c, pta_error *err) {
    c->err = err;
    pta_code code = pta_team_run(compute, c, 0, err);
    return code ? code : c->stopped ? err->code : PTA_OK;
}

pta_code pta_model_forward(pta_model *m, const pta_forest *f, const int32_t *source, const int32_t *target, int64_t n,
                           float temperature, pta_keep keep, float *logprobs, float *entropies, pta_error *err) {
    pta_tape *t = NULL;
    pta_code code = start_targets(&t, m, f, source, target, n, temperature, keep, err);
    if (code) return code;
    pta_head_pass head = {.m = m, .t = t, .logprobs = logprobs, .entropies = entropies};
    code = need_chunk(&head.chunk, m, n, false, err);
    if (!code) code = run(&(computation){.m = m, .t = t, .head = &head, .forward = true}, err);
    if (code || keep == PTA_KEEP_NOTHING)
        pta_tape_free(t, m);
    else
        m->tape = t;
    return code;
}

/* The loss of pta_model_backward: derivatives that the caller has. */
static pta_code given(void *context, int64_t first, int64_t count, const float *logprobs, const float *entropies,
                      float *dlogprobs, pta_error *err) {
    (void)logprobs, (void)entropies, (void)err;
    memcpy(dlogprobs, (const float *)context + first, (size_t)count * sizeof(float));
    return PTA_OK;
}

pta_code pta_model_backward(pta_model *m, const float *dlogprobs, const float *dentropies, pta_error *err) {
    pta_tape *t = m->tape;
    if (!t) return pta_fail(err, PTA_E_STATE, "backward without a forward: call forward(..., keep=True) first");
    if (t->version != m->version)
        return pta_fail(err, PTA_E_STATE, "the weights changed since forward: call forward again");
    float *again = pta_alloc_uninit(2 * t->N, sizeof(float)); /* log-probabilities and entropies, formed once more */
    if (!again) return pta_fail(err, PTA_E_MEMORY, "no memory for %lld targets", (long long)t->N);
    pta_head_pass head = {.m = m, .t = t, .logprobs = again, .entropies = again + t->N, .loss = given,
                          .context = (void *)dlogprobs, .dentropies = dentropies};
    pta_backward_scratch s = {0};
    pta_code code = pta_model_need_grads(m, err);
    if (!code) code = need_chunk(&head.chunk, m, t->N, true, err);
    if (!code) code = need_backward(&s, m, t, err);
    if (!code) {
        m->grads_zero = false;
        head.dx = s.dx;
        code = run(&(computation){.m = m, .t = t, .head = &head, .backward = &s}, err);
        pta_model_drop_tape(m);
    }
    pta_free(again);
    return code;
}

pta_code pta_model_train(pta_model *m, const pta_forest *f, const int32_t *source, const int32_t *target, int64_t n,
                         float temperature, pta_keep keep, pta_loss loss, void *context, float *logprobs,
                         float *entropies, pta_error *err) {
    pta_tape *t = NULL;
    pta_code code = pta_model_need_grads(m, err);
    if (!code) code = start_targets(&t, m, f, source, target, n, temperature, keep, err);
    if (code) return code;
    pta_head_pass head = {.m = m, .t = t, .logprobs = logprobs, .entropies = entropies, .loss = loss,
                          .context = context};
    pta_backward_scratch s = {0};
    code = need_chunk(&head.chunk, m, n, true, err);
    if (!code) code = need_backward(&s, m, t, err);
    head.dx = s.dx;
    if (!code) m->grads_zero = false;
    if (!code) code = run(&(computation){.m = m, .t = t, .head = &head, .backward = &s, .forward = true}, err);
    pta_tape_free(t, m);
    return code;
}

int64_t pta_model_train_bytes(const pta_model *m, const pta_forest *f, int64_t n, pta_keep keep) {
    const bool train = keep != PTA_KEEP_NOTHING;
    const pta_rows rows = pta_forest_rows(f);
    pta_head_chunk chunk = {0};
    pta_backward_scratch scratch = {0};
    pta_cursor counter = {0};
    pta_head_layout(&chunk, &counter, &m->config, n, train);
    if (train) pta_backward_layout(&scratch, &counter, m, &rows);
    int64_t tape = pta_tape_bytes(m, f, keep);
    return tape < 0 ? -1 : tape + counter.used;
}

typedef struct {
    const pta_model *m;
    const pta_tape *t;
    const pta_head_chunk *chunk;
    const int32_t *rows;
    int64_t R;
    float *logits;
    bool stopped;
    pta_error *err;
} logits_computation;

static void compute_logits(const pta_team *team, void *arg) {
    logits_computation *c = arg;
    bool stop = pta_layers_forward(team, c->m, c->t, team->id == 0 ? c->err : NULL);
    const int64_t V = c->m->config.V;
    for (int64_t first = 0; first < c->R && !stop; first += c->chunk->rows) {
        int64_t count = c->R - first < c->chunk->rows ? c->R - first : c->chunk->rows;
        pta_head_logits(team, c->m, c->t, c->chunk, c->rows + first, count, c->logits + first * V);
    }
    if (team->id == 0) c->stopped = stop;
}

pta_code pta_model_logits(pta_model *m, const pta_forest *f, const int32_t *rows, int64_t R, float *logits,
                          pta_error *err) {
    pta_tape *t = NULL;
    pta_head_chunk chunk = {0};
    pta_code code = check_rows("rows", rows, R, f->T, err);
    if (!code) code = start(&t, m, f, 0, PTA_KEEP_NOTHING, err);
    if (code) return code;
    code = need_chunk(&chunk, m, R, false, err);
    logits_computation c = {m, t, &chunk, rows, R, logits, false, err};
    if (!code) code = pta_team_run(compute_logits, &c, 0, err);
    if (!code && c.stopped) code = err->code;
    pta_tape_free(t, m);
    return code;
}
