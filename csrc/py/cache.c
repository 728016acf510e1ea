/* The types Cache (segmented KV cache and sampling) and StopTable. */
#include <string.h>

#include "../generate/decode.h"
#include "../generate/step.h"
#include "arrays.h"
#include "compute.h"
#include "errors.h"
#include "state.h"

/* StopTable -------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(stop_doc,
             "StopTable(token_bytes, token_offsets, stop_bytes, stop_offsets)\n--\n\n"
             "Stop strings, and the bytes of every token, ready for Cache.sample.\n\n"
             "Args:\n"
             "    token_bytes: uint8[], the bytes of token 0, of token 1, ...\n"
             "    token_offsets: int64[V+1], where each begins. Special tokens have no bytes, nor have ids from V on.\n"
             "    stop_bytes: uint8[], the stop strings one behind the other, at most 16384 bytes.\n"
             "    stop_offsets: int32[n+1], where each begins. None may be empty; n may be 0.\n\n"
             "A chain stops with the token whose bytes complete a stop string, in the middle of the token or not, and\n"
             "wherever token borders lie. Only text that the call itself generates is looked at.\n\n"
             "Raises:\n"
             "    TypeError, ValueError: wrong dtype or shape, offsets that do not fit, an empty stop string.");

typedef struct {
    PyObject_HEAD
    pta_stop_table *table; /* immutable: any number of calls may read it */
} py_stop_table;

static PyObject *stop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"token_bytes", "token_offsets", "stop_bytes", "stop_offsets", NULL};
    PyObject *bytes_in, *offsets_in, *stops_in, *stop_offsets_in;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO:StopTable", names, &bytes_in, &offsets_in, &stops_in,
                                     &stop_offsets_in))
        return NULL;
    npy_intp num_bytes, num_offsets, num_stop_bytes, num_stop_offsets;
    const uint8_t *bytes = pta_py_vector(bytes_in, "token_bytes", NPY_UINT8, -1, "bytes", &num_bytes);
    if (!bytes) return NULL;
    const int64_t *offsets = pta_py_vector(offsets_in, "token_offsets", NPY_INT64, -1, "V+1", &num_offsets);
    if (!offsets) return NULL;
    const uint8_t *stops = pta_py_vector(stops_in, "stop_bytes", NPY_UINT8, -1, "bytes", &num_stop_bytes);
    if (!stops) return NULL;
    const int32_t *stop_offsets = pta_py_vector(stop_offsets_in, "stop_offsets", NPY_INT32, -1, "n+1",
                                                &num_stop_offsets);
    if (!stop_offsets) return NULL;
    if (num_offsets < 1) return PyErr_Format(PyExc_ValueError, "token_offsets: expected V+1 >= 1 entries, got none");
    if (num_stop_offsets < 1)
        return PyErr_Format(PyExc_ValueError, "stop_offsets: expected n+1 >= 1 entries, got none");
    py_stop_table *self = (py_stop_table *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    pta_error err = {0};
    if (pta_stop_create(&self->table, bytes, num_bytes, offsets, num_offsets - 1, stops, num_stop_bytes, stop_offsets,
                        num_stop_offsets - 1, &err)) {
        Py_DECREF(self);
        return pta_py_raise(&err);
    }
    return (PyObject *)self;
}

static void stop_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    pta_stop_free(((py_stop_table *)object)->table);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Slot stop_slots[] = {
    {Py_tp_new, stop_new}, {Py_tp_dealloc, stop_dealloc}, {Py_tp_doc, (void *)stop_doc}, {0, NULL}};
static PyType_Spec stop_spec = {"ptagrpo._core.StopTable", sizeof(py_stop_table), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, stop_slots};

/* Cache ------------------------------------------------------------------------------------------------------ */

PyDoc_STRVAR(cache_doc,
             "Cache(model)\n--\n\n"
             "Keys and values of a growing forest of token segments, and sampling from it.\n\n"
             "A segment is stored once, however many segments continue it. Segments are named by int64 handles; a\n"
             "freed handle is refused. While segments are stored, weights must not change: the cache refuses when they went\n"
             "through the core (an optimizer step), and cannot notice writing into the views of Model.parameters().\n"
             "The cache keeps its model alive.");

typedef struct {
    PyObject_HEAD
    pta_py_model *model; /* strong */
    pta_cache *cache;
    pta_py_busy busy;
} py_cache;

static PyObject *cache_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"model", NULL};
    PyObject *model;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Cache", names, &model)) return NULL;
    if (!Py_IS_TYPE(model, pta_py_state_of(type)->model_type))
        return PyErr_Format(PyExc_TypeError, "model: expected a Model, got %.100s", Py_TYPE(model)->tp_name);
    py_cache *self = (py_cache *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->model = (pta_py_model *)Py_NewRef(model);
    pta_error err = {0};
    if (pta_cache_create(&self->cache, self->model->model, &err)) {
        Py_DECREF(self);
        return pta_py_raise(&err);
    }
    return (PyObject *)self;
}

static void cache_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    py_cache *self = (py_cache *)object;
    pta_cache_free(self->cache);
    Py_XDECREF(self->model);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Take the cache and its model for a long call, and let other threads run. */
static int enter(py_cache *self, pta_py_call *call) {
    if (pta_py_acquire(&self->busy, "Cache") < 0) return -1;
    if (pta_py_acquire(&self->model->busy, "Model") < 0) {
        pta_py_release(&self->busy);
        return -1;
    }
    pta_py_begin(call);
    return 0;
}

static void leave(py_cache *self, pta_py_call *call) {
    pta_py_end(call);
    pta_py_release(&self->model->busy);
    pta_py_release(&self->busy);
}

PyDoc_STRVAR(prefill_doc,
             "prefill(tokens, parents, positions=None, inputs=None)\n--\n\n"
             "Store runs of tokens, all of them computed together.\n\n"
             "Args:\n"
             "    tokens: sequence of int32 arrays (n_i,); empty ones are allowed.\n"
             "    parents: int64[len(tokens)], the handle of the segment that each continues, or -1.\n"
             "    positions, inputs: None, or for each run None or its positions int32[3, n_i] and its pair (input_rows,\n"
             "        inputs), as Forest takes them; what continues a run goes on at its largest position plus one.\n\n"
             "Returns:\n"
             "    int64[len(tokens)] handles.\n\n"
             "Raises:\n"
             "    TypeError, ValueError: an argument. RuntimeError: a freed parent, changed weights. MemoryError.\n"
             "    After a failure the cache is as it was.");

/* A list of n items, or None, as a tuple of ours: the arrays stay alive while the GIL is released. New reference. */
static PyObject *own_items(PyObject *list, Py_ssize_t n, const char *what) {
    PyObject *items = list == Py_None ? PyTuple_New(0) : PySequence_Tuple(list);
    if (!items || list == Py_None || PyTuple_GET_SIZE(items) == n) return items;
    PyErr_Format(PyExc_ValueError, "%s: expected None or %zd items, one for each run, got %zd", what, n, PyTuple_GET_SIZE(items));
    Py_DECREF(items);
    return NULL;
}

static PyObject *item_of(PyObject *items, Py_ssize_t i) {
    return PyTuple_GET_SIZE(items) ? PyTuple_GET_ITEM(items, i) : Py_None;
}

static int read_prompt(pta_prompt *p, PyObject *run, PyObject *positions, PyObject *inputs, Py_ssize_t i) {
    char name[48];
    npy_intp length = 0;
    PyOS_snprintf(name, sizeof name, "tokens[%ld]", (long)i);
    p->tokens = pta_py_vector(run, name, NPY_INT32, -1, "n", &length);
    p->length = length;
    if (!p->tokens) return -1;
    if (inputs != Py_None && (!PyTuple_Check(inputs) || PyTuple_GET_SIZE(inputs) != 2)) {
        PyErr_Format(PyExc_TypeError, "inputs[%zd]: expected None or a pair (input_rows, inputs)", i);
        return -1;
    }
    const bool given = inputs != Py_None;
    return pta_py_extra(&p->extra, positions, given ? PyTuple_GET_ITEM(inputs, 0) : Py_None,
                        given ? PyTuple_GET_ITEM(inputs, 1) : Py_None, length);
}

static PyObject *cache_prefill(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"tokens", "parents", "positions", "inputs", NULL};
    py_cache *self = (py_cache *)object;
    PyObject *tokens_in, *parents_in, *positions = Py_None, *inputs = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OO:prefill", names, &tokens_in, &parents_in, &positions, &inputs))
        return NULL;
    if (!PyList_Check(tokens_in) && !PyTuple_Check(tokens_in))
        return PyErr_Format(PyExc_TypeError, "tokens: expected a list of int32 arrays, got %.100s",
                            Py_TYPE(tokens_in)->tp_name);
    PyObject *runs = PySequence_Tuple(tokens_in);
    if (!runs) return NULL;
    npy_intp n = PyTuple_GET_SIZE(runs);
    PyObject *own_positions = own_items(positions, n, "positions");
    PyObject *own_inputs = own_positions ? own_items(inputs, n, "inputs") : NULL;
    const int64_t *parents =
        own_inputs ? pta_py_vector(parents_in, "parents", NPY_INT64, n, "len(tokens)", NULL) : NULL;
    pta_prompt *prompts = PyMem_New(pta_prompt, n + 1);
    int64_t *out;
    PyObject *handles = parents ? pta_py_new_vector(NPY_INT64, n, (void **)&out) : NULL;
    bool ready = handles && prompts;
    if (handles && !ready) PyErr_NoMemory();
    for (npy_intp i = 0; i < n && ready; i++) {
        prompts[i].parent = parents[i];
        ready = !read_prompt(&prompts[i], PyTuple_GET_ITEM(runs, i), item_of(own_positions, i), item_of(own_inputs, i), i);
    }
    pta_error err = {0};
    pta_py_call call;
    if (ready && enter(self, &call) == 0) {
        pta_cache_prefill(self->cache, out, prompts, n, &err);
        leave(self, &call);
        if (err.code) pta_py_raise(&err);
        ready = !err.code;
    } else {
        ready = false;
    }
    PyMem_Free(prompts);
    Py_DECREF(runs);
    Py_XDECREF(own_positions);
    Py_XDECREF(own_inputs);
    if (!ready) Py_CLEAR(handles);
    return handles;
}

PyDoc_STRVAR(sample_doc,
             "sample(parents, keys, max_new_tokens, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, eos=None, "
             "stops=None, max_rows=512, keep=True)\n--\n\n"
             "Continue segments by sampled tokens. A chain's result depends on its parent, its key and its limit alone.\n\n"
             "Args:\n"
             "    parents: int64[B], the segment that each chain continues; repeats share its keys and values.\n"
             "    keys: uint64[B]; draw i of chain b uses the random number (keys[b], i) and nothing else.\n"
             "    max_new_tokens: int32[B], at least 0.\n"
             "    temperature: 0 is greedy (lowest id among equals; the filters then do nothing).\n"
             "    top_k: 0 is off. Then top_p: 1 is off. Then min_p: 0 is off. Each acts on what the one before left,\n"
             "        and keeps all of several equally probable tokens, or none.\n"
             "    eos: int32[] tokens that end a chain; the token is part of the chain.\n"
             "    stops: StopTable or None.\n"
             "    max_rows: chains that decode side by side, 1 to 512; when one ends, the next one begins.\n"
             "    keep: False releases a chain's keys and values when it ends: nothing can continue it.\n\n"
             "Returns:\n"
             "    dict of handles int64[B] (each chain is a new segment; -1 without keep), lengths int32[B], finish\n"
             "    uint8[B] (0 length, 1 eos, 2 stop string), and chain after chain: tokens int32[total], logprobs\n"
             "    float32[total] and entropies float32[total] (nats) under softmax(logits / temperature), before filters,\n"
             "    to the bit what Model.forward gives for the same tokens, and sampling_logprobs float32[total] under the\n"
             "    distribution drawn from. Greedy: logprobs and entropies at temperature 1, sampling_logprobs 0.\n\n"
             "Raises:\n"
             "    TypeError, ValueError: an argument. RuntimeError: a freed parent, changed weights.\n"
             "    FloatingPointError: logits that are not finite. MemoryError, KeyboardInterrupt.\n"
             "    After a failure the cache is as it was.");

static int read_options(py_cache *self, pta_sample_options *o, PyObject *eos, PyObject *stops) {
    if (eos != Py_None) {
        npy_intp n;
        o->eos = pta_py_vector(eos, "eos", NPY_INT32, -1, "n", &n);
        if (!o->eos) return -1;
        o->num_eos = n;
    }
    if (stops != Py_None) {
        if (!Py_IS_TYPE(stops, pta_py_state_of(Py_TYPE(self))->stop_table_type)) {
            PyErr_Format(PyExc_TypeError, "stops: expected a StopTable or None, got %.100s", Py_TYPE(stops)->tp_name);
            return -1;
        }
        o->stops = ((py_stop_table *)stops)->table;
    }
    return 0;
}

/* Put a copy of data[count] into the dict. */
static int put(PyObject *dict, const char *key, int type, npy_intp count, const void *data, size_t size) {
    void *to;
    PyObject *array = pta_py_new_vector(type, count, &to);
    if (!array) return -1;
    if (count) memcpy(to, data, (size_t)count * size);
    int status = PyDict_SetItemString(dict, key, array);
    Py_DECREF(array);
    return status;
}

static PyObject *sample_result(const pta_samples *s, npy_intp B) {
    PyObject *dict = PyDict_New();
    if (dict && !put(dict, "handles", NPY_INT64, B, s->handles, sizeof(int64_t)) &&
        !put(dict, "lengths", NPY_INT32, B, s->lengths, sizeof(int32_t)) &&
        !put(dict, "tokens", NPY_INT32, s->total, s->tokens, sizeof(int32_t)) &&
        !put(dict, "logprobs", NPY_FLOAT32, s->total, s->logprobs, sizeof(float)) &&
        !put(dict, "sampling_logprobs", NPY_FLOAT32, s->total, s->sampling_logprobs, sizeof(float)) &&
        !put(dict, "entropies", NPY_FLOAT32, s->total, s->entropies, sizeof(float)) &&
        !put(dict, "finish", NPY_UINT8, B, s->finish, 1))
        return dict;
    Py_XDECREF(dict);
    return NULL;
}

static PyObject *cache_sample(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"parents", "keys", "max_new_tokens", "temperature", "top_k", "top_p", "min_p", "eos",
                            "stops", "max_rows", "keep", NULL};
    py_cache *self = (py_cache *)object;
    PyObject *parents_in, *keys_in, *max_new_in, *eos_in = Py_None, *stops_in = Py_None;
    pta_sample_options options = {.sampling = {1.0, 0, 1.0, 0.0}, .max_rows = PTA_STEP_ROWS};
    pta_sampling *sampling = &options.sampling;
    int keep = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|diddOOip:sample", names, &parents_in, &keys_in, &max_new_in,
                                     &sampling->temperature, &sampling->top_k, &sampling->top_p, &sampling->min_p,
                                     &eos_in, &stops_in, &options.max_rows, &keep))
        return NULL;
    options.keep = keep;
    npy_intp B;
    const int64_t *parents = pta_py_vector(parents_in, "parents", NPY_INT64, -1, "B", &B);
    if (!parents) return NULL;
    const uint64_t *keys = pta_py_vector(keys_in, "keys", NPY_UINT64, B, "B", NULL);
    if (!keys) return NULL;
    const int32_t *max_new = pta_py_vector(max_new_in, "max_new_tokens", NPY_INT32, B, "B", NULL);
    if (!max_new || read_options(self, &options, eos_in, stops_in)) return NULL;
    pta_samples samples = {.handles = PyMem_New(int64_t, B + 1), .lengths = PyMem_New(int32_t, B + 1),
                           .finish = PyMem_New(uint8_t, B + 1)};
    PyObject *result = NULL;
    pta_error err = {0};
    pta_py_call call;
    if (!samples.handles || !samples.lengths || !samples.finish) {
        PyErr_NoMemory();
    } else if (enter(self, &call) == 0) {
        pta_code code = pta_cache_sample(self->cache, &samples, parents, keys, max_new, B, &options, &err);
        leave(self, &call);
        result = code ? pta_py_raise(&err) : sample_result(&samples, B);
        if (!code && !result && keep) pta_cache_release(self->cache, samples.handles, B, &err);
        pta_samples_free(&samples);
    }
    PyMem_Free(samples.handles);
    PyMem_Free(samples.lengths);
    PyMem_Free(samples.finish);
    return result;
}

PyDoc_STRVAR(free_doc,
             "free(handles)\n--\n\n"
             "Release segments: int64[n], children first or together with their parents.\n\n"
             "Raises:\n"
             "    RuntimeError: freed before, twice in the list, or a live child is not in the list; then nothing is\n"
             "    freed.\n"
             "    ValueError: not a handle of this cache.");

static PyObject *cache_release(PyObject *object, PyObject *handles_in) {
    py_cache *self = (py_cache *)object;
    npy_intp n;
    const int64_t *handles = pta_py_vector(handles_in, "handles", NPY_INT64, -1, "n", &n);
    if (!handles || pta_py_acquire(&self->busy, "Cache") < 0) return NULL;
    pta_error err = {0};
    pta_code code = pta_cache_release(self->cache, handles, n, &err);
    pta_py_release(&self->busy);
    if (code) return pta_py_raise(&err);
    Py_RETURN_NONE;
}

static PyObject *get_bytes(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLongLong(((py_cache *)self)->cache->bytes);
}
static PyObject *get_num_segments(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLong(((py_cache *)self)->cache->num_live);
}
static PyObject *get_model(PyObject *self, void *Py_UNUSED(closure)) {
    return Py_NewRef((PyObject *)((py_cache *)self)->model);
}

static PyGetSetDef cache_getters[] = {
    {"bytes", get_bytes, NULL, "Bytes of keys, values and hidden states that live segments hold", NULL},
    {"num_segments", get_num_segments, NULL, "Live segments", NULL},
    {"model", get_model, NULL, "The Model", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyMethodDef cache_methods[] = {
    {"prefill", (PyCFunction)(void (*)(void))cache_prefill, METH_VARARGS | METH_KEYWORDS, prefill_doc},
    {"sample", (PyCFunction)(void (*)(void))cache_sample, METH_VARARGS | METH_KEYWORDS, sample_doc},
    {"free", cache_release, METH_O, free_doc},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot cache_slots[] = {{Py_tp_new, cache_new},         {Py_tp_dealloc, cache_dealloc},
                                    {Py_tp_methods, cache_methods}, {Py_tp_getset, cache_getters},
                                    {Py_tp_doc, (void *)cache_doc}, {0, NULL}};
static PyType_Spec cache_spec = {"ptagrpo._core.Cache", sizeof(py_cache), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, cache_slots};

int pta_py_add_cache(PyObject *module) {
    pta_py_state *state = PyModule_GetState(module);
    if (pta_py_add_type(module, &stop_spec, &state->stop_table_type) < 0) return -1;
    return pta_py_add_type(module, &cache_spec, &state->cache_type);
}
