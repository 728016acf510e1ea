/* Forward, loss and backward in one call: functions over a Model, for losses that are sums over targets. */
#include <math.h>

#include "../model/adapter.h"
#include "arrays.h"
#include "compute.h"
#include "errors.h"
#include "rl.h"
#include "state.h"

/* What every training call has. Arrays are borrowed from the arguments. */
typedef struct {
    pta_py_model *model;
    PyObject *forest; /* kept alive by the caller's arguments */
    const int32_t *source, *target;
    npy_intp N;
    float temperature;
    pta_keep keep;
    PyObject *dropout; /* the key, an int, or NULL or None */
    PyObject *logprobs, *entropies; /* new float32[N] */
} pass;

int pta_py_read_keep(const char *text, pta_keep *keep) {
    if (!strcmp(text, "all"))
        *keep = PTA_KEEP_ALL;
    else if (!strcmp(text, "inputs"))
        *keep = PTA_KEEP_INPUTS;
    else {
        PyErr_Format(PyExc_ValueError, "keep: expected 'all' or 'inputs', got '%.50s'", text);
        return -1;
    }
    return 0;
}

static int pass_begin(pass *p, PyObject *source, PyObject *target, const char *keep) {
    if (pta_py_read_keep(keep, &p->keep)) return -1;
    p->source = pta_py_vector(source, "source", NPY_INT32, -1, "N", &p->N);
    if (!p->source) return -1;
    p->target = pta_py_vector(target, "target", NPY_INT32, p->N, "N", NULL);
    return p->target ? 0 : -1;
}

/* Compute; on success the two new arrays are in the pass, on failure an exception is set. */
static int pass_run(pass *p, pta_loss loss, void *context) {
    void *logprobs, *entropies;
    const bool drops = p->dropout && p->dropout != Py_None;
    const uint64_t key = drops ? PyLong_AsUnsignedLongLong(p->dropout) : 0;
    if (drops && PyErr_Occurred()) return -1;
    p->logprobs = pta_py_new_vector(NPY_FLOAT32, p->N, &logprobs);
    p->entropies = p->logprobs ? pta_py_new_vector(NPY_FLOAT32, p->N, &entropies) : NULL;
    if (!p->entropies || pta_py_acquire(&p->model->busy, "Model")) {
        Py_CLEAR(p->logprobs);
        Py_CLEAR(p->entropies);
        return -1;
    }
    pta_error err = {0};
    pta_py_call call;
    pta_model_drop_inputs(p->model->model, drops ? &key : NULL);
    pta_py_begin(&call);
    pta_code code = pta_model_train(p->model->model, ((pta_py_forest *)p->forest)->forest, p->source, p->target, p->N,
                                    p->temperature, p->keep, loss, context, logprobs, entropies, &err);
    pta_py_end(&call);
    pta_model_drop_inputs(p->model->model, NULL);
    Py_CLEAR(p->model->tape_forest); /* a tape that was there is gone */
    pta_py_release(&p->model->busy);
    if (!code) return 0;
    Py_CLEAR(p->logprobs);
    Py_CLEAR(p->entropies);
    pta_py_raise(&err);
    return -1;
}

#define COMMON_ARGS                                                                                                  \
    "    model, forest: the Model and a Forest of T tokens.\n"                                                       \
    "    source, target: int32[N], the row whose hidden state predicts, and the token id predicted.\n"
#define COMMON_END                                                                                                   \
    "    temperature: divides the logits.\n"                                                                         \
    "    keep: 'all' activations, or only the layers' 'inputs': then backward computes the rest again, to the same\n" \
    "        bits, in much less memory.\n"                                                                                \
    "    dropout_key: an int in 0 .. 2**64 - 1 that the masks of an adapter's dropout are drawn from; None: no dropout.\n\n"
#define COMMON_RAISES                                                                                                \
    "Raises:\n"                                                                                                      \
    "    ValueError: a size, index, weight or parameter is out of range. FloatingPointError: a term is not finite.\n" \
    "    KeyboardInterrupt, MemoryError. After any of them the gradients are undefined: call zero_grad()."

/* Weighted log-likelihood ---------------------------------------------------------------------------------------- */

typedef struct {
    const float *weights;
    double loss;
} likelihood;

static pta_code likelihood_loss(void *context, int64_t first, int64_t count, const float *logprobs,
                                const float *entropies, float *dlogprobs, pta_error *err) {
    likelihood *l = context;
    (void)entropies, (void)err;
    for (int64_t i = 0; i < count; i++) {
        dlogprobs[i] = -l->weights[first + i];
        if (l->weights[first + i] != 0.0f) l->loss -= (double)l->weights[first + i] * logprobs[i];
    }
    return PTA_OK;
}

PyDoc_STRVAR(train_likelihood_doc,
             "train_likelihood(model, forest, source, target, weights, temperature=1.0, keep='all',\n"
             "                 dropout_key=None)\n"
             "    -> (loss, logprobs, entropies)\n\n"
             "Add to model.gradients() those of  loss = -sum(weights * logprobs)  (Eq. 1), forward and backward in one go.\n\n"
             "Args:\n" COMMON_ARGS
             "    weights: float32[N].\n" COMMON_END
             COMMON_RAISES);
static PyObject *train_likelihood(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"model", "forest", "source", "target", "weights", "temperature", "keep", "dropout_key", NULL};
    pta_py_state *state = PyModule_GetState(module);
    PyObject *source, *target, *weights;
    const char *keep = "all";
    pass p = {.temperature = 1.0f};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!OOO|fsO:train_likelihood", names, state->model_type, &p.model,
                                     state->forest_type, &p.forest, &source, &target, &weights, &p.temperature, &keep,
                                     &p.dropout) ||
        pass_begin(&p, source, target, keep))
        return NULL;
    likelihood l = {.weights = pta_py_vector(weights, "weights", NPY_FLOAT32, p.N, "N", NULL)};
    if (!l.weights || pass_run(&p, likelihood_loss, &l)) return NULL;
    return Py_BuildValue("(dNN)", l.loss, p.logprobs, p.entropies);
}

/* Policy loss ---------------------------------------------------------------------------------------------------- */

typedef struct {
    pta_policy_batch batch; /* of all targets; old NULL: the log-probabilities are their own old ones */
    double loss;
    pta_policy_stats stats;
} policy;

static const float *from(const float *array, int64_t first) { return array ? array + first : NULL; }

static pta_code policy_chunk(void *context, int64_t first, int64_t count, const float *logprobs, const float *entropies,
                             float *dlogprobs, pta_error *err) {
    policy *p = context;
    (void)entropies;
    pta_policy_batch chunk = p->batch;
    chunk.first = first, chunk.N = count;
    chunk.logprobs = logprobs;
    chunk.old = p->batch.old ? p->batch.old + first : logprobs;
    chunk.ref = from(p->batch.ref, first);
    chunk.w_pos += first, chunk.w_neg += first, chunk.w_kl += first;
    double loss;
    pta_policy_stats stats;
    pta_code code = pta_policy_loss(&loss, dlogprobs, &stats, &chunk, err);
    if (code) return code;
    p->loss += loss;
    pta_policy_stats_add(&p->stats, &stats);
    return PTA_OK;
}

PyDoc_STRVAR(train_policy_doc,
             "train_policy(model, forest, source, target, old, ref, w_pos, w_neg, w_kl, epsilon_low, epsilon_high, beta,\n"
             "             delta=None, temperature=1.0, keep='all', dropout_key=None) -> (loss, logprobs, entropies, stats)\n\n"
             "Add to model.gradients() those of the clipped policy loss (Eq. 9; see policy_loss), forward and backward in one\n"
             "go: the head's product is computed once.\n\n"
             "Args:\n" COMMON_ARGS
             "    old: float32[N], or None: on policy, the ratio is 1.\n"
             "    ref, w_pos, w_neg, w_kl, epsilon_low, epsilon_high, beta, delta: as policy_loss.\n" COMMON_END
             COMMON_RAISES);
static PyObject *train_policy(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"model", "forest", "source",      "target",       "old",  "ref",   "w_pos",       "w_neg",
                            "w_kl",  "epsilon_low", "epsilon_high", "beta", "delta", "temperature", "keep",
                            "dropout_key", NULL};
    pta_py_state *state = PyModule_GetState(module);
    PyObject *source, *target, *in[5], *delta = Py_None;
    const char *keep = "all";
    pass p = {.temperature = 1.0f};
    policy loss = {.batch = {.delta = INFINITY}, .stats = {.ratio_min = INFINITY, .ratio_max = -INFINITY}};
    pta_policy_batch *b = &loss.batch;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!OOOOOOOddd|OfsO:train_policy", names, state->model_type, &p.model,
                                     state->forest_type, &p.forest, &source, &target, &in[0], &in[1], &in[2], &in[3],
                                     &in[4], &b->epsilon_low, &b->epsilon_high, &b->beta, &delta, &p.temperature,
                                     &keep, &p.dropout) ||
        pass_begin(&p, source, target, keep) || pta_py_read_delta(delta, &b->delta))
        return NULL;
    const float **fields[5] = {&b->old, &b->ref, &b->w_pos, &b->w_neg, &b->w_kl};
    for (int i = 0; i < 5; i++) {
        if (i < 2 && in[i] == Py_None) continue;
        *fields[i] = pta_py_vector(in[i], names[4 + i], NPY_FLOAT32, p.N, "N", NULL);
        if (!*fields[i]) return NULL;
    }
    if (pass_run(&p, policy_chunk, &loss)) return NULL;
    return Py_BuildValue("(dNNN)", loss.loss, p.logprobs, p.entropies, pta_py_policy_stats(&loss.stats));
}

/* Memory --------------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(train_bytes_doc,
             "train_bytes(model, forest, num_targets, keep) -> int\n\n"
             "Bytes that a training call (keep 'all' or 'inputs') or a forward pass alone (keep 'nothing') takes beyond weights,\n"
             "packed weights and gradients.");
static PyObject *train_bytes(PyObject *module, PyObject *args) {
    pta_py_state *state = PyModule_GetState(module);
    pta_py_model *model;
    pta_py_forest *forest;
    Py_ssize_t targets;
    const char *text;
    pta_keep keep = PTA_KEEP_NOTHING;
    if (!PyArg_ParseTuple(args, "O!O!ns:train_bytes", state->model_type, &model, state->forest_type, &forest, &targets,
                          &text) ||
        (strcmp(text, "nothing") && pta_py_read_keep(text, &keep)))
        return NULL;
    int64_t bytes = pta_model_train_bytes(model->model, forest->forest, targets, keep);
    return bytes < 0 ? PyErr_NoMemory() : PyLong_FromLongLong(bytes);
}

PyDoc_STRVAR(dropout_mask_doc,
             "dropout_mask(key, layer, projection, rows, columns, dropout) -> float32[rows, columns]\n\n"
             "What a training call with this dropout_key multiplies the input of a projection's A by: 0 or 1 / (1 - dropout).\n\n"
             "Args:\n"
             "    projection: 0 to 6: q, k, v, o, gate, up, down. columns: their inputs.");
typedef struct {
    pta_matrix mask;
    pta_dropout dropout;
    int64_t rows, columns;
} mask_args;

static void fill_mask(const pta_team *team, void *arg) {
    const mask_args *a = arg;
    pta_dropout_rows(team, a->mask, a->mask, a->dropout, a->rows, a->columns);
}

static PyObject *dropout_mask(PyObject *module, PyObject *args) {
    unsigned long long key;
    Py_ssize_t layer, projection, rows, columns;
    double p;
    (void)module;
    if (!PyArg_ParseTuple(args, "Knnnnd:dropout_mask", &key, &layer, &projection, &rows, &columns, &p)) return NULL;
    if (layer < 0 || projection < 0 || projection >= PTA_PROJECTIONS || rows < 0 || columns < 1 || columns > 1 << 18 ||
        !(p >= 0.0 && p < 1.0)) {
        PyErr_SetString(PyExc_ValueError, "dropout_mask: an argument is out of range");
        return NULL;
    }
    npy_intp shape[2] = {rows, columns};
    PyObject *mask = PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    if (!mask) return NULL;
    float *data = PyArray_DATA((PyArrayObject *)mask);
    for (int64_t i = 0; i < rows * columns; i++) data[i] = 1.0f;
    mask_args a = {pta_f32(data, columns), {(float)p, pta_dropout_key(key, (uint64_t)(layer * PTA_PROJECTIONS + projection))},
                   rows, columns};
    pta_error err = {0};
    if (!pta_team_run(fill_mask, &a, 0, &err)) return mask;
    Py_DECREF(mask);
    return pta_py_raise(&err);
}

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef functions[] = {
    {"train_likelihood", KEYWORDS(train_likelihood), train_likelihood_doc},
    {"train_policy", KEYWORDS(train_policy), train_policy_doc},
    {"train_bytes", train_bytes, METH_VARARGS, train_bytes_doc},
    {"dropout_mask", dropout_mask, METH_VARARGS, dropout_mask_doc},
    {NULL, NULL, 0, NULL},
};

int pta_py_add_train(PyObject *module) { return PyModule_AddFunctions(module, functions); }
