/* Method: one pass finds block maxima, one the weights e = exp((logit - max)/T) with sums per block. Filters never
 * sort: a bound that can be proved keeps all but a few candidates out, and a quickselect that carries weights finds the
 * smallest logit that stays. Then one walk in vocabulary order inverts the cumulative sum. Sums over more than a block
 * of floats are double. */
#include "sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "../core/target.h"
#include "../core/vmath.h"

enum { BLOCK = 64 };

typedef struct {
    float *weight;      /* [V] e of each token */
    float *block_top;   /* [blocks] largest logit of each block */
    double *block_sum;  /* [blocks] sum of weights of each block */
    int32_t *candidate; /* [V] ids in vocabulary order */
    float *value;       /* [V] logits of candidates, reordered by the selection */
    float *mass;        /* [V] their weights, reordered alongside */
} workspace;

static int64_t block_count(int64_t V) { return (V + BLOCK - 1) / BLOCK; }
static int64_t round_64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t pta_sampler_scratch(int64_t V) {
    return 4 * round_64(4 * V) + round_64(4 * block_count(V)) + round_64(8 * block_count(V));
}

static workspace carve(void *scratch, int64_t V) {
    char *p = scratch;
    workspace w;
    w.weight = (float *)p, p += round_64(4 * V);
    w.value = (float *)p, p += round_64(4 * V);
    w.mass = (float *)p, p += round_64(4 * V);
    w.candidate = (int32_t *)p, p += round_64(4 * V);
    w.block_top = (float *)p, p += round_64(4 * block_count(V));
    w.block_sum = (double *)p;
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

/* block_top, and the largest of all (NaN never wins a comparison; it shows up in the sums). */
PTA_CLONES static float find_tops(float *block_top, const float *logits, int64_t V) {
    float top = -INFINITY;
    for (int64_t b = 0; b * BLOCK < V; b++) {
        int64_t last = (b + 1) * BLOCK < V ? (b + 1) * BLOCK : V;
        float t = -INFINITY;
#pragma omp simd reduction(max : t)
        for (int64_t j = b * BLOCK; j < last; j++) t = logits[j] > t ? logits[j] : t;
        block_top[b] = t;
        top = t > top ? t : top;
    }
    return top;
}

/* weight[j] = e^x with x = (logit - top)·scale; returns Σ e^x and Σ e^x·x (for the entropy). */
PTA_CLONES static double find_weights(float *weight, double *block_sum, double *weighted, const float *logits,
                                      int64_t V, float top, float scale) {
    double total = 0.0, total_x = 0.0;
    for (int64_t b = 0; b * BLOCK < V; b++) {
        int64_t last = (b + 1) * BLOCK < V ? (b + 1) * BLOCK : V;
        float sum_x = 0.0f;
        double sum = 0.0;
#pragma omp simd reduction(+ : sum_x)
        for (int64_t j = b * BLOCK; j < last; j++) {
            float x = (logits[j] - top) * scale, e = pta_expf(x);
            weight[j] = e;
            sum_x += e * (x < -100.0f ? -100.0f : x); /* e is 0 there: keeps 0 · -inf out */
        }
#pragma omp simd reduction(+ : sum)
        for (int64_t j = b * BLOCK; j < last; j++) sum += (double)weight[j];
        block_sum[b] = sum;
        total += sum;
        total_x += (double)sum_x;
    }
    *weighted = total_x;
    return total;
}

static inline void swap(float *values, float *masses, int64_t i, int64_t j) {
    float v = values[i], m = masses[i];
    values[i] = values[j], masses[i] = masses[j];
    values[j] = v, masses[j] = m;
}

static float median(float a, float b, float c) {
    if (a > b) return b > c ? b : (a > c ? c : a);
    return a > c ? a : (b > c ? c : b);
}

/* The smallest v among values[n] such that the masses of all values > v sum to less than `target`. Reorders both
 * arrays. Quickselect: each round splits what is left into > pivot, = pivot, < pivot. n >= 1, target > 0. */
static float select_threshold(float *values, float *masses, int64_t n, double target) {
    int64_t first = 0, last = n; /* the answer lies in [first, last) */
    double above = 0.0;          /* mass of everything known to be greater */
    for (;;) {
        float pivot = median(values[first], values[first + (last - first) / 2], values[last - 1]);
        int64_t greater = first, i = first, less = last;
        double mass_greater = 0.0, mass_equal = 0.0;
        while (i < less) {
            if (values[i] > pivot) {
                mass_greater += (double)masses[i];
                swap(values, masses, greater++, i++);
            } else if (values[i] < pivot) {
                swap(values, masses, i, --less);
            } else {
                mass_equal += (double)masses[i++];
            }
        }
        if (greater > first && above + mass_greater >= target) {
            last = greater;
        } else if (less == last || above + mass_greater + mass_equal >= target) {
            return pivot;
        } else {
            above += mass_greater + mass_equal;
            first = less;
        }
    }
}

/* Ids of logits >= bound, in vocabulary order. */
static int64_t collect(workspace *w, const float *logits, int64_t V, float bound) {
    int64_t n = 0;
    for (int64_t b = 0; b * BLOCK < V; b++) {
        if (!(w->block_top[b] >= bound)) continue;
        int64_t last = (b + 1) * BLOCK < V ? (b + 1) * BLOCK : V;
        for (int64_t j = b * BLOCK; j < last; j++)
            if (logits[j] >= bound) w->candidate[n++] = (int32_t)j;
    }
    return n;
}

static int64_t shrink(workspace *w, int64_t n, const float *logits, float bound) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (logits[w->candidate[i]] >= bound) w->candidate[kept++] = w->candidate[i];
    return kept;
}

/* Fills w->candidate with the ids that survive the filters; returns how many. total = Σ weight over the vocabulary. */
static int64_t filter(workspace *w, const float *logits, int64_t V, const pta_sampling *s, float top, double total) {
    float scale = 1.0f / (float)s->temperature;
    int64_t blocks = block_count(V);
    bool use_k = s->top_k > 0 && s->top_k < V, use_p = s->top_p < 1.0;
    float bound = -INFINITY; /* logits below are certainly removed */
    if (use_k && s->top_k <= blocks) { /* k blocks reach the k-th largest block maximum, so k tokens do */
        for (int64_t b = 0; b < blocks; b++) w->value[b] = w->block_top[b], w->mass[b] = 1.0f;
        bound = select_threshold(w->value, w->mass, blocks, (double)s->top_k);
    }
    if (use_p && !use_k) { /* weights below δ sum to less than V·δ = (1 - p)·total: outside the top p */
        double delta = (1.0 - s->top_p) * total / (double)V;
        float floor = top + (float)log(delta) / scale;
        floor -= 1e-5f * (fabsf(floor) + fabsf(top)) + 1e-6f / scale;
        if (floor < top) bound = floor;
    }
    int64_t n = collect(w, logits, V, bound);
    if (use_k) {
        for (int64_t i = 0; i < n; i++) w->value[i] = logits[w->candidate[i]], w->mass[i] = 1.0f;
        n = shrink(w, n, logits, select_threshold(w->value, w->mass, n, (double)s->top_k));
        total = 0.0;
        for (int64_t i = 0; i < n; i++) total += (double)w->weight[w->candidate[i]];
    }
    if (use_p) {
        for (int64_t i = 0; i < n; i++)
            w->value[i] = logits[w->candidate[i]], w->mass[i] = w->weight[w->candidate[i]];
        n = shrink(w, n, logits, select_threshold(w->value, w->mass, n, s->top_p * total));
    }
    if (s->min_p > 0.0) {
        int64_t kept = 0;
        for (int64_t i = 0; i < n; i++) /* the largest weight is 1 */
            if ((double)w->weight[w->candidate[i]] >= s->min_p) w->candidate[kept++] = w->candidate[i];
        n = kept;
    }
    return n;
}

/* Where the cumulative sum of the weights of `count` ids (first + 0, 1, ... or candidates) passes `target`; the last
 * id of positive weight when rounding keeps the sum from getting there. */
static int32_t walk(const float *weight, const int32_t *candidates, int64_t first, int64_t count, double target) {
    int32_t last_positive = candidates ? candidates[0] : (int32_t)first;
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        int32_t id = candidates ? candidates[i] : (int32_t)(first + i);
        if (!(weight[id] > 0.0f)) continue;
        sum += (double)weight[id];
        last_positive = id;
        if (sum > target) break;
    }
    return last_positive;
}

/* The unfiltered draw: find the block first. */
static int32_t draw_full(const workspace *w, int64_t V, double target) {
    int64_t blocks = block_count(V), chosen = 0;
    double before = 0.0, chosen_before = 0.0;
    for (int64_t b = 0; b < blocks; b++) {
        if (!(w->block_sum[b] > 0.0)) continue;
        chosen = b, chosen_before = before;
        before += w->block_sum[b];
        if (before > target) break;
    }
    int64_t count = V - chosen * BLOCK < BLOCK ? V - chosen * BLOCK : BLOCK;
    return walk(w->weight, NULL, chosen * BLOCK, count, target - chosen_before);
}

int pta_sample_row(pta_draw *draw, const float *logits, int64_t V, const pta_sampling *s, double u, void *scratch) {
    workspace w = carve(scratch, V);
    bool greedy = s->temperature == 0.0;
    float scale = greedy ? 1.0f : 1.0f / (float)s->temperature;
    float top = find_tops(w.block_top, logits, V);
    double weighted, total = find_weights(w.weight, w.block_sum, &weighted, logits, V, top, scale);
    if (!isfinite(top) || !isfinite(total)) return -1;
    double kept = total;
    if (greedy) {
        int64_t j = 0;
        while (w.block_top[j / BLOCK] < top) j += BLOCK;
        while (logits[j] < top) j++;
        draw->token = (int32_t)j;
    } else if ((s->top_k == 0 || s->top_k >= V) && s->top_p >= 1.0 && s->min_p <= 0.0) {
        draw->token = draw_full(&w, V, u * total);
    } else {
        int64_t n = filter(&w, logits, V, s, top, total);
        kept = 0.0;
        for (int64_t i = 0; i < n; i++) kept += (double)w.weight[w.candidate[i]];
        draw->token = walk(w.weight, w.candidate, 0, n, u * kept);
    }
    double x = ((double)logits[draw->token] - (double)top) * (double)scale;
    draw->logprob = (float)(x - log(total));
    draw->sampling_logprob = greedy ? 0.0f : (float)(x - log(kept));
    draw->entropy = (float)(log(total) - weighted / total);
    return 0;
}
