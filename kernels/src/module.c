/* The Python side: checks every buffer, lets go of the interpreter lock, and calls the widest version that runs here. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "rows.h"

#include <string.h>

#if defined(UNHAZE_X86_LEVELS) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
static int has_level(const int level) {
    int leaf1[4], leaf7[4];
    __cpuid(leaf1, 0);
    if (leaf1[0] < 7) return 0;
    __cpuid(leaf1, 1);
    __cpuidex(leaf7, 7, 0);
    const int fma = leaf1[2] >> 12 & 1, saves = leaf1[2] >> 27 & 1, avx2 = leaf7[1] >> 5 & 1;
    if (!fma || !saves || !avx2) return 0;
    const unsigned long long state = _xgetbv(0);
    if (level == 3) return (state & 0x6) == 0x6;
    const unsigned int wanted = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* F, DQ, CD, BW, VL */
    return (state & 0xe6) == 0xe6 && ((unsigned int)leaf7[1] & wanted) == wanted;
}
#elif defined(UNHAZE_X86_LEVELS)
static int has_level(const int level) {
    __builtin_cpu_init();
    const int third = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return level == 3 ? third
                      : third && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512cd");
}
#endif

typedef struct {
    const char *name;
    strip_function *function;
    int level;
} version;

static const version VERSIONS[] = {
#ifdef UNHAZE_X86_LEVELS
    {"avx512", restore_strip_v4, 4},
    {"avx2", restore_strip_v3, 3},
#endif
    {"baseline", restore_strip_base, 0},
};
enum { VERSION_COUNT = sizeof VERSIONS / sizeof VERSIONS[0] };

static int runs_here(const version *each) {
#ifdef UNHAZE_X86_LEVELS
    return each->level == 0 || has_level(each->level);
#else
    return each->level == 0;
#endif
}

enum { MOST_VIEWS = 12 };

typedef struct {
    Py_buffer views[MOST_VIEWS];
    int count;
} held_buffers;

static Py_buffer *hold(held_buffers *held, PyObject *object, const int writable) {
    Py_buffer *view = &held->views[held->count];
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_RECORDS : PyBUF_RECORDS_RO)) return NULL;
    held->count++;
    return view;
}

static int fail(const char *message) {
    PyErr_SetString(PyExc_ValueError, message);
    return -1;
}

/* NumPy writes the format of its own byte order without a mark. */
static int kind_of(const Py_buffer *view) {
    if (!view->format) return -1;
    if (!strcmp(view->format, "B")) return KIND_UINT8;
    if (!strcmp(view->format, "H")) return KIND_UINT16;
    if (!strcmp(view->format, "f")) return KIND_FLOAT32;
    return -1;
}

static plane_view view_of(const Py_buffer *view) {
    const plane_view plane = {view->buf, view->strides[0], view->strides[1], view->ndim == 3 ? view->strides[2] : 0};
    return plane;
}

static int is_contiguous_float(const Py_buffer *view, const int axes) {
    return view->ndim == axes && kind_of(view) == KIND_FLOAT32 && PyBuffer_IsContiguous(view, 'C');
}

static int read_map(held_buffers *held, PyObject *object, const strip_job *job, wide_map *map) {
    Py_buffer *view = hold(held, object, 0);
    if (!view) return -1;
    if (!is_contiguous_float(view, 2) || view->shape[1] != job->width || view->shape[0] < 1)
        return fail("a map must be contiguous float32 (h, width)");
    map->data = view->buf;
    map->rows = view->shape[0];
    return 0;
}

static int read_table(held_buffers *held, PyObject *object, const strip_job *job, const ptrdiff_t size,
                      const float **table, ptrdiff_t *stride) {
    if (object == Py_None) return 0;
    Py_buffer *view = hold(held, object, 0);
    if (!view) return -1;
    if (!is_contiguous_float(view, 2) || view->shape[1] != size ||
        (view->shape[0] != 1 && view->shape[0] != job->channels))
        return fail("a table must be contiguous float32 (C, samples)");
    *table = view->buf;
    *stride = view->shape[0] == 1 ? 0 : size;
    return 0;
}

static int read_pixels(held_buffers *held, PyObject *source, PyObject *target, PyObject *hidden, strip_job *job) {
    const Py_buffer *from = hold(held, source, 0);
    const Py_buffer *to = from ? hold(held, target, 1) : NULL;
    if (!to) return -1;
    const int kind = kind_of(from);
    if (kind < 0 || kind_of(to) != kind) return fail("pixels must be uint8, uint16 or float32, both alike");
    if ((from->ndim != 2 && from->ndim != 3) || to->ndim != from->ndim ||
        memcmp(from->shape, to->shape, sizeof(Py_ssize_t) * (size_t)from->ndim))
        return fail("pixels must be (H, W) or (H, W, 3), both alike");
    job->kind = (pixel_kind)kind;
    job->channels = from->ndim == 3 ? (int)from->shape[2] : 1;
    if (job->channels != 1 + 2 * (from->ndim == 3)) return fail("pixels must have three channels or no such axis");
    job->rows = from->shape[0];
    job->width = from->shape[1];
    job->source = view_of(from);
    job->target = view_of(to);
    if (hidden == Py_None) return 0;
    const Py_buffer *flags = hold(held, hidden, 0);
    if (!flags) return -1;
    if (flags->ndim != 2 || flags->itemsize != 1 || flags->shape[0] != job->rows || flags->shape[1] != job->width)
        return fail("hidden must be bool (H, W)");
    job->hidden = view_of(flags);
    return 0;
}

static const version *find_version(const char *name) {
    for (int each = 0; each < VERSION_COUNT; each++)
        if (runs_here(&VERSIONS[each]) && (!*name || !strcmp(name, VERSIONS[each].name))) return &VERSIONS[each];
    fail("no such level of instructions here");
    return NULL;
}

static PyObject *restore(PyObject *self, PyObject *arguments) {
    PyObject *source, *target, *hidden, *slope, *offset, *gray, *tints[3], *to_working, *to_file;
    const char *level;
    strip_job job;
    memset(&job, 0, sizeof job);
    (void)self;
    if (!PyArg_ParseTuple(arguments, "OOO(nn)(OOO(OOO))(ffdffpfff)(OO)s:restore", &source, &target, &hidden, &job.first,
                          &job.height, &slope, &offset, &gray, &tints[0], &tints[1], &tints[2], &job.white, &job.least,
                          &job.strength, &job.color_blend, &job.lift, &job.may_exceed, &job.margin, &job.least_gap,
                          &job.greatest_color_gain, &to_working, &to_file, &level))
        return NULL;
    held_buffers held;
    held.count = 0;
    const version *chosen = find_version(level);
    int failed = !chosen || read_pixels(&held, source, target, hidden, &job);
    if (!failed && (job.first < 0 || job.height < job.rows || job.first > job.height - job.rows))
        failed = fail("the strip must lie within the picture");
    failed = failed || read_map(&held, slope, &job, &job.slope) || read_map(&held, offset, &job, &job.offset) ||
             read_map(&held, gray, &job, &job.gray);
    for (int c = 0; c < 3 && job.channels == 3; c++) failed = failed || read_map(&held, tints[c], &job, &job.tints[c]);
    if (!failed) {
        static const ptrdiff_t sizes[] = {256, 65536, TABLE_SAMPLES};
        failed = read_table(&held, to_working, &job, sizes[job.kind], &job.to_working, &job.to_working_stride) ||
                 read_table(&held, to_file, &job, TABLE_SAMPLES, &job.to_file, &job.to_file_stride);
    }
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        chosen->function(&job);
        Py_END_ALLOW_THREADS
    }
    while (held.count) PyBuffer_Release(&held.views[--held.count]);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyObject *levels(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    PyObject *names = PyList_New(0);
    for (int each = 0; names && each < VERSION_COUNT; each++) {
        if (!runs_here(&VERSIONS[each])) continue;
        PyObject *name = PyUnicode_FromString(VERSIONS[each].name);
        const int failed = !name || PyList_Append(names, name);
        Py_XDECREF(name);
        if (failed) Py_CLEAR(names);
    }
    return names;
}

static PyMethodDef METHODS[] = {
    {"restore", restore, METH_VARARGS, "Restore the pixels of a strip; see unhaze_kernels/_strips.pyi."},
    {"levels", levels, METH_NOARGS, "Names of the levels of instructions that run here, the widest first."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_strips", NULL, 0, METHODS, SLOTS, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__strips(void) { return PyModuleDef_Init(&MODULE); }
