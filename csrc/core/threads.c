#include "threads.h"

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <omp.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int g_threads; /* 0: not decided yet */

static int available_cpus(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

int pta_num_threads(void) {
    if (g_threads == 0) {
        const char *text = getenv("OMP_NUM_THREADS");
        int n = text ? atoi(text) : 0;
        g_threads = n > 0 ? n : available_cpus();
    }
    return g_threads;
}

int pta_thread(void) { return omp_get_thread_num(); }

void pta_set_num_threads(int n) { g_threads = n < 1 ? 1 : n; }

static _Thread_local pta_interrupt_hook t_hook;
static _Thread_local void *t_context;
static _Thread_local double t_last;

static double monotonic_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void pta_set_interrupt_hook(pta_interrupt_hook hook, void *context) {
    t_hook = hook;
    t_context = context;
    t_last = monotonic_seconds();
}

pta_code pta_poll_interrupt(pta_error *err) {
    if (!t_hook) return PTA_OK;
    double now = monotonic_seconds();
    if (now - t_last < 0.02) return PTA_OK;
    t_last = now;
    return t_hook(t_context) ? pta_fail(err, PTA_E_INTERRUPTED, "interrupted") : PTA_OK;
}
