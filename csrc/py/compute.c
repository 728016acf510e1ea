#include "compute.h"

#include "../core/threads.h"

int pta_py_acquire(pta_py_busy *flag, const char *what) {
    if (flag->busy) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s: object in use by another thread (or by the call that this signal handler interrupts); use one "
                     "object per thread, or a lock",
                     what);
        return -1;
    }
    flag->busy = true;
    return 0;
}

void pta_py_release(pta_py_busy *flag) { flag->busy = false; }

/* The call that this thread is in; calls nest when a signal handler computes. */
static _Thread_local pta_py_call *t_call;

static int hook(void *context) {
    pta_py_call *call = context;
    PyEval_RestoreThread(call->thread);
    int stop = PyErr_CheckSignals();
    call->thread = PyEval_SaveThread();
    return stop;
}

void pta_py_begin(pta_py_call *call) {
    call->outer = t_call;
    t_call = call;
    call->thread = PyEval_SaveThread();
    pta_set_interrupt_hook(hook, call);
}

void pta_py_end(pta_py_call *call) {
    t_call = call->outer;
    pta_set_interrupt_hook(t_call ? hook : NULL, t_call);
    PyEval_RestoreThread(call->thread);
}
