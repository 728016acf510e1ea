/* NumPy views of a model's weights, gradients and adapter, and what keeps track of who may be writing into them. */
#include "../model/adapter.h"
#include "arrays.h"
#include "model.h"

/* What owns the views of one parameters() call: while it lives, somebody may be writing into the weights, and the packed
 * copy is made anew whenever it is needed. */
typedef struct {
    PyObject_HEAD
    pta_py_model *model;
    bool adapter; /* of the adapter's matrices */
} lease;

PyObject *pta_py_lease(pta_py_model *model, bool adapter) {
    PyTypeObject *type = pta_py_state_of(Py_TYPE(model))->lease_type;
    lease *self = (lease *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->model = (pta_py_model *)Py_NewRef(model);
    self->adapter = adapter;
    if (adapter)
        model->adapter_views++, model->model->adapter->writers++;
    else
        model->model->writers++;
    return (PyObject *)self;
}

static void lease_dealloc(PyObject *object) {
    lease *self = (lease *)object;
    PyTypeObject *type = Py_TYPE(object);
    pta_model *m = self->model->model;
    if (self->adapter)
        self->model->adapter_views--, m->adapter->writers--, m->adapter->touched = true;
    else
        m->writers--, m->touched = m->tower_stale = true;
    Py_DECREF(self->model);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyType_Spec lease_spec = {
    .name = "ptagrpo._core._Lease",
    .basicsize = sizeof(lease),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = (PyType_Slot[]){{Py_tp_dealloc, lease_dealloc}, {0, NULL}},
};

/* Views of `arena`, which `owner` keeps alive. */
PyObject *pta_py_named_views(const pta_param *params, int64_t count, PyObject *owner, float *arena) {
    PyObject *dict = PyDict_New();
    for (int64_t i = 0; dict && i < count; i++) {
        const pta_param *p = &params[i];
        npy_intp dims[2] = {p->rows, p->cols};
        PyObject *view = pta_py_view(owner, arena + p->offset, NPY_FLOAT32, p->cols ? 2 : 1, dims, true);
        if (!view || PyDict_SetItemString(dict, p->name, view) < 0) Py_CLEAR(dict);
        Py_XDECREF(view);
    }
    return dict;
}

int pta_py_add_lease(PyObject *module) {
    pta_py_state *state = PyModule_GetState(module);
    state->lease_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lease_spec, NULL);
    return state->lease_type ? 0 : -1;
}
