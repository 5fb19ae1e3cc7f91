/* A reader and a provider in C, for `benches/doors/run`.
 *
 *   door reader                        the ring of descriptors 3 (memory) and 4 (event)
 *   door provider WIDTH HEIGHT FILE    I420 pictures of FILE, again and again, 30 a second
 *
 * `reader` prints the capture time and the time at which it had copied the frame, for each frame.
 * `provider` makes the memfd at descriptor 3 memory that can be offered, prints a line, and receives
 * `event` and `demand` from the socket at descriptor 4.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "portraitd.h"

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int reader(void)
{
    struct portraitd_ring ring;
    struct portraitd_frame frame;
    unsigned char *pixels;
    int error = portraitd_ring_open(&ring, 3, 4);
    if (error != 0 || !(pixels = malloc(ring.frame_bytes)))
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((error = portraitd_ring_wait(&ring, -1)) >= 0)
        if (portraitd_ring_read(&ring, pixels, &frame) == 1)
            printf("%llu %llu\n", (unsigned long long)frame.capture_ns, (unsigned long long)now_ns());
    return 0;
}

static int receive(int *event, int *demand)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    char byte;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(4, &message, 0) != 1 || CMSG_FIRSTHDR(&message) == NULL)
        return 1;
    memcpy(event, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof *event);
    memcpy(demand, CMSG_DATA(CMSG_FIRSTHDR(&message)) + sizeof *event, sizeof *demand);
    return 0;
}

static int provider(uint32_t width, uint32_t height, const char *path)
{
    struct portraitd_offer offer;
    size_t picture = (size_t)width * height * 3 / 2, count;
    FILE *file = fopen(path, "rb");
    unsigned char *pictures;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        return 1;
    count = (size_t)ftell(file) / picture;
    rewind(file);
    if (count == 0 || !(pictures = malloc(count * picture)) || fread(pictures, picture, count, file) != count)
        return 1;
    if (portraitd_offer_open(&offer, 3, PORTRAITD_FOURCC('Y', 'U', '1', '2'), width, height, 1, 1) != 0)
        return 1;
    puts("ready");
    fflush(stdout);
    if (receive(&offer.event, &offer.demand) != 0)
        return 1;
    for (size_t frame = 0;; frame++) {
        int wanted;
        uint64_t begun = now_ns();
        while ((wanted = portraitd_offer_wait(&offer, offer.wanted ? 0 : -1)) == 0)
            begun = now_ns();
        if (wanted < 0)
            return 0;
        unsigned char *pixels = portraitd_offer_begin(&offer), *from = pictures + frame % count * picture;
        for (uint32_t plane = 0; plane < offer.plane_count; plane++) {
            size_t row = plane == 0 ? width : width / 2;
            for (size_t y = 0; y < offer.planes[plane].rows; y++, from += row)
                memcpy(pixels + offer.planes[plane].start + y * offer.planes[plane].stride, from, row);
        }
        portraitd_offer_publish(&offer, begun, 0);
        uint64_t due = begun + 1000000000u / 30;
        struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc == 5)
        return provider((uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]), argv[4]);
    return reader();
}
