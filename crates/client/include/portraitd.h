/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * portraitd.h: reads portraitd's rings, version 1, and provides frames. Header only, for C99, C++17 and later versions of
 * both. It needs the C library of Linux, and gcc, clang or another compiler with their `__atomic`
 * functions.
 *
 * The D-Bus method org.portraitd.Camera1.Attach returns two descriptors: `memory`, which contains
 * the frames, and `event`, a pipe that receives one byte for each frame. Use them so:
 *
 *     struct portraitd_ring ring;
 *     int error = portraitd_ring_open(&ring, memory, event);  // owns both descriptors, even on failure
 *     unsigned char *pixels = malloc(ring.frame_bytes);
 *     struct portraitd_frame frame;
 *     while ((error = portraitd_ring_wait(&ring, -1)) > 0)
 *         if (portraitd_ring_read(&ring, pixels, &frame))
 *             use(pixels + ring.planes[0].start, ring.planes[0].stride);
 *     portraitd_ring_close(&ring);                            // after -EPIPE: attach again
 *
 * Only one thread at a time may use a ring struct. Functions return a negative errno on failure.
 * The memory is read-only for clients and sealed against shrinking. Every value in its header is
 * checked before it is used.
 *
 * docs/design/ring.md specifies every field.
 */
#ifndef PORTRAITD_H
#define PORTRAITD_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "rings are little-endian, and this header does not swap bytes: big-endian machines are not supported"
#endif

#define PORTRAITD_MAGIC "PORTRAIT"
#define PORTRAITD_VERSION 1u
#define PORTRAITD_HEADER_BYTES 4096u
#define PORTRAITD_SLOT_HEADER_BYTES 512u
#define PORTRAITD_ALIGNMENT 64u
#define PORTRAITD_MIN_SLOTS 4u
#define PORTRAITD_MAX_SLOTS 64u
#define PORTRAITD_MAX_SIDE 16384u
#define PORTRAITD_MAX_PEOPLE 16u
#define PORTRAITD_MAX_PLANES 4u

/* Offsets in the header of a ring. */
#define PORTRAITD_HEADER_MAGIC 0
#define PORTRAITD_HEADER_VERSION 8
#define PORTRAITD_HEADER_HEADER_BYTES 12
#define PORTRAITD_HEADER_SLOT_COUNT 16
#define PORTRAITD_HEADER_SLOT_BYTES 20
#define PORTRAITD_HEADER_GENERATION 24
#define PORTRAITD_HEADER_STREAM 28
#define PORTRAITD_HEADER_FOURCC 32
#define PORTRAITD_HEADER_WIDTH 36
#define PORTRAITD_HEADER_HEIGHT 40
#define PORTRAITD_HEADER_PLANES 44
#define PORTRAITD_HEADER_PLANE_OFFSET 48
#define PORTRAITD_HEADER_PLANE_STRIDE 64
#define PORTRAITD_HEADER_PLANE_ROWS 80
#define PORTRAITD_HEADER_COLOR_MATRIX 96
#define PORTRAITD_HEADER_COLOR_RANGE 100
#define PORTRAITD_HEADER_LATEST 128
#define PORTRAITD_HEADER_CLOSED 192

/* Offsets in the header of a slot. */
#define PORTRAITD_SLOT_LOCK 0
#define PORTRAITD_SLOT_SEQUENCE 8
#define PORTRAITD_SLOT_CAPTURE_NS 16
#define PORTRAITD_SLOT_PUBLISH_NS 24
#define PORTRAITD_SLOT_MASK_SEQUENCE 32
#define PORTRAITD_SLOT_MASK_AGE_NS 40
#define PORTRAITD_SLOT_CROP 48
#define PORTRAITD_SLOT_FLAGS 64
#define PORTRAITD_SLOT_PEOPLE 68
#define PORTRAITD_SLOT_PERSON 72
#define PORTRAITD_SLOT_PERSON_BYTES 24

/* Bits of a frame's flags. */
#define PORTRAITD_FLAG_MASK_VALID (1u << 0)
#define PORTRAITD_FLAG_STILL (1u << 1)
#define PORTRAITD_FLAG_STALE (1u << 2)
#define PORTRAITD_FLAG_DEGRADED (1u << 3)
#define PORTRAITD_FLAG_PRIVATE (1u << 4)

/* The number that ring.fourcc contains for a four-character code. */
#define PORTRAITD_FOURCC(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* A person in a frame. The box is in source pixels; the confidence is 0 to 1. */
struct portraitd_person {
    uint32_t id;
    float x, y, width, height;
    float confidence;
};

/* The description of a frame. Times are CLOCK_MONOTONIC nanoseconds. The crop is x, y, width,
 * height in source pixels. */
struct portraitd_frame {
    uint64_t index; /* counts the frames of the ring from 1 */
    uint64_t sequence;
    uint64_t capture_ns;
    uint64_t publish_ns;
    uint64_t mask_sequence;
    uint64_t mask_age_ns;
    float crop[4];
    uint32_t flags;
    uint32_t people_count;
    struct portraitd_person people[PORTRAITD_MAX_PEOPLE];
};

/* One plane of the copy that portraitd_ring_read makes. */
struct portraitd_plane {
    size_t start;  /* bytes from the start of the copy */
    size_t stride; /* bytes from one row to the next */
    uint32_t rows;
};

/* An open ring. Callers may read the fields; only the functions below change them. */
struct portraitd_ring {
    int memory;
    int event;
    const unsigned char *map;
    size_t map_bytes;
    uint32_t slot_count;
    size_t slot_bytes;
    uint32_t generation;
    uint32_t stream; /* 1 mask, 2 view, 3 composite, 4 source */
    uint32_t fourcc;
    uint32_t width;
    uint32_t height;
    uint32_t color_matrix; /* 0 not applicable, 1 BT.601, 2 BT.709, 3 BT.2020 */
    uint32_t color_range;  /* 0 not applicable, 1 limited, 2 full */
    uint32_t plane_count;
    struct portraitd_plane planes[PORTRAITD_MAX_PLANES];
    size_t frame_bytes; /* bytes that portraitd_ring_read copies */
    uint64_t last;      /* index of the last frame read */
    uint64_t torn;      /* copies that the writer overtook and that were discarded */
    uint64_t skipped;   /* frames published but not read */
};

static inline uint32_t portraitd_u32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t portraitd_u64(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline float portraitd_f32(const unsigned char *at)
{
    float value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Returns the bytes of one row of a plane and sets `rows`; returns 0 if the format or the plane is
 * unknown. */
static inline size_t portraitd_row_bytes(uint32_t fourcc, uint32_t plane, size_t width, size_t height, uint32_t *rows)
{
    size_t half = (width + 1) / 2;
    *rows = (uint32_t)height;
    switch (fourcc) {
    case PORTRAITD_FOURCC('G', 'R', 'E', 'Y'):
        return plane == 0 ? width : 0;
    case PORTRAITD_FOURCC('R', 'G', 'B', '3'):
    case PORTRAITD_FOURCC('B', 'G', 'R', '3'):
        return plane == 0 ? width * 3 : 0;
    case PORTRAITD_FOURCC('X', 'B', '2', '4'):
    case PORTRAITD_FOURCC('X', 'R', '2', '4'):
        return plane == 0 ? width * 4 : 0;
    case PORTRAITD_FOURCC('Y', 'U', 'Y', 'V'):
    case PORTRAITD_FOURCC('U', 'Y', 'V', 'Y'):
        return plane == 0 ? half * 4 : 0;
    case PORTRAITD_FOURCC('N', 'V', '1', '2'):
    case PORTRAITD_FOURCC('N', 'V', '2', '1'):
        if (plane == 1)
            *rows = (uint32_t)((height + 1) / 2);
        return plane == 0 ? width : plane == 1 ? half * 2 : 0;
    case PORTRAITD_FOURCC('Y', 'U', '1', '2'):
        if (plane != 0)
            *rows = (uint32_t)((height + 1) / 2);
        return plane == 0 ? width : plane <= 2 ? half : 0;
    case PORTRAITD_FOURCC('4', '2', '2', 'P'):
        return plane == 0 ? width : plane <= 2 ? half : 0;
    default:
        return 0;
    }
}

/* Releases the mapping and both descriptors. Closing `event` ends the attachment. */
static inline void portraitd_ring_close(struct portraitd_ring *ring)
{
    if (ring->map != NULL)
        munmap((void *)(uintptr_t)ring->map, ring->map_bytes);
    if (ring->memory >= 0)
        close(ring->memory);
    if (ring->event >= 0)
        close(ring->event);
    memset(ring, 0, sizeof *ring);
    ring->memory = ring->event = -1;
}

/* Checks a header and fills `ring`, or returns -EPROTO. `size` is the size of the memory in bytes. */
static inline int portraitd_parse(struct portraitd_ring *ring, const unsigned char *header, uint64_t size)
{
    if (memcmp(header + PORTRAITD_HEADER_MAGIC, PORTRAITD_MAGIC, 8) != 0 ||
        portraitd_u32(header + PORTRAITD_HEADER_VERSION) != PORTRAITD_VERSION ||
        portraitd_u32(header + PORTRAITD_HEADER_HEADER_BYTES) != PORTRAITD_HEADER_BYTES)
        return -EPROTO;
    ring->slot_count = portraitd_u32(header + PORTRAITD_HEADER_SLOT_COUNT);
    ring->slot_bytes = portraitd_u32(header + PORTRAITD_HEADER_SLOT_BYTES);
    ring->generation = portraitd_u32(header + PORTRAITD_HEADER_GENERATION);
    ring->stream = portraitd_u32(header + PORTRAITD_HEADER_STREAM);
    ring->fourcc = portraitd_u32(header + PORTRAITD_HEADER_FOURCC);
    ring->width = portraitd_u32(header + PORTRAITD_HEADER_WIDTH);
    ring->height = portraitd_u32(header + PORTRAITD_HEADER_HEIGHT);
    ring->color_matrix = portraitd_u32(header + PORTRAITD_HEADER_COLOR_MATRIX);
    ring->color_range = portraitd_u32(header + PORTRAITD_HEADER_COLOR_RANGE);
    ring->plane_count = portraitd_u32(header + PORTRAITD_HEADER_PLANES);
    if (ring->slot_count < PORTRAITD_MIN_SLOTS || ring->slot_count > PORTRAITD_MAX_SLOTS ||
        ring->slot_bytes % PORTRAITD_ALIGNMENT != 0 || ring->slot_bytes < PORTRAITD_SLOT_HEADER_BYTES ||
        ring->width < 1 || ring->width > PORTRAITD_MAX_SIDE || ring->height < 1 || ring->height > PORTRAITD_MAX_SIDE ||
        ring->plane_count < 1 || ring->plane_count > PORTRAITD_MAX_PLANES || ring->stream < 1 || ring->stream > 4 ||
        ring->color_matrix > 3 || ring->color_range > 2)
        return -EPROTO;
    uint64_t total = PORTRAITD_HEADER_BYTES + (uint64_t)ring->slot_count * ring->slot_bytes;
    if (total > size || total > PTRDIFF_MAX)
        return -EPROTO;
    ring->frame_bytes = 0;
    for (uint32_t plane = 0; plane < ring->plane_count; plane++) {
        uint64_t offset = portraitd_u32(header + PORTRAITD_HEADER_PLANE_OFFSET + 4 * plane);
        uint64_t stride = portraitd_u32(header + PORTRAITD_HEADER_PLANE_STRIDE + 4 * plane);
        uint32_t rows, expected_rows;
        size_t row_bytes = portraitd_row_bytes(ring->fourcc, plane, ring->width, ring->height, &expected_rows);
        rows = portraitd_u32(header + PORTRAITD_HEADER_PLANE_ROWS + 4 * plane);
        if (row_bytes == 0 || rows != expected_rows || stride < row_bytes || stride % PORTRAITD_ALIGNMENT != 0 ||
            offset < PORTRAITD_SLOT_HEADER_BYTES || offset % PORTRAITD_ALIGNMENT != 0 ||
            offset + stride * rows > ring->slot_bytes)
            return -EPROTO;
        ring->planes[plane].start = (size_t)(offset - PORTRAITD_SLOT_HEADER_BYTES);
        ring->planes[plane].stride = (size_t)stride;
        ring->planes[plane].rows = rows;
        if (ring->planes[plane].start + (size_t)stride * rows > ring->frame_bytes)
            ring->frame_bytes = ring->planes[plane].start + (size_t)stride * rows;
    }
    uint32_t no_rows; /* the format must not have more planes */
    if (portraitd_row_bytes(ring->fourcc, ring->plane_count, ring->width, ring->height, &no_rows) != 0)
        return -EPROTO;
    ring->map_bytes = (size_t)total;
    return 0;
}

/* Opens a ring and takes ownership of both descriptors, even on failure. Returns 0, -EPERM if the
 * memory is not sealed against shrinking, or -EPROTO if its header is invalid or has another
 * version. */
static inline int portraitd_ring_open(struct portraitd_ring *ring, int memory, int event)
{
    enum { get_seals = 1034, seal_shrink = 2 }; /* F_GET_SEALS and F_SEAL_SHRINK, which need _GNU_SOURCE */
    unsigned char header[PORTRAITD_HEADER_BYTES];
    struct stat status;
    int error = 0, seals;
    void *map;

    memset(ring, 0, sizeof *ring);
    ring->memory = memory;
    ring->event = event;
    seals = fcntl(memory, get_seals);
    if (seals < 0 || !(seals & seal_shrink))
        error = -EPERM;
    else if (fstat(memory, &status) < 0)
        error = -errno;
    else if (status.st_size < (off_t)PORTRAITD_HEADER_BYTES)
        error = -EPROTO;
    else if ((map = mmap(NULL, sizeof header, PROT_READ, MAP_SHARED, memory, 0)) == MAP_FAILED)
        error = -errno;
    else {
        /* Work on a copy, so that the checked values are the ones that are used. */
        memcpy(header, map, sizeof header);
        munmap(map, sizeof header);
        error = portraitd_parse(ring, header, (uint64_t)status.st_size);
    }
    if (error == 0) {
        map = mmap(NULL, ring->map_bytes, PROT_READ, MAP_SHARED, memory, 0);
        if (map == MAP_FAILED)
            error = -errno;
        else
            ring->map = (const unsigned char *)map;
    }
    if (error != 0)
        portraitd_ring_close(ring);
    return error;
}

/* Returns nonzero if the service has closed the ring: no more frames will come, and the client must
 * attach again. */
static inline int portraitd_ring_closed(const struct portraitd_ring *ring)
{
    const uint32_t *closed = (const uint32_t *)(const void *)(ring->map + PORTRAITD_HEADER_CLOSED);
    return __atomic_load_n(closed, __ATOMIC_ACQUIRE) != 0;
}

/* Returns the index of the newest complete frame; 0 before the first. */
static inline uint64_t portraitd_ring_newest(const struct portraitd_ring *ring)
{
    const uint64_t *latest = (const uint64_t *)(const void *)(ring->map + PORTRAITD_HEADER_LATEST);
    return __atomic_load_n(latest, __ATOMIC_ACQUIRE);
}

/* Milliseconds of a clock, for timeouts. CLOCK_MONOTONIC needs _POSIX_C_SOURCE >= 199309L, which
 * compilers define unless -std=c99 or -std=c11 is given. Without it the clock is that of C11, or that
 * of C99 with a resolution of a second; both follow changes of the system's time. */
static inline int64_t portraitd_clock_ms(void)
{
#if defined CLOCK_MONOTONIC
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
#elif defined TIME_UTC
    struct timespec now = {0, 0};
    timespec_get(&now, TIME_UTC);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
#else
    return (int64_t)time(NULL) * 1000;
#endif
}

/* Waits for a frame that is newer than the last one read. Returns 1 if there is one, and 0 if none
 * came within `timeout_ms` (-1: no limit). Returns -EPIPE if the ring is closed or the service has
 * gone, and -EINTR on a signal. */
static inline int portraitd_ring_wait(struct portraitd_ring *ring, int timeout_ms)
{
    int64_t begun = timeout_ms > 0 ? portraitd_clock_ms() : 0;
    int left = timeout_ms;
    for (;;) {
        struct pollfd poller;
        char bytes[4096];
        int at_end = 0, ready;
        poller.fd = ring->event;
        poller.events = POLLIN;
        poller.revents = 0;
        ready = poll(&poller, 1, left);
        if (ready < 0)
            return -errno;
        if (poller.revents & POLLIN) {
            ssize_t count = read(ring->event, bytes, sizeof bytes);
            if (count < 0 && errno != EAGAIN)
                return -errno;
            at_end = count == 0;
            /* Check after the read: a frame is published before its byte is written. */
            if (portraitd_ring_newest(ring) > ring->last)
                return 1;
        }
        if (at_end || portraitd_ring_closed(ring) || (poller.revents & (POLLHUP | POLLERR | POLLNVAL)))
            return -EPIPE;
        /* A wake-up without a new frame does not restart the timeout. */
        if (timeout_ms > 0) {
            int64_t spent = portraitd_clock_ms() - begun;
            left = spent < 0 ? timeout_ms : spent < timeout_ms ? (int)(timeout_ms - spent) : 0;
        }
        if (ready == 0 || left == 0)
            return 0;
    }
}

/* Copies the planes of the newest frame to `pixels` (ring->frame_bytes bytes, in the layout of
 * ring->planes) and its description to `frame`. Returns 1, or 0 if no frame is newer than the last
 * one read, or if the writer overtook all four attempts. A copy that the writer overtook is
 * discarded, so the result is never a mixture of two frames.
 *
 * The memcpy races with the writer, which C does not define for plain bytes. Compilers for Linux
 * copy the bytes as they are, and a copy that raced is never used. */
static inline int portraitd_ring_read(struct portraitd_ring *ring, void *pixels, struct portraitd_frame *frame)
{
    for (int attempt = 0; attempt < 4; attempt++) {
        uint64_t index = portraitd_ring_newest(ring);
        if (index <= ring->last)
            return 0;
        const unsigned char *slot =
            ring->map + PORTRAITD_HEADER_BYTES + (size_t)((index - 1) % ring->slot_count) * ring->slot_bytes;
        const uint64_t *lock = (const uint64_t *)(const void *)(slot + PORTRAITD_SLOT_LOCK);
        if (__atomic_load_n(lock, __ATOMIC_ACQUIRE) == 2 * index) {
            frame->index = index;
            frame->sequence = portraitd_u64(slot + PORTRAITD_SLOT_SEQUENCE);
            frame->capture_ns = portraitd_u64(slot + PORTRAITD_SLOT_CAPTURE_NS);
            frame->publish_ns = portraitd_u64(slot + PORTRAITD_SLOT_PUBLISH_NS);
            frame->mask_sequence = portraitd_u64(slot + PORTRAITD_SLOT_MASK_SEQUENCE);
            frame->mask_age_ns = portraitd_u64(slot + PORTRAITD_SLOT_MASK_AGE_NS);
            for (int place = 0; place < 4; place++)
                frame->crop[place] = portraitd_f32(slot + PORTRAITD_SLOT_CROP + 4 * place);
            frame->flags = portraitd_u32(slot + PORTRAITD_SLOT_FLAGS);
            frame->people_count = portraitd_u32(slot + PORTRAITD_SLOT_PEOPLE);
            if (frame->people_count > PORTRAITD_MAX_PEOPLE)
                frame->people_count = PORTRAITD_MAX_PEOPLE;
            for (uint32_t i = 0; i < frame->people_count; i++) {
                const unsigned char *person = slot + PORTRAITD_SLOT_PERSON + i * PORTRAITD_SLOT_PERSON_BYTES;
                frame->people[i].id = portraitd_u32(person);
                frame->people[i].x = portraitd_f32(person + 4);
                frame->people[i].y = portraitd_f32(person + 8);
                frame->people[i].width = portraitd_f32(person + 12);
                frame->people[i].height = portraitd_f32(person + 16);
                frame->people[i].confidence = portraitd_f32(person + 20);
            }
            memcpy(pixels, slot + PORTRAITD_SLOT_HEADER_BYTES, ring->frame_bytes);
            /* The whole copy happens before the second check of the lock. */
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            if (__atomic_load_n(lock, __ATOMIC_RELAXED) == 2 * index) {
                if (ring->last != 0)
                    ring->skipped += index - ring->last - 1;
                ring->last = index;
                return 1;
            }
        }
        ring->torn++;
    }
    return 0;
}

/* --- Frames for the service ---------------------------------------------------------------------
 *
 * A provider delivers the frames of a camera whose configuration says `device = "provider"`. The
 * D-Bus method org.portraitd.Provider1.Offer takes `memory` and returns `event` and `demand`:
 *
 *     struct portraitd_offer offer;
 *     int memory = memfd_create("frames", MFD_CLOEXEC | MFD_ALLOW_SEALING);
 *     int error = portraitd_offer_open(&offer, memory, PORTRAITD_FOURCC('N', 'V', '1', '2'), 1280, 720, 2, 1);
 *     offer.event = ..., offer.demand = ...;                  // what Offer has returned for `memory`
 *     while ((wanted = portraitd_offer_wait(&offer, -1)) >= 0)
 *         while (wanted > 0) {
 *             unsigned char *pixels = portraitd_offer_begin(&offer);
 *             fill(pixels + offer.planes[0].start, offer.planes[0].stride, pixels + offer.planes[1].start, ...);
 *             portraitd_offer_publish(&offer, capture_ns, 0);
 *             wanted = portraitd_offer_wait(&offer, 0);
 *         }
 *     portraitd_offer_close(&offer);
 *
 * docs/design/provider.md specifies what the service accepts.
 */

/* Memory that is offered to the service. Callers set `event` and `demand`, and may read the rest. */
struct portraitd_offer {
    int memory;
    int event;  /* an eventfd, or -1 */
    int demand; /* a socket, or -1 */
    int wanted; /* whether somebody looked when the service last said so */
    unsigned char *map;
    size_t map_bytes;
    size_t slot_bytes;
    uint32_t plane_count;
    struct portraitd_plane planes[PORTRAITD_MAX_PLANES]; /* from the start of the pixels of a frame */
    uint64_t index;                                      /* of the newest frame */
};

static inline void portraitd_put_u32(unsigned char *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static inline void portraitd_put_u64(unsigned char *at, uint64_t value)
{
    memcpy(at, &value, sizeof value);
}

/* Ends the offer: releases the mapping and the descriptors. */
static inline void portraitd_offer_close(struct portraitd_offer *offer)
{
    if (offer->map != NULL)
        munmap(offer->map, offer->map_bytes);
    if (offer->memory >= 0)
        close(offer->memory);
    if (offer->event >= 0)
        close(offer->event);
    if (offer->demand >= 0)
        close(offer->demand);
    memset(offer, 0, sizeof *offer);
    offer->memory = offer->event = offer->demand = -1;
}

/* Makes an empty memfd, which allows sealing, the memory of four pictures, and seals it as the service
 * wants it. Takes ownership of the descriptor, even on failure. `matrix` and `range` are those of
 * struct portraitd_ring. Returns 0, -EINVAL for a format or size that cannot be offered (a ring has at
 * most 64 MiB), or the error of the system. */
static inline int portraitd_offer_open(struct portraitd_offer *offer, int memory, uint32_t fourcc, uint32_t width,
                                       uint32_t height, uint32_t matrix, uint32_t range)
{
    /* F_ADD_SEALS, and the seals against shrinking, growing and writing by others: they need _GNU_SOURCE. */
    enum { add_seals = 1033, seals = 2 | 4 | 16 };
    unsigned char zeros[PORTRAITD_HEADER_BYTES];
    uint64_t end = PORTRAITD_SLOT_HEADER_BYTES, total, written;
    int error = 0;
    void *map;

    memset(offer, 0, sizeof *offer);
    memset(zeros, 0, sizeof zeros);
    offer->memory = memory;
    offer->event = offer->demand = -1;
    if (width >= 1 && width <= PORTRAITD_MAX_SIDE && height >= 1 && height <= PORTRAITD_MAX_SIDE)
        for (uint32_t plane = 0; plane < PORTRAITD_MAX_PLANES; plane++) {
            uint32_t rows;
            uint64_t bytes = portraitd_row_bytes(fourcc, plane, width, height, &rows);
            if (bytes == 0)
                break;
            bytes = (bytes + PORTRAITD_ALIGNMENT - 1) / PORTRAITD_ALIGNMENT * PORTRAITD_ALIGNMENT;
            offer->planes[plane].start = (size_t)(end - PORTRAITD_SLOT_HEADER_BYTES);
            offer->planes[plane].stride = (size_t)bytes;
            offer->planes[plane].rows = rows;
            offer->plane_count = plane + 1;
            end += bytes * rows;
        }
    total = PORTRAITD_HEADER_BYTES + end * PORTRAITD_MIN_SLOTS;
    if (offer->plane_count == 0 || total > (uint64_t)64 << 20 || matrix > 3 || range > 2)
        error = -EINVAL;
    /* Writing allocates all of it: the service refuses memory with holes. */
    for (written = 0; error == 0 && written < total;) {
        size_t left = total - written < sizeof zeros ? (size_t)(total - written) : sizeof zeros;
        ssize_t count = write(memory, zeros, left);
        if (count > 0)
            written += (uint64_t)count;
        else if (errno != EINTR)
            error = -errno;
    }
    offer->slot_bytes = (size_t)end;
    offer->map_bytes = (size_t)total;
    if (error == 0) {
        map = mmap(NULL, offer->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        if (map == MAP_FAILED)
            error = -errno;
        else
            offer->map = (unsigned char *)map;
    }
    if (error == 0) {
        memcpy(offer->map + PORTRAITD_HEADER_MAGIC, PORTRAITD_MAGIC, 8);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_VERSION, PORTRAITD_VERSION);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_HEADER_BYTES, PORTRAITD_HEADER_BYTES);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_SLOT_COUNT, PORTRAITD_MIN_SLOTS);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_SLOT_BYTES, (uint32_t)offer->slot_bytes);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_GENERATION, 1);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_STREAM, 4);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_FOURCC, fourcc);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_WIDTH, width);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_HEIGHT, height);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_PLANES, offer->plane_count);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_COLOR_MATRIX, matrix);
        portraitd_put_u32(offer->map + PORTRAITD_HEADER_COLOR_RANGE, range);
        for (uint32_t plane = 0; plane < offer->plane_count; plane++) {
            const struct portraitd_plane *of = &offer->planes[plane];
            uint32_t start = (uint32_t)of->start + PORTRAITD_SLOT_HEADER_BYTES;
            portraitd_put_u32(offer->map + PORTRAITD_HEADER_PLANE_OFFSET + 4 * plane, start);
            portraitd_put_u32(offer->map + PORTRAITD_HEADER_PLANE_STRIDE + 4 * plane, (uint32_t)of->stride);
            portraitd_put_u32(offer->map + PORTRAITD_HEADER_PLANE_ROWS + 4 * plane, of->rows);
        }
        if (fcntl(memory, add_seals, (int)seals) < 0)
            error = -errno;
    }
    if (error != 0)
        portraitd_offer_close(offer);
    return error;
}

/* The slot of the frame `index`. */
static inline unsigned char *portraitd_offer_slot(const struct portraitd_offer *offer, uint64_t index)
{
    return offer->map + PORTRAITD_HEADER_BYTES + (size_t)((index - 1) % PORTRAITD_MIN_SLOTS) * offer->slot_bytes;
}

/* Begins the next frame and returns its pixels, in the layout of offer->planes. They have the bytes of
 * four frames ago. */
static inline unsigned char *portraitd_offer_begin(struct portraitd_offer *offer)
{
    unsigned char *slot = portraitd_offer_slot(offer, offer->index + 1);
    __atomic_store_n((uint64_t *)(void *)slot, 2 * (offer->index + 1) - 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    return slot + PORTRAITD_SLOT_HEADER_BYTES;
}

/* Makes the frame that was begun the newest, and tells the service. `capture_ns` is its capture time in
 * nanoseconds of CLOCK_MONOTONIC; 0: when the service reads it. `flags` may have
 * PORTRAITD_FLAG_PRIVATE. */
static inline void portraitd_offer_publish(struct portraitd_offer *offer, uint64_t capture_ns, uint32_t flags)
{
    const uint64_t one = 1, index = offer->index + 1;
    unsigned char *slot = portraitd_offer_slot(offer, index);
    portraitd_put_u64(slot + PORTRAITD_SLOT_SEQUENCE, index);
    portraitd_put_u64(slot + PORTRAITD_SLOT_CAPTURE_NS, capture_ns);
    portraitd_put_u64(slot + PORTRAITD_SLOT_PUBLISH_NS, capture_ns);
    portraitd_put_u32(slot + PORTRAITD_SLOT_FLAGS, flags);
    __atomic_store_n((uint64_t *)(void *)slot, 2 * index, __ATOMIC_RELEASE);
    __atomic_store_n((uint64_t *)(void *)(offer->map + PORTRAITD_HEADER_LATEST), index, __ATOMIC_RELEASE);
    offer->index = index;
    /* It fails only if the offer has ended, which portraitd_offer_wait says. */
    if (offer->event >= 0 && write(offer->event, &one, sizeof one) < 0)
        return;
}

/* Waits until the service says whether somebody looks, `timeout_ms` at most (-1: no limit). Returns 1 if
 * somebody looks and 0 if nobody does, as far as the service has said. Returns -EPIPE if the service
 * has ended the offer, and -EINTR on a signal. */
static inline int portraitd_offer_wait(struct portraitd_offer *offer, int timeout_ms)
{
    struct pollfd poller;
    unsigned char bytes[64];
    poller.fd = offer->demand;
    poller.events = POLLIN;
    poller.revents = 0;
    if (poll(&poller, 1, timeout_ms) < 0)
        return -errno;
    if (poller.revents & POLLIN) {
        ssize_t count = read(offer->demand, bytes, sizeof bytes);
        if (count < 0 && errno != EAGAIN)
            return errno == ECONNRESET ? -EPIPE : -errno;
        if (count == 0)
            return -EPIPE;
        if (count > 0)
            offer->wanted = bytes[count - 1] != 0;
    } else if (poller.revents != 0)
        return -EPIPE;
    return offer->wanted;
}

#endif
