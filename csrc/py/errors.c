#include "errors.h"

PyObject *pta_py_raise(const pta_error *err) {
    PyObject *type = PyExc_SystemError;
    switch (err->code) {
    case PTA_E_VALUE: type = PyExc_ValueError; break;
    case PTA_E_MEMORY: type = PyExc_MemoryError; break;
    case PTA_E_STATE: type = PyExc_RuntimeError; break;
    case PTA_E_NONFINITE: type = PyExc_FloatingPointError; break;
    case PTA_E_INTERRUPTED:
        if (PyErr_Occurred()) return NULL;
        type = PyExc_KeyboardInterrupt;
        break;
    case PTA_OK: break; /* a caller's mistake: SystemError */
    }
    PyErr_SetString(type, err->code == PTA_OK ? "pta_py_raise without an error" : err->message);
    return NULL;
}
