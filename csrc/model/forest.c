#include "forest.h"

#include <string.h>

#include "../core/memory.h"

void pta_forest_free(pta_forest *f) {
    if (!f) return;
    pta_free(f->tokens);
    pta_free(f->offsets);
    pta_free(f->parent);
    pta_free(f->segment);
    pta_free(f->position);
    pta_free(f->until);
    pta_free((void *)f->extra.axes);
    pta_free((void *)f->extra.rows);
    pta_free(f);
}

static pta_code validate(const int32_t *offsets, const int32_t *parent, int64_t T, int64_t S, pta_error *err) {
    if (T < 1 || T > INT32_MAX - 1) return pta_fail(err, PTA_E_VALUE, "forest: %lld tokens, need 1 to 2^31-2", (long long)T);
    if (S < 1) return pta_fail(err, PTA_E_VALUE, "forest: no segments");
    if (offsets[0] != 0) return pta_fail(err, PTA_E_VALUE, "offsets[0] is %d, must be 0", offsets[0]);
    if (offsets[S] != T)
        return pta_fail(err, PTA_E_VALUE, "offsets[%lld] is %d, must be the number of tokens, %lld", (long long)S,
                        offsets[S], (long long)T);
    for (int64_t s = 0; s < S; s++) {
        if (offsets[s + 1] < offsets[s])
            return pta_fail(err, PTA_E_VALUE, "offsets decrease at segment %lld: %d to %d", (long long)s, offsets[s],
                            offsets[s + 1]);
        if (parent[s] < -1 || parent[s] >= s)
            return pta_fail(err, PTA_E_VALUE, "parent[%lld] is %d, must be -1 or an earlier segment", (long long)s,
                            parent[s]);
        /* Depth-first order: the parent is the segment before, or one of that segment's ancestors, or none. */
        if (parent[s] >= 0) {
            int64_t a = s - 1;
            while (a > parent[s]) a = parent[a];
            if (a != parent[s])
                return pta_fail(err, PTA_E_VALUE,
                                "segments are not in depth-first order: parent[%lld] is %d, but segment %lld does not "
                                "descend from it",
                                (long long)s, parent[s], (long long)(s - 1));
        }
    }
    return PTA_OK;
}

pta_code pta_extra_check(const pta_extra *extra, int64_t T, const char *what, int32_t *limit, pta_error *err) {
    for (int64_t i = 0; extra->axes && i < 3 * T; i++) {
        if (extra->axes[i] < 0 || extra->axes[i] >= PTA_MOST_POSITIONS)
            return pta_fail(err, PTA_E_VALUE, "%spositions[%lld, %lld] is %d, must be 0 to %d", what, (long long)(i / T),
                            (long long)(i % T), extra->axes[i], PTA_MOST_POSITIONS - 1);
        if (extra->axes[i] >= *limit) *limit = extra->axes[i] + 1;
    }
    for (int64_t i = 0; i < extra->num_inputs; i++)
        if (extra->rows[i] >= T || extra->rows[i] < (i ? extra->rows[i - 1] + 1 : 0))
            return pta_fail(err, PTA_E_VALUE, "%sinput_rows[%lld] is %d, must increase and stay below %lld", what,
                            (long long)i, extra->rows[i], (long long)T);
    return PTA_OK;
}

/* Copies of its own; inputs stay the caller's. */
static pta_code copy_extra(pta_extra *to, const pta_extra *from, int64_t T, pta_error *err) {
    int32_t *axes = from->axes ? pta_alloc_uninit(3 * T, sizeof(int32_t)) : NULL;
    int32_t *rows = from->num_inputs ? pta_alloc_uninit(from->num_inputs, sizeof(int32_t)) : NULL;
    *to = (pta_extra){axes, from->num_inputs, from->width, rows, from->inputs};
    if ((from->axes && !axes) || (from->num_inputs && !rows))
        return pta_fail(err, PTA_E_MEMORY, "forest: no memory for positions and inputs of %lld tokens", (long long)T);
    if (axes) memcpy(axes, from->axes, (size_t)(3 * T) * sizeof(int32_t));
    if (rows) memcpy(rows, from->rows, (size_t)from->num_inputs * sizeof(int32_t));
    return PTA_OK;
}

static void derive(pta_forest *f) {
    for (int32_t s = f->S - 1; s >= 0; s--) {
        if (f->until[s] < f->offsets[s + 1]) f->until[s] = f->offsets[s + 1];
        int32_t p = f->parent[s];
        if (p >= 0 && f->until[p] < f->until[s]) f->until[p] = f->until[s];
    }
    for (int32_t s = 0; s < f->S; s++) {
        int32_t base = 0; /* position of the segment's first token: every ancestor's length */
        for (int32_t a = f->parent[s]; a >= 0; a = f->parent[a]) base += f->offsets[a + 1] - f->offsets[a];
        for (int32_t t = f->offsets[s]; t < f->offsets[s + 1]; t++) {
            f->segment[t] = s;
            f->position[t] = base + t - f->offsets[s];
        }
        int32_t last = base + f->offsets[s + 1] - f->offsets[s];
        if (last > f->max_position) f->max_position = last;
    }
}

pta_code pta_forest_create(pta_forest **out, const int32_t *tokens, int64_t num_tokens, const int32_t *offsets,
                           const int32_t *parent, int64_t num_segments, const pta_extra *extra, pta_error *err) {
    const pta_extra nothing = {0};
    int32_t limit = 0;
    pta_code code = validate(offsets, parent, num_tokens, num_segments, err);
    if (!extra) extra = &nothing;
    if (!code) code = pta_extra_check(extra, num_tokens, "", &limit, err);
    if (code) return code;
    size_t T = (size_t)num_tokens, S = (size_t)num_segments;
    pta_forest *f = pta_alloc(1, sizeof *f);
    if (f) {
        f->T = (int32_t)T, f->S = (int32_t)S;
        f->tokens = pta_alloc_uninit(num_tokens, sizeof(int32_t));
        f->offsets = pta_alloc_uninit(num_segments + 1, sizeof(int32_t));
        f->parent = pta_alloc_uninit(num_segments, sizeof(int32_t));
        f->segment = pta_alloc_uninit(num_tokens, sizeof(int32_t));
        f->position = pta_alloc_uninit(num_tokens, sizeof(int32_t));
        f->until = pta_alloc(num_segments, sizeof(int32_t));
    }
    if (!f || !f->tokens || !f->offsets || !f->parent || !f->segment || !f->position || !f->until) {
        pta_forest_free(f);
        return pta_fail(err, PTA_E_MEMORY, "forest: no memory for %lld tokens", (long long)num_tokens);
    }
    memcpy(f->tokens, tokens, T * sizeof(int32_t));
    memcpy(f->offsets, offsets, (S + 1) * sizeof(int32_t));
    memcpy(f->parent, parent, S * sizeof(int32_t));
    derive(f);
    if (limit) f->max_position = limit;
    code = copy_extra(&f->extra, extra, num_tokens, err);
    if (code) {
        pta_forest_free(f);
        return code;
    }
    *out = f;
    return PTA_OK;
}
