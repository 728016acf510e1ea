/* The type Forest: a validated, immutable batch of token segments. */
#include "arrays.h"
#include "errors.h"
#include "state.h"

PyDoc_STRVAR(forest_doc,
             "Forest(tokens, offsets, parent, positions=None, input_rows=None, inputs=None)\n--\n\n"
             "A batch of tokens as a forest of segments.\n\n"
             "Args:\n"
             "    tokens: int32[T], all segments' tokens one behind the other.\n"
             "    offsets: int32[S+1], where each segment begins; offsets[S] == T.\n"
             "    parent: int32[S], the segment that a segment continues, or -1. Segments stand in depth-first order:\n"
             "        a parent before its children, and each subtree in one piece.\n"
             "    positions: int32[3, T] or None, what each row's heads turn by along time, height and width, for models\n"
             "        with rope_sections; None: its distance from the first token of its root.\n"
             "    input_rows, inputs: int32[n] (increasing) and float32[n, hidden_size], or None: rows whose embedding is\n"
             "        given instead of looked up. The array is kept, not copied: fill it before each use.\n\n"
             "A token attends to all tokens of its ancestors and to those before it in its own segment.\n\n"
             "Raises:\n"
             "    TypeError, ValueError: wrong dtype or shape, or not such a forest.");

int pta_py_extra(pta_extra *extra, PyObject *positions, PyObject *rows, PyObject *inputs, npy_intp T) {
    const npy_intp shape[2] = {3, T};
    *extra = (pta_extra){0};
    if (positions != Py_None) {
        PyArrayObject *array = pta_py_array(positions, "positions", NPY_INT32, 2, shape, "(3, T)");
        if (!array) return -1;
        extra->axes = PyArray_DATA(array);
    }
    if ((rows == Py_None) != (inputs == Py_None)) {
        PyErr_SetString(PyExc_TypeError, "input_rows and inputs: expected both or neither");
        return -1;
    }
    if (rows == Py_None) return 0;
    npy_intp sizes[2] = {0, -1};
    extra->rows = pta_py_vector(rows, "input_rows", NPY_INT32, -1, "n", &sizes[0]);
    PyArrayObject *values = extra->rows ? pta_py_array(inputs, "inputs", NPY_FLOAT32, 2, sizes, "(n, C)") : NULL;
    if (!values) return -1;
    extra->num_inputs = sizes[0];
    extra->width = PyArray_DIM(values, 1);
    extra->inputs = PyArray_DATA(values);
    return 0;
}

static PyObject *forest_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"tokens", "offsets", "parent", "positions", "input_rows", "inputs", NULL};
    PyObject *tokens_in, *offsets_in, *parent_in, *positions_in = Py_None, *rows_in = Py_None, *inputs_in = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|OOO:Forest", names, &tokens_in, &offsets_in, &parent_in,
                                     &positions_in, &rows_in, &inputs_in))
        return NULL;
    npy_intp T, S;
    const int32_t *tokens = pta_py_vector(tokens_in, "tokens", NPY_INT32, -1, "T", &T);
    if (!tokens) return NULL;
    const int32_t *parent = pta_py_vector(parent_in, "parent", NPY_INT32, -1, "S", &S);
    if (!parent) return NULL;
    const int32_t *offsets = pta_py_vector(offsets_in, "offsets", NPY_INT32, S + 1, "S+1", NULL);
    if (!offsets) return NULL;
    pta_extra extra;
    if (pta_py_extra(&extra, positions_in, rows_in, inputs_in, T)) return NULL;
    pta_py_forest *self = (pta_py_forest *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    if (extra.num_inputs) self->inputs = Py_NewRef(inputs_in);
    pta_error err = {0};
    if (pta_forest_create(&self->forest, tokens, T, offsets, parent, S, &extra, &err)) {
        Py_DECREF(self);
        return pta_py_raise(&err);
    }
    return (PyObject *)self;
}

static void forest_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    pta_forest_free(((pta_py_forest *)object)->forest);
    Py_XDECREF(((pta_py_forest *)object)->inputs);
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
static PyObject *get_input_rows(PyObject *self, void *Py_UNUSED(closure)) {
    const pta_extra *extra = &forest_of(self)->extra;
    return read_only(self, (int32_t *)extra->rows, extra->num_inputs);
}
static PyObject *get_rope_positions(PyObject *self, void *Py_UNUSED(closure)) {
    npy_intp shape[2] = {3, forest_of(self)->T};
    if (!forest_of(self)->extra.axes) Py_RETURN_NONE;
    return pta_py_view(self, (int32_t *)forest_of(self)->extra.axes, NPY_INT32, 2, shape, false);
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
    {"input_rows", get_input_rows, NULL, "int32[n]: rows whose embedding is given, read-only", NULL},
    {"rope_positions", get_rope_positions, NULL, "int32[3, T] as given, read-only, or None", NULL},
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
