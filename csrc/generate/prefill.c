/* Prompts, and the pending last tokens of segments that are about to be continued. */
#include "prefill.h"

#include <stdio.h>
#include <string.h>

#include "decode.h"

static void keep_hidden(pta_cache *cache, const pta_step *step, int64_t row, int32_t slot) {
    memcpy(cache->segments[slot].hidden, pta_at(step->hidden, row, 0).data, (size_t)pta_cache_hidden_bytes(cache));
}

/* One batch of pending tokens from slots[*i] on; advances *i. `fed` has PTA_STEP_ROWS entries. */
static pta_code gather_pending(pta_cache *cache, pta_step *step, const int32_t *slots, int64_t n, int64_t *i,
                               int32_t *fed, pta_error *err) {
    step->num_rows = 0;
    for (; *i < n && step->num_rows < PTA_STEP_ROWS; ++*i) {
        int32_t slot = slots[*i];
        if (slot < 0) continue;
        pta_segment *s = &cache->segments[slot];
        int64_t row = step->num_rows;
        if (s->pending < 0 || s->mark == 1) continue;
        pta_code code = pta_segment_reserve(cache, slot, s->length, err);
        if (!code) code = pta_segment_need_hidden(cache, slot, err);
        if (code) return code;
        s->mark = 1; /* met in this batch */
        fed[row] = slot;
        pta_step_add(step, cache, slot, s->length - 1, s->pending);
    }
    return PTA_OK;
}

pta_code pta_feed_pending(pta_cache *cache, pta_step *step, const int32_t *slots, int64_t n, pta_error *err) {
    int32_t fed[PTA_STEP_ROWS];
    pta_code code = PTA_OK;
    for (int64_t i = 0; i < n && !code;) {
        code = gather_pending(cache, step, slots, n, &i, fed, err);
        if (!code && step->num_rows) code = pta_step_run(step, cache, err);
        for (int64_t row = 0; row < step->num_rows; row++) {
            cache->segments[fed[row]].mark = -1;
            if (code) continue;
            keep_hidden(cache, step, row, fed[row]);
            cache->segments[fed[row]].pending = -1;
        }
    }
    return code;
}

static pta_code check_prompts(const pta_cache *cache, int32_t *parent_slots, const pta_prompt *prompts, int64_t n,
                              pta_error *err) {
    const int64_t V = cache->model->config.V;
    for (int64_t i = 0; i < n; i++) {
        const pta_prompt *p = &prompts[i];
        char what[40];
        int32_t limit = 0;
        parent_slots[i] = -1;
        int64_t start = 0;
        if (p->parent != -1) {
            pta_code code = pta_cache_slot(cache, &parent_slots[i], p->parent, "parents", i, err);
            if (code) return code;
            start = cache->segments[parent_slots[i]].start + cache->segments[parent_slots[i]].length;
        }
        if (p->length < 0 || p->length > INT32_MAX - start)
            return pta_fail(err, PTA_E_VALUE, "tokens[%lld]: %lld tokens after %lld exceed the largest position",
                            (long long)i, (long long)p->length, (long long)start);
        for (int64_t t = 0; t < p->length; t++)
            if (p->tokens[t] < 0 || p->tokens[t] >= V)
                return pta_fail(err, PTA_E_VALUE, "tokens[%lld][%lld] is %d, must be 0 to %lld (vocab_size - 1)",
                                (long long)i, (long long)t, (int)p->tokens[t], (long long)V - 1);
        snprintf(what, sizeof what, "prompt %lld: ", (long long)i);
        pta_code code = pta_model_check_extra(cache->model, &p->extra, err);
        if (!code) code = pta_extra_check(&p->extra, p->length, what, &limit, err);
        if (code) return code;
    }
    return PTA_OK;
}

/* Row t of a prompt; *input counts the given embeddings that have been met. */
static void add_row(pta_step *step, const pta_cache *cache, int32_t slot, const pta_prompt *p, int64_t t, int64_t *input) {
    const pta_extra *e = &p->extra;
    const bool given = *input < e->num_inputs && e->rows[*input] == t;
    pta_step_add_row(step, cache, slot, t, p->tokens[t], e->axes ? e->axes + t : NULL, p->length,
                     given ? e->inputs + (*input)++ * e->width : NULL);
}

/* Fill the opened segments: the stream of all tokens, PTA_STEP_ROWS at a time. */
static pta_code fill(pta_cache *cache, pta_step *step, const int32_t *slots, const pta_prompt *prompts, int64_t n,
                     pta_error *err) {
    int64_t i = 0, t = 0, input = 0; /* the next token; given embeddings of its run that have been met */
    while (i < n) {
        step->num_rows = 0;
        int64_t first_done = i;
        while (i < n && (t == prompts[i].length || step->num_rows < PTA_STEP_ROWS)) {
            if (t == prompts[i].length) {
                i++, t = input = 0;
                continue;
            }
            add_row(step, cache, slots[i], &prompts[i], t++, &input);
        }
        if (step->num_rows == 0) break;
        pta_code code = pta_step_run(step, cache, err);
        if (code) return code;
        /* prompts first_done .. i-1 ended in this batch; their last rows, counted from its end */
        int64_t row = step->num_rows - t;
        for (int64_t j = i - 1; j >= first_done; j--) {
            if (prompts[j].length == 0) continue;
            keep_hidden(cache, step, row - 1, slots[j]);
            row -= prompts[j].length;
        }
    }
    return PTA_OK;
}

/* What comes behind a run with positions of its own goes on at the largest of them plus one. */
static void set_shift(pta_segment *s, const pta_prompt *p) {
    int32_t next = 0;
    for (int64_t i = 0; i < 3 * p->length; i++) next = p->extra.axes[i] >= next ? p->extra.axes[i] + 1 : next;
    s->shift = next - (s->start + p->length);
}

static pta_code prefill(pta_cache *cache, pta_step *step, int32_t *slots, int32_t *sources, int64_t *opened,
                        const pta_prompt *prompts, int64_t n, pta_error *err) {
    pta_code code = check_prompts(cache, sources, prompts, n, err);
    if (code) return code;
    for (; *opened < n; ++*opened) {
        int64_t i = *opened;
        if ((code = pta_segment_open(cache, &slots[i], sources[i], err))) return code;
        sources[i] = pta_segment_source(cache, sources[i]);
    }
    if ((code = pta_feed_pending(cache, step, sources, n, err))) return code;
    for (int64_t i = 0; i < n; i++) {
        if (prompts[i].length == 0) continue;
        if ((code = pta_segment_reserve(cache, slots[i], prompts[i].length, err))) return code;
        if ((code = pta_segment_need_hidden(cache, slots[i], err))) return code;
        cache->segments[slots[i]].length = prompts[i].length;
        if (prompts[i].extra.axes) set_shift(&cache->segments[slots[i]], &prompts[i]);
    }
    return fill(cache, step, slots, prompts, n, err);
}

pta_code pta_cache_prefill(pta_cache *cache, int64_t *handles, const pta_prompt *prompts, int64_t n, pta_error *err) {
    pta_code code = pta_cache_check_version(cache, err);
    if (!code) code = pta_model_ready(cache->model, err);
    if (code) return code;
    int32_t *slots = pta_alloc(2 * n, sizeof *slots);
    pta_step *step = pta_alloc(1, sizeof *step);
    int64_t opened = 0;
    if (!slots || !step)
        code = pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for %lld prompts",
                        (long long)(n * (int64_t)(2 * sizeof *slots)), (long long)n);
    else
        code = prefill(cache, step, slots, slots + n, &opened, prompts, n, err);
    if (code)
        while (opened > 0) pta_segment_close(cache, slots[--opened]);
    for (int64_t i = 0; i < n && !code; i++) handles[i] = pta_cache_handle(cache, slots[i]);
    if (step) pta_step_free(step);
    pta_free(step);
    pta_free(slots);
    return code;
}
