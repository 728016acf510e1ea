#include "policy_loss.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

static pta_code check(const pta_policy_batch *b, pta_error *err) {
    if (!(b->epsilon_low >= 0.0)) return pta_fail(err, PTA_E_VALUE, "epsilon_low is %g, must be 0 or more", b->epsilon_low);
    if (!(b->epsilon_high >= 0.0))
        return pta_fail(err, PTA_E_VALUE, "epsilon_high is %g, must be 0 or more", b->epsilon_high);
    if (!(b->beta >= 0.0) || isinf(b->beta))
        return pta_fail(err, PTA_E_VALUE, "beta is %g, must be finite and 0 or more", b->beta);
    if (b->beta > 0.0 && !b->ref)
        return pta_fail(err, PTA_E_VALUE, "beta is %g, but there are no reference log-probabilities (ref)", b->beta);
    if (isnan(b->delta) || (!isinf(b->delta) && !(b->delta > 1.0 + b->epsilon_high)))
        return pta_fail(err, PTA_E_VALUE, "delta is %g, must exceed 1 + epsilon_high = %g", b->delta, 1.0 + b->epsilon_high);
    for (int64_t n = 0; n < b->N; n++) {
        const char *name = NULL;
        double value = 0.0;
        if (!(b->w_pos[n] >= 0.0f && isfinite(b->w_pos[n]))) name = "w_pos", value = b->w_pos[n];
        if (!(b->w_neg[n] <= 0.0f && isfinite(b->w_neg[n]))) name = "w_neg", value = b->w_neg[n];
        if (!(b->w_kl[n] >= 0.0f && isfinite(b->w_kl[n]))) name = "w_kl", value = b->w_kl[n];
        if (name)
            return pta_fail(err, PTA_E_VALUE, "%s[%lld] is %g, must be finite and %s", name, (long long)(b->first + n), value,
                            name[2] == 'n' ? "0 or less" : "0 or more");
    }
    return PTA_OK;
}

pta_code pta_policy_loss(double *loss, float *dlogprobs, pta_policy_stats *stats, const pta_policy_batch *b,
                         pta_error *err) {
    pta_code code = check(b, err);
    if (code) return code;
    const double low = 1.0 - b->epsilon_low, high = 1.0 + b->epsilon_high;
    pta_policy_stats s = {.ratio_min = INFINITY, .ratio_max = -INFINITY};
    double total = 0.0;
    for (int64_t n = 0; n < b->N; n++) {
        const double w_pos = b->w_pos[n], w_neg = b->w_neg[n], w_kl = b->w_kl[n];
        dlogprobs[n] = 0.0f;
        if (w_pos == 0.0 && w_neg == 0.0 && w_kl == 0.0) continue;
        const double logprob = b->logprobs[n], ratio = exp(logprob - (double)b->old[n]);
        double term = 0.0, gradient = 0.0;
        if (w_pos != 0.0) {
            if (ratio <= high) gradient -= w_pos * ratio;
            else s.clip_high++;
            term -= w_pos * (ratio > high ? high : ratio);
        }
        if (w_neg != 0.0) {
            double bounded = ratio > b->delta ? b->delta : ratio;
            if (ratio < low) bounded = low;
            if (ratio < low) s.clip_low++;
            else if (ratio > b->delta) s.clip_delta++;
            else gradient -= w_neg * ratio;
            term -= w_neg * bounded;
        }
        if (b->ref && w_kl != 0.0) {
            const double gap = (double)b->ref[n] - logprob, excess = expm1(gap), k3 = excess - gap;
            s.kl_sum += w_kl * k3;
            s.kl_weight += w_kl;
            if (b->beta != 0.0) {
                term += b->beta * w_kl * k3;
                gradient -= b->beta * w_kl * excess;
            }
            if (!isfinite(k3)) term = k3; /* reported below, also when beta is 0 */
        }
        if (!isfinite(ratio) || !isfinite(term) || !(fabs(gradient) <= FLT_MAX))
            return pta_fail(err, PTA_E_NONFINITE,
                            "target %lld: the loss is not finite (logprob %g, old %g, ref %g; the ratio of policies is %g)",
                            (long long)(b->first + n), logprob, (double)b->old[n], b->ref ? (double)b->ref[n] : NAN, ratio);
        dlogprobs[n] = (float)gradient;
        total += term;
        s.count++;
        s.ratio_sum += ratio;
        s.ratio_min = fmin(s.ratio_min, ratio);
        s.ratio_max = fmax(s.ratio_max, ratio);
    }
    if (!isfinite(total)) return pta_fail(err, PTA_E_NONFINITE, "the loss overflows when summed over %lld targets", (long long)b->N);
    *loss = total;
    *stats = s;
    return PTA_OK;
}

void pta_policy_stats_add(pta_policy_stats *t, const pta_policy_stats *p) {
    t->count += p->count;
    t->clip_low += p->clip_low;
    t->clip_high += p->clip_high;
    t->clip_delta += p->clip_delta;
    t->ratio_sum += p->ratio_sum;
    t->ratio_min = fmin(t->ratio_min, p->ratio_min);
    t->ratio_max = fmax(t->ratio_max, p->ratio_max);
    t->kl_sum += p->kl_sum;
    t->kl_weight += p->kl_weight;
}
