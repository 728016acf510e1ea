/* By which angle each row's heads turn: a table of angles and the line of it that a row takes.
 *
 * Where a row has one position, the table is the model's, and its line the position. Where it has three (time, height,
 * width: multimodal rotary, arXiv 2409.12191), its angles are put together from three lines of the model's table, pair by
 * pair: config.rope_sections says how many pairs of components turn by each of them. A row whose three positions are equal
 * has the angles of that position, to the bit.
 */
#ifndef PTA_MODEL_ROTATION_H
#define PTA_MODEL_ROTATION_H

#include "../core/cursor.h"
#include "model.h"

typedef struct {
    const float *table;    /* [lines, {cos, sin}, D/2] */
    const int32_t *line;   /* [T]; NULL: line 0 for all, which turns nothing */
} pta_rotation;

/* Room for angles of T rows with three positions each. */
typedef struct {
    float *angles; /* [T, {cos, sin}, D/2] */
    int32_t *line; /* [T] */
} pta_rotation_room;
static inline void pta_rotation_layout(pta_rotation_room *room, pta_cursor *cursor, const pta_config *c, int64_t T) {
    room->angles = pta_take_floats(cursor, T * c->D);
    room->line = pta_take(cursor, T * (int64_t)sizeof(int32_t));
}
/* Put the angles together. Row t's positions are axes[t], axes[stride + t], axes[2 stride + t]; m->rope covers them. */
pta_rotation pta_rotation_of_axes(const pta_rotation_room *room, const pta_model *m, const int32_t *axes, int64_t stride,
                                  int64_t T);

#endif
