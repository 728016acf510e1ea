#include "rotation.h"

#include <string.h>

pta_rotation pta_rotation_of_axes(const pta_rotation_room *room, const pta_model *m, const int32_t *axes, int64_t stride,
                                  int64_t T) {
    const int64_t D = m->config.D;
    for (int64_t t = 0; t < T; t++) {
        float *to = room->angles + t * D;
        room->line[t] = (int32_t)t;
        for (int64_t axis = 0, pair = 0; axis < 3; pair += m->config.rope_sections[axis++]) {
            const float *from = m->rope + (int64_t)axes[axis * stride + t] * D;
            const size_t bytes = (size_t)m->config.rope_sections[axis] * sizeof(float);
            memcpy(to + pair, from + pair, bytes);
            memcpy(to + D / 2 + pair, from + D / 2 + pair, bytes);
        }
    }
    return (pta_rotation){room->angles, room->line};
}
