/* Opens the ring in the memory of descriptor 3, whose event is descriptor 4, and waits for a frame for
 * the number of milliseconds in the first argument. Prints the result. */
#include <stdio.h>
#include <stdlib.h>

#include "portraitd.h"

int main(int argc, char **argv)
{
    struct portraitd_ring ring;
    int error = portraitd_ring_open(&ring, 3, 4);
    if (argc != 2 || error != 0) {
        fprintf(stderr, "wait: %d\n", error);
        return 2;
    }
    printf("%d\n", portraitd_ring_wait(&ring, atoi(argv[1])));
    portraitd_ring_close(&ring);
    return 0;
}
