/* The type Model: configuration in, named views of weights and gradients out, forward and backward over a Forest. */
#include "arrays.h"
#include "compute.h"
#include "errors.h"
#include "model.h"
#include "state.h"

PyDoc_STRVAR(model_doc,
             "Model(config)\n--\n\n"
             "A decoder-only transformer; its float32 weights are zero at birth.\n\n"
             "Args:\n"
             "    config: dict with vocab_size, hidden_size, intermediate_size, num_hidden_layers,\n"
             "        num_attention_heads, num_key_value_heads, head_dim (ints), rms_norm_eps (float),\n"
             "        tie_word_embeddings, attention_bias (of q, k and v), qk_norm (bools),\n"
             "        inv_freq (float64[head_dim/2], the rotary frequencies) and, optionally, dtype: 'float32' (the\n"
             "        default) or 'bfloat16', the type of working weights and stored activations; and weights: 'trained' (float32\n"
             "        masters), or 'bfloat16', 'int8', 'int4': the matrices are frozen and kept in that form alone, and an\n"
             "        adapter is what can be trained (set_rows fills them); and rope_sections and vision, of models that see\n"
             "        images: three ints that add up to head_dim/2, and a dict of the tower's sizes (docs/vision.md).\n\n"
             "Raises:\n"
             "    TypeError, ValueError: a key is missing, unknown, of another type or out of range.\n"
             "    MemoryError: the weights do not fit.");

/* Configuration ---------------------------------------------------------------------------------------------- */

static PyObject *config_item(PyObject *config, const char *key) {
    PyObject *value = PyDict_GetItemString(config, key); /* borrowed */
    if (!value) PyErr_Format(PyExc_ValueError, "config: missing key '%s'", key);
    return value;
}

int pta_py_config_size(PyObject *config, const char *key, int64_t *out) {
    PyObject *value = config_item(config, key);
    if (!value) return -1;
    if (!PyLong_Check(value) || PyBool_Check(value)) {
        PyErr_Format(PyExc_TypeError, "config['%s']: expected an int, got %.100s", key, Py_TYPE(value)->tp_name);
        return -1;
    }
    *out = PyLong_AsLongLong(value);
    return *out == -1 && PyErr_Occurred() ? -1 : 0;
}

static int config_flag(PyObject *config, const char *key, bool *out) {
    PyObject *value = config_item(config, key);
    if (!value) return -1;
    if (!PyBool_Check(value)) {
        PyErr_Format(PyExc_TypeError, "config['%s']: expected a bool, got %.100s", key, Py_TYPE(value)->tp_name);
        return -1;
    }
    *out = value == Py_True;
    return 0;
}

/* Optional: float32 unless said otherwise. Returns how many keys it read (0 or 1), or -1. */
static int config_dtype(PyObject *config, pta_dtype *out) {
    PyObject *value = PyDict_GetItemString(config, "dtype"); /* borrowed */
    *out = PTA_F32;
    if (!value) return 0;
    const char *text = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    if (text && !strcmp(text, "bfloat16"))
        *out = PTA_BF16;
    else if (!text || strcmp(text, "float32")) {
        if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "config['dtype']: expected 'float32' or 'bfloat16', got %R", value);
        return -1;
    }
    return 1;
}

static const char *const kinds[] = {"trained", "bfloat16", "int8", "int4"}; /* 1 + the pta_frozen_kind */

/* Optional: "trained" unless said otherwise. Returns as config_dtype. */
static int config_weights(PyObject *config, int *frozen) {
    PyObject *value = PyDict_GetItemString(config, "weights"); /* borrowed */
    *frozen = 0;
    if (!value) return 0;
    const char *text = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    for (int i = 0; text && i < 4; i++)
        if (!strcmp(text, kinds[i])) {
            *frozen = i;
            return 1;
        }
    PyErr_Format(PyExc_ValueError, "config['weights']: expected 'trained', 'bfloat16', 'int8' or 'int4', got %R", value);
    return -1;
}

/* Optional: layers without rotary embedding. After the sizes. Returns as config_dtype. */
static int config_unrotated(PyObject *config, pta_config *c) {
    PyObject *value = PyDict_GetItemString(config, "unrotated_layers"); /* borrowed */
    int64_t layers[PTA_MOST_UNROTATED];
    const Py_ssize_t count = value ? pta_py_config_ints(value, "unrotated_layers", layers, PTA_MOST_UNROTATED) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (layers[i] < 0 || layers[i] >= c->L || layers[i] >= PTA_MOST_UNROTATED) {
            PyErr_Format(PyExc_ValueError, "config['unrotated_layers']: %lld, must be a layer, 0 to %lld, and below %d",
                         (long long)layers[i], (long long)c->L - 1, PTA_MOST_UNROTATED);
            return -1;
        }
        c->unrotated[layers[i]] = 1;
    }
    return count < 0 ? -1 : value != NULL;
}

int pta_py_read_config(PyObject *config, pta_config *c) {
    enum { KEYS = 12 };
    double eps;
    const int dtype = config_dtype(config, &c->dtype), weights = dtype < 0 ? -1 : config_weights(config, &c->frozen);
    if (weights < 0) return -1;
    const int vision = pta_py_read_vision(config, c);
    if (vision < 0) return -1;
    const int optional = dtype + weights + vision;
    if (pta_py_config_size(config, "vocab_size", &c->V) || pta_py_config_size(config, "hidden_size", &c->C) ||
        pta_py_config_size(config, "intermediate_size", &c->F) || pta_py_config_size(config, "num_hidden_layers", &c->L) ||
        pta_py_config_size(config, "num_attention_heads", &c->H) || pta_py_config_size(config, "num_key_value_heads", &c->K) ||
        pta_py_config_size(config, "head_dim", &c->D) || config_flag(config, "tie_word_embeddings", &c->tied) ||
        config_flag(config, "attention_bias", &c->qkv_bias) || config_flag(config, "qk_norm", &c->qk_norm))
        return -1;
    const int unrotated = config_unrotated(config, c);
    if (unrotated < 0) return -1;
    PyObject *value = config_item(config, "rms_norm_eps");
    if (!value || pta_py_finite(value, "config['rms_norm_eps']", &eps)) return -1;
    c->eps = (float)eps;
    value = config_item(config, "inv_freq");
    if (!value) return -1;
    c->inv_freq = pta_py_vector(value, "config['inv_freq']", NPY_FLOAT64, c->D / 2, "head_dim/2", NULL);
    if (!c->inv_freq) return -1;
    if (PyDict_GET_SIZE(config) != KEYS + optional + unrotated) {
        PyErr_Format(PyExc_ValueError,
                     "config: expected %d keys, dtype, weights, unrotated_layers, rope_sections and vision, got %zd", KEYS, PyDict_GET_SIZE(config));
        return -1;
    }
    return 0;
}

static PyObject *model_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"config", NULL};
    PyObject *dict;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:Model", names, &PyDict_Type, &dict)) return NULL;
    pta_config config = {0};
    if (pta_py_read_config(dict, &config)) return NULL;
    pta_py_model *self = (pta_py_model *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    pta_error err = {0};
    if (pta_model_create(&self->model, &config, &err)) {
        Py_DECREF(self);
        return pta_py_raise(&err);
    }
    return (PyObject *)self;
}

static void model_dealloc(PyObject *object) {
    pta_py_model *self = (pta_py_model *)object;
    PyTypeObject *type = Py_TYPE(object);
    pta_model_free(self->model);
    Py_XDECREF(self->tape_forest);
    type->tp_free(object);
    Py_DECREF(type);
}

static int write_unrotated(PyObject *config, const pta_config *c) {
    PyObject *layers = PyList_New(0);
    for (int64_t l = 0; layers && l < PTA_MOST_UNROTATED; l++) {
        PyObject *layer = c->unrotated[l] ? PyLong_FromLongLong(l) : NULL;
        if (c->unrotated[l] && (!layer || PyList_Append(layers, layer))) Py_CLEAR(layers);
        Py_XDECREF(layer);
    }
    const int status = !layers ? -1 : PyList_GET_SIZE(layers) ? PyDict_SetItemString(config, "unrotated_layers", layers) : 0;
    Py_XDECREF(layers);
    return status;
}

static PyObject *get_config(PyObject *object, void *Py_UNUSED(closure)) {
    pta_py_model *self = (pta_py_model *)object;
    const pta_config *c = &self->model->config;
    npy_intp half = c->D / 2;
    PyObject *frequencies = pta_py_view(object, c->inv_freq, NPY_FLOAT64, 1, &half, false);
    if (!frequencies) return NULL;
    PyObject *dict = Py_BuildValue("{s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:d,s:O,s:O,s:O,s:N,s:s,s:s}", "vocab_size", (long long)c->V,
                         "hidden_size", (long long)c->C, "intermediate_size", (long long)c->F, "num_hidden_layers",
                         (long long)c->L, "num_attention_heads", (long long)c->H, "num_key_value_heads",
                         (long long)c->K, "head_dim", (long long)c->D, "rms_norm_eps", (double)c->eps,
                         "tie_word_embeddings", c->tied ? Py_True : Py_False, "attention_bias",
                         c->qkv_bias ? Py_True : Py_False, "qk_norm", c->qk_norm ? Py_True : Py_False, "inv_freq",
                         frequencies, "dtype", c->dtype == PTA_BF16 ? "bfloat16" : "float32", "weights", kinds[c->frozen]);
    if (dict && (write_unrotated(dict, c) || pta_py_write_vision(dict, c))) Py_CLEAR(dict);
    return dict;
}

static PyObject *get_num_parameters(PyObject *object, void *Py_UNUSED(closure)) {
    return PyLong_FromLongLong(pta_model_trainable(((pta_py_model *)object)->model).num_elements);
}

/* Weights and gradients -------------------------------------------------------------------------------------- */

PyDoc_STRVAR(parameters_doc,
             "parameters() -> dict[str, float32 array]\n\n"
             "Writable views of the weights under their Hugging Face names, in the order of the layers.\n"
             "Whoever writes into them between forward and backward gets gradients at neither point.");
static PyObject *model_parameters(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    pta_py_model *self = (pta_py_model *)object;
    const pta_model *m = self->model;
    PyObject *owner = pta_py_lease(self, false);
    PyObject *views = owner ? pta_py_named_views(m->params, m->num_params, owner, m->weights.arena) : NULL;
    Py_XDECREF(owner);
    return views;
}

static int need_gradients(pta_py_model *self) {
    pta_error err = {0};
    if (!pta_model_need_grads(self->model, &err)) return 0;
    pta_py_raise(&err);
    return -1;
}

PyDoc_STRVAR(gradients_doc,
             "gradients() -> dict[str, float32 array]\n\n"
             "Writable views of the gradients of what is trained: names and shapes as in parameters(), or in\n"
             "adapter_parameters() where there is an adapter. Allocated, as zeros, at first use.");
static PyObject *model_gradients(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    pta_py_model *self = (pta_py_model *)object;
    if (pta_py_acquire(&self->busy, "Model")) return NULL;
    int failed = need_gradients(self);
    if (!failed) self->model->grads_seen = true, self->model->grads_zero = false;
    pta_py_release(&self->busy);
    if (failed) return NULL;
    const pta_trainable trained = pta_model_trainable(self->model);
    return pta_py_named_views(trained.params, trained.num_params, object, trained.grads);
}

PyDoc_STRVAR(zero_grad_doc, "zero_grad()\n\nSet all gradients to zero.");
static PyObject *model_zero_grad(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    pta_py_model *self = (pta_py_model *)object;
    if (pta_py_acquire(&self->busy, "Model")) return NULL;
    pta_py_call call;
    pta_py_begin(&call);
    pta_model_zero_grads(self->model);
    pta_py_end(&call);
    pta_py_release(&self->busy);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(memory_doc,
             "memory() -> dict[str, int]\n\n"
             "Bytes: weights (masters), packed (working copies), gradients, each 0 until first used; scratch (activations kept\n"
             "from call to call); to_allocate, what training will add to weights, packed and gradients.");
static PyObject *model_memory(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    pta_model_memory memory = pta_model_get_memory(((pta_py_model *)object)->model);
    return Py_BuildValue("{s:L,s:L,s:L,s:L,s:L}", "weights", (long long)memory.weights, "packed", (long long)memory.packed,
                         "gradients", (long long)memory.gradients, "scratch", (long long)memory.scratch, "to_allocate",
                         (long long)memory.to_allocate);
}

/* Forward and backward --------------------------------------------------------------------------------------- */

static pta_py_forest *forest_argument(pta_py_model *self, PyObject *object) {
    if (PyObject_TypeCheck(object, pta_py_state_of(Py_TYPE(self))->forest_type)) return (pta_py_forest *)object;
    PyErr_Format(PyExc_TypeError, "forest: expected a Forest, got %.100s", Py_TYPE(object)->tp_name);
    return NULL;
}

/* The tape belongs to this forest from now on (NULL: there is no tape). */
static void set_tape_forest(pta_py_model *self, PyObject *forest) {
    Py_XINCREF(forest);
    Py_XSETREF(self->tape_forest, forest);
}

PyDoc_STRVAR(forward_doc,
             "forward(forest, source, target, temperature=1.0, keep=True) -> (logprobs, entropies)\n\n"
             "Log-probabilities of targets: log softmax(logits[source] / temperature)[target], float32[N], and the\n"
             "entropy of each of those distributions in nats, float32[N]. Logits are never stored.\n\n"
             "Args:\n"
             "    forest: Forest of T tokens.\n"
             "    source: int32[N], the row whose hidden state predicts.\n"
             "    target: int32[N], the token id predicted.\n"
             "    keep: record what backward needs. A model has one tape; a new forward drops the old one.\n\n"
             "Raises:\n"
             "    ValueError: a token, source or target is out of range, or temperature is not positive.\n"
             "    FloatingPointError: a log-probability is NaN.");
static PyObject *model_forward(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"forest", "source", "target", "temperature", "keep", NULL};
    pta_py_model *self = (pta_py_model *)object;
    PyObject *forest_in, *source_in, *target_in;
    float temperature = 1.0f;
    int keep = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|fp:forward", names, &forest_in, &source_in, &target_in,
                                     &temperature, &keep))
        return NULL;
    pta_py_forest *forest = forest_argument(self, forest_in);
    if (!forest) return NULL;
    npy_intp N;
    const int32_t *source = pta_py_vector(source_in, "source", NPY_INT32, -1, "N", &N);
    if (!source) return NULL;
    const int32_t *target = pta_py_vector(target_in, "target", NPY_INT32, N, "N", NULL);
    if (!target) return NULL;
    void *logprobs, *entropies;
    PyObject *first = pta_py_new_vector(NPY_FLOAT32, N, &logprobs);
    PyObject *second = first ? pta_py_new_vector(NPY_FLOAT32, N, &entropies) : NULL;
    if (!second || pta_py_acquire(&self->busy, "Model")) {
        Py_XDECREF(first);
        Py_XDECREF(second);
        return NULL;
    }
    pta_error err = {0};
    pta_py_call call;
    pta_py_begin(&call);
    pta_code code = pta_model_forward(self->model, forest->forest, source, target, N, temperature,
                                      keep ? PTA_KEEP_ALL : PTA_KEEP_NOTHING, logprobs, entropies, &err);
    pta_py_end(&call);
    set_tape_forest(self, self->model->tape ? forest_in : NULL);
    pta_py_release(&self->busy);
    if (code) {
        Py_DECREF(first);
        Py_DECREF(second);
        return pta_py_raise(&err);
    }
    return Py_BuildValue("(NN)", first, second);
}

PyDoc_STRVAR(backward_doc,
             "backward(dlogprobs, dentropies=None)\n\n"
             "Add to gradients() the derivative of sum(dlogprobs * logprobs) + sum(dentropies * entropies) of the\n"
             "last forward(..., keep=True), and drop its tape.\n\n"
             "Args:\n"
             "    dlogprobs: float32[N].\n"
             "    dentropies: float32[N] or None.\n\n"
             "Raises:\n"
             "    RuntimeError: there is no tape, or the weights changed since.\n"
             "    KeyboardInterrupt, MemoryError: the gradients are then undefined; call zero_grad() and start over.");
static PyObject *model_backward(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"dlogprobs", "dentropies", NULL};
    pta_py_model *self = (pta_py_model *)object;
    PyObject *dlogprobs_in, *dentropies_in = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:backward", names, &dlogprobs_in, &dentropies_in)) return NULL;
    if (pta_py_acquire(&self->busy, "Model")) return NULL;
    int64_t N = pta_model_num_targets(self->model);
    const float *dlogprobs = NULL, *dentropies = NULL;
    if (N < 0) {
        PyErr_SetString(PyExc_RuntimeError, "backward without a forward: call forward(..., keep=True) first");
        goto fail;
    }
    dlogprobs = pta_py_vector(dlogprobs_in, "dlogprobs", NPY_FLOAT32, N, "N", NULL);
    if (!dlogprobs) goto fail;
    if (dentropies_in != Py_None) {
        dentropies = pta_py_vector(dentropies_in, "dentropies", NPY_FLOAT32, N, "N", NULL);
        if (!dentropies) goto fail;
    }
    pta_error err = {0};
    pta_py_call call;
    pta_py_begin(&call);
    pta_code code = pta_model_backward(self->model, dlogprobs, dentropies, &err);
    pta_py_end(&call);
    if (!self->model->tape) set_tape_forest(self, NULL);
    pta_py_release(&self->busy);
    if (code) return pta_py_raise(&err);
    Py_RETURN_NONE;
fail:
    pta_py_release(&self->busy);
    return NULL;
}

PyDoc_STRVAR(logits_doc,
             "logits(forest, rows) -> float32[R, V]\n\n"
             "Logits after the given rows (int32[R]) of the forest; for tests and inspection. Drops no tape.");
static PyObject *model_logits(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"forest", "rows", NULL};
    pta_py_model *self = (pta_py_model *)object;
    PyObject *forest_in, *rows_in;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:logits", names, &forest_in, &rows_in)) return NULL;
    pta_py_forest *forest = forest_argument(self, forest_in);
    if (!forest) return NULL;
    npy_intp dims[2] = {0, self->model->config.V};
    const int32_t *rows = pta_py_vector(rows_in, "rows", NPY_INT32, -1, "R", &dims[0]);
    if (!rows) return NULL;
    PyObject *logits = PyArray_SimpleNew(2, dims, NPY_FLOAT32);
    if (!logits || pta_py_acquire(&self->busy, "Model")) {
        Py_XDECREF(logits);
        return NULL;
    }
    pta_error err = {0};
    pta_py_call call;
    pta_py_begin(&call);
    pta_code code = pta_model_logits(self->model, forest->forest, rows, dims[0],
                                     PyArray_DATA((PyArrayObject *)logits), &err);
    pta_py_end(&call);
    pta_py_release(&self->busy);
    if (!code) return logits;
    Py_DECREF(logits);
    return pta_py_raise(&err);
}

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"parameters", model_parameters, METH_NOARGS, parameters_doc},
    {"gradients", model_gradients, METH_NOARGS, gradients_doc},
    {"memory", model_memory, METH_NOARGS, memory_doc},
    PTA_PY_ADAPTER_METHODS,
    PTA_PY_FROZEN_METHODS,
    PTA_PY_VISION_METHODS,
    {"zero_grad", model_zero_grad, METH_NOARGS, zero_grad_doc},
    {"forward", KEYWORDS(model_forward), forward_doc},
    {"backward", KEYWORDS(model_backward), backward_doc},
    {"logits", KEYWORDS(model_logits), logits_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"config", get_config, NULL, "dict, as given to the constructor", NULL},
    {"num_parameters", get_num_parameters, NULL, "trainable numbers: of the adapter where there is one", NULL},
    PTA_PY_ADAPTER_GETTERS,
    PTA_PY_VISION_GETTERS,
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)model_doc},
    {Py_tp_new, model_new},
    {Py_tp_dealloc, model_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "ptagrpo._core.Model",
    .basicsize = sizeof(pta_py_model),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int pta_py_add_model(PyObject *module) {
    pta_py_state *state = PyModule_GetState(module);
    return pta_py_add_lease(module) ? -1 : pta_py_add_type(module, &spec, &state->model_type);
}
