/* provide FOURCC WIDTH HEIGHT FRAMES: makes descriptor 3 memory of a provider and writes frames to it: every byte
 * of frame n, with the padding, is n. Then waits for what descriptor 4 says, and prints it. */
#include "portraitd.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct portraitd_offer offer;
    const char *code = argv[1];
    int error, wanted;
    if (argc != 5)
        return 2;
    error = portraitd_offer_open(&offer, 3, PORTRAITD_FOURCC(code[0], code[1], code[2], code[3]), (uint32_t)atoi(argv[2]),
                                 (uint32_t)atoi(argv[3]), 2, 1);
    if (error != 0) {
        printf("%d\n", error);
        return 0;
    }
    offer.demand = 4;
    for (int frame = 1; frame <= atoi(argv[4]); frame++) {
        unsigned char *pixels = portraitd_offer_begin(&offer);
        memset(pixels, frame, offer.slot_bytes - PORTRAITD_SLOT_HEADER_BYTES);
        portraitd_offer_publish(&offer, 0, 0);
    }
    while ((wanted = portraitd_offer_wait(&offer, -1)) >= 0)
        printf("%d ", wanted);
    printf("%d\n", wanted);
    portraitd_offer_close(&offer);
    return 0;
}
