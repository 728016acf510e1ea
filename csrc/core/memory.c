#include "memory.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { LINE = 64, HUGE_PAGE = 2 << 20 };

static size_t alignment_of(size_t bytes) { return bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : LINE; }

static size_t rounded(size_t bytes) {
    const size_t alignment = alignment_of(bytes);
    return (bytes + alignment - 1) / alignment * alignment;
}

int64_t pta_alloc_bytes(int64_t bytes) { return (int64_t)rounded((size_t)bytes); }

void *pta_alloc_uninit(int64_t count, size_t size) {
    if (count < 0) return NULL;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)count, size, &bytes) || bytes > PTRDIFF_MAX - 2 * HUGE_PAGE) return NULL;
    const size_t alignment = alignment_of(bytes);
    bytes = rounded(bytes);
    void *p = aligned_alloc(alignment, bytes ? bytes : alignment);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (p && alignment == HUGE_PAGE) madvise(p, bytes, MADV_HUGEPAGE); /* a wish: the system may refuse it */
#endif
    return p;
}

void *pta_alloc(int64_t count, size_t size) {
    void *p = pta_alloc_uninit(count, size);
    if (p) memset(p, 0, (size_t)count * size);
    return p;
}

void pta_free(void *p) { free(p); }

float *pta_buffer_reserve(pta_buffer *b, int64_t floats, pta_error *err) {
    if (b->data && floats <= b->capacity) return b->data;
    float *data = pta_alloc_uninit(floats, sizeof(float));
    if (!data) {
        pta_fail(err, PTA_E_MEMORY, "cannot allocate %.2f GiB of scratch memory", (double)floats * 4 / (1 << 30));
        return NULL;
    }
    pta_free(b->data);
    b->data = data;
    b->capacity = floats;
    return data;
}

void pta_buffer_free(pta_buffer *b) {
    pta_free(b->data);
    b->data = NULL;
    b->capacity = 0;
}

pta_code pta_checked_mul(int64_t *out, int64_t a, int64_t b, pta_error *err) {
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, out))
        return pta_fail(err, PTA_E_VALUE, "size overflow: %lld × %lld", (long long)a, (long long)b);
    return PTA_OK;
}
