/* Prompts, and the pending last tokens of segments that are about to be continued. */
#include "prefill.h"

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

static pta_code check_prompts(const pta_cache *cache, int32_t *parent_slots, const int32_t *const *tokens,
                              const int64_t *lengths, const int64_t *parents, int64_t n, pta_error *err) {
    const int64_t V = cache->model->config.V;
    for (int64_t i = 0; i < n; i++) {
        parent_slots[i] = -1;
        int64_t start = 0;
        if (parents[i] != -1) {
            pta_code code = pta_cache_slot(cache, &parent_slots[i], parents[i], "parents", i, err);
            if (code) return code;
            start = cache->segments[parent_slots[i]].start + cache->segments[parent_slots[i]].length;
        }
        if (lengths[i] < 0 || lengths[i] > INT32_MAX - start)
            return pta_fail(err, PTA_E_VALUE, "tokens[%lld]: %lld tokens after %lld exceed the largest position",
                            (long long)i, (long long)lengths[i], (long long)start);
        for (int64_t t = 0; t < lengths[i]; t++)
            if (tokens[i][t] < 0 || tokens[i][t] >= V)
                return pta_fail(err, PTA_E_VALUE, "tokens[%lld][%lld] is %d, must be 0 to %lld (vocab_size - 1)",
                                (long long)i, (long long)t, (int)tokens[i][t], (long long)V - 1);
    }
    return PTA_OK;
}

/* Fill the opened segments: the stream of all tokens, PTA_STEP_ROWS at a time. */
static pta_code fill(pta_cache *cache, pta_step *step, const int32_t *slots, const int32_t *const *tokens,
                     const int64_t *lengths, int64_t n, pta_error *err) {
    int64_t i = 0, t = 0; /* the next token */
    while (i < n) {
        step->num_rows = 0;
        int64_t first_done = i;
        while (i < n && (t == lengths[i] || step->num_rows < PTA_STEP_ROWS)) {
            if (t == lengths[i]) {
                i++, t = 0;
                continue;
            }
            pta_step_add(step, cache, slots[i], t, tokens[i][t]);
            t++;
        }
        if (step->num_rows == 0) break;
        pta_code code = pta_step_run(step, cache, err);
        if (code) return code;
        /* prompts first_done .. i-1 ended in this batch; their last rows, counted from its end */
        int64_t row = step->num_rows - t;
        for (int64_t j = i - 1; j >= first_done; j--) {
            if (lengths[j] == 0) continue;
            keep_hidden(cache, step, row - 1, slots[j]);
            row -= lengths[j];
        }
    }
    return PTA_OK;
}

static pta_code prefill(pta_cache *cache, pta_step *step, int32_t *slots, int32_t *sources, int64_t *opened,
                        const int32_t *const *tokens, const int64_t *lengths, const int64_t *parents, int64_t n,
                        pta_error *err) {
    pta_code code = check_prompts(cache, sources, tokens, lengths, parents, n, err);
    if (code) return code;
    for (; *opened < n; ++*opened) {
        int64_t i = *opened;
        if ((code = pta_segment_open(cache, &slots[i], sources[i], err))) return code;
        sources[i] = pta_segment_source(cache, sources[i]);
    }
    if ((code = pta_feed_pending(cache, step, sources, n, err))) return code;
    for (int64_t i = 0; i < n; i++) {
        if (lengths[i] == 0) continue;
        if ((code = pta_segment_reserve(cache, slots[i], lengths[i], err))) return code;
        if ((code = pta_segment_need_hidden(cache, slots[i], err))) return code;
        cache->segments[slots[i]].length = lengths[i];
    }
    return fill(cache, step, slots, tokens, lengths, n, err);
}

pta_code pta_cache_prefill(pta_cache *cache, int64_t *handles, const int32_t *const *tokens, const int64_t *lengths,
                           const int64_t *parents, int64_t n, pta_error *err) {
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
        code = prefill(cache, step, slots, slots + n, &opened, tokens, lengths, parents, n, err);
    if (code)
        while (opened > 0) pta_segment_close(cache, slots[--opened]);
    for (int64_t i = 0; i < n && !code; i++) handles[i] = pta_cache_handle(cache, slots[i]);
    if (step) pta_step_free(step);
    pta_free(step);
    pta_free(slots);
    return code;
}
