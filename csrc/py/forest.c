/* The type Forest: a validated, immutable batch of token segments. */
#include "arrays.h"
#include "errors.h"
#include "state.h"

PyDoc_STRVAR(forest_doc,
             "Forest(tokens, offsets, parent)\n--\n\n"
             "A batch of tokens as a forest of segments.\n\n"
             "Args:\n"
             "    tokens: int32[T], all segments' tokens one behind the other.\n"
             "    offsets: int32[S+1], where each segment begins; offsets[S] == T.\n"
             "    parent: int32[S], the segment that a segment continues, or -1. Segments stand in depth-first order:\n"
             "        a parent before its children, and each subtree in one piece.\n\n"
             "A token attends to all tokens of its ancestors and to those before it in its own segment. Its position\n"
             "counts from the first token of its root.\n\n"
             "Raises:\n"
             "    TypeError, ValueError: wrong dtype or shape, or not such a forest.");

static PyObject *forest_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"tokens", "offsets", "parent", NULL};
    PyObject *tokens_in, *offsets_in, *parent_in;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:Forest", names, &tokens_in, &offsets_in, &parent_in))
        return NULL;
    npy_intp T, S;
    const int32_t *tokens = pta_py_vector(tokens_in, "tokens", NPY_INT32, -1, "T", &T);
    if (!tokens) return NULL;
    const int32_t *parent = pta_py_vector(parent_in, "parent", NPY_INT32, -1, "S", &S);
    if (!parent) return NULL;
    const int32_t *offsets = pta_py_vector(offsets_in, "offsets", NPY_INT32, S + 1, "S+1", NULL);
    if (!offsets) return NULL;
    pta_py_forest *self = (pta_py_forest *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    pta_error err = {0};
    if (pta_forest_create(&self->forest, tokens, T, offsets, parent, S, &err)) {
        Py_DECREF(self);
        return pta_py_raise(&err);
    }
    return (PyObject *)self;
}

static void forest_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    pta_forest_free(((pta_py_forest *)object)->forest);
    type->tp_free(object);
    Py_DECREF(type);
}

static const pta_forest *forest_of(PyObject *object) { return ((pta_py_forest *)object)->forest; }

static PyObject *read_only(PyObject *self, int32_t *data, npy_intp count) {
    return pta_py_view(self, data, NPY_INT32, 1, &count, false);
}

static PyObject *get_tokens(PyObject *self, void *Py_UNUSED(closure)) {
    return read_only(self, forest_of(self)->tokens, forest_of(self)->T);
}
static PyObject *get_offsets(PyObject *self, void *Py_UNUSED(closure)) {
    return read_only(self, forest_of(self)->offsets, forest_of(self)->S + 1);
}
static PyObject *get_parent(PyObject *self, void *Py_UNUSED(closure)) {
    return read_only(self, forest_of(self)->parent, forest_of(self)->S);
}
static PyObject *get_positions(PyObject *self, void *Py_UNUSED(closure)) {
    return read_only(self, forest_of(self)->position, forest_of(self)->T);
}
static PyObject *get_num_tokens(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLong(forest_of(self)->T);
}
static PyObject *get_num_segments(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLong(forest_of(self)->S);
}

static PyGetSetDef getters[] = {
    {"tokens", get_tokens, NULL, "int32[T], read-only", NULL},
    {"offsets", get_offsets, NULL, "int32[S+1], read-only", NULL},
    {"parent", get_parent, NULL, "int32[S], read-only", NULL},
    {"positions", get_positions, NULL, "int32[T]: each token's distance from its root's first token, read-only", NULL},
    {"num_tokens", get_num_tokens, NULL, "T", NULL},
    {"num_segments", get_num_segments, NULL, "S", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)forest_doc},
    {Py_tp_new, forest_new},
    {Py_tp_dealloc, forest_dealloc},
    {Py_tp_getset, getters},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "ptagrpo._core.Forest",
    .basicsize = sizeof(pta_py_forest),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int pta_py_add_forest(PyObject *module) {
    pta_py_state *state = PyModule_GetState(module);
    return pta_py_add_type(module, &spec, &state->forest_type);
}
