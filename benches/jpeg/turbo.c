/* What libjpeg-turbo takes for the pictures of `benches/jpeg/run`, and the planes that it decodes.
 *
 *   turbo encode WIDTH HEIGHT QUALITY 420|422 INTERVAL FOLDER < FRAMES.nv12
 *   turbo planes FILE > PLANES
 *   turbo time planes|coefficients FILE...
 *
 * `encode` writes 00.jpg, 01.jpg... with the standard Huffman tables, as cameras do, and a restart
 * marker after every INTERVAL MCUs (0: none). `planes` prints the planes Y, Cb and Cr at their own
 * size. `time` decodes all files once for each line on its input, and prints the milliseconds of
 * CPU time of each picture.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <jpeglib.h>

static unsigned char *read_file(const char *path, unsigned long *length)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(path);
        exit(1);
    }
    *length = (unsigned long)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*length);
    if (!bytes || fread(bytes, 1, *length, file) != *length) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return bytes;
}

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
}

/* The planes of the last picture, padded to whole MCUs. */
static JSAMPLE *plane[3];
static size_t plane_size[3];

static void decode_planes(struct jpeg_decompress_struct *info, unsigned char *bytes, unsigned long length)
{
    jpeg_mem_src(info, bytes, length);
    jpeg_read_header(info, TRUE);
    info->raw_data_out = TRUE;
    info->dct_method = JDCT_ISLOW;
    info->do_fancy_upsampling = FALSE;
    jpeg_start_decompress(info);
    size_t stride[3];
    for (int c = 0; c < info->num_components; c++) {
        jpeg_component_info *component = &info->comp_info[c];
        stride[c] = (size_t)component->width_in_blocks * 8 + 32;
        size_t rows = ((size_t)component->height_in_blocks + 4) * 8;
        if (plane_size[c] < stride[c] * rows) {
            plane_size[c] = stride[c] * rows;
            plane[c] = realloc(plane[c], plane_size[c]);
        }
    }
    int lines = info->max_v_samp_factor * 8;
    while (info->output_scanline < info->output_height) {
        JSAMPROW rows[3][16];
        JSAMPARRAY planes[3] = { rows[0], rows[1], rows[2] };
        for (int c = 0; c < info->num_components; c++) {
            int per = info->comp_info[c].v_samp_factor * 8;
            size_t first = (size_t)info->output_scanline / lines * per;
            for (int y = 0; y < per; y++)
                rows[c][y] = plane[c] + (first + y) * stride[c];
        }
        jpeg_read_raw_data(info, planes, lines);
    }
}

static void encode(int width, int height, int quality, int full_rows, int interval, const char *folder)
{
    size_t bytes = (size_t)width * height * 3 / 2;
    unsigned char *frame = malloc(bytes), *chroma = malloc((size_t)width * height);
    for (int number = 0; fread(frame, 1, bytes, stdin) == bytes; number++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%02d.jpg", folder, number);
        FILE *file = fopen(path, "wb");
        if (!file) {
            perror(path);
            exit(1);
        }
        struct jpeg_error_mgr errors;
        struct jpeg_compress_struct info = { .err = jpeg_std_error(&errors) };
        jpeg_create_compress(&info);
        jpeg_stdio_dest(&info, file);
        info.image_width = width;
        info.image_height = height;
        info.input_components = 3;
        info.in_color_space = JCS_YCbCr;
        jpeg_set_defaults(&info);
        jpeg_set_quality(&info, quality, TRUE);
        info.raw_data_in = TRUE;
        info.restart_interval = interval;
        info.comp_info[0].h_samp_factor = 2;
        info.comp_info[0].v_samp_factor = full_rows ? 1 : 2;
        jpeg_start_compress(&info, TRUE);
        int chroma_rows = full_rows ? height : height / 2;
        for (int y = 0; y < chroma_rows; y++) {
            const unsigned char *from = frame + (size_t)width * height + (size_t)(full_rows ? y / 2 : y) * width;
            for (int x = 0; x < width / 2; x++) {
                chroma[(size_t)y * width + x] = from[2 * x];
                chroma[(size_t)y * width + width / 2 + x] = from[2 * x + 1];
            }
        }
        int lines = full_rows ? 8 : 16;
        for (int y = 0; y < height; y += lines) {
            JSAMPROW rows[3][16];
            JSAMPARRAY planes[3] = { rows[0], rows[1], rows[2] };
            for (int i = 0; i < lines; i++)
                rows[0][i] = frame + (size_t)(y + i < height ? y + i : height - 1) * width;
            for (int i = 0; i < 8; i++) {
                int at = y * 8 / lines + i;
                at = at < chroma_rows ? at : chroma_rows - 1;
                rows[1][i] = chroma + (size_t)at * width;
                rows[2][i] = rows[1][i] + width / 2;
            }
            jpeg_write_raw_data(&info, planes, lines);
        }
        jpeg_finish_compress(&info);
        jpeg_destroy_compress(&info);
        fclose(file);
    }
}

int main(int count, char **arguments)
{
    if (count == 8 && !strcmp(arguments[1], "encode")) {
        encode(atoi(arguments[2]), atoi(arguments[3]), atoi(arguments[4]), !strcmp(arguments[5], "422"),
               atoi(arguments[6]), arguments[7]);
        return 0;
    }
    int timed = count > 3 && !strcmp(arguments[1], "time"), first = timed ? 3 : 2;
    if (!timed && !(count == 3 && !strcmp(arguments[1], "planes"))) {
        fprintf(stderr, "usage: see the head of benches/jpeg/turbo.c\n");
        return 2;
    }
    int coefficients = timed && !strcmp(arguments[2], "coefficients");
    unsigned char **files = calloc(count, sizeof *files);
    unsigned long *lengths = calloc(count, sizeof *lengths);
    for (int i = first; i < count; i++)
        files[i] = read_file(arguments[i], &lengths[i]);
    struct jpeg_error_mgr errors;
    struct jpeg_decompress_struct info = { .err = jpeg_std_error(&errors) };
    jpeg_create_decompress(&info);
    if (!timed) {
        decode_planes(&info, files[2], lengths[2]);
        for (int c = 0; c < info.num_components; c++) {
            jpeg_component_info *component = &info.comp_info[c];
            size_t stride = (size_t)component->width_in_blocks * 8 + 32;
            for (size_t y = 0; y < component->downsampled_height; y++)
                fwrite(plane[c] + y * stride, 1, component->downsampled_width, stdout);
        }
        return 0;
    }
    int end;
    while ((end = getchar()) != EOF) {
        if (end != '\n')
            continue;
        double started = cpu_ms();
        for (int i = first; i < count; i++) {
            if (coefficients) {
                jpeg_mem_src(&info, files[i], lengths[i]);
                jpeg_read_header(&info, TRUE);
                jpeg_read_coefficients(&info);
            } else {
                decode_planes(&info, files[i], lengths[i]);
            }
            jpeg_finish_decompress(&info);
        }
        printf("%f\n", (cpu_ms() - started) / (count - first));
        fflush(stdout);
    }
    return 0;
}
