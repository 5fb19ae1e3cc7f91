/* Reads ring headers from a file, each 4096 bytes and a 64-bit size. Prints the result of
 * portraitd_parse for each, one per line. */
#include <stdio.h>

#include "portraitd.h"

int main(int argc, char **argv)
{
    unsigned char header[PORTRAITD_HEADER_BYTES];
    uint64_t size;
    FILE *in = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (in == NULL)
        return 2;
    while (fread(header, sizeof header, 1, in) == 1 && fread(&size, sizeof size, 1, in) == 1) {
        struct portraitd_ring ring;
        memset(&ring, 0, sizeof ring);
        printf("%d\n", portraitd_parse(&ring, header, size));
    }
    return fclose(in) == 0 ? 0 : 1;
}
