#include "threads.h"

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static atomic_int g_threads; /* 0: not decided yet */

/* CPUs' worth of time that the control group allows, rounded up; INT_MAX without a limit. */
static int quota_cpus(void) {
    int cpus = INT_MAX;
#ifdef __linux__
    long long quota = -1, period = -1;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r"); /* version 2: "QUOTA PERIOD" or "max PERIOD" */
    if (file) {
        if (fscanf(file, "%lld %lld", &quota, &period) != 2) quota = -1;
        fclose(file);
    } else { /* version 1 */
        file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r");
        if (file) {
            if (fscanf(file, "%lld", &quota) != 1) quota = -1;
            fclose(file);
        }
        file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r");
        if (file) {
            if (fscanf(file, "%lld", &period) != 1) period = -1;
            fclose(file);
        }
    }
    if (quota > 0 && period > 0 && (quota + period - 1) / period < cpus) cpus = (int)((quota + period - 1) / period);
#endif
    return cpus;
}

static int count_cpus(void) {
    int cpus = 0;
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
#endif
    if (cpus < 1) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        cpus = n > 0 ? (int)n : 1;
    }
    int quota = quota_cpus();
    return quota < cpus ? quota : cpus;
}

int pta_available_cpus(void) {
    static atomic_int cpus; /* 0: not counted yet */
    int n = atomic_load_explicit(&cpus, memory_order_relaxed);
    if (n == 0) atomic_store_explicit(&cpus, n = count_cpus(), memory_order_relaxed);
    return n;
}

int pta_num_threads(void) {
    int n = atomic_load_explicit(&g_threads, memory_order_relaxed);
    if (n == 0) {
        const char *text = getenv("OMP_NUM_THREADS");
        n = text ? atoi(text) : 0;
        if (n < 1) n = pta_available_cpus();
        atomic_store_explicit(&g_threads, n, memory_order_relaxed);
    }
    return n;
}

void pta_set_num_threads(int n) { atomic_store_explicit(&g_threads, n < 1 ? 1 : n, memory_order_relaxed); }

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
