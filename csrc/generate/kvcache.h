/* Keys and values of a growing forest of segments, in pages, each segment stored once however many continue it.
 *
 * A segment is a run of tokens after its parent (or after nothing). Pages hold PTA_PAGE positions counted from the root
 * (ops/attend.h), and a segment's page table begins at the root too: full pages of its ancestors are referred to, a page
 * that it begins inside of is its own, with the ancestors' part copied in front. So the table is all that attention
 * needs to know, and two rows share a page exactly where their tables hold the same address.
 * A sampled segment's last token has not been through the model when sampling ends: it is `pending`, and is fed when
 * somebody first continues the segment (most never are). A segment has pages from when its first token is fed.
 *
 * Page layout, elements of the model's type: for layer l and key head k a block of 2·D·PTA_PAGE at (l·K + k)·2·D·PTA_PAGE:
 *   keys [D][PTA_PAGE], then values [PTA_PAGE][D]; slots that hold no token hold finite numbers.
 */
#ifndef PTA_GENERATE_KVCACHE_H
#define PTA_GENERATE_KVCACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/status.h"
#include "../model/model.h"
#include "../ops/attend.h"

typedef struct {
    int32_t parent;       /* slot, -1 for a root */
    int32_t num_children; /* live segments whose parent this is */
    uint32_t generation;  /* part of the handle: a freed slot's old handles are recognised */
    bool live;
    int32_t pending;      /* token id whose key and value are not stored yet (the last one), or -1 */
    int64_t start;        /* position of the first token */
    int64_t length;       /* tokens, the pending one included */
    int64_t shift;        /* rotary position of a token that is not told its own, minus its position; from the parent, and
                             another one behind images, which take fewer rotary positions than rows */
    char **pages;         /* [num_pages] page b holds positions [PTA_PAGE·b, PTA_PAGE·(b + 1)) */
    int64_t num_pages, page_capacity;
    void *hidden;         /* [C] of the model's type: normed final state of the last token; NULL while pending or empty */
    int32_t mark;         /* scratch of one call: -1 outside */
} pta_segment;

typedef struct {
    pta_model *model;     /* not owned */
    uint64_t version;     /* of the weights that computed what is stored */
    int64_t page_bytes;
    pta_segment *segments; /* [capacity]; moves when it grows: keep slots, not pointers */
    int32_t capacity, used, num_live;
    int32_t *vacant;      /* freed slots below `used` */
    int32_t num_vacant;
    char **spare;         /* freed pages kept for reuse, at most PTA_SPARE_BYTES */
    int64_t num_spare, spare_capacity;
    int64_t bytes;        /* of pages and hidden states held by live segments */
} pta_cache;

enum { PTA_SPARE_BYTES = 64 << 20 };

pta_code pta_cache_create(pta_cache **out, pta_model *model, pta_error *err);
/* Bytes of a page. */
pta_code pta_cache_page_bytes(int64_t *bytes, const pta_config *config, pta_error *err);
void pta_cache_free(pta_cache *cache);

/* Handles are positive: (generation << 32) + slot + 1. Slot of a live segment, or PTA_E_STATE (freed) or PTA_E_VALUE
 * (never a handle); `what` and `index` name the argument in the message. */
pta_code pta_cache_slot(const pta_cache *cache, int32_t *slot, int64_t handle, const char *what, int64_t index,
                        pta_error *err);
int64_t pta_cache_handle(const pta_cache *cache, int32_t slot);

/* A new empty segment after `parent` (slot or -1). */
pta_code pta_segment_open(pta_cache *cache, int32_t *slot, int32_t parent, pta_error *err);
/* Pages of its own that a segment has for its first `tokens` tokens when it begins at position `start`. */
static inline int64_t pta_segment_pages(int64_t start, int64_t tokens) {
    return tokens ? (start + tokens + PTA_PAGE - 1) / PTA_PAGE - start / PTA_PAGE : 0;
}
/* Give a segment pages for its first `tokens` tokens. No ancestor may be pending. */
pta_code pta_segment_reserve(pta_cache *cache, int32_t slot, int64_t tokens, pta_error *err);
/* Allocate hidden[C] if there is none. */
pta_code pta_segment_need_hidden(pta_cache *cache, int32_t slot, pta_error *err);
static inline int64_t pta_cache_hidden_bytes(const pta_cache *cache) {
    return cache->model->config.C * pta_dtype_size(cache->model->config.dtype);
}
/* Key head `head` of layer `layer` in a page. */
typedef struct {
    pta_matrix keys, values;
} pta_stored_page;
static inline pta_stored_page pta_cache_page(const pta_config *c, const char *page, int64_t layer, int64_t head) {
    const int64_t half = c->D * PTA_PAGE * pta_dtype_size(c->dtype);
    char *keys = (char *)page + (layer * c->K + head) * 2 * half;
    return (pta_stored_page){{keys, PTA_PAGE, c->dtype}, {keys + half, c->D, c->dtype}};
}

/* Release one segment without children. */
void pta_segment_close(pta_cache *cache, int32_t slot);
/* The segment itself if it has tokens, else its nearest ancestor that has; -1 if none. */
int32_t pta_segment_source(const pta_cache *cache, int32_t slot);

/* Release segments: every live child of one must be in the list too. Checks first; a refused call frees nothing.
 * PTA_E_STATE: freed before or twice in the list, or a child outside the list. */
pta_code pta_cache_release(pta_cache *cache, const int64_t *handles, int64_t n, pta_error *err);

/* PTA_E_STATE when segments are stored that other weights computed; an empty cache adopts the present weights. */
pta_code pta_cache_check_version(pta_cache *cache, pta_error *err);

#endif
