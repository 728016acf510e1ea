/* AVX2 with FMA: a tile of 12 × 32 in four parts of 6 × 16, which are 12 registers of sums each. */
#include "kernel.h"

#ifdef PTA_X86
#define LANES 8
#define TILE_ROWS 6
#define TARGET __attribute__((target("avx2,fma")))
#include "fma_tile.h"

enum { ROWS = 2 * TILE_ROWS };

TARGET static void avx2_tile_f32(const pta_tile *t, int rows) { fma_tile(t, rows, false); }
TARGET static void avx2_tile_bf16(const pta_tile *t, int rows) { fma_tile(t, rows, true); }

PTA_FLOAT_PACKING(avx2, TARGET, ROWS)
PTA_FLOAT_KERNELS(avx2, "avx2", ROWS)
#endif
