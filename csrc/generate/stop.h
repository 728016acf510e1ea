/* Stop strings: does the text generated so far contain one of a set of byte strings?
 *
 * Tokens are turned into bytes and run through one automaton (Aho and Corasick 1975), so a stop string is found
 * wherever it lies: across token borders, inside a multi-byte character, or in the middle of a token.
 */
#ifndef PTA_GENERATE_STOP_H
#define PTA_GENERATE_STOP_H

#include <stdint.h>

#include "../core/status.h"

enum { PTA_STOP_MAX_BYTES = 16384 }; /* of all stop strings together; a state costs 1 KiB */

typedef struct {
    int64_t num_tokens;     /* tokens with known bytes; later ids have none */
    uint8_t *bytes;         /* bytes of all tokens, one after the other */
    int64_t *offsets;       /* [num_tokens+1] token t is bytes[offsets[t] .. offsets[t+1]) */
    int32_t num_states;     /* state 0: nothing matched */
    int32_t (*next)[256];   /* [num_states] */
    uint8_t *accepts;       /* [num_states] a stop string ends here */
} pta_stop_table;

/* Copy the token bytes and build the automaton of stop strings stop_bytes[stop_offsets[i] .. stop_offsets[i+1]).
 * PTA_E_VALUE: offsets that do not start at 0, decrease or do not end at the byte count; an empty stop string; more
 * than PTA_STOP_MAX_BYTES. No stop strings at all is allowed: nothing ever matches. */
pta_code pta_stop_create(pta_stop_table **out, const uint8_t *token_bytes, int64_t num_token_bytes,
                         const int64_t *token_offsets, int64_t num_tokens, const uint8_t *stop_bytes,
                         int64_t num_stop_bytes, const int32_t *stop_offsets, int64_t num_stops, pta_error *err);
void pta_stop_free(pta_stop_table *table);

/* The state after one more token (start with state 0), or -1 when this token's bytes complete a stop string.
 * A token without bytes (special tokens, ids beyond the table) leaves the state as it is. */
int32_t pta_stop_step(const pta_stop_table *table, int32_t state, int32_t token);

#endif
