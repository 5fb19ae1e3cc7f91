//! The kernel's V4L2 interface: its structs, and one safe function for each ioctl.
//!
//! Each function takes an open descriptor, makes one system call and returns the kernel's values
//! unchecked. The callers check counts, sizes and offsets (`formats.rs`, `mapping.rs`).
//!
//! **The struct layouts are proved at compile time.** The number of an ioctl contains the size of
//! its struct. Every number here is computed from our struct and compared with the number that
//! `linux-raw-sys` took from the kernel's headers for the target architecture. The offsets of
//! fields that depend on alignment are asserted as well.
//!
//! On 32-bit ARM the kernel has two forms of the calls that contain a time. We use the original
//! form (32-bit seconds, `c_long`): it exists in every kernel, and monotonic seconds fit. The C
//! library's `timeval` has either size, so it is not used.
//!
//! This file depends only on `rustix` and `linux-raw-sys`, so that `tests/emulated/layouts` can
//! check it for each architecture without building the other files.
#![allow(unsafe_code)]

use core::ffi::c_long;
use core::mem::{offset_of, size_of};
use std::os::fd::AsFd;

use linux_raw_sys::ioctl as numbers;
use rustix::io::{Errno, Result};
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// A struct of the kernel's interface.
///
/// # Safety
/// Every bit pattern, including all zeros, must be a valid value: integers, arrays and unions of
/// integers, raw pointers.
unsafe trait Interface: Sized {
    fn zeroed() -> Self {
        // SAFETY: implementations guarantee that all zeros are a valid value.
        unsafe { core::mem::zeroed() }
    }
}

macro_rules! interface {
    ($($(#[$doc:meta])* $visibility:vis struct $name:ident { $($(#[$field_doc:meta])* $field_visibility:vis $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            #[repr(C)]
            $visibility struct $name { $($(#[$field_doc])* $field_visibility $field: $type,)* }

            // SAFETY: the fields are integers and arrays of integers.
            unsafe impl Interface for $name {}
        )*
    };
}

/// The largest number of memory planes of a frame (`VIDEO_MAX_PLANES`).
pub const MAX_PLANES: usize = 8;

interface! {
    /// `v4l2_capability`: names of the device and capabilities of the node.
    pub struct Capability {
        pub driver: [u8; 16],
        pub card: [u8; 32],
        pub bus_info: [u8; 32],
        pub version: u32,
        /// The capabilities of the whole device.
        pub capabilities: u32,
        /// The capabilities of this node; valid if `capabilities` contains [`CAP_DEVICE_CAPS`].
        pub device_caps: u32,
        reserved: [u32; 3],
    }

    /// `v4l2_fmtdesc`: a pixel format that a device offers.
    pub struct FormatDescription {
        index: u32,
        buffer_type: u32,
        pub flags: u32,
        pub description: [u8; 32],
        pub pixel_format: u32,
        mbus_code: u32,
        reserved: [u32; 3],
    }

    /// `v4l2_frmsizeenum`: `values` are width and height if discrete; otherwise minimum, maximum
    /// and step of the width, then of the height.
    pub struct FrameSize {
        index: u32,
        pixel_format: u32,
        pub kind: u32,
        pub values: [u32; 6],
        reserved: [u32; 2],
    }

    /// `v4l2_frmivalenum`: `values` are fractions of a second (numerator, denominator): one if
    /// discrete, otherwise minimum, maximum and step.
    pub struct FrameInterval {
        index: u32,
        pixel_format: u32,
        width: u32,
        height: u32,
        pub kind: u32,
        pub values: [[u32; 2]; 3],
        reserved: [u32; 2],
    }

    /// `v4l2_requestbuffers`.
    pub struct RequestBuffers {
        pub count: u32,
        buffer_type: u32,
        memory: u32,
        pub capabilities: u32,
        flags: u8,
        reserved: [u8; 3],
    }

    /// `v4l2_pix_format`.
    pub struct PixFormat {
        pub width: u32,
        pub height: u32,
        pub pixel_format: u32,
        pub field: u32,
        pub bytes_per_line: u32,
        pub size_image: u32,
        pub colorspace: u32,
        /// [`PIX_FORMAT_MAGIC`] means that the fields after this one are valid.
        pub magic: u32,
        pub flags: u32,
        pub ycbcr_encoding: u32,
        pub quantization: u32,
        pub transfer_function: u32,
    }

    /// `v4l2_streamparm` for capture and for output, whose fields have the same offsets.
    pub struct StreamParameters {
        buffer_type: u32,
        /// [`CAP_TIME_PER_FRAME`] means that the frame rate can be set.
        pub capability: u32,
        mode: u32,
        /// Seconds for one frame: numerator, denominator.
        pub time_per_frame: [u32; 2],
        extended_mode: u32,
        buffers: u32,
        reserved: [u32; 4],
        rest: [u8; 160],
    }

    /// `v4l2_input`.
    pub struct Input {
        pub index: u32,
        pub name: [u8; 32],
        pub kind: u32,
        audio_set: u32,
        tuner: u32,
        standards: u64,
        pub status: u32,
        pub capabilities: u32,
        reserved: [u32; 3],
    }

    /// `v4l2_queryctrl`.
    pub struct QueryControl {
        pub id: u32,
        pub kind: u32,
        pub name: [u8; 32],
        pub minimum: i32,
        pub maximum: i32,
        pub step: i32,
        pub default_value: i32,
        pub flags: u32,
        reserved: [u32; 2],
    }

    /// `v4l2_control`.
    pub struct Control {
        id: u32,
        value: i32,
    }

    /// `v4l2_rect`.
    pub struct Rect {
        pub left: i32,
        pub top: i32,
        pub width: u32,
        pub height: u32,
    }

    /// `v4l2_selection`.
    pub struct Selection {
        buffer_type: u32,
        target: u32,
        flags: u32,
        rect: Rect,
        reserved: [u32; 9],
    }

    /// `v4l2_event_subscription`.
    pub struct EventSubscription {
        kind: u32,
        id: u32,
        flags: u32,
        reserved: [u32; 5],
    }

    /// `v4l2_event`; `data` has the eight-byte alignment of the kernel's union.
    pub struct Event {
        pub kind: u32,
        data: [u64; 8],
        pub pending: u32,
        sequence: u32,
        timestamp: [c_long; 2],
        pub id: u32,
        reserved: [u32; 8],
    }

    /// `v4l2_dv_timings`, passed unchanged from the query to the call that sets it.
    pub struct DvTimings {
        words: [u32; 33],
    }

    /// `v4l2_timecode`, which is not used.
    struct TimeCode {
        words: [u32; 4],
    }
}

/// `v4l2_plane_pix_format`.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct PlanePixFormat {
    size_image: u32,
    bytes_per_line: u32,
    reserved: [u16; 6],
}

/// `v4l2_pix_format_mplane`.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct PixFormatMplane {
    width: u32,
    height: u32,
    pixel_format: u32,
    field: u32,
    colorspace: u32,
    planes: [PlanePixFormat; MAX_PLANES],
    plane_count: u8,
    flags: u8,
    ycbcr_encoding: u8,
    quantization: u8,
    transfer_function: u8,
    reserved: [u8; 7],
}

#[derive(Clone, Copy)]
#[repr(C)]
union FormatUnion {
    single: PixFormat,
    multi: PixFormatMplane,
    raw: [u8; 200],
    /// A member of the kernel's union that is not used here contains pointers, which determine the
    /// alignment.
    align: usize,
}

/// `v4l2_format`.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawFormat {
    buffer_type: u32,
    format: FormatUnion,
}

// SAFETY: integers only, in each member of the union.
unsafe impl Interface for RawFormat {}

#[derive(Clone, Copy)]
#[repr(C)]
union PlaneMemory {
    offset: u32,
    user: usize,
}

/// `v4l2_plane`.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawPlane {
    bytes_used: u32,
    length: u32,
    memory: PlaneMemory,
    data_offset: u32,
    reserved: [u32; 11],
}

// SAFETY: integers only, in each member of the union.
unsafe impl Interface for RawPlane {}

#[derive(Clone, Copy)]
#[repr(C)]
union BufferMemory {
    offset: u32,
    user: usize,
    planes: *mut RawPlane,
}

/// `v4l2_buffer`.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawBuffer {
    index: u32,
    buffer_type: u32,
    bytes_used: u32,
    flags: u32,
    field: u32,
    timestamp: [c_long; 2],
    timecode: TimeCode,
    sequence: u32,
    memory: u32,
    place: BufferMemory,
    length: u32,
    reserved: u32,
    request: i32,
}

// SAFETY: integers and a raw pointer, in each member of the union.
unsafe impl Interface for RawBuffer {}

/// `v4l2_querymenu`.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct RawMenu {
    id: u32,
    index: u32,
    name: [u8; 32],
    reserved: u32,
}

// SAFETY: integers only.
unsafe impl Interface for RawMenu {}

const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
const ENUM_FMT: Opcode = opcode::read_write::<FormatDescription>(b'V', 2);
const G_FMT: Opcode = opcode::read_write::<RawFormat>(b'V', 4);
const S_FMT: Opcode = opcode::read_write::<RawFormat>(b'V', 5);
const REQBUFS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
const QUERYBUF: Opcode = opcode::read_write::<RawBuffer>(b'V', 9);
const QBUF: Opcode = opcode::read_write::<RawBuffer>(b'V', 15);
const DQBUF: Opcode = opcode::read_write::<RawBuffer>(b'V', 17);
const STREAMON: Opcode = opcode::write::<i32>(b'V', 18);
const STREAMOFF: Opcode = opcode::write::<i32>(b'V', 19);
const G_PARM: Opcode = opcode::read_write::<StreamParameters>(b'V', 21);
const S_PARM: Opcode = opcode::read_write::<StreamParameters>(b'V', 22);
const ENUMINPUT: Opcode = opcode::read_write::<Input>(b'V', 26);
const G_CTRL: Opcode = opcode::read_write::<Control>(b'V', 27);
const S_CTRL: Opcode = opcode::read_write::<Control>(b'V', 28);
const QUERYCTRL: Opcode = opcode::read_write::<QueryControl>(b'V', 36);
const QUERYMENU: Opcode = opcode::read_write::<RawMenu>(b'V', 37);
const G_INPUT: Opcode = opcode::read::<i32>(b'V', 38);
const ENUM_FRAMESIZES: Opcode = opcode::read_write::<FrameSize>(b'V', 74);
const ENUM_FRAMEINTERVALS: Opcode = opcode::read_write::<FrameInterval>(b'V', 75);
const S_DV_TIMINGS: Opcode = opcode::read_write::<DvTimings>(b'V', 87);
const DQEVENT: Opcode = opcode::read::<Event>(b'V', 89);
const SUBSCRIBE_EVENT: Opcode = opcode::write::<EventSubscription>(b'V', 90);
const G_SELECTION: Opcode = opcode::read_write::<Selection>(b'V', 94);
const QUERY_DV_TIMINGS: Opcode = opcode::read::<DvTimings>(b'V', 99);

// A struct of a wrong size gives another number, and the crate does not compile.
const _: () = {
    assert!(QUERYCAP == numbers::VIDIOC_QUERYCAP);
    assert!(ENUM_FMT == numbers::VIDIOC_ENUM_FMT);
    assert!(G_FMT == numbers::VIDIOC_G_FMT);
    assert!(S_FMT == numbers::VIDIOC_S_FMT);
    assert!(REQBUFS == numbers::VIDIOC_REQBUFS);
    assert!(QUERYBUF == numbers::VIDIOC_QUERYBUF);
    assert!(QBUF == numbers::VIDIOC_QBUF);
    assert!(DQBUF == numbers::VIDIOC_DQBUF);
    assert!(STREAMON == numbers::VIDIOC_STREAMON);
    assert!(STREAMOFF == numbers::VIDIOC_STREAMOFF);
    assert!(G_PARM == numbers::VIDIOC_G_PARM);
    assert!(S_PARM == numbers::VIDIOC_S_PARM);
    assert!(ENUMINPUT == numbers::VIDIOC_ENUMINPUT);
    assert!(G_CTRL == numbers::VIDIOC_G_CTRL);
    assert!(S_CTRL == numbers::VIDIOC_S_CTRL);
    assert!(QUERYCTRL == numbers::VIDIOC_QUERYCTRL);
    assert!(QUERYMENU == numbers::VIDIOC_QUERYMENU);
    assert!(G_INPUT == numbers::VIDIOC_G_INPUT);
    assert!(ENUM_FRAMESIZES == numbers::VIDIOC_ENUM_FRAMESIZES);
    assert!(ENUM_FRAMEINTERVALS == numbers::VIDIOC_ENUM_FRAMEINTERVALS);
    assert!(S_DV_TIMINGS == numbers::VIDIOC_S_DV_TIMINGS);
    assert!(DQEVENT == numbers::VIDIOC_DQEVENT);
    assert!(SUBSCRIBE_EVENT == numbers::VIDIOC_SUBSCRIBE_EVENT);
    assert!(G_SELECTION == numbers::VIDIOC_G_SELECTION);
    assert!(QUERY_DV_TIMINGS == numbers::VIDIOC_QUERY_DV_TIMINGS);
};

// Offsets that depend on alignment, and structs whose size is in no ioctl number, for 8-byte and
// 4-byte `c_long`.
const _: () = {
    let wide = size_of::<c_long>() == 8;
    assert!(offset_of!(RawBuffer, timestamp) == if wide { 24 } else { 20 });
    assert!(offset_of!(RawBuffer, sequence) == if wide { 56 } else { 44 });
    assert!(offset_of!(RawBuffer, place) == if wide { 64 } else { 52 });
    assert!(offset_of!(RawBuffer, length) == if wide { 72 } else { 56 });
    assert!(size_of::<RawPlane>() == if wide { 64 } else { 60 });
    assert!(offset_of!(RawPlane, data_offset) == if wide { 16 } else { 12 });
    assert!(offset_of!(RawFormat, format) == if wide { 8 } else { 4 });
    assert!(size_of::<PlanePixFormat>() == 20);
    assert!(size_of::<PixFormatMplane>() == 192);
    assert!(size_of::<PixFormat>() == 48);
    assert!(offset_of!(StreamParameters, time_per_frame) == 12);
    assert!(offset_of!(Input, status) == 56);
    assert!(offset_of!(Event, data) == 8);
    assert!(offset_of!(Event, id) == if wide { 96 } else { 88 });
};

/// A queue of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferType {
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
    Capture,
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT`.
    Output,
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`.
    CaptureMulti,
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE`.
    OutputMulti,
}

impl BufferType {
    const fn number(self) -> u32 {
        match self {
            Self::Capture => 1,
            Self::Output => 2,
            Self::CaptureMulti => 9,
            Self::OutputMulti => 10,
        }
    }

    /// Whether frames consist of several memory planes (the multi-planar API).
    pub const fn is_multi(self) -> bool {
        matches!(self, Self::CaptureMulti | Self::OutputMulti)
    }

    /// Whether frames are written to the device.
    pub const fn is_output(self) -> bool {
        matches!(self, Self::Output | Self::OutputMulti)
    }
}

pub const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
pub const CAP_VIDEO_OUTPUT: u32 = 0x0000_0002;
pub const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
pub const CAP_VIDEO_OUTPUT_MPLANE: u32 = 0x0000_2000;
pub const CAP_VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
pub const CAP_VIDEO_M2M: u32 = 0x0000_8000;
pub const CAP_META_CAPTURE: u32 = 0x0080_0000;
pub const CAP_READ_WRITE: u32 = 0x0100_0000;
pub const CAP_STREAMING: u32 = 0x0400_0000;
pub const CAP_IO_MC: u32 = 0x2000_0000;
pub const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
pub const CAP_TIME_PER_FRAME: u32 = 0x1000;
pub const PIX_FORMAT_MAGIC: u32 = 0xfeed_cafe;
pub const FORMAT_FLAG_EMULATED: u32 = 0x0002;
pub const KIND_DISCRETE: u32 = 1;
pub const FIELD_ANY: u32 = 0;
pub const FIELD_NONE: u32 = 1;
pub const BUFFER_FLAG_ERROR: u32 = 0x0000_0040;
pub const BUFFER_FLAG_TIMESTAMP_MASK: u32 = 0x0000_e000;
pub const BUFFER_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;
pub const BUFFER_FLAG_LAST: u32 = 0x0010_0000;
pub const INPUT_STATUS_NO_POWER: u32 = 0x0000_0001;
pub const INPUT_STATUS_NO_SIGNAL: u32 = 0x0000_0002;
pub const INPUT_CAP_DV_TIMINGS: u32 = 0x0000_0002;
pub const CONTROL_FLAG_DISABLED: u32 = 0x0001;
pub const CONTROL_FLAG_GRABBED: u32 = 0x0002;
pub const CONTROL_FLAG_READ_ONLY: u32 = 0x0004;
pub const CONTROL_FLAG_INACTIVE: u32 = 0x0010;
pub const CONTROL_FLAG_WRITE_ONLY: u32 = 0x0040;
pub const CONTROL_FLAG_MODIFY_LAYOUT: u32 = 0x0400;
pub const CONTROL_FLAG_NEXT: u32 = 0x8000_0000;
pub const CONTROL_HFLIP: u32 = 0x0098_0914;
pub const CONTROL_VFLIP: u32 = 0x0098_0915;
pub const CONTROL_PRIVACY: u32 = 0x009a_0910;
pub const EVENT_CONTROL: u32 = 3;
pub const EVENT_SOURCE_CHANGE: u32 = 5;
/// An event of v4l2loopback (0.13 and later). The first word of its data is the number of readers.
pub const EVENT_LOOPBACK_READERS: u32 = 0x0800_0000 + 0x08e0_0000 + 1;
pub const SELECTION_CROP: u32 = 0x0000;
pub const SELECTION_CROP_DEFAULT: u32 = 0x0001;
pub const SELECTION_CROP_BOUNDS: u32 = 0x0002;

const MEMORY_MMAP: u32 = 1;
const EVENT_FLAG_SEND_INITIAL: u32 = 1;

/// A format of a single-planar or multi-planar queue: each memory plane has a stride and a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFormat {
    pub width: u32,
    pub height: u32,
    pub pixel_format: u32,
    pub field: u32,
    pub colorspace: u32,
    pub ycbcr_encoding: u32,
    pub quantization: u32,
    /// The number of memory planes, at most [`MAX_PLANES`].
    pub plane_count: usize,
    /// The stride of each memory plane, in bytes.
    pub bytes_per_line: [u32; MAX_PLANES],
    /// The size of each memory plane, in bytes.
    pub size_image: [u32; MAX_PLANES],
}

/// The state of a buffer, as the kernel reports it.
#[derive(Clone, Copy, Debug)]
pub struct BufferState {
    pub index: u32,
    pub flags: u32,
    pub field: u32,
    /// The capture time: seconds and microseconds.
    pub timestamp: [i64; 2],
    pub sequence: u32,
    /// The number of memory planes, at most [`MAX_PLANES`].
    pub plane_count: usize,
    /// The used bytes of each memory plane, including `data_offset`.
    pub bytes_used: [u32; MAX_PLANES],
    /// The first byte of the picture in each memory plane.
    pub data_offset: [u32; MAX_PLANES],
    /// The length of each memory plane, in bytes.
    pub length: [u32; MAX_PLANES],
    /// The offset with which each memory plane is mapped.
    pub map_offset: [u32; MAX_PLANES],
}

/// Repeats a call as long as a signal interrupts it.
fn retry_interrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn update<const OPCODE: Opcode, T: Interface>(fd: impl AsFd, value: &mut T) -> Result<()> {
    retry_interrupted(|| {
        // SAFETY: every caller passes the struct from which `OPCODE` was computed, and the
        // assertions above compare that number with the kernel's. The kernel writes only to that
        // struct and to the array that a buffer's `planes` points to.
        unsafe { ioctl(&fd, Updater::<OPCODE, T>::new(value)) }
    })
}

/// `VIDIOC_QUERYCAP`.
pub fn query_capability(fd: impl AsFd) -> Result<Capability> {
    let mut value = Capability::zeroed();
    update::<QUERYCAP, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_ENUM_FMT`.
pub fn enumerate_format(fd: impl AsFd, buffer_type: BufferType, index: u32) -> Result<FormatDescription> {
    let mut value = FormatDescription { index, buffer_type: buffer_type.number(), ..Interface::zeroed() };
    update::<ENUM_FMT, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_ENUM_FRAMESIZES`.
pub fn enumerate_frame_size(fd: impl AsFd, pixel_format: u32, index: u32) -> Result<FrameSize> {
    let mut value = FrameSize { index, pixel_format, ..Interface::zeroed() };
    update::<ENUM_FRAMESIZES, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_ENUM_FRAMEINTERVALS`.
pub fn enumerate_frame_interval(
    fd: impl AsFd,
    pixel_format: u32,
    (width, height): (u32, u32),
    index: u32,
) -> Result<FrameInterval> {
    let mut value = FrameInterval { index, pixel_format, width, height, ..Interface::zeroed() };
    update::<ENUM_FRAMEINTERVALS, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_G_FMT`.
pub fn get_format(fd: impl AsFd, buffer_type: BufferType) -> Result<DeviceFormat> {
    let mut value = RawFormat { buffer_type: buffer_type.number(), ..Interface::zeroed() };
    update::<G_FMT, _>(fd, &mut value)?;
    Ok(value.read(buffer_type))
}

/// `VIDIOC_S_FMT`: requests a format and returns the format that the driver set.
pub fn set_format(fd: impl AsFd, buffer_type: BufferType, wanted: &DeviceFormat) -> Result<DeviceFormat> {
    let mut value = RawFormat::written(buffer_type, wanted);
    update::<S_FMT, _>(fd, &mut value)?;
    Ok(value.read(buffer_type))
}

impl RawFormat {
    fn read(&self, buffer_type: BufferType) -> DeviceFormat {
        if buffer_type.is_multi() {
            // SAFETY: a union of integers, so every bit pattern is valid. Copied, because the
            // struct is packed.
            let multi = unsafe { self.format.multi };
            let planes = multi.planes;
            DeviceFormat {
                width: multi.width,
                height: multi.height,
                pixel_format: multi.pixel_format,
                field: multi.field,
                colorspace: multi.colorspace,
                ycbcr_encoding: u32::from(multi.ycbcr_encoding),
                quantization: u32::from(multi.quantization),
                plane_count: usize::from(multi.plane_count).min(MAX_PLANES),
                bytes_per_line: planes.map(|plane| plane.bytes_per_line),
                size_image: planes.map(|plane| plane.size_image),
            }
        } else {
            // SAFETY: a union of integers, so every bit pattern is valid.
            let single = unsafe { self.format.single };
            let extended = single.magic == PIX_FORMAT_MAGIC;
            let mut format = DeviceFormat {
                width: single.width,
                height: single.height,
                pixel_format: single.pixel_format,
                field: single.field,
                colorspace: single.colorspace,
                ycbcr_encoding: if extended { single.ycbcr_encoding } else { 0 },
                quantization: if extended { single.quantization } else { 0 },
                plane_count: 1,
                bytes_per_line: [0; MAX_PLANES],
                size_image: [0; MAX_PLANES],
            };
            format.bytes_per_line[0] = single.bytes_per_line;
            format.size_image[0] = single.size_image;
            format
        }
    }

    fn written(buffer_type: BufferType, wanted: &DeviceFormat) -> Self {
        let mut value = Self { buffer_type: buffer_type.number(), ..Interface::zeroed() };
        let byte = |number: u32| u8::try_from(number).unwrap_or(0);
        if buffer_type.is_multi() {
            value.format.multi = PixFormatMplane {
                width: wanted.width,
                height: wanted.height,
                pixel_format: wanted.pixel_format,
                field: wanted.field,
                colorspace: wanted.colorspace,
                planes: core::array::from_fn(|plane| PlanePixFormat {
                    size_image: wanted.size_image[plane],
                    bytes_per_line: wanted.bytes_per_line[plane],
                    reserved: [0; 6],
                }),
                plane_count: u8::try_from(wanted.plane_count.min(MAX_PLANES)).unwrap_or(0),
                flags: 0,
                ycbcr_encoding: byte(wanted.ycbcr_encoding),
                quantization: byte(wanted.quantization),
                transfer_function: 0,
                reserved: [0; 7],
            };
        } else {
            value.format.single = PixFormat {
                width: wanted.width,
                height: wanted.height,
                pixel_format: wanted.pixel_format,
                field: wanted.field,
                bytes_per_line: wanted.bytes_per_line[0],
                size_image: wanted.size_image[0],
                colorspace: wanted.colorspace,
                magic: PIX_FORMAT_MAGIC,
                flags: 0,
                ycbcr_encoding: wanted.ycbcr_encoding,
                quantization: wanted.quantization,
                transfer_function: 0,
            };
        }
        value
    }
}

/// `VIDIOC_REQBUFS` for buffers that the driver allocates and we map. Returns their number. A
/// `count` of 0 frees them.
pub fn request_buffers(fd: impl AsFd, buffer_type: BufferType, count: u32) -> Result<u32> {
    let mut value =
        RequestBuffers { count, buffer_type: buffer_type.number(), memory: MEMORY_MMAP, ..Interface::zeroed() };
    update::<REQBUFS, _>(fd, &mut value)?;
    Ok(value.count)
}

/// Makes a call whose argument is a buffer, with an array of planes if the queue is multi-planar.
fn with_buffer<const OPCODE: Opcode>(
    fd: impl AsFd,
    buffer_type: BufferType,
    index: u32,
    bytes_used: Option<&[u32]>,
) -> Result<BufferState> {
    let mut planes = [RawPlane::zeroed(); MAX_PLANES];
    let mut value = RawBuffer { index, buffer_type: buffer_type.number(), memory: MEMORY_MMAP, ..Interface::zeroed() };
    let used = bytes_used.unwrap_or_default();
    if buffer_type.is_multi() {
        for (plane, &bytes) in planes.iter_mut().zip(used) {
            plane.bytes_used = bytes;
        }
        // The kernel reads and writes this number of planes through the pointer: the whole array,
        // which outlives the call.
        value.length = 8;
        value.place.planes = planes.as_mut_ptr();
    } else {
        value.bytes_used = used.first().copied().unwrap_or(0);
    }
    const { assert!(MAX_PLANES == 8) };
    update::<OPCODE, _>(fd, &mut value)?;
    let mut state = BufferState {
        index: value.index,
        flags: value.flags,
        field: value.field,
        timestamp: value.timestamp.map(widen),
        sequence: value.sequence,
        plane_count: 1,
        bytes_used: [0; MAX_PLANES],
        data_offset: [0; MAX_PLANES],
        length: [0; MAX_PLANES],
        map_offset: [0; MAX_PLANES],
    };
    if buffer_type.is_multi() {
        state.plane_count = usize::try_from(value.length).unwrap_or(MAX_PLANES).min(MAX_PLANES);
        state.bytes_used = planes.map(|plane| plane.bytes_used);
        state.data_offset = planes.map(|plane| plane.data_offset);
        state.length = planes.map(|plane| plane.length);
        // SAFETY: a union of integers, so every bit pattern is valid.
        state.map_offset = planes.map(|plane| unsafe { plane.memory.offset });
    } else {
        state.bytes_used[0] = value.bytes_used;
        state.length[0] = value.length;
        // SAFETY: a union of integers and a pointer, so every bit pattern is a valid integer.
        state.map_offset[0] = unsafe { value.place.offset };
    }
    Ok(state)
}

/// A C `long` as 64 bits, its largest size on any architecture.
#[allow(clippy::useless_conversion, reason = "needed if a long has 32 bits")]
fn widen(number: c_long) -> i64 {
    i64::from(number)
}

/// `VIDIOC_QUERYBUF`.
pub fn query_buffer(fd: impl AsFd, buffer_type: BufferType, index: u32) -> Result<BufferState> {
    with_buffer::<QUERYBUF>(fd, buffer_type, index, None)
}

/// `VIDIOC_QBUF`. For output, `bytes_used` are the used bytes of each memory plane.
pub fn queue_buffer(fd: impl AsFd, buffer_type: BufferType, index: u32, bytes_used: Option<&[u32]>) -> Result<()> {
    with_buffer::<QBUF>(fd, buffer_type, index, bytes_used).map(drop)
}

/// `VIDIOC_DQBUF`. The error is `EAGAIN` if no buffer is ready.
pub fn dequeue_buffer(fd: impl AsFd, buffer_type: BufferType) -> Result<BufferState> {
    with_buffer::<DQBUF>(fd, buffer_type, 0, None)
}

/// `VIDIOC_STREAMON`.
pub fn stream_on(fd: impl AsFd, buffer_type: BufferType) -> Result<()> {
    retry_interrupted(|| {
        // SAFETY: the kernel reads one integer, the type of the queue.
        unsafe { ioctl(&fd, Setter::<STREAMON, u32>::new(buffer_type.number())) }
    })
}

/// `VIDIOC_STREAMOFF`. The driver returns all buffers.
pub fn stream_off(fd: impl AsFd, buffer_type: BufferType) -> Result<()> {
    retry_interrupted(|| {
        // SAFETY: the kernel reads one integer, the type of the queue.
        unsafe { ioctl(&fd, Setter::<STREAMOFF, u32>::new(buffer_type.number())) }
    })
}

/// `VIDIOC_G_PARM`.
pub fn get_parameters(fd: impl AsFd, buffer_type: BufferType) -> Result<StreamParameters> {
    let mut value = StreamParameters { buffer_type: buffer_type.number(), ..Interface::zeroed() };
    update::<G_PARM, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_S_PARM`: requests a frame interval and returns the one that the driver set.
pub fn set_time_per_frame(fd: impl AsFd, buffer_type: BufferType, seconds: [u32; 2]) -> Result<StreamParameters> {
    let mut value =
        StreamParameters { buffer_type: buffer_type.number(), time_per_frame: seconds, ..Interface::zeroed() };
    update::<S_PARM, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_G_INPUT`, then `VIDIOC_ENUMINPUT` for that input.
pub fn current_input(fd: impl AsFd) -> Result<Input> {
    let mut index = 0_i32;
    retry_interrupted(|| {
        // SAFETY: the kernel writes one integer.
        unsafe { ioctl(&fd, Updater::<G_INPUT, i32>::new(&mut index)) }
    })?;
    let mut value = Input { index: u32::try_from(index).map_err(|_| Errno::INVAL)?, ..Interface::zeroed() };
    update::<ENUMINPUT, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_QUERYCTRL`. If `id` contains [`CONTROL_FLAG_NEXT`], the result is the control with the
/// next larger id.
pub fn query_control(fd: impl AsFd, id: u32) -> Result<QueryControl> {
    let mut value = QueryControl { id, ..Interface::zeroed() };
    update::<QUERYCTRL, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_QUERYMENU`: the bytes of the item's name; for an integer menu, those of its 64-bit
/// number.
pub fn query_menu(fd: impl AsFd, id: u32, index: u32) -> Result<[u8; 32]> {
    let mut value = RawMenu { id, index, ..Interface::zeroed() };
    update::<QUERYMENU, _>(fd, &mut value)?;
    Ok(value.name)
}

/// `VIDIOC_G_CTRL`.
pub fn get_control(fd: impl AsFd, id: u32) -> Result<i32> {
    let mut value = Control { id, value: 0 };
    update::<G_CTRL, _>(fd, &mut value)?;
    Ok(value.value)
}

/// `VIDIOC_S_CTRL`.
pub fn set_control(fd: impl AsFd, id: u32, value: i32) -> Result<()> {
    update::<S_CTRL, _>(fd, &mut Control { id, value })
}

/// `VIDIOC_SUBSCRIBE_EVENT`. Except for source changes, the current state is sent as a first event.
pub fn subscribe_event(fd: impl AsFd, kind: u32, id: u32) -> Result<()> {
    let flags = if kind == EVENT_SOURCE_CHANGE { 0 } else { EVENT_FLAG_SEND_INITIAL };
    let value = EventSubscription { kind, id, flags, ..Interface::zeroed() };
    retry_interrupted(|| {
        // SAFETY: the kernel reads the struct from which the number was computed.
        unsafe { ioctl(&fd, Setter::<SUBSCRIBE_EVENT, EventSubscription>::new(value)) }
    })
}

/// `VIDIOC_DQEVENT`. The error is `ENOENT` (or `EAGAIN`) if no event is pending.
pub fn dequeue_event(fd: impl AsFd) -> Result<Event> {
    let mut value = Event::zeroed();
    update::<DQEVENT, _>(fd, &mut value)?;
    Ok(value)
}

impl Event {
    /// The first word of the data.
    pub const fn first_word(&self) -> u32 {
        let bytes = self.data[0].to_ne_bytes();
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    /// The value in the event of a control: the third word of the kernel's `v4l2_event_ctrl`.
    pub const fn control_value(&self) -> i32 {
        let bytes = self.data[1].to_ne_bytes();
        i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// `VIDIOC_G_SELECTION`.
pub fn get_selection(fd: impl AsFd, buffer_type: BufferType, target: u32) -> Result<Rect> {
    // The selection calls use the single-planar type for both kinds of queue; all kernels accept
    // it.
    let plain = if buffer_type.is_output() { BufferType::Output } else { BufferType::Capture };
    let mut value = Selection { buffer_type: plain.number(), target, ..Interface::zeroed() };
    update::<G_SELECTION, _>(fd, &mut value)?;
    Ok(value.rect)
}

/// `VIDIOC_QUERY_DV_TIMINGS`: the timings of the signal on the input.
pub fn query_dv_timings(fd: impl AsFd) -> Result<DvTimings> {
    let mut value = DvTimings::zeroed();
    update::<QUERY_DV_TIMINGS, _>(fd, &mut value)?;
    Ok(value)
}

/// `VIDIOC_S_DV_TIMINGS`.
pub fn set_dv_timings(fd: impl AsFd, mut timings: DvTimings) -> Result<()> {
    update::<S_DV_TIMINGS, _>(fd, &mut timings)
}
