/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Reads frames of a portraitd stream and saves the last one as PPM (RGB) or PGM (masks).
 *
 *     cc -std=c11 -O2 -I../include read_frame.c -o read_frame $(pkg-config --cflags --libs dbus-1)
 *     ./read_frame --bus session --camera front view view.ppm 60
 *
 * It needs libdbus-1 for the call that attaches. Reading the frames needs only portraitd.h.
 */
#include <dbus/dbus.h>
#include <stdio.h>
#include <stdlib.h>

#include "portraitd.h"

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "read_frame: %s: %s\n", what, why);
    return 1;
}

/* The path of the camera's object: letters and digits are kept, other bytes become _xx. */
static void camera_path(char *path, size_t size, const char *camera)
{
    size_t end = (size_t)snprintf(path, size, "/org/portraitd/cameras/");
    for (const unsigned char *byte = (const unsigned char *)camera; *byte != 0 && end + 4 < size; byte++) {
        int plain = (*byte >= '0' && *byte <= '9') || (*byte >= 'a' && *byte <= 'z') || (*byte >= 'A' && *byte <= 'Z');
        end += (size_t)snprintf(path + end, size - end, plain ? "%c" : "_%02x", *byte);
    }
}

static void add_option(DBusMessageIter *options, const char *key, int type, const void *value)
{
    const char signature[] = {(char)type, 0};
    DBusMessageIter entry, variant;
    dbus_message_iter_open_container(options, DBUS_TYPE_DICT_ENTRY, NULL, &entry);
    dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &key);
    dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, signature, &variant);
    dbus_message_iter_append_basic(&variant, type, value);
    dbus_message_iter_close_container(&entry, &variant);
    dbus_message_iter_close_container(options, &entry);
}

/* Calls Attach. Returns 0, or prints the error and returns 1. */
static int attach(DBusConnection *bus, const char *camera, const char *stream, int *memory, int *event)
{
    char path[512];
    DBusError error = DBUS_ERROR_INIT;
    DBusMessageIter arguments, options;
    camera_path(path, sizeof path, camera);
    DBusMessage *call = dbus_message_new_method_call("org.portraitd", path, "org.portraitd.Camera1", "Attach");
    dbus_message_iter_init_append(call, &arguments);
    dbus_message_iter_append_basic(&arguments, DBUS_TYPE_STRING, &stream);
    dbus_message_iter_open_container(&arguments, DBUS_TYPE_ARRAY, "{sv}", &options);
    if (strcmp(stream, "mask") != 0) {
        const char *format = "RGB3";
        add_option(&options, "format", DBUS_TYPE_STRING, &format);
    }
    dbus_message_iter_close_container(&arguments, &options);
    DBusMessage *reply = dbus_connection_send_with_reply_and_block(bus, call, 30000, &error);
    dbus_message_unref(call);
    if (reply == NULL) {
        fail(error.name, error.message);
        dbus_error_free(&error);
        return 1;
    }
    /* The third value of the reply, the layout, is also in the ring's header. */
    if (!dbus_message_get_args(reply, &error, DBUS_TYPE_UNIX_FD, memory, DBUS_TYPE_UNIX_FD, event, DBUS_TYPE_INVALID)) {
        fail(error.name, error.message);
        dbus_error_free(&error);
        dbus_message_unref(reply);
        return 1;
    }
    dbus_message_unref(reply);
    return 0;
}

static int save(const struct portraitd_ring *ring, const unsigned char *pixels, const char *file)
{
    int grey = ring->fourcc == PORTRAITD_FOURCC('G', 'R', 'E', 'Y');
    FILE *out = fopen(file, "wb");
    if (out == NULL)
        return fail(file, strerror(errno));
    fprintf(out, "P%d\n%u %u\n255\n", grey ? 5 : 6, ring->width, ring->height);
    for (uint32_t y = 0; y < ring->height; y++)
        fwrite(pixels + ring->planes[0].start + y * ring->planes[0].stride, grey ? 1 : 3, ring->width, out);
    if (fclose(out) != 0)
        return fail(file, strerror(errno));
    return 0;
}

int main(int argc, char **argv)
{
    const char *bus_name = "system", *camera = "main";
    DBusError error = DBUS_ERROR_INIT;
    int first = 1, memory = -1, event = -1, result;
    for (; first + 1 < argc && strncmp(argv[first], "--", 2) == 0; first += 2) {
        if (strcmp(argv[first], "--bus") == 0)
            bus_name = argv[first + 1];
        else if (strcmp(argv[first], "--camera") == 0)
            camera = argv[first + 1];
        else
            break;
    }
    if (argc - first < 2 || argc - first > 3) {
        fprintf(stderr, "usage: read_frame [--bus system|session|ADDRESS] [--camera NAME] STREAM FILE [FRAMES]\n");
        return 2;
    }
    const char *stream = argv[first], *file = argv[first + 1];
    long wanted = argc - first == 3 ? strtol(argv[first + 2], NULL, 10) : 1;

    DBusConnection *bus;
    if (strcmp(bus_name, "system") == 0) {
        bus = dbus_bus_get(DBUS_BUS_SYSTEM, &error);
    } else if (strcmp(bus_name, "session") == 0) {
        bus = dbus_bus_get(DBUS_BUS_SESSION, &error);
    } else {
        bus = dbus_connection_open(bus_name, &error);
        if (bus != NULL && !dbus_bus_register(bus, &error)) {
            dbus_connection_unref(bus);
            bus = NULL;
        }
    }
    if (bus == NULL)
        return fail(error.name, error.message);
    if (attach(bus, camera, stream, &memory, &event) != 0)
        return 1;

    struct portraitd_ring ring;
    struct portraitd_frame frame = {0};
    result = portraitd_ring_open(&ring, memory, event);
    if (result < 0)
        return fail("the ring cannot be opened", strerror(-result));
    unsigned char *pixels = malloc(ring.frame_bytes);
    if (pixels == NULL)
        return fail("no memory for a frame", strerror(ENOMEM));
    long frames = 0;
    while (frames < wanted) {
        result = portraitd_ring_wait(&ring, 30000);
        if (result == -EINTR)
            continue;
        if (result == -EPIPE)
            return fail("the ring is closed", "attach again");
        if (result <= 0)
            return fail("waiting for a frame", result == 0 ? "no frame in 30 s" : strerror(-result));
        frames += portraitd_ring_read(&ring, pixels, &frame);
    }
    printf("{\"frames\":%ld,\"torn\":%llu,\"skipped\":%llu,\"sequence\":%llu,\"width\":%u,\"height\":%u,\"people\":%u}\n",
           frames, (unsigned long long)ring.torn, (unsigned long long)ring.skipped,
           (unsigned long long)frame.sequence, ring.width, ring.height, frame.people_count);
    result = save(&ring, pixels, file);
    free(pixels);
    portraitd_ring_close(&ring);
    dbus_connection_unref(bus);
    return result;
}
