#include "team.h"

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <limits.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "memory.h"
#include "threads.h"

enum { SPINS = 4096, LINE = 64 }; /* some 100 µs of spinning before a thread sleeps */

/* `arrived` counts the threads at the barrier; the last one restarts it and moves `phase` on, which frees the others.
 * All accesses to data around it are ordered by the acquire-release pair on these two. */
struct pta_team_common {
    _Alignas(LINE) atomic_int arrived;
    _Alignas(LINE) atomic_int phase;
    atomic_int sleepers;
    _Alignas(LINE) atomic_llong next; /* pta_team_next; restarted by the last thread that arrives */
    _Alignas(LINE) bool stop;         /* written by thread 0 between two barriers */
    void *shared;
};

static void sleep_until_moved(pta_team_common *c, int phase) {
#ifdef __linux__
    atomic_fetch_add(&c->sleepers, 1);
    while (atomic_load(&c->phase) == phase)
        syscall(SYS_futex, &c->phase, FUTEX_WAIT_PRIVATE, phase, NULL, NULL, 0);
    atomic_fetch_sub(&c->sleepers, 1);
#else
    while (atomic_load(&c->phase) == phase) sched_yield();
#endif
}

static void wake(pta_team_common *c) {
#ifdef __linux__
    if (atomic_load(&c->sleepers)) syscall(SYS_futex, &c->phase, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
    (void)c;
#endif
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

void pta_team_barrier(const pta_team *team) {
    if (team->size == 1) {
        atomic_store_explicit(&team->common->next, 0, memory_order_relaxed);
        return;
    }
    pta_team_common *c = team->common;
    int phase = atomic_load(&c->phase);
    if (atomic_fetch_add(&c->arrived, 1) + 1 == team->size) {
        atomic_store(&c->arrived, 0);
        atomic_store(&c->next, 0);
        atomic_store(&c->phase, phase + 1);
        wake(c);
        return;
    }
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&c->phase, memory_order_acquire) != phase) return;
        relax();
    }
    sleep_until_moved(c, phase);
}

bool pta_team_interrupted(const pta_team *team, pta_error *err) {
    if (team->id == 0) team->common->stop = pta_poll_interrupt(err) != PTA_OK;
    pta_team_barrier(team);
    bool stop = team->common->stop;
    pta_team_barrier(team); /* nobody may poll again before everybody has read */
    return stop;
}

void *pta_team_shared(const pta_team *team) { return team->common->shared; }

int64_t pta_team_next(const pta_team *team) {
    return atomic_fetch_add_explicit(&team->common->next, 1, memory_order_relaxed);
}

/* Scratch is kept by the OS thread that runs teams, so that fresh pages are touched once. A signal handler may compute
 * while its thread polls inside a team: that inner team gets scratch of its own. */
static _Thread_local struct {
    char *memory;
    int threads;
    bool in_use;
} t_scratch;

static char *allocate(int threads, pta_error *err) {
    int64_t bytes = (int64_t)PTA_TEAM_SHARED + (int64_t)threads * PTA_TEAM_SCRATCH;
    char *memory = pta_alloc_uninit(bytes, 1);
    if (!memory)
        pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld MiB of scratch memory for %d threads", (long long)(bytes >> 20),
                 threads);
    return memory;
}

static char *borrow_scratch(int threads, pta_error *err) {
    if (t_scratch.in_use) return allocate(threads, err);
    if (t_scratch.threads < threads) {
        char *memory = allocate(threads, err);
        if (!memory) return NULL;
        pta_free(t_scratch.memory);
        t_scratch.memory = memory;
        t_scratch.threads = threads;
    }
    t_scratch.in_use = true;
    return t_scratch.memory;
}

static void return_scratch(char *memory) {
    if (memory == t_scratch.memory)
        t_scratch.in_use = false;
    else
        pta_free(memory);
}

pta_code pta_team_run(pta_team_body body, void *arg, int threads, pta_error *err) {
    if (threads <= 0) threads = pta_num_threads();
    char *memory = borrow_scratch(threads, err);
    if (!memory) return PTA_E_MEMORY;
    pta_team_common common = {.shared = memory};
    char *own = memory + PTA_TEAM_SHARED;
#pragma omp parallel num_threads(threads)
    {
        int id = omp_get_thread_num(); /* the system may grant fewer threads than asked for */
        const pta_team team = {id, omp_get_num_threads(), &common, own + (int64_t)id * PTA_TEAM_SCRATCH};
        body(&team, arg);
    }
    return_scratch(memory);
    return PTA_OK;
}
