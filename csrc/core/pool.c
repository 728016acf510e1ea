/* A job is announced by one 64-bit word, its number and its size, so that a worker that is late reads either the old job
 * or the new one whole. The caller waits for all workers of a job, never for those that have no part in it. */
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "threads.h"
#include "wait.h"

enum { SPINS = 4096, LINE = 64, MOST = 1024 }; /* some 100 µs of spinning before a thread sleeps */

static struct {
    _Alignas(LINE) atomic_bool taken;
    _Alignas(LINE) atomic_uint_least64_t job; /* size << 32 | number */
    atomic_int number;                        /* what workers sleep on */
    atomic_int sleepers;
    _Alignas(LINE) atomic_int left;           /* workers of the job that have not finished */
    atomic_int waiting;
    void (*work)(void *context, int id);
    void *context;
    atomic_int workers; /* that exist; their ids are 1 .. workers */
    bool forks;  /* the handler of fork is installed */
} g_pool;

void pta_wait_change(atomic_int *word, int old, atomic_int *sleepers) {
    int spins = g_pool.workers < pta_available_cpus() ? SPINS : 32; /* more threads than processors: make room */
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old) return;
        pta_relax();
    }
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) == old) pta_sleep_while(word, old);
    atomic_fetch_sub(sleepers, 1);
}

void pta_wake(atomic_int *word, atomic_int *sleepers) {
    if (atomic_load(sleepers)) pta_wake_all(word);
}

static void *worker(void *argument) {
    const int id = (int)(intptr_t)argument;
    int seen = 0; /* numbers of jobs begin at 1 */
    for (;;) {
        pta_wait_change(&g_pool.number, seen, &g_pool.sleepers);
        uint64_t job = atomic_load(&g_pool.job);
        if ((int)(uint32_t)job == seen) continue; /* done already: its number has not been written yet */
        seen = (int)(uint32_t)job;
        if (id >= (int)(job >> 32)) continue;
        g_pool.work(g_pool.context, id);
        if (atomic_fetch_sub(&g_pool.left, 1) == 1) pta_wake(&g_pool.left, &g_pool.waiting);
    }
    return NULL;
}

/* A forked child has one thread, and a pool without workers. */
static void after_fork(void) {
    pta_wait_reset();
    atomic_store(&g_pool.workers, 0);
    atomic_store(&g_pool.taken, false);
    atomic_store(&g_pool.job, 0);
    atomic_store(&g_pool.number, 0);
    atomic_store(&g_pool.sleepers, 0);
    atomic_store(&g_pool.waiting, 0);
    atomic_store(&g_pool.left, 0);
}

/* Workers never run signal handlers: Python's belong to its own threads. */
static void need_workers(int count) {
    if (g_pool.workers >= count) return;
    if (!g_pool.forks) g_pool.forks = pthread_atfork(NULL, NULL, after_fork) == 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (g_pool.workers < count) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, (void *)(intptr_t)(g_pool.workers + 1))) break;
        pthread_detach(thread);
        g_pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool pta_pool_take(void) {
    bool free = false;
    return atomic_compare_exchange_strong(&g_pool.taken, &free, true);
}

void pta_pool_give(void) { atomic_store(&g_pool.taken, false); }

int pta_pool_grant(int size) {
    if (size > MOST) size = MOST;
    need_workers(size - 1);
    return size <= g_pool.workers + 1 ? size : g_pool.workers + 1;
}

void pta_pool_run(void (*work)(void *context, int id), void *context, int size) {
    if (size > 1) {
        g_pool.work = work;
        g_pool.context = context;
        atomic_store(&g_pool.left, size - 1);
        uint32_t number = (uint32_t)atomic_load(&g_pool.number) + 1;
        atomic_store(&g_pool.job, (uint64_t)size << 32 | number);
        atomic_store(&g_pool.number, (int)number);
        pta_wake(&g_pool.number, &g_pool.sleepers);
    }
    work(context, 0);
    for (int left; size > 1 && (left = atomic_load(&g_pool.left)) > 0;) pta_wait_change(&g_pool.left, left, &g_pool.waiting);
}
