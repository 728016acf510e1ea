/* The type AdamW. It keeps its model alive. */
#include "../optim/adamw.h"

#include "arrays.h"
#include "compute.h"
#include "errors.h"
#include "state.h"

typedef struct {
    PyObject_HEAD
    pta_adamw *optimizer;
    pta_py_model *model;
    pta_py_busy busy;
} pta_py_adamw;

PyDoc_STRVAR(adamw_doc,
             "AdamW(model, beta1, beta2, eps)\n--\n\n"
             "AdamW over what a Model trains (its weights, or its adapter), with decoupled weight decay on matrices only.\n\n"
             "Args:\n"
             "    model: the Model; kept alive.\n"
             "    beta1, beta2: decay rates of the moments, in [0, 1). eps: added to the root of the second moment, > 0.\n\n"
             "Raises:\n"
             "    TypeError, ValueError: arguments. MemoryError: two float32 moments per weight do not fit.");
static PyObject *adamw_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"model", "beta1", "beta2", "eps", NULL};
    PyObject *model;
    double beta1, beta2, eps;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!ddd:AdamW", names, pta_py_state_of(type)->model_type, &model, &beta1,
                                     &beta2, &eps))
        return NULL;
    pta_py_adamw *self = (pta_py_adamw *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->model = (pta_py_model *)Py_NewRef(model);
    pta_error err = {0};
    if (pta_adamw_create(&self->optimizer, self->model->model, beta1, beta2, eps, &err)) {
        Py_DECREF(self);
        return pta_py_raise(&err);
    }
    return (PyObject *)self;
}

static void adamw_dealloc(PyObject *object) {
    pta_py_adamw *self = (pta_py_adamw *)object;
    PyTypeObject *type = Py_TYPE(object);
    pta_adamw_free(self->optimizer);
    Py_XDECREF(self->model);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(step_doc,
             "step(lr, weight_decay, max_grad_norm, zero_grad=False) -> grad_norm\n\n"
             "One update of the weights from model.gradients(), which are only read, or with zero_grad set to zero in the\n"
             "same sweep over memory.\n\n"
             "Args:\n"
             "    lr: learning rate. weight_decay: per step, matrices shrink by 1 - lr*weight_decay.\n"
             "    max_grad_norm: gradients of a larger global norm are scaled down to it; 0 or less: no clipping.\n\n"
             "Returns:\n"
             "    The global norm before clipping, summed in float64 in an order that no thread count changes.\n\n"
             "Raises:\n"
             "    FloatingPointError: a gradient is NaN or infinite; weights, moments and step_count are untouched.\n"
             "    RuntimeError: there are no gradients yet, or the model is in use.\n"
             "    ValueError: lr or weight_decay negative or not finite.");
static PyObject *adamw_step(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"lr", "weight_decay", "max_grad_norm", "zero_grad", NULL};
    pta_py_adamw *self = (pta_py_adamw *)object;
    double lr, weight_decay, max_grad_norm, norm;
    int zero_grad = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ddd|p:step", names, &lr, &weight_decay, &max_grad_norm, &zero_grad))
        return NULL;
    if (pta_py_acquire(&self->busy, "AdamW")) return NULL;
    if (pta_py_acquire(&self->model->busy, "Model")) {
        pta_py_release(&self->busy);
        return NULL;
    }
    pta_error err = {0};
    pta_py_call call;
    pta_py_begin(&call);
    pta_code code = pta_adamw_step(self->optimizer, self->model->model, lr, weight_decay, max_grad_norm,
                                    zero_grad, &norm, &err);
    pta_py_end(&call);
    pta_py_release(&self->model->busy);
    pta_py_release(&self->busy);
    return code ? pta_py_raise(&err) : PyFloat_FromDouble(norm);
}

PyDoc_STRVAR(moments_doc,
             "moments() -> dict[str, (m, v)]\n\n"
             "Writable float32 views of the first and second moment of every parameter, in its shape, for saving and\n"
             "restoring (together with step_count).");
static PyObject *adamw_moments(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    pta_py_adamw *self = (pta_py_adamw *)object;
    const pta_trainable trained = pta_model_trainable(self->model->model);
    if (trained.num_floats != self->optimizer->num_floats) {
        PyErr_SetString(PyExc_RuntimeError, "the model's adapter was added or removed after the optimizer was made");
        return NULL;
    }
    PyObject *dict = PyDict_New();
    for (int64_t i = 0; dict && i < trained.num_params; i++) {
        const pta_param *p = &trained.params[i];
        npy_intp dims[2] = {p->rows, p->cols};
        int ndim = p->cols ? 2 : 1;
        PyObject *m = pta_py_view(object, self->optimizer->m + p->offset, NPY_FLOAT32, ndim, dims, true);
        PyObject *v = pta_py_view(object, self->optimizer->v + p->offset, NPY_FLOAT32, ndim, dims, true);
        PyObject *pair = m && v ? PyTuple_Pack(2, m, v) : NULL;
        Py_XDECREF(m);
        Py_XDECREF(v);
        if (!pair || PyDict_SetItemString(dict, p->name, pair) < 0) Py_CLEAR(dict);
        Py_XDECREF(pair);
    }
    return dict;
}

static PyObject *get_step_count(PyObject *object, void *Py_UNUSED(closure)) {
    return PyLong_FromLongLong(((pta_py_adamw *)object)->optimizer->step_count);
}

static int set_step_count(PyObject *object, PyObject *value, void *Py_UNUSED(closure)) {
    pta_py_adamw *self = (pta_py_adamw *)object;
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "step_count cannot be deleted");
        return -1;
    }
    long long count = PyLong_AsLongLong(value);
    if (count == -1 && PyErr_Occurred()) return -1;
    if (count < 0) {
        PyErr_Format(PyExc_ValueError, "step_count: expected 0 or more, got %lld", count);
        return -1;
    }
    if (pta_py_acquire(&self->busy, "AdamW")) return -1;
    self->optimizer->step_count = count;
    pta_py_release(&self->busy);
    return 0;
}

static PyMethodDef methods[] = {
    {"step", (PyCFunction)(void (*)(void))adamw_step, METH_VARARGS | METH_KEYWORDS, step_doc},
    {"moments", adamw_moments, METH_NOARGS, moments_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"step_count", get_step_count, set_step_count, "steps taken so far (int); set it when restoring moments", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)adamw_doc}, {Py_tp_new, adamw_new},        {Py_tp_dealloc, adamw_dealloc},
    {Py_tp_methods, methods},       {Py_tp_getset, properties},    {0, NULL},
};

static PyType_Spec spec = {
    .name = "ptagrpo._core.AdamW",
    .basicsize = sizeof(pta_py_adamw),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int pta_py_add_optim(PyObject *module) {
    pta_py_state *state = PyModule_GetState(module);
    return pta_py_add_type(module, &spec, &state->adamw_type);
}
