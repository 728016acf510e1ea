/* Trie of the stop strings, then breadth-first failure links folded into a full transition table. */
#include "stop.h"

#include <string.h>

#include "../core/memory.h"

static pta_code check_offsets(const int64_t *offsets, int64_t n, int64_t total, pta_error *err) {
    if (offsets[0] != 0)
        return pta_fail(err, PTA_E_VALUE, "token_offsets: must start at 0, got %lld", (long long)offsets[0]);
    for (int64_t t = 0; t < n; t++)
        if (offsets[t + 1] < offsets[t])
            return pta_fail(err, PTA_E_VALUE, "token_offsets: decreases at token %lld (%lld, then %lld)", (long long)t,
                            (long long)offsets[t], (long long)offsets[t + 1]);
    if (offsets[n] != total)
        return pta_fail(err, PTA_E_VALUE, "token_offsets: ends at %lld, but token_bytes has %lld bytes",
                        (long long)offsets[n], (long long)total);
    return PTA_OK;
}

static pta_code check_stops(const int32_t *offsets, int64_t n, int64_t total, pta_error *err) {
    if (total > PTA_STOP_MAX_BYTES)
        return pta_fail(err, PTA_E_VALUE, "stop_bytes: %lld bytes of stop strings, at most %d are allowed",
                        (long long)total, PTA_STOP_MAX_BYTES);
    if (offsets[0] != 0) return pta_fail(err, PTA_E_VALUE, "stop_offsets: must start at 0, got %d", (int)offsets[0]);
    for (int64_t i = 0; i < n; i++) {
        if (offsets[i + 1] == offsets[i])
            return pta_fail(err, PTA_E_VALUE, "stop_offsets: stop string %lld is empty", (long long)i);
        if (offsets[i + 1] < offsets[i])
            return pta_fail(err, PTA_E_VALUE, "stop_offsets: decreases at stop string %lld", (long long)i);
    }
    if (offsets[n] != total)
        return pta_fail(err, PTA_E_VALUE, "stop_offsets: ends at %d, but stop_bytes has %lld bytes", (int)offsets[n],
                        (long long)total);
    return PTA_OK;
}

static void add_strings(pta_stop_table *t, const uint8_t *bytes, const int32_t *offsets, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        int32_t state = 0;
        for (int32_t b = offsets[i]; b < offsets[i + 1]; b++) {
            int32_t *slot = &t->next[state][bytes[b]];
            if (*slot == 0) *slot = t->num_states++; /* 0 means "no edge" while the trie grows */
            state = *slot;
        }
        t->accepts[state] = 1;
    }
}

/* fallback[s]: the longest proper suffix of s that is a state. `queue` visits states by depth, so a state's fallback
 * row is complete when the state's own row is filled from it. */
static void fold_fallbacks(pta_stop_table *t, int32_t *fallback, int32_t *queue) {
    int32_t head = 0, tail = 0;
    for (int c = 0; c < 256; c++)
        if (t->next[0][c]) queue[tail++] = t->next[0][c];
    while (head < tail) {
        int32_t state = queue[head++], shorter = fallback[state];
        t->accepts[state] |= t->accepts[shorter];
        for (int c = 0; c < 256; c++) {
            int32_t child = t->next[state][c];
            if (child) {
                fallback[child] = t->next[shorter][c];
                queue[tail++] = child;
            } else {
                t->next[state][c] = t->next[shorter][c];
            }
        }
    }
}

pta_code pta_stop_create(pta_stop_table **out, const uint8_t *token_bytes, int64_t num_token_bytes,
                         const int64_t *token_offsets, int64_t num_tokens, const uint8_t *stop_bytes,
                         int64_t num_stop_bytes, const int32_t *stop_offsets, int64_t num_stops, pta_error *err) {
    pta_code code = check_offsets(token_offsets, num_tokens, num_token_bytes, err);
    if (!code) code = check_stops(stop_offsets, num_stops, num_stop_bytes, err);
    if (code) return code;
    int64_t max_states = num_stop_bytes + 1;
    pta_stop_table *t = pta_alloc(1, sizeof *t);
    int32_t *scratch = pta_alloc(2 * max_states, sizeof *scratch);
    if (t) {
        t->bytes = pta_alloc_uninit(num_token_bytes, 1);
        t->offsets = pta_alloc_uninit(num_tokens + 1, sizeof *t->offsets);
        t->next = pta_alloc(max_states, sizeof *t->next);
        t->accepts = pta_alloc(max_states, 1);
    }
    if (!t || !scratch || !t->bytes || !t->offsets || !t->next || !t->accepts) {
        pta_free(scratch);
        pta_stop_free(t);
        return pta_fail(err, PTA_E_MEMORY, "cannot allocate a stop table for %lld token bytes",
                        (long long)num_token_bytes);
    }
    t->num_tokens = num_tokens;
    t->num_states = 1;
    if (num_token_bytes) memcpy(t->bytes, token_bytes, (size_t)num_token_bytes);
    memcpy(t->offsets, token_offsets, (size_t)(num_tokens + 1) * sizeof *t->offsets);
    add_strings(t, stop_bytes, stop_offsets, num_stops);
    fold_fallbacks(t, scratch, scratch + max_states);
    pta_free(scratch);
    *out = t;
    return PTA_OK;
}

void pta_stop_free(pta_stop_table *t) {
    if (!t) return;
    pta_free(t->bytes);
    pta_free(t->offsets);
    pta_free(t->next);
    pta_free(t->accepts);
    pta_free(t);
}

int32_t pta_stop_step(const pta_stop_table *t, int32_t state, int32_t token) {
    if (token < 0 || token >= t->num_tokens) return state;
    for (int64_t b = t->offsets[token]; b < t->offsets[token + 1]; b++) {
        state = t->next[state][t->bytes[b]];
        if (t->accepts[state]) return -1;
    }
    return state;
}
