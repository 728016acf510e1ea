/* The part of the type Model that is about images: the tower's configuration and its passes. */
#include "arrays.h"
#include "compute.h"
#include "errors.h"
#include "model.h"

/* Configuration ------------------------------------------------------------------------------------------------------ */

Py_ssize_t pta_py_config_ints(PyObject *value, const char *what, int64_t *to, Py_ssize_t most) {
    PyObject *items = PySequence_Check(value) ? PySequence_Tuple(value) : NULL;
    if (!items || PyTuple_GET_SIZE(items) > most) {
        if (!PyErr_Occurred()) PyErr_Format(PyExc_TypeError, "config['%s']: expected at most %zd ints, got %R", what, most, value);
        Py_XDECREF(items);
        return -1;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(items);
    for (Py_ssize_t i = 0; i < count; i++) {
        to[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(items, i));
        if (to[i] == -1 && PyErr_Occurred()) count = -1;
    }
    Py_DECREF(items);
    return count;
}

static int read_tower(PyObject *vision, pta_tower_config *c) {
    enum { KEYS = 9 };
    int64_t full[PTA_TOWER_MOST_BLOCKS];
    if (!PyDict_Check(vision)) {
        PyErr_Format(PyExc_TypeError, "config['vision']: expected a dict, got %.100s", Py_TYPE(vision)->tp_name);
        return -1;
    }
    if (pta_py_config_size(vision, "depth", &c->depth) || pta_py_config_size(vision, "hidden_size", &c->C) ||
        pta_py_config_size(vision, "intermediate_size", &c->F) || pta_py_config_size(vision, "num_heads", &c->H) ||
        pta_py_config_size(vision, "out_hidden_size", &c->O) || pta_py_config_size(vision, "patch_values", &c->patch) ||
        pta_py_config_size(vision, "spatial_merge_size", &c->merge) || pta_py_config_size(vision, "window", &c->window))
        return -1;
    PyObject *blocks = PyDict_GetItemString(vision, "full_blocks"); /* borrowed */
    if (!blocks || PyDict_GET_SIZE(vision) != KEYS || c->depth < 1) {
        PyErr_Format(PyExc_ValueError, "config['vision']: expected %d keys, full_blocks among them, and depth >= 1", KEYS);
        return -1;
    }
    const Py_ssize_t count = pta_py_config_ints(blocks, "vision']['full_blocks", full, PTA_TOWER_MOST_BLOCKS);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (full[i] < 0 || full[i] >= c->depth || full[i] >= PTA_TOWER_MOST_BLOCKS) {
            PyErr_Format(PyExc_ValueError, "config['vision']: full_blocks[%zd] is %lld, must be 0 to %lld", i, (long long)full[i],
                         (long long)c->depth - 1);
            return -1;
        }
        c->full[full[i]] = 1;
    }
    return count < 0 ? -1 : 0;
}

int pta_py_read_vision(PyObject *config, pta_config *c) {
    PyObject *sections = PyDict_GetItemString(config, "rope_sections"), *vision = PyDict_GetItemString(config, "vision");
    if (sections && pta_py_config_ints(sections, "rope_sections", c->rope_sections, 3) != 3) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "config['rope_sections']: expected three ints");
        return -1;
    }
    if (vision && read_tower(vision, &c->vision)) return -1;
    return !!sections + !!vision;
}

static int put(PyObject *dict, const char *key, PyObject *value) {
    const int status = value ? PyDict_SetItemString(dict, key, value) : -1;
    Py_XDECREF(value);
    return status;
}

int pta_py_write_vision(PyObject *config, const pta_config *c) {
    const int64_t *s = c->rope_sections;
    const pta_tower_config *v = &c->vision;
    if (s[0] && put(config, "rope_sections", Py_BuildValue("[LLL]", (long long)s[0], (long long)s[1], (long long)s[2]))) return -1;
    if (!v->depth) return 0;
    PyObject *full = PyList_New(0);
    for (int64_t b = 0; full && b < v->depth; b++) {
        PyObject *block = v->full[b] ? PyLong_FromLongLong(b) : NULL;
        if (v->full[b] && (!block || PyList_Append(full, block))) Py_CLEAR(full);
        Py_XDECREF(block);
    }
    if (!full) return -1;
    return put(config, "vision",
               Py_BuildValue("{s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:N}", "depth", (long long)v->depth, "hidden_size",
                             (long long)v->C, "intermediate_size", (long long)v->F, "num_heads", (long long)v->H,
                             "out_hidden_size", (long long)v->O, "patch_values", (long long)v->patch, "spatial_merge_size",
                             (long long)v->merge, "window", (long long)v->window, "full_blocks", full));
}

/* Passes ------------------------------------------------------------------------------------------------------------- */

const char pta_py_train_tower_doc[] = PyDoc_STR(
    "train_tower(train)\n\n"
    "Whether the vision tower is trained with the rest (False at first). A change frees gradients; make optimizers after it.\n\n"
    "Raises:\n"
    "    RuntimeError: there is no tower, or it stands beside an adapter or frozen weights.");
PyObject *pta_py_model_train_tower(PyObject *object, PyObject *value) {
    pta_py_model *self = (pta_py_model *)object;
    pta_error err = {0};
    const int train = PyObject_IsTrue(value);
    if (train < 0 || pta_py_acquire(&self->busy, "Model")) return NULL;
    const pta_code code = pta_model_train_tower(self->model, train, &err);
    pta_py_release(&self->busy);
    if (code) return pta_py_raise(&err);
    Py_RETURN_NONE;
}

PyObject *pta_py_get_tower_trained(PyObject *object, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(((pta_py_model *)object)->model->train_tower);
}

const char pta_py_see_doc[] = PyDoc_STR(
    "see(pixels, grids, keep=False) -> float32[rows, hidden_size]\n\n"
    "What the language model gets of some images: one row for each merged square of patches, image by image.\n\n"
    "Args:\n"
    "    pixels: float32[patches, patch_values], the images' patches one behind the other.\n"
    "    grids: int32[images, 2], rows and columns of each image's patches.\n"
    "    keep: record what see_backward needs. A model has one record; a new call drops it.\n\n"
    "Raises:\n"
    "    ValueError: shapes. RuntimeError: no tower, or keep for a tower that is not trained.");
PyObject *pta_py_model_see(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pixels", "grids", "keep", NULL};
    pta_py_model *self = (pta_py_model *)object;
    const pta_tower_config *c = &self->model->config.vision;
    PyObject *pixels_in, *grids_in;
    int keep = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|p:see", names, &pixels_in, &grids_in, &keep)) return NULL;
    const npy_intp pairs[2] = {-1, 2};
    PyArrayObject *grids = pta_py_array(grids_in, "grids", NPY_INT32, 2, pairs, "(images, 2)");
    if (!grids) return NULL;
    const int32_t(*grid)[2] = PyArray_DATA(grids);
    npy_intp patches = 0;
    for (npy_intp i = 0; i < PyArray_DIM(grids, 0); i++)
        if (grid[i][0] > 0 && grid[i][1] > 0 && grid[i][0] < 1 << 16 && grid[i][1] < 1 << 16)
            patches += (npy_intp)grid[i][0] * grid[i][1];
    const npy_intp shape[2] = {patches, c->patch};
    PyArrayObject *pixels = pta_py_array(pixels_in, "pixels", NPY_FLOAT32, 2, c->depth ? shape : NULL, "(patches, patch_values)");
    if (!pixels) return NULL;
    npy_intp out_shape[2] = {c->depth ? patches / (c->merge * c->merge) : 0, self->model->config.C};
    PyObject *out = PyArray_SimpleNew(2, out_shape, NPY_FLOAT32);
    if (!out || pta_py_acquire(&self->busy, "Model")) {
        Py_XDECREF(out);
        return NULL;
    }
    pta_error err = {0};
    pta_py_call call;
    pta_py_begin(&call);
    const pta_code code = pta_model_see(self->model, PyArray_DATA(pixels), grid, PyArray_DIM(grids, 0), keep,
                                        PyArray_DATA((PyArrayObject *)out), &err);
    pta_py_end(&call);
    pta_py_release(&self->busy);
    if (!code) return out;
    Py_DECREF(out);
    return pta_py_raise(&err);
}

const char pta_py_see_bytes_doc[] = PyDoc_STR(
    "see_bytes(grids, keep=False) -> int\n\n"
    "Bytes that see(pixels, grids, keep), and with keep see_backward, take beyond the weights and what they return.\n\n"
    "Raises:\n"
    "    ValueError: grids. RuntimeError: no tower.");
PyObject *pta_py_model_see_bytes(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"grids", "keep", NULL};
    const pta_model *m = ((pta_py_model *)object)->model;
    PyObject *grids_in;
    int keep = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:see_bytes", names, &grids_in, &keep)) return NULL;
    const npy_intp pairs[2] = {-1, 2};
    PyArrayObject *grids = pta_py_array(grids_in, "grids", NPY_INT32, 2, pairs, "(images, 2)");
    if (!grids) return NULL;
    if (!m->config.vision.depth) {
        PyErr_SetString(PyExc_RuntimeError, "the model has no vision tower");
        return NULL;
    }
    const int64_t bytes = pta_model_see_bytes(m, PyArray_DATA(grids), PyArray_DIM(grids, 0), keep);
    if (bytes >= 0) return PyLong_FromLongLong(bytes);
    PyErr_SetString(PyExc_ValueError, "grids: an image is no whole number of squares, or too large");
    return NULL;
}

const char pta_py_see_backward_doc[] = PyDoc_STR(
    "see_backward(drows)\n\n"
    "Add to gradients() those of the tower, from float32[rows, hidden_size], the gradient of what see(..., keep=True) gave,\n"
    "and drop its record.\n\n"
    "Raises:\n"
    "    RuntimeError: there is no record, or the weights changed since.\n"
    "    KeyboardInterrupt, MemoryError: the gradients are then undefined; call zero_grad() and start over.");
PyObject *pta_py_model_see_backward(PyObject *object, PyObject *drows_in) {
    pta_py_model *self = (pta_py_model *)object;
    if (pta_py_acquire(&self->busy, "Model")) return NULL;
    const npy_intp shape[2] = {pta_model_seen_rows(self->model), self->model->config.C};
    PyArrayObject *drows = pta_py_array(drows_in, "drows", NPY_FLOAT32, 2, shape, "(rows, hidden_size)");
    pta_code code = PTA_OK;
    pta_error err = {0};
    if (drows) {
        pta_py_call call;
        pta_py_begin(&call);
        code = pta_model_see_backward(self->model, PyArray_DATA(drows), &err);
        pta_py_end(&call);
    }
    pta_py_release(&self->busy);
    if (!drows) return NULL;
    if (code) return pta_py_raise(&err);
    Py_RETURN_NONE;
}

const char pta_py_input_gradients_doc[] = PyDoc_STR(
    "input_gradients() -> float32[n, hidden_size]\n\n"
    "Gradients of the inputs of the forest that went through backward last: a copy, empty where it had none.");
PyObject *pta_py_model_input_gradients(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    pta_py_model *self = (pta_py_model *)object;
    if (pta_py_acquire(&self->busy, "Model")) return NULL;
    const pta_model *m = self->model;
    npy_intp shape[2] = {m->num_input_gradients, m->config.C};
    PyObject *out = PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    if (out && shape[0])
        memcpy(PyArray_DATA((PyArrayObject *)out), m->input_gradients.data, (size_t)(shape[0] * shape[1]) * sizeof(float));
    pta_py_release(&self->busy);
    return out;
}
