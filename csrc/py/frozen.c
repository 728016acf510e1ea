/* The part of the type Model that is about frozen matrices (kernels/frozen.h). */
#include "arrays.h"
#include "compute.h"
#include "errors.h"
#include "model.h"

const char pta_py_frozen_parameters_doc[] = PyDoc_STR(
    "frozen_parameters() -> dict[str, (rows, columns)]\n\n"
    "Names and shapes of the frozen matrices, in the order of the layers; empty where the weights are trained.");
PyObject *pta_py_model_frozen_parameters(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    const pta_frozen_tensors *t = &((pta_py_model *)object)->model->frozen;
    PyObject *dict = PyDict_New();
    for (int64_t i = 0; dict && i < t->num_params; i++) {
        PyObject *shape = Py_BuildValue("(LL)", (long long)t->params[i].rows, (long long)t->params[i].cols);
        if (!shape || PyDict_SetItemString(dict, t->params[i].name, shape) < 0) Py_CLEAR(dict);
        Py_XDECREF(shape);
    }
    return dict;
}

const char pta_py_frozen_bytes_doc[] = PyDoc_STR(
    "frozen_bytes() -> list of uint8 arrays\n\n"
    "Read-only views of all frozen matrices as they lie in memory, the language model's and the vision tower's; for\n"
    "fingerprints.");
PyObject *pta_py_model_frozen_bytes(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    const pta_model *m = ((pta_py_model *)object)->model;
    const bool tower = m->config.vision.depth && m->config.vision.frozen; /* else its store holds copies */
    void *memory[] = {m->frozen.memory, tower ? m->tower.memory : NULL};
    npy_intp bytes[] = {m->frozen.bytes, m->tower.bytes};
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < 2; i++) {
        PyObject *view = memory[i] ? pta_py_view(object, memory[i], NPY_UINT8, 1, &bytes[i], false) : NULL;
        if (memory[i] && (!view || PyList_Append(list, view) < 0)) Py_CLEAR(list);
        Py_XDECREF(view);
    }
    return list;
}

/* Number of a frozen tensor, or -1 with KeyError. */
static int64_t find(const pta_py_model *self, const char *name) {
    const int64_t index = pta_frozen_find(self->model, name);
    if (index < 0) PyErr_Format(PyExc_KeyError, "%s: the model has no frozen matrix of this name", name);
    return index;
}

const char pta_py_set_rows_doc[] = PyDoc_STR(
    "set_rows(name, first, rows)\n\n"
    "Rows first .. first + len(rows) - 1 of a frozen matrix from float32[n, columns], rounded or quantised.\n\n"
    "Raises:\n"
    "    KeyError: no frozen matrix of this name. ValueError: shape, or rows outside. FloatingPointError: a number is not\n"
    "        finite; nothing has changed.");
PyObject *pta_py_model_set_rows(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "first", "rows", NULL};
    pta_py_model *self = (pta_py_model *)object;
    const char *name;
    long long first;
    PyArrayObject *rows;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sLO!:set_rows", names, &name, &first, &PyArray_Type, &rows)) return NULL;
    const int64_t index = find(self, name);
    if (index < 0) return NULL;
    const int64_t columns = self->model->frozen.params[index].cols;
    if (PyArray_TYPE(rows) != NPY_FLOAT32 || PyArray_NDIM(rows) != 2 || PyArray_DIM(rows, 1) != columns ||
        !PyArray_IS_C_CONTIGUOUS(rows))
        return PyErr_Format(PyExc_ValueError, "rows: expected float32 C-contiguous (n, %lld)", (long long)columns);
    if (pta_py_acquire(&self->busy, "Model")) return NULL;
    pta_error err = {0};
    pta_py_call call;
    pta_py_begin(&call);
    pta_code code = pta_frozen_set_rows(self->model, index, PyArray_DATA(rows), first, PyArray_DIM(rows, 0), &err);
    pta_py_end(&call);
    pta_py_release(&self->busy);
    if (code) return pta_py_raise(&err);
    Py_RETURN_NONE;
}

const char pta_py_get_rows_doc[] = PyDoc_STR(
    "get_rows(name, first, count) -> float32[count, columns]\n\n"
    "Rows of a frozen matrix, dequantised: what products multiply with. KeyError, ValueError as set_rows.");
PyObject *pta_py_model_get_rows(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "first", "count", NULL};
    pta_py_model *self = (pta_py_model *)object;
    const char *name;
    long long first, count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sLL:get_rows", names, &name, &first, &count)) return NULL;
    const int64_t index = find(self, name);
    if (index < 0) return NULL;
    const pta_frozen_param *p = &self->model->frozen.params[index];
    if (first < 0 || count < 0 || first > p->rows - count)
        return PyErr_Format(PyExc_ValueError, "%s: rows %lld to %lld are not in its %lld", name, first, first + count,
                            (long long)p->rows);
    npy_intp dims[2] = {count, p->cols};
    PyObject *rows = PyArray_SimpleNew(2, dims, NPY_FLOAT32);
    if (!rows || pta_py_acquire(&self->busy, "Model")) {
        Py_XDECREF(rows);
        return NULL;
    }
    pta_error err = {0};
    pta_py_call call;
    pta_py_begin(&call);
    pta_code code = pta_frozen_get_rows(self->model, index, PyArray_DATA((PyArrayObject *)rows), first, count, &err);
    pta_py_end(&call);
    pta_py_release(&self->busy);
    if (!code) return rows;
    Py_DECREF(rows);
    return pta_py_raise(&err);
}
