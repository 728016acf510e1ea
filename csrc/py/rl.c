/* group_advantages and policy_loss. */
#include <math.h>
#include <string.h>

#include "../rl/advantages.h"
#include "arrays.h"
#include "compute.h"
#include "errors.h"
#include "rl.h"

PyDoc_STRVAR(group_advantages_doc,
             "group_advantages(rewards, group_offsets, scale='group', ddof=0, eps=0.0) -> (advantages, zero_std)\n\n"
             "Group-relative advantages (Eq. 10): (reward - group mean) / (std + eps), in float64.\n\n"
             "Args:\n"
             "    rewards: float64[n]; NaN = not applicable (left out of the statistics, advantage 0).\n"
             "    group_offsets: int64[G+1] from 0 to n; group g is rewards[group_offsets[g]:group_offsets[g+1]].\n"
             "    scale: divide by the standard deviation of the 'group', of the whole 'batch', or by nothing ('none').\n"
             "    ddof: the standard deviation divides by n - ddof.\n"
             "    eps: added to the standard deviation.\n\n"
             "Returns:\n"
             "    advantages float64[n], zero_std bool[G]: True where a group's applicable rewards are all equal\n"
             "    (exactly), or there are none; such a group has advantages 0.\n\n"
             "Raises:\n"
             "    ValueError: bad offsets, an infinite reward, an unknown scale, ddof or eps negative.\n"
             "    FloatingPointError: the spread of the rewards overflows.");
static PyObject *group_advantages(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rewards", "group_offsets", "scale", "ddof", "eps", NULL};
    PyObject *rewards_in, *offsets_in;
    const char *scale_name = "group";
    Py_ssize_t ddof = 0;
    double eps = 0.0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|snd:group_advantages", names, &rewards_in, &offsets_in,
                                     &scale_name, &ddof, &eps))
        return NULL;
    pta_scale scale;
    if (!strcmp(scale_name, "group")) scale = PTA_SCALE_GROUP;
    else if (!strcmp(scale_name, "batch")) scale = PTA_SCALE_BATCH;
    else if (!strcmp(scale_name, "none")) scale = PTA_SCALE_NONE;
    else return PyErr_Format(PyExc_ValueError, "scale: expected 'group', 'batch' or 'none', got '%.100s'", scale_name);
    npy_intp n, bounds;
    const double *rewards = pta_py_vector(rewards_in, "rewards", NPY_FLOAT64, -1, "n", &n);
    if (!rewards) return NULL;
    const int64_t *offsets = pta_py_vector(offsets_in, "group_offsets", NPY_INT64, -1, "G+1", &bounds);
    if (!offsets) return NULL;
    if (bounds < 1) return PyErr_Format(PyExc_ValueError, "group_offsets: expected G+1 >= 1 elements, got none");
    void *advantages, *zero_std;
    PyObject *first = pta_py_new_vector(NPY_FLOAT64, n, &advantages);
    PyObject *second = first ? pta_py_new_vector(NPY_BOOL, bounds - 1, &zero_std) : NULL;
    pta_error err = {0};
    if (second && pta_group_advantages(advantages, zero_std, rewards, n, offsets, bounds - 1, scale, ddof, eps, &err)) {
        Py_CLEAR(second);
        pta_py_raise(&err);
    }
    if (second) return Py_BuildValue("(NN)", first, second);
    Py_XDECREF(first);
    return NULL;
}

int pta_py_read_delta(PyObject *object, double *delta) {
    *delta = object == Py_None ? INFINITY : PyFloat_AsDouble(object);
    return *delta == -1.0 && PyErr_Occurred() ? -1 : 0;
}

PyObject *pta_py_policy_stats(const pta_policy_stats *s) {
    return Py_BuildValue("{s:L,s:L,s:L,s:L,s:d,s:d,s:d,s:d,s:d}", "count", (long long)s->count, "clip_low",
                         (long long)s->clip_low, "clip_high", (long long)s->clip_high, "clip_delta",
                         (long long)s->clip_delta, "ratio_sum", s->ratio_sum, "ratio_min", s->ratio_min, "ratio_max",
                         s->ratio_max, "kl_sum", s->kl_sum, "kl_weight", s->kl_weight);
}

PyDoc_STRVAR(policy_loss_doc,
             "policy_loss(logprobs, old, ref, w_pos, w_neg, w_kl, epsilon_low, epsilon_high, beta, delta=None)\n"
             "    -> (loss, dlogprobs, stats)\n\n"
             "The clipped policy loss over N merged targets (Eq. 9), its gradient, and sums for metrics:\n\n"
             "    r = exp(logprobs - old)      k3 = exp(ref - logprobs) - (ref - logprobs) - 1\n"
             "    loss = -sum(w_pos * min(r, 1+epsilon_high) + w_neg * max(min(r, delta), 1-epsilon_low))\n"
             "           + beta * sum(w_kl * k3)\n\n"
             "Args:\n"
             "    logprobs, old, ref: float32[N] log-probabilities of the policy, of the policy that sampled, and of the\n"
             "        reference policy (or None; then beta must be 0).\n"
             "    w_pos, w_neg, w_kl: float32[N], sums over the responses that share a target of w*max(A,0), w*min(A,0), w.\n"
             "        Targets whose weights are all 0 are left out and may hold NaN.\n"
             "    epsilon_low, epsilon_high: >= 0 (inf: no clipping). beta: >= 0. delta: > 1+epsilon_high, or None.\n\n"
             "Returns:\n"
             "    loss (float), dlogprobs float32[N], stats: dict of sums over the targets with weight: count,\n"
             "    clip_low, clip_high, clip_delta (targets where that bound is active), ratio_sum, ratio_min (inf for\n"
             "    none), ratio_max (-inf for none), kl_sum (sum of w_kl*k3), kl_weight (sum of w_kl; 0 without ref).\n\n"
             "Raises:\n"
             "    ValueError: a size, weight or parameter is out of range.\n"
             "    FloatingPointError: a target with weight has a NaN or infinite term.");
static PyObject *policy_loss(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"logprobs", "old",         "ref",          "w_pos", "w_neg",
                            "w_kl",     "epsilon_low", "epsilon_high", "beta",  "delta", NULL};
    PyObject *in[6], *delta = Py_None;
    pta_policy_batch batch = {.delta = INFINITY};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOddd|O:policy_loss", names, &in[0], &in[1], &in[2], &in[3],
                                     &in[4], &in[5], &batch.epsilon_low, &batch.epsilon_high, &batch.beta, &delta))
        return NULL;
    if (pta_py_read_delta(delta, &batch.delta)) return NULL;
    const float **fields[6] = {&batch.logprobs, &batch.old, &batch.ref, &batch.w_pos, &batch.w_neg, &batch.w_kl};
    npy_intp N = -1;
    for (int i = 0; i < 6; i++) {
        if (i == 2 && in[i] == Py_None) continue;
        *fields[i] = pta_py_vector(in[i], names[i], NPY_FLOAT32, N, "N", i == 0 ? &N : NULL);
        if (!*fields[i]) return NULL;
    }
    batch.N = N;
    void *dlogprobs;
    PyObject *gradient = pta_py_new_vector(NPY_FLOAT32, N, &dlogprobs);
    if (!gradient) return NULL;
    double loss;
    pta_policy_stats s;
    pta_error err = {0};
    pta_py_call call;
    pta_py_begin(&call);
    pta_code code = pta_policy_loss(&loss, dlogprobs, &s, &batch, &err);
    pta_py_end(&call);
    if (code) {
        Py_DECREF(gradient);
        return pta_py_raise(&err);
    }
    return Py_BuildValue("(dNN)", loss, gradient, pta_py_policy_stats(&s));
}

static PyMethodDef functions[] = {
    {"group_advantages", (PyCFunction)(void (*)(void))group_advantages, METH_VARARGS | METH_KEYWORDS,
     group_advantages_doc},
    {"policy_loss", (PyCFunction)(void (*)(void))policy_loss, METH_VARARGS | METH_KEYWORDS, policy_loss_doc},
    {NULL, NULL, 0, NULL},
};

int pta_py_add_rl(PyObject *module) { return PyModule_AddFunctions(module, functions); }
