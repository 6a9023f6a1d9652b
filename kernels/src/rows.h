/* What the fused pass over a strip needs to know. Units: pixel values are those of the file, white is `white`. */
#ifndef UNHAZE_ROWS_H
#define UNHAZE_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum { TABLE_SAMPLES = 65536 };

typedef enum { KIND_UINT8, KIND_UINT16, KIND_FLOAT32 } pixel_kind;

typedef struct {
    const char *data; /* target: written through a cast */
    ptrdiff_t row, pixel, channel; /* strides in bytes */
} plane_view;

/* A map of few rows, as wide as the picture; its rows are blended bilinearly. */
typedef struct {
    const float *data;
    ptrdiff_t rows;
} wide_map;

typedef struct {
    pixel_kind kind;
    int channels; /* 1 or 3 */
    ptrdiff_t rows, width;
    ptrdiff_t first, height; /* number of the first row, and rows of the whole picture */
    plane_view source, target;
    plane_view hidden; /* bytes; data is NULL where nothing is hidden */
    wide_map slope, offset, gray, tints[3];
    int may_exceed;
    double strength;
    float white, least, color_blend, lift;
    float margin, least_gap, greatest_color_gain;
    /* curve of the profile: of integers one working value for each file value, of floats TABLE_SAMPLES to interpolate */
    const float *to_working;
    ptrdiff_t to_working_size, to_working_stride; /* stride 0 where the channels share a table */
    const float *to_file;
    ptrdiff_t to_file_stride;
} strip_job;

typedef void strip_function(const strip_job *job);

strip_function restore_strip_base;
#ifdef UNHAZE_X86_LEVELS
strip_function restore_strip_v3; /* AVX2, FMA */
strip_function restore_strip_v4; /* AVX-512 */
#endif

#endif
