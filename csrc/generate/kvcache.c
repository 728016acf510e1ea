/* Slots are recycled through a stack, pages through a bounded pool of spare ones. */
#include "kvcache.h"

#include <string.h>

#include "../core/memory.h"

pta_code pta_cache_page_bytes(int64_t *bytes, const pta_config *c, pta_error *err) {
    return pta_checked_mul(bytes, c->L * c->K, 2 * c->D * PTA_PAGE * pta_dtype_size(c->dtype), err);
}

pta_code pta_cache_create(pta_cache **out, pta_model *model, pta_error *err) {
    int64_t bytes;
    pta_code code = pta_cache_page_bytes(&bytes, &model->config, err);
    if (code) return code;
    pta_cache *cache = pta_alloc(1, sizeof *cache);
    if (!cache) return pta_fail(err, PTA_E_MEMORY, "cannot allocate a cache");
    cache->model = model;
    cache->version = model->version;
    cache->page_bytes = bytes;
    *out = cache;
    return PTA_OK;
}

static void release_pages(pta_cache *cache, pta_segment *s);

void pta_cache_free(pta_cache *cache) {
    if (!cache) return;
    for (int32_t i = 0; i < cache->used; i++) {
        pta_segment *s = &cache->segments[i];
        if (!s->live) continue;
        release_pages(cache, s);
        pta_free(s->hidden);
    }
    for (int64_t i = 0; i < cache->num_spare; i++) pta_free(cache->spare[i]);
    pta_free(cache->spare);
    pta_free(cache->segments);
    pta_free(cache->vacant);
    pta_free(cache);
}

int64_t pta_cache_handle(const pta_cache *cache, int32_t slot) {
    return (int64_t)((uint64_t)cache->segments[slot].generation << 32) + slot + 1;
}

pta_code pta_cache_slot(const pta_cache *cache, int32_t *slot, int64_t handle, const char *what, int64_t index,
                        pta_error *err) {
    int64_t low = (handle & 0xffffffff) - 1;
    if (handle <= 0 || low < 0 || low >= cache->used)
        return pta_fail(err, PTA_E_VALUE, "%s[%lld]: %lld is not a handle of this cache", what, (long long)index,
                        (long long)handle);
    const pta_segment *s = &cache->segments[low];
    if (!s->live || s->generation != (uint32_t)(handle >> 32))
        return pta_fail(err, PTA_E_STATE, "%s[%lld]: segment %lld has been freed", what, (long long)index,
                        (long long)handle);
    *slot = (int32_t)low;
    return PTA_OK;
}

static pta_code grow_segments(pta_cache *cache, pta_error *err) {
    int64_t capacity = cache->capacity ? 2 * (int64_t)cache->capacity : 64;
    if (capacity > INT32_MAX / 2)
        return pta_fail(err, PTA_E_MEMORY, "a cache holds at most %d segments", INT32_MAX / 2);
    pta_segment *segments = pta_alloc(capacity, sizeof *segments);
    int32_t *vacant = pta_alloc(capacity, sizeof *vacant);
    if (!segments || !vacant) {
        pta_free(segments);
        pta_free(vacant);
        return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for %lld cache segments",
                        (long long)(capacity * (int64_t)sizeof *segments), (long long)capacity);
    }
    if (cache->used) memcpy(segments, cache->segments, (size_t)cache->used * sizeof *segments);
    if (cache->num_vacant) memcpy(vacant, cache->vacant, (size_t)cache->num_vacant * sizeof *vacant);
    pta_free(cache->segments);
    pta_free(cache->vacant);
    cache->segments = segments;
    cache->vacant = vacant;
    cache->capacity = (int32_t)capacity;
    return PTA_OK;
}

pta_code pta_segment_open(pta_cache *cache, int32_t *slot, int32_t parent, pta_error *err) {
    int32_t i;
    if (cache->num_vacant) {
        i = cache->vacant[--cache->num_vacant];
    } else {
        if (cache->used == cache->capacity) {
            pta_code code = grow_segments(cache, err);
            if (code) return code;
        }
        i = cache->used++;
        cache->segments[i].generation = 0;
    }
    uint32_t generation = cache->segments[i].generation;
    cache->segments[i] = (pta_segment){.parent = parent, .generation = generation, .live = true, .pending = -1,
                                       .mark = -1};
    if (parent >= 0) {
        pta_segment *p = &cache->segments[parent];
        cache->segments[i].start = p->start + p->length;
        cache->segments[i].shift = p->shift;
        p->num_children++;
    }
    cache->num_live++;
    *slot = i;
    return PTA_OK;
}

/* A page with the contents of `like`, or of zeros: a recycled one may hold what diverged weights left. */
static char *take_page(pta_cache *cache, const char *like, pta_error *err) {
    char *page = cache->num_spare ? cache->spare[--cache->num_spare] : pta_alloc_uninit(cache->page_bytes, 1);
    if (!page)
        pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld more bytes for the KV cache, which holds %lld bytes",
                 (long long)cache->page_bytes, (long long)cache->bytes);
    else if (like)
        memcpy(page, like, (size_t)cache->page_bytes);
    else
        memset(page, 0, (size_t)cache->page_bytes);
    return page;
}

static void return_page(pta_cache *cache, char *page) {
    if ((cache->num_spare + 1) * cache->page_bytes > PTA_SPARE_BYTES) {
        pta_free(page);
        return;
    }
    if (cache->num_spare == cache->spare_capacity) {
        int64_t capacity = cache->spare_capacity ? 2 * cache->spare_capacity : 64;
        char **spare = pta_alloc(capacity, sizeof *spare);
        if (!spare) { /* no room to remember it: give it back */
            pta_free(page);
            return;
        }
        if (cache->num_spare) memcpy(spare, cache->spare, (size_t)cache->num_spare * sizeof *spare);
        pta_free(cache->spare);
        cache->spare = spare;
        cache->spare_capacity = capacity;
    }
    cache->spare[cache->num_spare++] = page;
}

static void release_pages(pta_cache *cache, pta_segment *s) {
    for (int64_t b = s->start / PTA_PAGE; b < s->num_pages; b++) {
        return_page(cache, s->pages[b]);
        cache->bytes -= cache->page_bytes;
    }
    pta_free(s->pages);
    s->pages = NULL;
    s->num_pages = s->page_capacity = 0;
}

static pta_code grow_table(pta_segment *s, int64_t wanted, pta_error *err) {
    int64_t capacity = wanted > 2 * s->page_capacity ? wanted : 2 * s->page_capacity;
    char **pages = pta_alloc_uninit(capacity, sizeof *pages);
    if (!pages)
        return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for a page table", (long long)(8 * capacity));
    if (s->num_pages) memcpy(pages, s->pages, (size_t)s->num_pages * sizeof *pages);
    pta_free(s->pages);
    s->pages = pages;
    s->page_capacity = capacity;
    return PTA_OK;
}

pta_code pta_segment_reserve(pta_cache *cache, int32_t slot, int64_t tokens, pta_error *err) {
    pta_segment *s = &cache->segments[slot];
    const int64_t shared = s->start / PTA_PAGE, wanted = shared + pta_segment_pages(s->start, tokens);
    if (tokens == 0 || wanted <= s->num_pages) return PTA_OK;
    if (wanted > s->page_capacity) {
        pta_code code = grow_table(s, wanted, err);
        if (code) return code;
    }
    const int32_t source = pta_segment_source(cache, s->parent);
    char *const *before = source < 0 ? NULL : cache->segments[source].pages;
    for (; s->num_pages < shared; s->num_pages++) s->pages[s->num_pages] = before[s->num_pages];
    while (s->num_pages < wanted) {
        const bool begins_inside = s->num_pages == shared && s->start % PTA_PAGE;
        char *page = take_page(cache, begins_inside ? before[shared] : NULL, err);
        if (!page) return PTA_E_MEMORY;
        s->pages[s->num_pages++] = page;
        cache->bytes += cache->page_bytes;
    }
    return PTA_OK;
}

pta_code pta_segment_need_hidden(pta_cache *cache, int32_t slot, pta_error *err) {
    pta_segment *s = &cache->segments[slot];
    if (s->hidden) return PTA_OK;
    int64_t bytes = pta_cache_hidden_bytes(cache);
    s->hidden = pta_alloc(bytes, 1);
    if (!s->hidden)
        return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes for a hidden state", (long long)bytes);
    cache->bytes += bytes;
    return PTA_OK;
}

void pta_segment_close(pta_cache *cache, int32_t slot) {
    pta_segment *s = &cache->segments[slot];
    release_pages(cache, s);
    if (s->hidden) {
        pta_free(s->hidden);
        s->hidden = NULL;
        cache->bytes -= pta_cache_hidden_bytes(cache);
    }
    if (s->parent >= 0) cache->segments[s->parent].num_children--;
    s->live = false;
    s->generation = (s->generation + 1) & 0x7fffffff;
    cache->vacant[cache->num_vacant++] = slot;
    cache->num_live--;
}

int32_t pta_segment_source(const pta_cache *cache, int32_t slot) {
    while (slot >= 0 && cache->segments[slot].length == 0) slot = cache->segments[slot].parent;
    return slot;
}

pta_code pta_cache_release(pta_cache *cache, const int64_t *handles, int64_t n, pta_error *err) {
    int32_t *slots = pta_alloc_uninit(n, sizeof *slots);
    if (!slots) return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes", (long long)(4 * n));
    pta_code code = PTA_OK;
    int64_t marked = 0;
    /* mark counts, for a segment in the list, its children outside the list that are still to be met */
    for (; marked < n; marked++) {
        if ((code = pta_cache_slot(cache, &slots[marked], handles[marked], "handles", marked, err))) break;
        pta_segment *s = &cache->segments[slots[marked]];
        if (s->mark >= 0) {
            code = pta_fail(err, PTA_E_STATE, "handles[%lld]: segment %lld is in the list twice", (long long)marked,
                            (long long)handles[marked]);
            break;
        }
        s->mark = s->num_children;
    }
    if (!code) {
        for (int64_t i = 0; i < n; i++) {
            int32_t parent = cache->segments[slots[i]].parent;
            if (parent >= 0 && cache->segments[parent].mark > 0) cache->segments[parent].mark--;
        }
        for (int64_t i = 0; i < n && !code; i++)
            if (cache->segments[slots[i]].mark > 0)
                code = pta_fail(err, PTA_E_STATE, "handles[%lld]: segment %lld still has %d children outside the list; "
                                "free them first or together", (long long)i, (long long)handles[i],
                                (int)cache->segments[slots[i]].mark);
    }
    for (int64_t i = 0; i < marked; i++) cache->segments[slots[i]].mark = -1;
    if (!code)
        for (int64_t i = 0; i < n; i++) pta_segment_close(cache, slots[i]);
    pta_free(slots);
    return code;
}

pta_code pta_cache_check_version(pta_cache *cache, pta_error *err) {
    if (cache->num_live == 0) cache->version = cache->model->version;
    if (cache->version != cache->model->version)
        return pta_fail(err, PTA_E_STATE,
                        "weights changed since prefill: the %d stored segments belong to older weights; "
                        "free them and prefill again", (int)cache->num_live);
    return PTA_OK;
}
