/* Inside csrc/generate: feeding the pending last tokens of segments that are about to be continued. */
#ifndef PTA_GENERATE_PREFILL_H
#define PTA_GENERATE_PREFILL_H

#include "step.h"

/* For those of the n segments (slots; repeats and -1 allowed) whose last token is pending: run it through the model
 * and keep its hidden state. After a failure some may still be pending: nothing that a caller can see has changed. */
pta_code pta_feed_pending(pta_cache *cache, pta_step *step, const int32_t *slots, int64_t n, pta_error *err);

#endif
