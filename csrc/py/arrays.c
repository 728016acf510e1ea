#include "arrays.h"

#include <math.h>

/* "int64 (4, 7)", for messages. New reference. */
static PyObject *describe(PyArrayObject *array) {
    PyObject *shape = PyObject_GetAttrString((PyObject *)array, "shape");
    if (!shape) return NULL;
    const char *flaw = !PyArray_IS_C_CONTIGUOUS(array) ? " not C-contiguous" : !PyArray_ISALIGNED(array) ? " unaligned" : "";
    PyObject *text = PyUnicode_FromFormat("%S %S%s", PyArray_DESCR(array), shape, flaw);
    Py_DECREF(shape);
    return text;
}

static PyObject *expected_sizes(int ndim, const npy_intp *dims) {
    bool known = ndim > 0;
    for (int i = 0; i < ndim; i++) known = known && dims && dims[i] >= 0;
    if (!known) return PyUnicode_FromString("");
    PyObject *sizes = PyTuple_New(ndim);
    for (int i = 0; sizes && i < ndim; i++) {
        PyObject *size = PyLong_FromSsize_t(dims[i]);
        if (!size) Py_CLEAR(sizes);
        else PyTuple_SET_ITEM(sizes, i, size);
    }
    if (!sizes) return NULL;
    PyObject *text = PyUnicode_FromFormat(" = %S", sizes);
    Py_DECREF(sizes);
    return text;
}

static void refuse(PyObject *exception, PyArrayObject *array, const char *name, int type, int ndim,
                   const npy_intp *dims, const char *shape) {
    PyArray_Descr *wanted = PyArray_DescrFromType(type);
    PyObject *got = describe(array), *sizes = expected_sizes(ndim, dims);
    if (wanted && got && sizes)
        PyErr_Format(exception, "%s: expected %S C-contiguous %s%U, got %U", name, wanted, shape, sizes, got);
    Py_XDECREF(wanted);
    Py_XDECREF(got);
    Py_XDECREF(sizes);
}

PyArrayObject *pta_py_array(PyObject *object, const char *name, int type, int ndim, const npy_intp *dims,
                            const char *shape) {
    if (!PyArray_Check(object)) {
        PyArray_Descr *wanted = PyArray_DescrFromType(type);
        if (wanted)
            PyErr_Format(PyExc_TypeError, "%s: expected a NumPy array, %S C-contiguous %s, got %.100s", name, wanted,
                         shape, Py_TYPE(object)->tp_name);
        Py_XDECREF(wanted);
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_TYPE(array) != type || !PyArray_ISNOTSWAPPED(array) || !PyArray_IS_C_CONTIGUOUS(array) ||
        !PyArray_ISALIGNED(array) || PyArray_NDIM(array) != ndim) {
        refuse(PyExc_TypeError, array, name, type, ndim, dims, shape);
        return NULL;
    }
    for (int i = 0; i < ndim; i++) {
        if (dims && dims[i] >= 0 && PyArray_DIM(array, i) != dims[i]) {
            refuse(PyExc_ValueError, array, name, type, ndim, dims, shape);
            return NULL;
        }
    }
    return array;
}

void *pta_py_vector(PyObject *object, const char *name, int type, npy_intp length, const char *letter,
                    npy_intp *count) {
    char shape[32];
    PyOS_snprintf(shape, sizeof shape, "(%s,)", letter);
    PyArrayObject *array = pta_py_array(object, name, type, 1, &length, shape);
    if (!array) return NULL;
    if (count) *count = PyArray_DIM(array, 0);
    return PyArray_DATA(array);
}

PyObject *pta_py_view(PyObject *owner, void *data, int type, int ndim, const npy_intp *dims, bool writable) {
    int flags = writable ? NPY_ARRAY_CARRAY : NPY_ARRAY_CARRAY_RO;
    PyObject *view = PyArray_New(&PyArray_Type, ndim, dims, type, NULL, data, 0, flags, NULL);
    if (!view) return NULL;
    if (PyArray_SetBaseObject((PyArrayObject *)view, Py_NewRef(owner)) < 0) { /* takes the reference, even on failure */
        Py_DECREF(view);
        return NULL;
    }
    return view;
}

PyObject *pta_py_new_vector(int type, npy_intp count, void **data) {
    PyObject *array = PyArray_ZEROS(1, &count, type, 0);
    if (array && data) *data = PyArray_DATA((PyArrayObject *)array);
    return array;
}

int pta_py_finite(PyObject *object, const char *name, double *out) {
    double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "%s: expected a number, got %.100s", name, Py_TYPE(object)->tp_name);
        return -1;
    }
    if (!isfinite(value)) {
        PyErr_Format(PyExc_ValueError, "%s: expected a finite number, got %R", name, object);
        return -1;
    }
    *out = value;
    return 0;
}
