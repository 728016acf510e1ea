/* Where the patches of some images stand inside the tower: window by window, the squares of a window together, so that
 * attention over windows, and over images, is attention over ranges of rows; and by which angles their heads turn. */
#ifndef PTA_VISION_WINDOWS_H
#define PTA_VISION_WINDOWS_H

#include "../ops/attention.h"
#include "tower.h"

typedef struct {
    void *memory;
    int64_t T, images, windows;
    int32_t *squares;  /* [T / M] square, as image processing numbers them, at each place */
    int32_t *image_offsets, *window_offsets; /* [images + 1], [windows + 1] rows */
    int32_t *roots;    /* [max(images, windows)] -1 */
    float *angles;     /* [T, {cos, sin}, D/2]: half of the pairs turn by the patch's row, half by its column */
    int32_t *line;     /* [T] 0, 1, 2, ... */
} pta_windows;

/* The plan of images with grids[i] = {rows, columns} of patches, in memory of its own. PTA_E_VALUE: an image without
 * patches, one that is not cut into whole squares, or more rows than can be counted. On failure there is nothing to free. */
pta_code pta_windows_create(pta_windows *w, const pta_tower_config *c, const int32_t (*grids)[2], int64_t images,
                            pta_error *err);
void pta_windows_free(pta_windows *w);
/* As attention sees them. */
pta_rows pta_windows_rows(const pta_windows *w, bool whole_images);

#endif
