/* The pool, the team and the way of sleeping (csrc/core/wait.c), alone: built with a futex and without one (-DPTA_NO_FUTEX, as
 * on other systems). More threads than processors, so that every barrier is waited for asleep too. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../csrc/core/team.h"

enum { THREADS = 6, ROUNDS = 2000, JOBS = 300 };

typedef struct {
    int64_t value[THREADS][64]; /* a line of its own for each thread, written before a barrier, read by all after it */
    int64_t wrong[THREADS];
    int sizes;
    int slow; /* this thread is late, so that the others fall asleep */
} rounds;

static void body(const pta_team *team, void *arg) {
    rounds *r = arg;
    if (team->id == 0) r->sizes = team->size;
    for (int64_t n = 1; n <= ROUNDS; n++) {
        r->value[team->id][0] = n * (team->id + 1);
        if (n % 500 == 0 && team->id == r->slow) usleep(3000);
        pta_team_barrier(team);
        for (int other = 0; other < team->size; other++) r->wrong[team->id] += r->value[other][0] != n * (other + 1);
        pta_team_barrier(team);
    }
}

static void once(const pta_team *team, void *arg) { ((int64_t *)arg)[team->id * 8] += 1; }

static int check(int64_t got, int64_t expected, const char *what) {
    if (got == expected) return 0;
    printf("%s: %lld, expected %lld\n", what, (long long)got, (long long)expected);
    return 1;
}

/* Barriers keep rounds apart, and every thread does its part of every job. */
static int compute(const char *where) {
    static rounds r;
    int64_t parts[THREADS * 8] = {0}, wrong = 0;
    pta_error err = {0};
    int failures = 0;
    memset(&r, 0, sizeof r);
    r.slow = THREADS - 1;
    failures += check(pta_team_run(body, &r, THREADS, &err), PTA_OK, where);
    for (int i = 0; i < THREADS; i++) wrong += r.wrong[i];
    failures += check(r.sizes, THREADS, where) + check(wrong, 0, where);
    for (int i = 0; i < JOBS; i++) {
        pta_team_run(once, parts, 1 + i % THREADS, &err);
        if (i % 100 == 0) usleep(3000); /* workers fall asleep between jobs */
    }
    for (int i = 0; i < THREADS; i++) failures += check(parts[i * 8], JOBS / THREADS * (THREADS - i), where);
    return failures;
}

static double processor_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

int main(void) {
    int failures = compute("parent");
    usleep(20000); /* they have stopped spinning */
    double before = processor_seconds();
    usleep(400000);
    double spent = processor_seconds() - before;
    /* Five workers that only yield would take at least a whole processor, 0.4 s; a busy machine makes this less, never more. */
    if (spent > 0.1) failures++, printf("waiting workers took %.2f s of processor time in 0.4 s\n", spent);
    fflush(stdout);
    pid_t child = fork(); /* has one thread and makes its own workers */
    if (child == 0) {
        int n = compute("child");
        fflush(stdout);
        _exit(n ? 1 : 0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    failures += check(status, 0, "forked child");
    failures += compute("parent after the fork");
    printf("%d failures\n", failures);
    return failures ? 1 : 0;
}
