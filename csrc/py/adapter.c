/* The part of the type Model that is about its adapter (model/adapter.h). */
#include "../model/adapter.h"

#include "compute.h"
#include "errors.h"
#include "model.h"

static const char *const projections[] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
enum { PROJECTIONS = sizeof projections / sizeof projections[0] };

int pta_py_read_targets(PyObject *names, unsigned *targets) {
    PyObject *list = PySequence_Fast(names, "targets: expected a list of names");
    *targets = 0;
    for (Py_ssize_t i = 0; list && i < PySequence_Fast_GET_SIZE(list); i++) {
        PyObject *name = PySequence_Fast_GET_ITEM(list, i);
        const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
        int p = 0;
        while (text && p < PROJECTIONS && strcmp(text, projections[p])) p++;
        if (!text || p == PROJECTIONS) {
            PyErr_Format(PyExc_ValueError, "targets: expected q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj or down_proj, got %R", name);
            Py_CLEAR(list);
        } else {
            *targets |= 1u << p;
        }
    }
    Py_XDECREF(list);
    return list ? 0 : -1;
}

const char pta_py_add_adapter_doc[] = PyDoc_STR(
    "add_adapter(rank, scale, targets, dropout=0.0)\n\n"
    "Add low-rank matrices to projections: y = W x + scale B A x (LoRA). All are zero; from now on they are what is\n"
    "trained, and the weights stay as they are.\n\n"
    "Args:\n"
    "    rank: rows of each A, 1 or more. scale: lora_alpha / rank, usually.\n"
    "    targets: names among q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.\n"
    "    dropout: probability with which a training call that has a dropout_key leaves an element of an A's input out.\n\n"
    "Raises:\n"
    "    ValueError: an argument is out of range. RuntimeError: there is an adapter already.");
PyObject *pta_py_model_add_adapter(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rank", "scale", "targets", "dropout", NULL};
    pta_py_model *self = (pta_py_model *)object;
    long long rank;
    double scale, dropout = 0.0;
    PyObject *list;
    unsigned targets;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "LdO|d:add_adapter", names, &rank, &scale, &list, &dropout) ||
        pta_py_read_targets(list, &targets) || pta_py_acquire(&self->busy, "Model"))
        return NULL;
    pta_error err = {0};
    pta_code code = pta_model_add_adapter(self->model, rank, scale, targets, dropout, &err);
    if (!self->model->tape) Py_CLEAR(self->tape_forest);
    pta_py_release(&self->busy);
    if (code) return pta_py_raise(&err);
    Py_RETURN_NONE;
}

const char pta_py_remove_adapter_doc[] = PyDoc_STR(
    "remove_adapter()\n\nThrow the adapter away. RuntimeError: arrays of adapter_parameters() or of its gradients() are\n"
    "still in use.");
PyObject *pta_py_model_remove_adapter(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    pta_py_model *self = (pta_py_model *)object;
    if (pta_py_acquire(&self->busy, "Model")) return NULL;
    const bool seen = self->adapter_views > 0 || (self->model->adapter && self->model->grads_seen);
    if (!seen) pta_model_remove_adapter(self->model);
    if (!self->model->tape) Py_CLEAR(self->tape_forest);
    pta_py_release(&self->busy);
    if (!seen) Py_RETURN_NONE;
    PyErr_SetString(PyExc_RuntimeError, "remove_adapter: arrays of its matrices or gradients are still in use");
    return NULL;
}

const char pta_py_adapter_parameters_doc[] = PyDoc_STR(
    "adapter_parameters() -> dict[str, float32 array]\n\n"
    "Writable views of the adapter's matrices, 'model.layers.N.self_attn.q_proj.lora_A.weight' [rank, in] and\n"
    "'...lora_B.weight' [out, rank] and so on. RuntimeError: there is no adapter.");
PyObject *pta_py_model_adapter_parameters(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    pta_py_model *self = (pta_py_model *)object;
    const pta_adapter *a = self->model->adapter;
    if (!a) {
        PyErr_SetString(PyExc_RuntimeError, "the model has no adapter");
        return NULL;
    }
    PyObject *owner = pta_py_lease(self, true);
    PyObject *views = owner ? pta_py_named_views(a->params, a->num_params, owner, a->weights) : NULL;
    Py_XDECREF(owner);
    return views;
}

PyObject *pta_py_get_adapter(PyObject *object, void *Py_UNUSED(closure)) {
    const pta_adapter *a = ((pta_py_model *)object)->model->adapter;
    if (!a) Py_RETURN_NONE;
    PyObject *list = PyList_New(0);
    for (int p = 0; list && p < PROJECTIONS; p++) {
        PyObject *name = a->targets >> p & 1 ? PyUnicode_FromString(projections[p]) : NULL;
        if (name && PyList_Append(list, name) < 0) Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list ? Py_BuildValue("{s:L,s:d,s:N,s:d}", "rank", (long long)a->rank, "scale", (double)a->scale, "targets", list, "dropout",
                                (double)a->dropout)
                : NULL;
}

PyObject *pta_py_get_adapter_enabled(PyObject *object, void *Py_UNUSED(closure)) {
    const pta_adapter *a = ((pta_py_model *)object)->model->adapter;
    return PyBool_FromLong(a && a->enabled);
}

int pta_py_set_adapter_enabled(PyObject *object, PyObject *value, void *Py_UNUSED(closure)) {
    pta_py_model *self = (pta_py_model *)object;
    int enabled = value ? PyObject_IsTrue(value) : 0;
    if (enabled < 0 || pta_py_acquire(&self->busy, "Model")) return -1;
    const bool there = self->model->adapter;
    if (there) pta_model_enable_adapter(self->model, enabled);
    pta_py_release(&self->busy);
    if (there) return 0;
    PyErr_SetString(PyExc_RuntimeError, "the model has no adapter");
    return -1;
}
