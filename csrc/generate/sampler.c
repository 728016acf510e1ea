/* Method: nothing is sorted and nothing is moved. Every filter keeps the tokens whose logit reaches some threshold, so a
 * filter is the search for its threshold: masses fall into buckets of logits, the bucket that holds the answer is cut into
 * buckets again, until one value is left. Then one pass forms the mass of each block of tokens that survive, and a walk in
 * vocabulary order inverts the cumulative sum. Sums over tokens are double. */
#include "sampler.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "../core/target.h"
#include "../core/vmath.h"
#include "../ops/logprobs.h"

enum { BLOCK = 64, BUCKETS = 1024 };

typedef struct {
    float *room;        /* [V] logits of the bucket that is searched */
    float *block_top;   /* [blocks] largest logit of each block */
    double *block_mass; /* [blocks] weight of each block's survivors */
    double *bucket;     /* [BUCKETS + 1] */
} workspace;

/* Weights e^((z - top) · scale) of logits; or 1 each, to count tokens. */
typedef struct {
    float top, scale;
    bool count;
} measure;

static int64_t block_count(int64_t V) { return (V + BLOCK - 1) / BLOCK; }
static int64_t round_64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t pta_sampler_scratch(int64_t V) {
    return round_64(4 * V) + round_64(4 * block_count(V)) + round_64(8 * block_count(V)) + round_64(8 * (BUCKETS + 1));
}

static workspace carve(void *scratch, int64_t V) {
    char *p = scratch;
    workspace w;
    w.room = (float *)p, p += round_64(4 * V);
    w.block_top = (float *)p, p += round_64(4 * block_count(V));
    w.block_mass = (double *)p, p += round_64(8 * block_count(V));
    w.bucket = (double *)p;
    return w;
}

pta_code pta_sampling_check(const pta_sampling *s, pta_error *err) {
    if (!(s->temperature == 0.0 || (s->temperature >= 1e-30 && s->temperature <= 1e30)))
        return pta_fail(err, PTA_E_VALUE, "temperature: must be 0 (greedy) or 1e-30 to 1e30, got %g", s->temperature);
    if (s->top_k < 0) return pta_fail(err, PTA_E_VALUE, "top_k: must be 0 (off) or more, got %d", (int)s->top_k);
    if (!(s->top_p > 0.0 && s->top_p <= 1.0))
        return pta_fail(err, PTA_E_VALUE, "top_p: must be in (0, 1], got %g", s->top_p);
    if (!(s->min_p >= 0.0 && s->min_p <= 1.0))
        return pta_fail(err, PTA_E_VALUE, "min_p: must be in [0, 1], got %g", s->min_p);
    return PTA_OK;
}

PTA_CLONES static void find_tops(float *block_top, const float *logits, int64_t V) {
    for (int64_t first = 0; first < V; first += BLOCK) {
        int64_t last = first + BLOCK < V ? first + BLOCK : V;
        float top = -INFINITY;
#pragma omp simd reduction(max : top)
        for (int64_t j = first; j < last; j++) top = logits[j] > top ? logits[j] : top;
        block_top[first / BLOCK] = top;
    }
}

/* weight[n] of a block's logits, 0 where the logit is below cut or the weight below least; returns their sum. */
PTA_CLONES static double weigh_block(float *weight, const float *logits, int64_t n, measure m, float cut, float least) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        float w = pta_expf((logits[j] - m.top) * m.scale);
        w = logits[j] >= cut && w >= least ? w : 0.0f;
        weight[j] = w;
        sum += (double)w;
    }
    return sum;
}

static int64_t block_length(int64_t b, int64_t V) { return V - b * BLOCK < BLOCK ? V - b * BLOCK : BLOCK; }

/* w->block_mass of what survives; returns their sum. */
static double find_masses(workspace *w, const float *logits, int64_t V, measure m, float cut, float least) {
    float weight[BLOCK];
    double total = 0.0;
    for (int64_t b = 0; b < block_count(V); b++) {
        bool some = w->block_top[b] >= cut;
        w->block_mass[b] = some ? weigh_block(weight, logits + b * BLOCK, block_length(b, V), m, cut, least) : 0.0;
        total += w->block_mass[b];
    }
    return total;
}

/* Where values lie between high (bucket 0) and low (the last bucket); below low: BUCKETS. Never decreases as a value
 * falls, and puts high and low into different buckets. */
typedef struct {
    float low, high;
    double inverse;
} grid;

PTA_INLINE int32_t bucket_of(float value, const grid *g) {
    return value >= g->low ? (int32_t)(((double)g->high - (double)value) * g->inverse) : BUCKETS;
}

PTA_CLONES static void fill_buckets(double *bucket, const float *values, int64_t n, const float *block_top, const grid *g,
                                    measure m) {
    memset(bucket, 0, (BUCKETS + 1) * sizeof *bucket);
    for (int64_t first = 0; first < n; first += BLOCK) {
        if (block_top && block_top[first / BLOCK] < g->low) continue;
        int64_t count = n - first < BLOCK ? n - first : BLOCK;
        int32_t index[BLOCK];
        float weight[BLOCK];
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            index[j] = bucket_of(values[first + j], g);
            weight[j] = m.count ? 1.0f : pta_expf((values[first + j] - m.top) * m.scale);
        }
        for (int64_t j = 0; j < count; j++) bucket[index[j]] += (double)weight[j];
    }
}

/* Copy the values of one bucket to room (may be `values` itself); the grid shrinks to their range. */
PTA_CLONES static int64_t take_bucket(float *room, const float *values, int64_t n, const float *block_top, grid *g,
                                      int32_t chosen) {
    int64_t taken = 0;
    float low = INFINITY, high = -INFINITY;
    for (int64_t first = 0; first < n; first += BLOCK) {
        if (block_top && block_top[first / BLOCK] < g->low) continue;
        int64_t count = n - first < BLOCK ? n - first : BLOCK;
        int32_t index[BLOCK], hits = 0;
#pragma omp simd reduction(+ : hits)
        for (int64_t j = 0; j < count; j++) {
            index[j] = bucket_of(values[first + j], g);
            hits += index[j] == chosen;
        }
        for (int64_t j = 0; hits && j < count; j++) {
            if (index[j] != chosen) continue;
            float value = values[first + j];
            room[taken++] = value;
            low = value < low ? value : low;
            high = value > high ? value : high;
        }
    }
    g->low = low, g->high = high;
    return taken;
}

/* The smallest v among the values >= low such that the masses of all values > v sum to less than `target`. high: the
 * largest value. block_top (of `values`, in blocks) may be NULL. n >= 1, target > 0; room: [n]. */
static float find_threshold(const float *values, int64_t n, const float *block_top, float low, float high, double target,
                            measure m, float *room, double *bucket) {
    grid g = {low, high, 0.0};
    double above = 0.0; /* mass of everything known to be greater */
    while (g.low < g.high) {
        g.inverse = (BUCKETS - 1) / ((double)g.high - (double)g.low);
        fill_buckets(bucket, values, n, block_top, &g, m);
        int32_t chosen = 0, last = BUCKETS - 1;
        while (last > 0 && !(bucket[last] > 0.0)) last--; /* rounding may keep the sum below the target */
        while (chosen < last && above + bucket[chosen] < target) above += bucket[chosen++];
        n = take_bucket(room, values, n, block_top, &g, chosen);
        values = room;
        block_top = NULL;
    }
    return g.high;
}

PTA_CLONES static float smallest(const float *values, int64_t n, float at_least) {
    float low = INFINITY;
    for (int64_t i = 0; i < n; i++) low = values[i] < low && values[i] >= at_least ? values[i] : low;
    return low;
}

/* The smallest logit that top-k and top-p leave. total = Σ weight over the vocabulary. */
static float find_cut(workspace *w, const float *logits, int64_t V, const pta_sampling *s, measure m, double total) {
    const measure tokens = {.count = true};
    const int64_t blocks = block_count(V);
    float cut = smallest(logits, V, -FLT_MAX); /* minus infinity has no weight and is never drawn */
    if (s->top_k > 0 && s->top_k < V) {
        float low = smallest(w->block_top, blocks, -INFINITY);
        if (s->top_k <= blocks && low > cut) /* k blocks reach the k-th largest block maximum, so k tokens do */
            low = find_threshold(w->block_top, blocks, NULL, low, m.top, (double)s->top_k, tokens, w->room, w->bucket);
        else
            low = cut;
        cut = find_threshold(logits, V, w->block_top, low, m.top, (double)s->top_k, tokens, w->room, w->bucket);
        total = find_masses(w, logits, V, m, cut, 0.0f);
    }
    if (s->top_p < 1.0) { /* weights below δ sum to less than V·δ = (1 - p)·total: outside the top p */
        double delta = (1.0 - s->top_p) * total / (double)V;
        float low = m.top + (float)log(delta) / m.scale;
        low -= 1e-5f * (fabsf(low) + fabsf(m.top)) + 1e-6f / m.scale;
        if (!(low > cut)) low = cut;
        cut = find_threshold(logits, V, w->block_top, low, m.top, s->top_p * total, m, w->room, w->bucket);
    }
    return cut;
}

/* The token at which the cumulative sum of surviving weights passes `target`; the last survivor of positive weight when
 * rounding keeps the sum from getting there. */
static int32_t walk(const workspace *w, const float *logits, int64_t V, measure m, float cut, float least,
                    double target) {
    int64_t chosen = 0;
    double before = 0.0, sum = 0.0;
    for (int64_t b = 0; b < block_count(V); b++) {
        if (!(w->block_mass[b] > 0.0)) continue;
        chosen = b, before = sum;
        sum += w->block_mass[b];
        if (sum > target) break;
    }
    float weight[BLOCK];
    int64_t n = block_length(chosen, V), token = 0;
    weigh_block(weight, logits + chosen * BLOCK, n, m, cut, least);
    sum = before;
    for (int64_t j = 0; j < n; j++) {
        if (!(weight[j] > 0.0f)) continue;
        token = j;
        sum += (double)weight[j];
        if (sum > target) break;
    }
    return (int32_t)(chosen * BLOCK + token);
}

static int32_t largest(const workspace *w, const float *logits, float top) {
    int64_t j = 0;
    while (w->block_top[j / BLOCK] < top) j += BLOCK;
    while (logits[j] < top) j++;
    return (int32_t)j;
}

int pta_sample_row(pta_draw *draw, const float *logits, int64_t V, const pta_sampling *s, double u, void *scratch) {
    workspace w = carve(scratch, V);
    const bool greedy = s->temperature == 0.0, whole = s->top_k == 0 && s->top_p >= 1.0 && s->min_p <= 0.0;
    const float scale = greedy ? 1.0f : 1.0f / (float)s->temperature;
    const pta_logits_row row = pta_logits_row_stats(logits, V, scale);
    if (!isfinite(row.top) || !isfinite(row.log_total)) return -1;
    const measure m = {row.top, scale, false};
    double kept = 0.0;
    find_tops(w.block_top, logits, V);
    if (greedy) {
        draw->token = largest(&w, logits, row.top);
    } else {
        const float cut = whole ? -INFINITY : find_cut(&w, logits, V, s, m, exp(row.log_total));
        kept = find_masses(&w, logits, V, m, cut, (float)s->min_p);
        draw->token = walk(&w, logits, V, m, cut, (float)s->min_p, u * kept);
    }
    const float z = logits[draw->token];
    draw->logprob = pta_logits_row_logprob(&row, z, scale);
    draw->sampling_logprob = draw->logprob;
    if (greedy)
        draw->sampling_logprob = 0.0f;
    else if (!whole)
        draw->sampling_logprob = (float)(((double)z - (double)row.top) * (double)scale - log(kept));
    draw->entropy = row.entropy;
    return 0;
}
