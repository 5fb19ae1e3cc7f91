//! The daemon's own files, without the daemon round them: the inference engine would take ten minutes to build with a
//! sanitizer, and no target here needs it.

/// As in the daemon.
pub mod pixel {
    pub use portraitd_kernels::picture::{Colorimetry, Matrix, Picture, PictureError, PixelFormat, Plane, Range, Size};
}

/// The part of `camera` that looks at what a device says.
pub mod camera {
    /// As in the daemon.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Wanted {
        /// Picture size.
        pub size: Option<crate::pixel::Size>,
        /// Frames a second.
        pub frame_rate: Option<f32>,
    }

    /// As in the daemon.
    pub mod v4l2 {
        #[path = "../../../../../../src/camera/v4l2/clock.rs"]
        pub mod clock;
        #[path = "../../../../../../src/camera/v4l2/formats.rs"]
        pub mod formats;
        #[path = "../../../../../../src/camera/v4l2/jpeg.rs"]
        pub mod jpeg;
        #[path = "../../../../../../src/camera/v4l2/negotiate.rs"]
        pub mod negotiate;
        #[path = "../../../../../../src/camera/v4l2/sys.rs"]
        pub mod sys;
    }
}
