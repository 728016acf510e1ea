/* Aligned memory with overflow checks. */
#ifndef PTA_CORE_MEMORY_H
#define PTA_CORE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Zero-filled, 64-byte aligned (from 4 MiB on 2 MiB aligned, on huge pages where the system grants them) array of count × size bytes. count 0 gives a valid pointer. NULL on overflow or when
 * memory is short. Free with pta_free. */
void *pta_alloc(int64_t count, size_t size);
/* The same without zero-filling. */
void *pta_alloc_uninit(int64_t count, size_t size);
void pta_free(void *p);
/* Bytes that such an array takes. */
int64_t pta_alloc_bytes(int64_t bytes);

/* A scratch buffer that only grows. Contents are lost when it grows. Zero-initialise the struct; free with
 * pta_buffer_free. pta_buffer_reserve returns NULL (and fills *err) when memory is short. */
typedef struct {
    float *data;
    int64_t capacity; /* floats */
} pta_buffer;
float *pta_buffer_reserve(pta_buffer *b, int64_t floats, pta_error *err);
void pta_buffer_free(pta_buffer *b);

/* *out = a·b; PTA_E_VALUE on int64 overflow or negative factors. */
pta_code pta_checked_mul(int64_t *out, int64_t a, int64_t b, pta_error *err);

#endif
