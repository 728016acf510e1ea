/* The sampling loop. One row per live chain; a chain that ends leaves the batch, nothing is padded.
 *
 * Chains are ordered by the segment that they continue (their source), so that rows with the same history stand side
 * by side. The first token of a chain comes from the hidden state its source keeps: one row of logits per source,
 * shared by its chains. From then on every step feeds the tokens just drawn, and draws the next.
 * What is drawn goes to a log in the order of drawing; at the end the log is dealt out to the chains. */
#include "decode.h"

#include <string.h>

#include "../core/rng.h"
#include "../core/threads.h"
#include "prefill.h"

typedef struct {
    int64_t index;      /* b of the caller */
    uint64_t key;
    int32_t slot, source; /* its segment; number of its source */
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
    int64_t B, opened;
    int32_t *live;        /* [B] chains still in the batch, in that order */
    int64_t num_live;
    int32_t *sources;     /* [U] slots */
    pta_path *paths;      /* [U] what a source's chains see */
    int64_t U;
    pta_draw draws[PTA_STEP_ROWS];
    int32_t rows[PTA_STEP_ROWS]; /* row of logits of each draw */
    char *sampler;        /* scratch of the sampler, per thread */
    int64_t sampler_bytes;
    float *hidden;        /* [logits rows, C] gathered hidden states of sources */
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
        *c = (chain){.index = b, .key = keys[b], .slot = parent, .source = -1, .limit = max_new[b]};
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

static pta_code open_chains(sampling *g, pta_error *err) {
    pta_code code;
    for (; g->opened < g->B; g->opened++) {
        chain *c = &g->chains[g->opened];
        int32_t slot;
        if ((code = pta_segment_open(g->cache, &slot, c->slot, err))) return code;
        c->slot = slot;
        if (c->limit > 0) g->live[g->num_live++] = (int32_t)g->opened;
    }
    if ((code = pta_feed_pending(g->cache, g->step, g->sources, g->U, err))) return code;
    for (int64_t u = 0; u < g->U; u++)
        if ((code = pta_path_build(&g->paths[u], g->cache, g->sources[u], err))) return code;
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

/* Draw the next token of the n chains live[first ..) from their rows of step->logits, and write those that go on to
 * live[*kept ..). n is at most PTA_STEP_ROWS. */
static pta_code draw_tokens(sampling *g, int64_t first, int64_t n, int64_t *kept, uint8_t *finish, pta_error *err) {
    const int64_t V = g->cache->model->config.V;
    int64_t failed = n;
    const bool parallel = n > 1 && n * V > 4096;
#pragma omp parallel for num_threads(pta_num_threads()) schedule(dynamic, 4) reduction(min : failed) if (parallel)
    for (int64_t i = 0; i < n; i++) {
        const chain *c = &g->chains[g->live[first + i]];
        double u = pta_uniform(c->key, (uint64_t)c->count);
        if (pta_sample_row(&g->draws[i], g->step->logits.data + g->rows[i] * V, V, &g->options->sampling, u,
                           g->sampler + pta_thread() * g->sampler_bytes) &&
            i < failed)
            failed = i;
    }
    if (failed < n) {
        const chain *c = &g->chains[g->live[first + failed]];
        return pta_fail(err, PTA_E_NONFINITE,
                        "logits of chain %lld at token %d hold NaN or +infinity (or -infinity only): "
                        "the weights have diverged", (long long)c->index, (int)c->count);
    }
    pta_code code = need_log(g, n, err);
    if (code) return code;
    for (int64_t i = 0; i < n; i++) {
        int32_t id = g->live[first + i];
        if (accept(g, &g->chains[id], &g->draws[i], finish)) g->live[(*kept)++] = id;
    }
    return PTA_OK;
}

/* The first token of every chain, from the hidden states of the sources. */
static pta_code first_tokens(sampling *g, uint8_t *finish, pta_error *err) {
    const int64_t C = g->cache->model->config.C, most = pta_step_logits_rows(&g->cache->model->config);
    int64_t kept = 0;
    for (int64_t next = 0; next < g->num_live;) {
        int64_t first = next, rows = 0;
        int32_t previous = -1;
        for (; next < g->num_live && next - first < PTA_STEP_ROWS; next++) {
            const chain *c = &g->chains[g->live[next]];
            if (c->source != previous) {
                if (rows == most) break;
                memcpy(g->hidden + rows * C, g->cache->segments[g->sources[c->source]].hidden,
                       (size_t)C * sizeof(float));
                rows++;
                previous = c->source;
            }
            g->rows[next - first] = (int32_t)(rows - 1);
        }
        pta_code code = pta_step_logits(g->step, g->cache->model, g->hidden, rows, err);
        if (!code) code = draw_tokens(g, first, next - first, &kept, finish, err);
        if (code) return code;
    }
    g->num_live = kept;
    return PTA_OK;
}

/* Feed what was drawn last and draw the next token of every live chain. */
static pta_code next_tokens(sampling *g, uint8_t *finish, pta_error *err) {
    pta_cache *cache = g->cache;
    const int64_t C = cache->model->config.C, most = pta_step_logits_rows(&cache->model->config);
    int64_t kept = 0;
    pta_code code;
    for (int64_t first = 0; first < g->num_live; first += g->step->num_rows) {
        g->step->num_rows = 0;
        for (int64_t i = first; i < g->num_live && g->step->num_rows < PTA_STEP_ROWS; i++) {
            const chain *c = &g->chains[g->live[i]];
            if ((code = pta_segment_reserve(cache, c->slot, c->count, err))) return code;
            pta_step_add(g->step, cache, c->slot, &g->paths[c->source], c->count - 1, cache->segments[c->slot].pending);
        }
        if ((code = pta_step_run(g->step, cache, err))) return code;
        for (int64_t row = 0; row < g->step->num_rows; row += most) {
            int64_t n = g->step->num_rows - row < most ? g->step->num_rows - row : most;
            for (int64_t i = 0; i < n; i++) g->rows[i] = (int32_t)i;
            if ((code = pta_step_logits(g->step, cache->model, g->step->hidden + row * C, n, err))) return code;
            if ((code = draw_tokens(g, first + row, n, &kept, finish, err))) return code;
        }
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
        out->handles[c->index] = pta_cache_handle(g->cache, c->slot);
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
    if (!code) code = open_chains(g, err);
    if (code) return code;
    memset(out->finish, PTA_FINISH_LENGTH, (size_t)g->B);
    code = first_tokens(g, out->finish, err);
    while (!code && g->num_live) code = next_tokens(g, out->finish, err);
    return code ? code : deal_out(g, out, err);
}

static pta_code check_options(const pta_cache *cache, const pta_sample_options *o, pta_error *err) {
    for (int64_t i = 0; i < o->num_eos; i++)
        if (o->eos[i] < 0 || o->eos[i] >= cache->model->config.V)
            return pta_fail(err, PTA_E_VALUE, "eos[%lld] is %d, must be 0 to %lld (vocab_size - 1)", (long long)i,
                            (int)o->eos[i], (long long)cache->model->config.V - 1);
    return pta_sampling_check(&o->sampling, err);
}

pta_code pta_cache_sample(pta_cache *cache, pta_samples *out, const int64_t *parents, const uint64_t *keys,
                          const int32_t *max_new, int64_t B, const pta_sample_options *options, pta_error *err) {
    pta_code code = pta_cache_check_version(cache, err);
    if (!code) code = check_options(cache, options, err);
    if (code) return code;
    const pta_config *c = &cache->model->config;
    sampling *g = pta_alloc(1, sizeof *g);
    if (!g) return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes", (long long)sizeof *g);
    *g = (sampling){.cache = cache, .options = options, .B = B, .sampler_bytes = pta_sampler_scratch(c->V)};
    g->step = pta_alloc(1, sizeof *g->step);
    g->chains = pta_alloc(B, sizeof *g->chains);
    g->live = pta_alloc(B, sizeof *g->live);
    g->sources = pta_alloc(B, sizeof *g->sources);
    g->paths = pta_alloc(B, sizeof *g->paths);
    g->sampler = pta_alloc_uninit(pta_num_threads() * g->sampler_bytes, 1);
    g->hidden = pta_alloc_uninit(pta_step_logits_rows(c) * c->C, sizeof *g->hidden);
    if (!g->step || !g->chains || !g->live || !g->sources || !g->paths || !g->sampler || !g->hidden)
        code = pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for %lld chains",
                        (long long)(pta_num_threads() * g->sampler_bytes + B * (int64_t)sizeof *g->chains),
                        (long long)B);
    else
        code = run(g, out, parents, keys, max_new, err);
    if (code)
        while (g->opened > 0) pta_segment_close(cache, g->chains[--g->opened].slot);
    for (int64_t u = 0; g->paths && u < g->U; u++) pta_path_free(&g->paths[u]);
    if (g->step) pta_step_free(g->step);
    pta_free(g->step);
    pta_free(g->chains);
    pta_free(g->live);
    pta_free(g->sources);
    pta_free(g->paths);
    pta_free(g->sampler);
    pta_free(g->hidden);
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
