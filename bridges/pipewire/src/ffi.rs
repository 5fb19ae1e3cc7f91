//! PipeWire's interface in C, as far as the bridge uses it.
//!
//! Written by hand: the crates that generate it need libclang, and do not build with Debian 12's
//! PipeWire. Within 0.3 and 1.x the interface only grows. `tests/layout.c` compares structures and
//! numbers with the headers of the machine.

#![allow(unsafe_code, non_camel_case_types)]

use std::ffi::{c_char, c_int, c_void};

/// `PW_ID_ANY`.
pub(crate) const ANY: u32 = u32::MAX;
/// `PW_ID_CORE`.
pub(crate) const CORE: u32 = 0;
/// `SPA_DIRECTION_OUTPUT`.
pub(crate) const OUTPUT: u32 = 1;
/// `PW_STREAM_FLAG_MAP_BUFFERS`.
pub(crate) const MAP_BUFFERS: u32 = 1 << 2;
/// `PW_STREAM_FLAG_DRIVER`.
pub(crate) const DRIVER: u32 = 1 << 3;
/// `PW_STREAM_STATE_ERROR`.
pub(crate) const STATE_ERROR: c_int = -1;
/// `PW_STREAM_STATE_UNCONNECTED`.
pub(crate) const STATE_UNCONNECTED: c_int = 0;
/// `PW_STREAM_STATE_STREAMING`.
pub(crate) const STATE_STREAMING: c_int = 3;
/// The version of `pw_core_events` and of `pw_stream_events` that this file describes.
pub(crate) const CORE_EVENTS: u32 = 0;
pub(crate) const STREAM_EVENTS: u32 = 2;
/// `SPA_META_Header`.
pub(crate) const META_HEADER: u32 = 1;
/// `SPA_META_HEADER_FLAG_CORRUPTED`.
pub(crate) const HEADER_CORRUPTED: u32 = 1 << 1;
/// `SPA_CHUNK_FLAG_CORRUPTED`.
pub(crate) const CHUNK_CORRUPTED: i32 = 1 << 0;

/// Types whose contents only PipeWire knows.
macro_rules! opaque {
    ($($name:ident)*) => {
        $(
            #[repr(C)]
            pub(crate) struct $name {
                _contents: [u8; 0],
            }
        )*
    };
}
opaque! { pw_context pw_properties pw_stream spa_dict spa_pod }

#[repr(C)]
pub(crate) struct spa_callbacks {
    pub(crate) funcs: *const c_void,
    pub(crate) data: *mut c_void,
}

#[repr(C)]
pub(crate) struct spa_interface {
    pub(crate) kind: *const c_char,
    pub(crate) version: u32,
    pub(crate) cb: spa_callbacks,
}

#[repr(C)]
pub(crate) struct spa_hook {
    pub(crate) next: *mut c_void,
    pub(crate) previous: *mut c_void,
    pub(crate) cb: spa_callbacks,
    pub(crate) removed: Option<unsafe extern "C" fn(hook: *mut spa_hook)>,
    pub(crate) private: *mut c_void,
}

#[repr(C)]
pub(crate) struct pw_loop {
    pub(crate) system: *mut c_void,
    pub(crate) own_loop: *mut c_void,
    /// Starts with an interface whose methods are [`spa_loop_control_methods`].
    pub(crate) control: *mut spa_interface,
    pub(crate) utils: *mut c_void,
}

#[repr(C)]
pub(crate) struct spa_loop_control_methods {
    pub(crate) version: u32,
    pub(crate) get_fd: Option<unsafe extern "C" fn(object: *mut c_void) -> c_int>,
    pub(crate) add_hook: *const c_void,
    pub(crate) enter: Option<unsafe extern "C" fn(object: *mut c_void)>,
    pub(crate) leave: Option<unsafe extern "C" fn(object: *mut c_void)>,
    pub(crate) iterate: Option<unsafe extern "C" fn(object: *mut c_void, timeout_ms: c_int) -> c_int>,
}

/// The start of `pw_core_methods`.
#[repr(C)]
pub(crate) struct pw_core_methods {
    pub(crate) version: u32,
    pub(crate) add_listener: Option<
        unsafe extern "C" fn(
            object: *mut c_void,
            listener: *mut spa_hook,
            events: *const pw_core_events,
            data: *mut c_void,
        ) -> c_int,
    >,
}

#[repr(C)]
pub(crate) struct pw_core_events {
    pub(crate) version: u32,
    pub(crate) info: *const c_void,
    pub(crate) done: *const c_void,
    pub(crate) ping: *const c_void,
    pub(crate) error: Option<
        unsafe extern "C" fn(data: *mut c_void, id: u32, sequence: c_int, result: c_int, message: *const c_char),
    >,
    pub(crate) rest: [*const c_void; 4],
}

// SAFETY: the tables of callbacks are constant, and hold null where they hold no function.
unsafe impl Sync for pw_core_events {}

#[repr(C)]
pub(crate) struct pw_stream_events {
    pub(crate) version: u32,
    pub(crate) destroy: *const c_void,
    pub(crate) state_changed:
        Option<unsafe extern "C" fn(data: *mut c_void, old: c_int, state: c_int, error: *const c_char)>,
    pub(crate) control_info: *const c_void,
    pub(crate) io_changed: *const c_void,
    pub(crate) param_changed: Option<unsafe extern "C" fn(data: *mut c_void, id: u32, param: *const spa_pod)>,
    pub(crate) add_buffer: *const c_void,
    pub(crate) remove_buffer: Option<unsafe extern "C" fn(data: *mut c_void, buffer: *mut pw_buffer)>,
    /// `process`, `drained`, `command` and `trigger_done`.
    pub(crate) rest: [*const c_void; 4],
}

// SAFETY: as for `pw_core_events`.
unsafe impl Sync for pw_stream_events {}

/// The start of `pw_buffer`, which PipeWire allocates.
#[repr(C)]
pub(crate) struct pw_buffer {
    pub(crate) buffer: *mut spa_buffer,
}

#[repr(C)]
pub(crate) struct spa_buffer {
    pub(crate) n_metas: u32,
    pub(crate) n_datas: u32,
    pub(crate) metas: *mut spa_meta,
    pub(crate) datas: *mut spa_data,
}

#[repr(C)]
pub(crate) struct spa_meta {
    pub(crate) kind: u32,
    pub(crate) size: u32,
    pub(crate) data: *mut c_void,
}

#[repr(C)]
pub(crate) struct spa_meta_header {
    pub(crate) flags: u32,
    pub(crate) offset: u32,
    /// In nanoseconds.
    pub(crate) pts: i64,
    pub(crate) dts_offset: i64,
    pub(crate) seq: u64,
}

#[repr(C)]
pub(crate) struct spa_data {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) fd: i64,
    pub(crate) mapoffset: u32,
    /// In bytes.
    pub(crate) maxsize: u32,
    pub(crate) data: *mut c_void,
    pub(crate) chunk: *mut spa_chunk,
}

#[repr(C)]
pub(crate) struct spa_chunk {
    pub(crate) offset: u32,
    pub(crate) size: u32,
    pub(crate) stride: i32,
    pub(crate) flags: i32,
}

#[link(name = "pipewire-0.3")]
unsafe extern "C" {
    pub(crate) fn pw_init(argc: *mut c_int, argv: *mut c_void);
    pub(crate) fn pw_loop_new(props: *const spa_dict) -> *mut pw_loop;
    pub(crate) fn pw_loop_destroy(own_loop: *mut pw_loop);
    pub(crate) fn pw_context_new(
        own_loop: *mut pw_loop,
        props: *mut pw_properties,
        user_data_size: usize,
    ) -> *mut pw_context;
    pub(crate) fn pw_context_destroy(context: *mut pw_context);
    /// Takes `fd` over. The core starts with an interface whose methods are [`pw_core_methods`].
    pub(crate) fn pw_context_connect_fd(
        context: *mut pw_context,
        fd: c_int,
        props: *mut pw_properties,
        user_data_size: usize,
    ) -> *mut spa_interface;
    pub(crate) fn pw_core_disconnect(core: *mut spa_interface) -> c_int;
    pub(crate) fn pw_properties_new(key: *const c_char, ...) -> *mut pw_properties;
    pub(crate) fn pw_properties_set(props: *mut pw_properties, key: *const c_char, value: *const c_char) -> c_int;
    /// Takes `props` over.
    pub(crate) fn pw_stream_new(
        core: *mut spa_interface,
        name: *const c_char,
        props: *mut pw_properties,
    ) -> *mut pw_stream;
    pub(crate) fn pw_stream_destroy(stream: *mut pw_stream);
    pub(crate) fn pw_stream_add_listener(
        stream: *mut pw_stream,
        listener: *mut spa_hook,
        events: *const pw_stream_events,
        data: *mut c_void,
    );
    pub(crate) fn pw_stream_connect(
        stream: *mut pw_stream,
        direction: u32,
        target: u32,
        flags: u32,
        params: *mut *const spa_pod,
        n_params: u32,
    ) -> c_int;
    pub(crate) fn pw_stream_update_params(stream: *mut pw_stream, params: *mut *const spa_pod, n_params: u32) -> c_int;
    pub(crate) fn pw_stream_set_error(stream: *mut pw_stream, result: c_int, format: *const c_char, ...) -> c_int;
    pub(crate) fn pw_stream_dequeue_buffer(stream: *mut pw_stream) -> *mut pw_buffer;
    pub(crate) fn pw_stream_queue_buffer(stream: *mut pw_stream, buffer: *mut pw_buffer) -> c_int;
    pub(crate) fn pw_stream_flush(stream: *mut pw_stream, drain: bool) -> c_int;
    pub(crate) fn pw_stream_is_driving(stream: *mut pw_stream) -> bool;
    pub(crate) fn pw_stream_trigger_process(stream: *mut pw_stream) -> c_int;
}
