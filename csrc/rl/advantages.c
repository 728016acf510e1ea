#include "advantages.h"

#include <math.h>

/* What the statistics need to know about a set of rewards. */
typedef struct {
    int64_t count; /* applicable rewards */
    double min, max, mean;
    double unit;   /* power of two near the largest deviation from the mean; 0 when all are equal */
    double std;    /* in units of `unit`, so that neither squares nor quotients leave the range of a double */
} statistics;

static statistics describe(const double *rewards, int64_t first, int64_t last, int64_t ddof) {
    statistics s = {0, INFINITY, -INFINITY, 0.0, 0.0, 0.0};
    double sum = 0.0;
    for (int64_t i = first; i < last; i++) {
        if (isnan(rewards[i])) continue;
        s.count++;
        s.min = fmin(s.min, rewards[i]);
        s.max = fmax(s.max, rewards[i]);
        sum += rewards[i];
    }
    if (s.count == 0 || s.max == s.min) return s;
    s.mean = sum / (double)s.count;
    double residue = 0.0; /* a second pass takes the rounding of the first out of the mean */
    for (int64_t i = first; i < last; i++)
        if (!isnan(rewards[i])) residue += rewards[i] - s.mean;
    s.mean += residue / (double)s.count;
    int exponent;
    frexp(fmax(s.max - s.mean, s.mean - s.min), &exponent);
    s.unit = ldexp(1.0, exponent < -1021 ? -1021 : exponent > 1023 ? 1023 : exponent);
    if (s.count <= ddof) return s;
    double squares = 0.0;
    for (int64_t i = first; i < last; i++) {
        if (isnan(rewards[i])) continue;
        double deviation = (rewards[i] - s.mean) / s.unit;
        squares += deviation * deviation;
    }
    s.std = sqrt(squares / (double)(s.count - ddof));
    return s;
}

static pta_code check(const double *rewards, int64_t n, const int64_t *offsets, int64_t G, int64_t ddof, double eps,
                      pta_error *err) {
    if (ddof < 0) return pta_fail(err, PTA_E_VALUE, "ddof is %lld, must be 0 or more", (long long)ddof);
    if (!(eps >= 0.0) || isinf(eps)) return pta_fail(err, PTA_E_VALUE, "eps is %g, must be finite and 0 or more", eps);
    if (offsets[0] != 0 || offsets[G] != n)
        return pta_fail(err, PTA_E_VALUE, "group_offsets run from %lld to %lld, must run from 0 to %lld (the number of rewards)",
                        (long long)offsets[0], (long long)offsets[G], (long long)n);
    for (int64_t g = 0; g < G; g++)
        if (offsets[g + 1] < offsets[g])
            return pta_fail(err, PTA_E_VALUE, "group_offsets[%lld] is %lld, less than the one before (%lld)",
                            (long long)g + 1, (long long)offsets[g + 1], (long long)offsets[g]);
    for (int64_t i = 0; i < n; i++)
        if (isinf(rewards[i]))
            return pta_fail(err, PTA_E_VALUE, "rewards[%lld] is infinite; a reward is finite, or NaN where not applicable",
                            (long long)i);
    return PTA_OK;
}

pta_code pta_group_advantages(double *advantages, bool *zero_std, const double *rewards, int64_t n,
                              const int64_t *offsets, int64_t G, pta_scale scale, int64_t ddof, double eps,
                              pta_error *err) {
    pta_code code = check(rewards, n, offsets, G, ddof, eps, err);
    if (code) return code;
    statistics batch = {0};
    if (scale == PTA_SCALE_BATCH) batch = describe(rewards, 0, n, ddof);
    for (int64_t g = 0; g < G; g++) {
        const statistics group = describe(rewards, offsets[g], offsets[g + 1], ddof);
        const statistics *scaling = scale == PTA_SCALE_BATCH ? &batch : &group;
        zero_std[g] = group.unit == 0.0;
        bool silent = zero_std[g] || (scale != PTA_SCALE_NONE && scaling->std == 0.0);
        for (int64_t i = offsets[g]; i < offsets[g + 1]; i++) {
            if (silent || isnan(rewards[i])) {
                advantages[i] = 0.0;
                continue;
            }
            double deviation = rewards[i] - group.mean;
            advantages[i] = scale == PTA_SCALE_NONE
                                ? deviation
                                : deviation / scaling->unit / (scaling->std + eps / scaling->unit);
            if (!isfinite(advantages[i]))
                return pta_fail(err, PTA_E_NONFINITE, "the advantage of rewards[%lld] = %g overflows", (long long)i,
                                rewards[i]);
        }
    }
    return PTA_OK;
}
