/* The fused pass: decode values, guided transmission, inversion, brightening, rounding, in blocks that stay in L1.
 *
 * Every operation and its order are those of unhaze/restore/strips.py, in float32 without contraction, so the results
 * are the same to the bit where the processor multiplies and adds in one step; else, and for powers of the transmission
 * (strengths other than 1), by one unit in the last place at times. The loops hold no branch that depends on a pixel, so that compilers vectorise them. This file is compiled once
 * for each level of instructions, with RESTORE_STRIP set to the name of the function.
 */
#include "rows.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 256 }; /* pixels; ten arrays of them take a third of an L1 cache */

#if defined(_MSC_VER) && !defined(__clang__)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

#if defined(__FMA__) || defined(__aarch64__) || (defined(_MSC_VER) && defined(__AVX2__))
#define MULTIPLY_ADD(a, b, c) fmaf(a, b, c) /* as OpenCV does it where the processor can */
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

typedef struct {
    const float *upper, *lower;
    float share;
} row_pair;

static row_pair find_rows(const wide_map *map, ptrdiff_t row, const strip_job *job) {
    const double last = (double)(map->rows - 1);
    double position = ((double)row + 0.5) * ((double)map->rows / (double)job->height) - 0.5;
    position = position < 0 ? 0 : position > last ? last : position;
    const ptrdiff_t above = (ptrdiff_t)position;
    const ptrdiff_t below = above + 1 < map->rows ? above + 1 : map->rows - 1;
    const row_pair pair = {map->data + above * job->width, map->data + below * job->width,
                           (float)(position - (double)above)};
    return pair;
}

static inline float blend(const float upper, const float lower, const float share) {
    return (lower - upper) * share + upper;
}

static inline float clip(const float value, const float low, const float high) {
    const float raised = value < low ? low : value;
    return raised > high ? high : raised;
}

/* t ** -strength for t in (0, 1], by double polynomials good to 1e-9: log2 by the series of artanh, 2 ** x by Taylor. */
static inline float power(const float t, const double exponent) {
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    /* mantissa in [2/3, 4/3) or so, whichever keeps it nearest to 1 */
    const int32_t scale = (int32_t)(bits - 0x3f3504f3u) >> 23;
    const uint32_t mantissa_bits = bits - ((uint32_t)scale << 23);
    float mantissa;
    memcpy(&mantissa, &mantissa_bits, sizeof mantissa);
    const double z = ((double)mantissa - 1) / ((double)mantissa + 1), s = z * z;
    const double series =
        1 + s * (1.0 / 3 + s * (1.0 / 5 + s * (1.0 / 7 + s * (1.0 / 9 + s * (1.0 / 11 + s * (1.0 / 13))))));
    const double x = ((double)scale + 2.8853900817779268 * z * series) * exponent; /* 2 / ln 2 */
    const double shifted = x + 6755399441055744.0; /* 1.5 * 2**52: the low bits hold the nearest integer */
    uint64_t whole;
    memcpy(&whole, &shifted, sizeof whole);
    const double y = (x - (shifted - 6755399441055744.0)) * 0.69314718055994531;
    const double taylor =
        1 + y * (1 + y * (1.0 / 2 + y * (1.0 / 6 + y * (1.0 / 24 + y * (1.0 / 120 + y * (1.0 / 720 + y * (1.0 / 5040 + y * (1.0 / 40320))))))));
    const uint64_t factor_bits = (whole + 1023) << 52;
    double factor;
    memcpy(&factor, &factor_bits, sizeof factor);
    return (float)(taylor * factor);
}

static inline float interpolate(const float *table, const float spaced) {
    const float position = spaced * (float)(TABLE_SAMPLES - 1);
    int32_t below = (int32_t)position;
    below = below < TABLE_SAMPLES - 2 ? below : TABLE_SAMPLES - 2;
    const double weight = (double)position - (double)below;
    const float difference = table[below + 1] - table[below];
    return (float)((double)table[below] + weight * (double)difference);
}

#define LOAD(TYPE)                                                                                                     \
    do {                                                                                                               \
        if (channels == 3 && view->channel == sizeof(TYPE) && view->pixel == 3 * sizeof(TYPE)) {                       \
            const TYPE *RESTRICT packed = (const TYPE *)from;                                                          \
            float *RESTRICT red = planes[0], *RESTRICT green = planes[1], *RESTRICT blue = planes[2];                  \
            for (int i = 0; i < count; i++) {                                                                          \
                red[i] = (float)packed[3 * i];                                                                         \
                green[i] = (float)packed[3 * i + 1];                                                                   \
                blue[i] = (float)packed[3 * i + 2];                                                                    \
            }                                                                                                          \
        } else {                                                                                                       \
            for (int c = 0; c < channels; c++)                                                                         \
                for (int i = 0; i < count; i++)                                                                        \
                    planes[c][i] = (float)*(const TYPE *)(from + i * view->pixel + c * view->channel);                 \
        }                                                                                                              \
    } while (0)

static void load(const strip_job *job, const char *from, const int count, float (*planes)[BLOCK]) {
    const plane_view *view = &job->source;
    const int channels = job->channels;
    switch (job->kind) {
    case KIND_UINT8: LOAD(uint8_t); break;
    case KIND_UINT16: LOAD(uint16_t); break;
    case KIND_FLOAT32: LOAD(float); break;
    }
}

/* Returns whether a value lies above white, and so will stay as it is. */
static int to_working(const strip_job *job, const uint8_t *hidden, const int count, float (*planes)[BLOCK]) {
    int above = 0;
    for (int c = 0; c < job->channels; c++) {
        float *plane = planes[c];
        if (hidden)
            for (int i = 0; i < count; i++) plane[i] = hidden[i] ? 0 : plane[i];
        if (job->may_exceed) {
            for (int i = 0; i < count; i++) above |= plane[i] > job->white;
            for (int i = 0; i < count; i++) plane[i] = clip(plane[i], 0, job->white);
        }
        if (!job->to_working) continue;
        const float *table = job->to_working + c * job->to_working_stride;
        if (job->kind != KIND_FLOAT32)
            for (int i = 0; i < count; i++) plane[i] = table[(int32_t)plane[i]];
        else
            for (int i = 0; i < count; i++)
                plane[i] = interpolate(table, clip(plane[i] / job->white, 0, 1)) * job->white;
    }
    return above;
}

/* In the units of the file, floats; integers are half a step too large, for the cast that truncates. */
static void to_file(const strip_job *job, const int count, float (*planes)[BLOCK]) {
    for (int c = 0; c < job->channels; c++) {
        float *plane = planes[c];
        if (job->to_file) {
            const float *table = job->to_file + c * job->to_file_stride;
            for (int i = 0; i < count; i++)
                plane[i] = interpolate(table, sqrtf(clip(plane[i] / job->white, 0, 1))) * job->white;
        }
        if (job->kind != KIND_FLOAT32)
            for (int i = 0; i < count; i++) plane[i] += 0.5f;
    }
}

#define STORE(TYPE, WIDE)                                                                                              \
    do {                                                                                                               \
        if (keep_some) {                                                                                               \
            const char *from = job->source.data + row * job->source.row + start * job->source.pixel;                   \
            for (int c = 0; c < channels; c++)                                                                         \
                for (int i = 0; i < count; i++) {                                                                      \
                    const TYPE before = *(const TYPE *)(from + i * job->source.pixel + c * job->source.channel);       \
                    const int keep = (hidden && hidden[i]) || (job->may_exceed && (float)before > job->white);         \
                    *(TYPE *)(to + i * view->pixel + c * view->channel) = keep ? before : (TYPE)(WIDE)planes[c][i];    \
                }                                                                                                      \
        } else if (channels == 3 && view->channel == sizeof(TYPE) && view->pixel == 3 * sizeof(TYPE)) {                \
            TYPE *RESTRICT packed = (TYPE *)to;                                                                        \
            const float *RESTRICT red = planes[0], *RESTRICT green = planes[1], *RESTRICT blue = planes[2];            \
            for (int i = 0; i < count; i++) {                                                                          \
                packed[3 * i] = (TYPE)(WIDE)red[i];                                                                    \
                packed[3 * i + 1] = (TYPE)(WIDE)green[i];                                                              \
                packed[3 * i + 2] = (TYPE)(WIDE)blue[i];                                                               \
            }                                                                                                          \
        } else {                                                                                                       \
            for (int c = 0; c < channels; c++)                                                                         \
                for (int i = 0; i < count; i++)                                                                        \
                    *(TYPE *)(to + i * view->pixel + c * view->channel) = (TYPE)(WIDE)planes[c][i];                    \
        }                                                                                                              \
    } while (0)

static void store(const strip_job *job, const ptrdiff_t row, const ptrdiff_t start, const uint8_t *hidden,
                  const int keep_some, const int count, float (*planes)[BLOCK]) {
    const plane_view *view = &job->target;
    const int channels = job->channels;
    char *to = (char *)view->data + row * view->row + start * view->pixel;
    switch (job->kind) {
    case KIND_UINT8: STORE(uint8_t, int32_t); break;
    case KIND_UINT16: STORE(uint16_t, int32_t); break;
    case KIND_FLOAT32: STORE(float, float); break;
    }
}

/* 1 / t, or t ** -strength, of the guided transmission, raised where a channel would leave the range of the picture. */
static inline float gain_of(const strip_job *job, const float transmission, const float bound, const int whole) {
    const float held = bound > transmission ? bound : transmission;
    return whole ? 1.0f / held : power(held, -job->strength);
}

/* The boundary constraint of one channel: the sign of the difference says which of the two ends binds. */
static inline float bound_of(const strip_job *job, const float value, const float airlight) {
    const float difference = value - airlight;
    const float above = job->white - job->margin - airlight, below = airlight - job->margin;
    const float room = difference > 0 ? above : below;
    return fabsf(difference) * (1.0f / (room < job->least_gap ? job->least_gap : room));
}

static inline float finish(const float value, const float white, const float bend, const float lift) {
    const float clipped = clip(value, 0, white);
    return clipped * (1 + lift) / (clipped * bend + 1);
}

static void restore_gray(const strip_job *job, const row_pair *maps, const ptrdiff_t start, const int count,
                         float *RESTRICT plane) {
    const row_pair slope = maps[0], offset = maps[1], light = maps[2];
    const float bend = job->lift / job->white, white = job->white, lift = job->lift;
    const int whole = job->strength == 1, ranged = job->strength > 0;
    for (int i = 0; i < count; i++) {
        const ptrdiff_t x = start + i;
        const float gray = plane[i], airlight = blend(light.upper[x], light.lower[x], light.share);
        const float guided = blend(slope.upper[x], slope.lower[x], slope.share) * gray +
                             blend(offset.upper[x], offset.lower[x], offset.share);
        float bound = bound_of(job, gray, airlight);
        bound = !ranged ? 0 : bound > 1 ? 1 : bound;
        const float gain = gain_of(job, clip(guided, job->least, 1), bound, whole);
        const float restored = gray * gain + (1 - gain) * airlight;
        plane[i] = lift != 0 ? finish(restored, white, bend, lift) : clip(restored, 0, white);
    }
}

static inline void restore_color(const strip_job *job, const row_pair *maps, const ptrdiff_t start, const int count,
                                 float *RESTRICT red, float *RESTRICT green, float *RESTRICT blue, const int whole,
                                 const int lifted) {
    const float *RESTRICT slope_upper = maps[0].upper + start, *RESTRICT slope_lower = maps[0].lower + start;
    const float *RESTRICT offset_upper = maps[1].upper + start, *RESTRICT offset_lower = maps[1].lower + start;
    const float *RESTRICT light_upper = maps[2].upper + start, *RESTRICT light_lower = maps[2].lower + start;
    const float *RESTRICT red_upper = maps[3].upper + start, *RESTRICT red_lower = maps[3].lower + start;
    const float *RESTRICT green_upper = maps[4].upper + start, *RESTRICT green_lower = maps[4].lower + start;
    const float *RESTRICT blue_upper = maps[5].upper + start, *RESTRICT blue_lower = maps[5].lower + start;
    const float slope_share = maps[0].share, offset_share = maps[1].share, light_share = maps[2].share;
    const float red_share = maps[3].share, green_share = maps[4].share, blue_share = maps[5].share;
    const strip_job k = *job; /* in registers: nothing written can change it */
    const float bend = k.lift / k.white, most_bound = k.strength > 0 ? 1.0f : 0.0f;
    for (int i = 0; i < count; i++) {
        const float r = red[i], g = green[i], b = blue[i];
        /* the order and the fused steps of OpenCV's conversion to grey */
        const float gray = MULTIPLY_ADD(b, 0.114f, MULTIPLY_ADD(r, 0.299f, g * 0.587f));
        const float guided = blend(slope_upper[i], slope_lower[i], slope_share) * gray +
                             blend(offset_upper[i], offset_lower[i], offset_share);
        const float light = blend(light_upper[i], light_lower[i], light_share);
        const float red_tint = blend(red_upper[i], red_lower[i], red_share);
        const float green_tint = blend(green_upper[i], green_lower[i], green_share);
        const float blue_tint = blend(blue_upper[i], blue_lower[i], blue_share);
        const float red_bound = bound_of(&k, r, light + red_tint);
        const float green_bound = bound_of(&k, g, light + green_tint);
        const float blue_bound = bound_of(&k, b, light + blue_tint);
        float bound = red_bound > green_bound ? red_bound : green_bound;
        bound = bound > blue_bound ? bound : blue_bound;
        bound = bound > most_bound ? most_bound : bound;
        const float gain = gain_of(&k, clip(guided, k.least, 1), bound, whole);
        float color_gain = (gain - 1) * k.color_blend + 1;
        color_gain = color_gain > k.greatest_color_gain ? k.greatest_color_gain : color_gain;
        const float shift = (1 - gain) * light + gray * (gain - color_gain);
        const float color_loss = 1 - color_gain;
        const float new_red = r * color_gain + shift + color_loss * red_tint;
        const float new_green = g * color_gain + shift + color_loss * green_tint;
        const float new_blue = b * color_gain + shift + color_loss * blue_tint;
        red[i] = lifted ? finish(new_red, k.white, bend, k.lift) : clip(new_red, 0, k.white);
        green[i] = lifted ? finish(new_green, k.white, bend, k.lift) : clip(new_green, 0, k.white);
        blue[i] = lifted ? finish(new_blue, k.white, bend, k.lift) : clip(new_blue, 0, k.white);
    }
}

void RESTORE_STRIP(const strip_job *job) {
    float planes[3][BLOCK];
    uint8_t flag_bytes[BLOCK];
    const wide_map *sources[6] = {&job->slope,    &job->offset,   &job->gray,
                                  &job->tints[0], &job->tints[1], &job->tints[2]};
    const int whole = job->strength == 1, lifted = job->lift != 0;
    for (ptrdiff_t row = 0; row < job->rows; row++) {
        row_pair maps[6];
        for (int each = 0; each < (job->channels == 3 ? 6 : 3); each++)
            maps[each] = find_rows(sources[each], job->first + row, job);
        for (ptrdiff_t start = 0; start < job->width; start += BLOCK) {
            const int count = (int)(job->width - start < BLOCK ? job->width - start : BLOCK);
            const uint8_t *hidden = NULL;
            if (job->hidden.data) {
                const char *flags = job->hidden.data + row * job->hidden.row + start * job->hidden.pixel;
                uint8_t any = 0;
                for (int i = 0; i < count; i++) any |= flag_bytes[i] = *(const uint8_t *)(flags + i * job->hidden.pixel);
                hidden = any ? flag_bytes : NULL;
            }
            load(job, job->source.data + row * job->source.row + start * job->source.pixel, count, planes);
            const int above = to_working(job, hidden, count, planes);
            if (job->channels == 1)
                restore_gray(job, maps, start, count, planes[0]);
            else if (whole && lifted)
                restore_color(job, maps, start, count, planes[0], planes[1], planes[2], 1, 1);
            else if (whole)
                restore_color(job, maps, start, count, planes[0], planes[1], planes[2], 1, 0);
            else
                restore_color(job, maps, start, count, planes[0], planes[1], planes[2], 0, lifted);
            to_file(job, count, planes);
            store(job, row, start, hidden, above || hidden, count, planes);
        }
    }
}
