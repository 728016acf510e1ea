/* The sampling loop. One row per live chain; a chain that ends leaves the batch and one that waits takes its place, in
 * order, so nothing is padded.
 *
 * Chains are ordered by the segment that they continue (their source), so that rows with the same history stand side
 * by side. The first token of a chain comes from the hidden state its source keeps: one row of logits per source for the
 * chains that are admitted together. From then on every step feeds the token drawn before and draws the next: one
 * parallel region for the layers, the head and the draws.
 * What is drawn goes to a log in the order of drawing; at the end the log is dealt out to the chains. */
#include "decode.h"

#include <string.h>

#include "../core/rng.h"
#include "../core/threads.h"
#include "prefill.h"

typedef struct {
    int64_t index;      /* b of the caller */
    uint64_t key;
    int32_t parent, source; /* slot; number of its source */
    int32_t slot;       /* its own segment; -1 while it waits, and after its end when it is not kept */
    int32_t count, limit; /* tokens drawn, tokens allowed */
    int32_t stop_state;
} chain;

typedef struct {
    int64_t index;
    pta_draw draw;
} entry;

typedef struct {
    pta_cache *cache;
    const pta_sample_options *options;
    pta_step *step;
    chain *chains;        /* [B] in order of source */
    int64_t B, admitted;  /* chains before `admitted` have begun */
    int32_t live[PTA_STEP_ROWS]; /* chains in the batch, in that order */
    int64_t num_live;
    int32_t *sources;     /* [U] slots */
    int64_t U;
    int32_t rows[PTA_STEP_ROWS]; /* row of step->hidden of each live chain; never decreases */
    int64_t num_rows;     /* of step->hidden */
    pta_draw draws[PTA_STEP_ROWS];
    int8_t failed[PTA_STEP_ROWS];
    char *sampler;        /* scratch of the sampler, per thread */
    int64_t sampler_bytes;
    entry *log;
    int64_t logged, log_capacity;
} sampling;

/* Resolve parents and number their sources in order of appearance; chains in the caller's order for now. */
static pta_code resolve(sampling *g, const int64_t *parents, const uint64_t *keys, const int32_t *max_new,
                        pta_error *err) {
    pta_cache *cache = g->cache;
    pta_code code = PTA_OK;
    for (int64_t b = 0; b < g->B && !code; b++) {
        int32_t parent, source;
        if ((code = pta_cache_slot(cache, &parent, parents[b], "parents", b, err))) break;
        source = pta_segment_source(cache, parent);
        int64_t start = cache->segments[parent].start + cache->segments[parent].length;
        if (max_new[b] < 0 || max_new[b] > INT32_MAX - start)
            code = pta_fail(err, PTA_E_VALUE, "max_new_tokens[%lld] is %d, must be 0 to %lld (the largest position)",
                            (long long)b, (int)max_new[b], (long long)(INT32_MAX - start));
        else if (source < 0 && max_new[b] > 0)
            code = pta_fail(err, PTA_E_VALUE, "parents[%lld]: no token before the first draw (the prompt is empty)",
                            (long long)b);
        if (code) break;
        chain *c = &g->chains[b];
        *c = (chain){.index = b, .key = keys[b], .parent = parent, .source = -1, .slot = -1, .limit = max_new[b]};
        if (source < 0) continue;
        if (cache->segments[source].mark < 0) {
            cache->segments[source].mark = (int32_t)g->U;
            g->sources[g->U++] = source;
        }
        c->source = cache->segments[source].mark;
    }
    for (int64_t u = 0; u < g->U; u++) cache->segments[g->sources[u]].mark = -1;
    return code;
}

/* Stable counting sort of the chains by source (-1 first). */
static pta_code order_chains(sampling *g, pta_error *err) {
    chain *sorted = pta_alloc_uninit(g->B, sizeof *sorted);
    int64_t *begin = pta_alloc(g->U + 2, sizeof *begin);
    if (!sorted || !begin) {
        pta_free(sorted);
        pta_free(begin);
        return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for %lld chains",
                        (long long)(g->B * (int64_t)sizeof *sorted), (long long)g->B);
    }
    for (int64_t b = 0; b < g->B; b++) begin[g->chains[b].source + 2]++;
    for (int64_t u = 1; u < g->U + 2; u++) begin[u] += begin[u - 1];
    for (int64_t b = 0; b < g->B; b++) sorted[begin[g->chains[b].source + 1]++] = g->chains[b];
    pta_free(g->chains);
    pta_free(begin);
    g->chains = sorted;
    return PTA_OK;
}

static void end_chain(sampling *g, chain *c) {
    if (g->options->keep || c->slot < 0) return;
    pta_segment_close(g->cache, c->slot);
    c->slot = -1;
}

/* Fill the batch up with waiting chains. */
static pta_code admit_chains(sampling *g, pta_error *err) {
    for (; g->admitted < g->B; g->admitted++) {
        chain *c = &g->chains[g->admitted];
        if (c->limit > 0 && g->num_live == g->options->max_rows) break;
        pta_code code = pta_segment_open(g->cache, &c->slot, c->parent, err);
        if (code) return code;
        if (c->limit > 0)
            g->live[g->num_live++] = (int32_t)g->admitted;
        else
            end_chain(g, c);
    }
    return PTA_OK;
}

static pta_code need_log(sampling *g, int64_t more, pta_error *err) {
    if (g->logged + more <= g->log_capacity) return PTA_OK;
    int64_t capacity = 2 * g->log_capacity > g->logged + more ? 2 * g->log_capacity : 2 * (g->logged + more);
    entry *log = pta_alloc_uninit(capacity, sizeof *log);
    if (!log)
        return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for sampled tokens",
                        (long long)(capacity * (int64_t)sizeof *log));
    if (g->logged) memcpy(log, g->log, (size_t)g->logged * sizeof *log);
    pta_free(g->log);
    g->log = log;
    g->log_capacity = capacity;
    return PTA_OK;
}

static bool is_eos(const pta_sample_options *o, int32_t token) {
    for (int64_t i = 0; i < o->num_eos; i++)
        if (o->eos[i] == token) return true;
    return false;
}

/* Whether the chain goes on after this draw; *finish is set when it does not. */
static bool accept(sampling *g, chain *c, const pta_draw *draw, uint8_t *finish) {
    pta_segment *s = &g->cache->segments[c->slot];
    s->length++;
    s->pending = draw->token;
    c->count++;
    g->log[g->logged++] = (entry){c->index, *draw};
    if (is_eos(g->options, draw->token)) {
        finish[c->index] = PTA_FINISH_EOS;
        return false;
    }
    if (g->options->stops) {
        c->stop_state = pta_stop_step(g->options->stops, c->stop_state, draw->token);
        if (c->stop_state < 0) {
            finish[c->index] = PTA_FINISH_STOP;
            return false;
        }
    }
    return c->count < c->limit;
}

/* Rows of the next step: the pending tokens of chains under way, which stand first, and behind them the hidden states of
 * the sources of new chains. */
static pta_code lay_rows(sampling *g, pta_error *err) {
    pta_cache *cache = g->cache;
    pta_code code;
    int64_t under_way = 0, more = 0;
    g->step->num_rows = 0;
    for (int64_t i = 0; i < g->num_live; i++) {
        const chain *c = &g->chains[g->live[i]];
        if (c->count == 0) {
            more += i == under_way || c->source != g->chains[g->live[i - 1]].source;
            continue;
        }
        if ((code = pta_segment_reserve(cache, c->slot, c->count, err))) return code;
        pta_step_add(g->step, cache, c->slot, c->count - 1, cache->segments[c->slot].pending);
        g->rows[i] = (int32_t)under_way++;
    }
    if ((code = pta_step_prepare(g->step, cache, more, err))) return code;
    g->num_rows = under_way;
    for (int64_t i = under_way; i < g->num_live; i++) {
        const int32_t source = g->chains[g->live[i]].source;
        if (i == under_way || source != g->chains[g->live[i - 1]].source)
            memcpy(pta_at(g->step->hidden, g->num_rows++, 0).data, cache->segments[g->sources[source]].hidden,
                   (size_t)pta_cache_hidden_bytes(cache));
        g->rows[i] = (int32_t)(g->num_rows - 1);
    }
    const int64_t most = pta_step_logits_rows(&cache->model->config);
    return pta_step_need_logits(g->step, cache->model, g->num_rows < most ? g->num_rows : most, err);
}

typedef struct {
    sampling *g;
    pta_error *err;
} step_args;

/* The layers, then logits and draws, some rows at a time. */
static void run_step(const pta_team *team, void *arg) {
    const step_args *a = arg;
    sampling *g = a->g;
    const pta_model *m = g->cache->model;
    if (g->step->num_rows && pta_step_layers(team, g->step, g->cache, team->id == 0 ? a->err : NULL)) return;
    const int64_t most = pta_step_logits_rows(&m->config), V = m->config.V;
    int64_t begin = 0; /* of live chains */
    for (int64_t first = 0; first < g->num_rows; first += most) {
        const int64_t R = g->num_rows - first < most ? g->num_rows - first : most;
        pta_step_logits(team, g->step, m, first, R);
        int64_t end = begin;
        while (end < g->num_live && g->rows[end] < first + R) end++;
        for (int64_t i; (i = begin + pta_team_next(team)) < end;) {
            const chain *c = &g->chains[g->live[i]];
            g->failed[i] = (int8_t)pta_sample_row(&g->draws[i], g->step->logits + (g->rows[i] - first) * V, V,
                                                  &g->options->sampling, pta_uniform(c->key, (uint64_t)c->count),
                                                  g->sampler + team->id * g->sampler_bytes);
        }
        pta_team_barrier(team);
        begin = end;
    }
}

/* Feed what was drawn last and draw the next token of every live chain. */
static pta_code next_tokens(sampling *g, uint8_t *finish, pta_error *err) {
    pta_code code = lay_rows(g, err);
    if (!code) code = pta_team_run(run_step, &(step_args){g, err}, 0, err);
    if (!code) code = g->step->interrupted ? PTA_E_INTERRUPTED : pta_poll_interrupt(err);
    if (!code) code = need_log(g, g->num_live, err);
    if (code) return code;
    int64_t kept = 0;
    for (int64_t i = 0; i < g->num_live; i++) {
        chain *c = &g->chains[g->live[i]];
        if (g->failed[i])
            return pta_fail(err, PTA_E_NONFINITE,
                            "logits of chain %lld at token %d hold NaN or +infinity (or -infinity only): "
                            "the weights have diverged", (long long)c->index, (int)c->count);
        if (accept(g, c, &g->draws[i], finish))
            g->live[kept++] = g->live[i];
        else
            end_chain(g, c);
    }
    g->num_live = kept;
    return PTA_OK;
}

/* Deal the log out to the chains, in the caller's order. */
static pta_code deal_out(const sampling *g, pta_samples *out, pta_error *err) {
    int64_t *next = pta_alloc_uninit(g->B, sizeof *next);
    out->total = g->logged;
    out->tokens = pta_alloc_uninit(g->logged, sizeof *out->tokens);
    out->logprobs = pta_alloc_uninit(g->logged, sizeof *out->logprobs);
    out->sampling_logprobs = pta_alloc_uninit(g->logged, sizeof *out->sampling_logprobs);
    out->entropies = pta_alloc_uninit(g->logged, sizeof *out->entropies);
    if (!next || !out->tokens || !out->logprobs || !out->sampling_logprobs || !out->entropies) {
        pta_free(next);
        pta_samples_free(out);
        return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for sampled tokens",
                        (long long)(16 * g->logged));
    }
    for (int64_t i = 0; i < g->B; i++) {
        const chain *c = &g->chains[i];
        out->lengths[c->index] = c->count;
        out->handles[c->index] = c->slot < 0 ? -1 : pta_cache_handle(g->cache, c->slot);
    }
    int64_t total = 0;
    for (int64_t b = 0; b < g->B; b++) next[b] = total, total += out->lengths[b];
    for (int64_t i = 0; i < g->logged; i++) {
        int64_t at = next[g->log[i].index]++;
        const pta_draw *d = &g->log[i].draw;
        out->tokens[at] = d->token;
        out->logprobs[at] = d->logprob;
        out->sampling_logprobs[at] = d->sampling_logprob;
        out->entropies[at] = d->entropy;
    }
    pta_free(next);
    return PTA_OK;
}

static pta_code run(sampling *g, pta_samples *out, const int64_t *parents, const uint64_t *keys, const int32_t *max_new,
                    pta_error *err) {
    pta_code code = resolve(g, parents, keys, max_new, err);
    if (!code) code = order_chains(g, err);
    if (!code) code = pta_feed_pending(g->cache, g->step, g->sources, g->U, err);
    if (code) return code;
    memset(out->finish, PTA_FINISH_LENGTH, (size_t)g->B);
    code = admit_chains(g, err);
    while (!code && g->num_live) {
        code = next_tokens(g, out->finish, err);
        if (!code) code = admit_chains(g, err);
    }
    return code ? code : deal_out(g, out, err);
}

static pta_code check_options(const pta_cache *cache, const pta_sample_options *o, pta_error *err) {
    for (int64_t i = 0; i < o->num_eos; i++)
        if (o->eos[i] < 0 || o->eos[i] >= cache->model->config.V)
            return pta_fail(err, PTA_E_VALUE, "eos[%lld] is %d, must be 0 to %lld (vocab_size - 1)", (long long)i,
                            (int)o->eos[i], (long long)cache->model->config.V - 1);
    if (o->max_rows < 1 || o->max_rows > PTA_STEP_ROWS)
        return pta_fail(err, PTA_E_VALUE, "max_rows: must be 1 to %d, got %d", PTA_STEP_ROWS, (int)o->max_rows);
    return pta_sampling_check(&o->sampling, err);
}

pta_code pta_cache_sample(pta_cache *cache, pta_samples *out, const int64_t *parents, const uint64_t *keys,
                          const int32_t *max_new, int64_t B, const pta_sample_options *options, pta_error *err) {
    pta_code code = pta_cache_check_version(cache, err);
    if (!code) code = check_options(cache, options, err);
    if (!code) code = pta_model_ready(cache->model, err);
    if (code) return code;
    sampling *g = pta_alloc(1, sizeof *g);
    if (!g) return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes", (long long)sizeof *g);
    *g = (sampling){.cache = cache, .options = options, .B = B,
                    .sampler_bytes = pta_sampler_scratch(cache->model->config.V)};
    g->step = pta_alloc(1, sizeof *g->step);
    g->chains = pta_alloc(B, sizeof *g->chains);
    g->sources = pta_alloc(B, sizeof *g->sources);
    g->sampler = pta_alloc_uninit(pta_num_threads() * g->sampler_bytes, 1);
    if (!g->step || !g->chains || !g->sources || !g->sampler)
        code = pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for %lld chains",
                        (long long)(pta_num_threads() * g->sampler_bytes + B * (int64_t)sizeof *g->chains),
                        (long long)B);
    else
        code = run(g, out, parents, keys, max_new, err);
    for (int64_t i = 0; code && i < g->admitted; i++)
        if (g->chains[i].slot >= 0) pta_segment_close(cache, g->chains[i].slot);
    if (g->step) pta_step_free(g->step);
    pta_free(g->step);
    pta_free(g->chains);
    pta_free(g->sources);
    pta_free(g->sampler);
    pta_free(g->log);
    pta_free(g);
    return code;
}

void pta_samples_free(pta_samples *out) {
    pta_free(out->tokens);
    pta_free(out->logprobs);
    pta_free(out->sampling_logprobs);
    pta_free(out->entropies);
    out->tokens = NULL;
    out->logprobs = out->sampling_logprobs = out->entropies = NULL;
    out->total = 0;
}
