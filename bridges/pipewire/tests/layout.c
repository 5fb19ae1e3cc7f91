/* What the bridge knows of PipeWire's headers: tests/run pipewire compares it with those of the machine. The Rust side is in
 * src/ffi.rs, src/formats.rs and src/pod.rs. */
#include <pipewire/pipewire.h>
#include <spa/buffer/buffer.h>
#include <spa/buffer/meta.h>
#include <spa/param/buffers.h>
#include <spa/param/format.h>
#include <spa/param/video/raw.h>
#include <spa/support/loop.h>

#define NUMBER(name, value) _Static_assert((long long)(name) == (value), #name)
#define PLACE(type, field, bytes) _Static_assert(offsetof(struct type, field) == (bytes), #type "." #field)
#define SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
/* A pointer, or the number of a version with its padding. */
#define P sizeof(void *)

NUMBER(PW_ID_ANY, 0xffffffffLL);
NUMBER(PW_ID_CORE, 0);
NUMBER(PW_DIRECTION_OUTPUT, 1);
NUMBER(PW_STREAM_FLAG_MAP_BUFFERS, 1 << 2);
NUMBER(PW_STREAM_FLAG_DRIVER, 1 << 3);
NUMBER(PW_STREAM_STATE_ERROR, -1);
NUMBER(PW_STREAM_STATE_UNCONNECTED, 0);
NUMBER(PW_STREAM_STATE_STREAMING, 3);
NUMBER(PW_VERSION_CORE_EVENTS, 0);
NUMBER(SPA_META_Header, 1);
NUMBER(SPA_META_HEADER_FLAG_CORRUPTED, 1 << 1);
NUMBER(SPA_CHUNK_FLAG_CORRUPTED, 1 << 0);
NUMBER(SPA_TYPE_Id, 3);
NUMBER(SPA_TYPE_Int, 4);
NUMBER(SPA_TYPE_Rectangle, 10);
NUMBER(SPA_TYPE_Fraction, 11);
NUMBER(SPA_TYPE_Object, 15);
NUMBER(SPA_TYPE_Choice, 19);
NUMBER(SPA_CHOICE_Range, 1);
NUMBER(SPA_CHOICE_Enum, 3);
NUMBER(SPA_CHOICE_Flags, 4);
NUMBER(SPA_TYPE_OBJECT_Format, 0x40003);
NUMBER(SPA_TYPE_OBJECT_ParamBuffers, 0x40004);
NUMBER(SPA_TYPE_OBJECT_ParamMeta, 0x40005);
NUMBER(SPA_PARAM_EnumFormat, 3);
NUMBER(SPA_PARAM_Format, 4);
NUMBER(SPA_PARAM_Buffers, 5);
NUMBER(SPA_PARAM_Meta, 6);
NUMBER(SPA_FORMAT_mediaType, 1);
NUMBER(SPA_FORMAT_mediaSubtype, 2);
NUMBER(SPA_FORMAT_VIDEO_format, 0x20001);
NUMBER(SPA_FORMAT_VIDEO_size, 0x20003);
NUMBER(SPA_FORMAT_VIDEO_framerate, 0x20004);
NUMBER(SPA_MEDIA_TYPE_video, 2);
NUMBER(SPA_MEDIA_SUBTYPE_raw, 1);
NUMBER(SPA_VIDEO_FORMAT_RGB, 15);
NUMBER(SPA_VIDEO_FORMAT_NV12, 23);
NUMBER(SPA_VIDEO_FORMAT_GRAY8, 25);
NUMBER(SPA_PARAM_BUFFERS_buffers, 1);
NUMBER(SPA_PARAM_BUFFERS_blocks, 2);
NUMBER(SPA_PARAM_BUFFERS_size, 3);
NUMBER(SPA_PARAM_BUFFERS_stride, 4);
NUMBER(SPA_PARAM_BUFFERS_dataType, 6);
NUMBER(SPA_PARAM_META_type, 1);
NUMBER(SPA_PARAM_META_size, 2);
NUMBER(SPA_DATA_MemPtr, 1);
NUMBER(SPA_DATA_MemFd, 2);
_Static_assert(PW_VERSION_STREAM_EVENTS >= 2, "pw_stream_events");

PLACE(spa_interface, cb, 2 * P);
PLACE(spa_hook, removed, 4 * P);
PLACE(pw_loop, control, 2 * P);
PLACE(spa_loop_control_methods, get_fd, P);
PLACE(spa_loop_control_methods, enter, 3 * P);
PLACE(spa_loop_control_methods, leave, 4 * P);
PLACE(spa_loop_control_methods, iterate, 5 * P);
PLACE(pw_core_methods, add_listener, P);
PLACE(pw_core_events, error, 4 * P);
PLACE(pw_stream_events, state_changed, 2 * P);
PLACE(pw_stream_events, param_changed, 5 * P);
PLACE(pw_stream_events, remove_buffer, 7 * P);
PLACE(pw_stream_events, trigger_done, 11 * P);
PLACE(pw_buffer, buffer, 0);
PLACE(spa_buffer, n_datas, 4);
PLACE(spa_buffer, metas, 8);
PLACE(spa_buffer, datas, 8 + P);
PLACE(spa_meta, data, 8);
PLACE(spa_meta_header, pts, 8);
PLACE(spa_meta_header, seq, 24);
PLACE(spa_data, fd, 8);
PLACE(spa_data, maxsize, 20);
PLACE(spa_data, data, 24);
PLACE(spa_data, chunk, 24 + P);
PLACE(spa_chunk, size, 4);
PLACE(spa_chunk, stride, 8);
PLACE(spa_chunk, flags, 12);
SIZE(spa_hook, 6 * P);
SIZE(spa_meta, 8 + P);
SIZE(spa_meta_header, 32);
SIZE(spa_chunk, 16);
