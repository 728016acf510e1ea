#include "team.h"

#include <stdatomic.h>
#include <stddef.h>

#include "memory.h"
#include "pool.h"
#include "threads.h"

enum { LINE = 64 };

/* `arrived` counts the threads at the barrier; the last one restarts it and moves `phase` on, which frees the others.
 * Every thread's writes before the barrier come before its addition to `arrived`, the last arrival reads all of these, and
 * its store to `phase` is what the others wait for: so all of them see all of it. */
struct pta_team_common {
    _Alignas(LINE) atomic_int arrived;
    _Alignas(LINE) atomic_int phase;
    atomic_int sleepers;
    _Alignas(LINE) atomic_llong next; /* pta_team_next; restarted by the last thread that arrives */
    _Alignas(LINE) bool stop[2];      /* verdicts of polls in even and in odd phases, written by thread 0 */
    void *shared;
    char *own;                        /* PTA_TEAM_SCRATCH bytes for each thread */
    int size;
    pta_team_body body;
    void *arg;
};

void pta_team_barrier(const pta_team *team) {
    pta_team_common *c = team->common;
    if (team->size == 1) {
        atomic_store_explicit(&c->next, 0, memory_order_relaxed);
        return;
    }
    int phase = atomic_load(&c->phase);
    if (atomic_fetch_add(&c->arrived, 1) + 1 < team->size) {
        pta_wait_change(&c->phase, phase, &c->sleepers);
        return;
    }
    atomic_store(&c->arrived, 0);
    atomic_store(&c->next, 0);
    atomic_store(&c->phase, phase + 1);
    pta_wake(&c->phase, &c->sleepers);
}

bool pta_team_interrupted(const pta_team *team, pta_error *err) {
    /* A verdict is overwritten two phases later at the earliest: the barrier between comes after everybody has read it. */
    bool *stop = &team->common->stop[atomic_load_explicit(&team->common->phase, memory_order_relaxed) & 1];
    if (team->id == 0) *stop = pta_poll_interrupt(err) != PTA_OK;
    pta_team_barrier(team);
    return *stop;
}

void *pta_team_shared(const pta_team *team) { return team->common->shared; }

int64_t pta_team_next(const pta_team *team) {
    return atomic_fetch_add_explicit(&team->common->next, 1, memory_order_relaxed);
}

static void run_member(void *context, int id) {
    pta_team_common *c = context;
    const pta_team team = {id, c->size, c, c->own + (int64_t)id * PTA_TEAM_SCRATCH};
    c->body(&team, c->arg);
}

/* Scratch for a number of threads, or NULL. */
static char *allocate(int threads, pta_error *err) {
    const int64_t bytes = pta_team_bytes(threads);
    char *memory = pta_alloc_uninit(bytes, 1);
    if (!memory)
        pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld MiB of scratch memory for %d threads", (long long)(bytes >> 20),
                 threads);
    return memory;
}

/* The pool's scratch, kept so that fresh pages are touched once; belongs to who has taken the pool. */
static struct {
    char *memory;
    int threads;
} g_scratch;

static pta_code run_on_pool(pta_team_common *c, int threads, pta_error *err) {
    c->size = pta_pool_grant(threads);
    if (g_scratch.threads < c->size) {
        char *memory = allocate(c->size, err);
        if (!memory) return PTA_E_MEMORY;
        pta_free(g_scratch.memory);
        g_scratch.memory = memory;
        g_scratch.threads = c->size;
    }
    c->shared = g_scratch.memory;
    c->own = g_scratch.memory + PTA_TEAM_SHARED;
    pta_pool_run(run_member, c, c->size);
    return PTA_OK;
}

/* A team of one, beside a team that has the pool: another Python thread computes, or a signal handler does while its
 * thread polls inside a team. The results are the same. */
static pta_code run_alone(pta_team_common *c, pta_error *err) {
    char *memory = allocate(1, err);
    if (!memory) return PTA_E_MEMORY;
    c->size = 1;
    c->shared = memory;
    c->own = memory + PTA_TEAM_SHARED;
    run_member(c, 0);
    pta_free(memory);
    return PTA_OK;
}

pta_code pta_team_run(pta_team_body body, void *arg, int threads, pta_error *err) {
    pta_team_common common = {.body = body, .arg = arg};
    if (!pta_pool_take()) return run_alone(&common, err);
    pta_code code = run_on_pool(&common, threads > 0 ? threads : pta_num_threads(), err);
    pta_pool_give();
    return code;
}
