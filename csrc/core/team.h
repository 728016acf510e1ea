/* A team of threads that runs one long computation together: one parallel region, many steps, a barrier between them.
 *
 * An operation that takes `const pta_team *team` is called by every thread of the team with equal arguments; each does
 * its share. Results are complete for all threads only after the next pta_team_barrier, which the CALLER places (an
 * operation says in its header when it has barriers inside). Nothing that a thread computes may depend on team->size:
 * sizes and orders of sums are fixed, only who forms them changes.
 */
#ifndef PTA_CORE_TEAM_H
#define PTA_CORE_TEAM_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

typedef struct pta_team_common pta_team_common; /* barrier, shared scratch, verdict of the last poll */

typedef struct {
    int id, size; /* this thread, 0 .. size-1; threads of the team */
    pta_team_common *common;
    void *scratch; /* PTA_TEAM_SCRATCH bytes of this thread alone, 64-byte aligned, kept from call to call */
} pta_team;

enum { PTA_TEAM_SCRATCH = 4 << 20, PTA_TEAM_SHARED = 16 << 20 };
/* Scratch of a team. */
static inline int64_t pta_team_bytes(int threads) { return PTA_TEAM_SHARED + (int64_t)threads * PTA_TEAM_SCRATCH; }

/* Run body(team, arg) on `threads` threads (0: pta_num_threads()) of the one pool and wait for all. Where the pool is in use
 * already, the calling thread does it alone. PTA_E_MEMORY when there is no scratch: then nothing has run. */
typedef void (*pta_team_body)(const pta_team *team, void *arg);
pta_code pta_team_run(pta_team_body body, void *arg, int threads, pta_error *err);

/* All threads have arrived, and what any of them wrote before is seen by all after. */
void pta_team_barrier(const pta_team *team);

/* Barrier, and the interrupt hook once (on thread 0). True for all threads, or for none: stop now. The code and the
 * message are in *err of thread 0's call (others may pass NULL). */
bool pta_team_interrupted(const pta_team *team, pta_error *err);

/* PTA_TEAM_SHARED bytes that all threads see, 2 MiB aligned. Contents belong to one operation: it may use them from its
 * first barrier to its end. */
void *pta_team_shared(const pta_team *team);

/* Work that is handed out item by item, in order, to whoever is free. The counter restarts at every barrier:
 *     for (int64_t i; (i = pta_team_next(team)) < n;) ...
 * Two loops over it must have a barrier between them. */
int64_t pta_team_next(const pta_team *team);

/* This thread's part of n items, contiguous, cut at multiples of `grain`. */
static inline void pta_team_share(const pta_team *team, int64_t n, int64_t grain, int64_t *first, int64_t *last) {
    int64_t grains = (n + grain - 1) / grain;
    *first = grains * team->id / team->size * grain;
    *last = grains * (team->id + 1) / team->size * grain;
    if (*first > n) *first = n;
    if (*last > n) *last = n;
}

#endif
