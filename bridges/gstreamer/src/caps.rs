//! What a pipeline wants of a stream, and what a ring is to a pipeline.

use gst_video::{
    VideoCapsBuilder, VideoColorMatrix, VideoColorRange, VideoColorimetry, VideoFormat, VideoFormatInfo, VideoInfo,
};
use portraitd_client::feed::AttachOptions;
use portraitd_client::protocol::layout::{MAX_OFFERED_BYTES, MIN_SLOTS};
use portraitd_client::provide::ProvideError;
use portraitd_client::{Colorimetry, FrameInfo, Matrix, Person, PixelFormat, Range, RingLayout, Size, StreamKind};

/// The pixel formats of rings, as GStreamer names them.
const FORMATS: [(PixelFormat, VideoFormat); 11] = [
    (PixelFormat::Nv12, VideoFormat::Nv12),
    (PixelFormat::Rgb24, VideoFormat::Rgb),
    (PixelFormat::Grey, VideoFormat::Gray8),
    (PixelFormat::Yuyv, VideoFormat::Yuy2),
    (PixelFormat::Uyvy, VideoFormat::Uyvy),
    (PixelFormat::Nv21, VideoFormat::Nv21),
    (PixelFormat::I420, VideoFormat::I420),
    (PixelFormat::I422, VideoFormat::Y42b),
    (PixelFormat::Bgr24, VideoFormat::Bgr),
    (PixelFormat::Rgbx32, VideoFormat::Rgbx),
    (PixelFormat::Bgrx32, VideoFormat::Bgrx),
];

/// Everything that any stream can be.
pub(crate) fn template() -> gst::Caps {
    caps_of(FORMATS.map(|(_, format)| format))
}

/// What a stream can be. The frames of a camera come in its own format and size.
pub(crate) fn of_stream(stream: StreamKind) -> gst::Caps {
    match stream {
        StreamKind::View | StreamKind::Composite => caps_of([VideoFormat::Nv12, VideoFormat::Rgb]),
        StreamKind::Mask => caps_of([VideoFormat::Gray8]),
        _ => template(),
    }
}

fn caps_of(formats: impl IntoIterator<Item = VideoFormat>) -> gst::Caps {
    VideoCapsBuilder::new().format_list(formats).width_range(1..=4096).height_range(1..=4096).build()
}

/// The options of a client for a stream, from what the pipeline accepts: its first preference of a
/// format, and a size and a rate where it leaves no choice.
pub(crate) fn wishes(accepted: &gst::Caps, stream: StreamKind, options: AttachOptions) -> AttachOptions {
    let Some(first) = accepted.structure(0) else { return options };
    let mut options = options;
    let side = |name| first.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
    if let (Some(width), Some(height)) = (side("width"), side("height"))
        && options.resolution.is_none()
        && stream != StreamKind::Source
    {
        options = options.with_size(Size::new(width, height));
    }
    if matches!(stream, StreamKind::View | StreamKind::Composite) && preferred(first) == Some(VideoFormat::Rgb) {
        options = options.with_format(PixelFormat::Rgb24);
    }
    if let Some(rate) = first.get::<gst::Fraction>("framerate").ok().and_then(whole_rate) {
        options = options.with_frame_rate_limit(rate);
    }
    options
}

/// The format that a structure names first.
fn preferred(structure: &gst::StructureRef) -> Option<VideoFormat> {
    let name = structure.get::<String>("format").ok().or_else(|| {
        let list = structure.get::<gst::List>("format").ok()?;
        list.first()?.get().ok()
    })?;
    Some(VideoFormat::from_string(&name))
}

/// The caps of a ring's frames. They have the rate that the pipeline asks for, else none: the rate
/// of a camera changes with the light, and each frame has its capture time.
///
/// `None` if GStreamer cannot describe such frames.
pub(crate) fn info_of(layout: &RingLayout, rate: Option<gst::Fraction>) -> Option<VideoInfo> {
    let format = FORMATS.iter().find(|(ours, _)| *ours == layout.format)?.1;
    let color = colorimetry(layout.color);
    let mut builder = VideoInfo::builder(format, layout.size.width, layout.size.height)
        .fps(rate.unwrap_or_else(|| gst::Fraction::new(0, 1)));
    if VideoFormatInfo::from_format(format).is_yuv() {
        builder = builder.colorimetry(&color);
    }
    builder.build().ok()
}

fn colorimetry(color: Colorimetry) -> VideoColorimetry {
    let matrix = match color.matrix {
        Matrix::Bt601 => VideoColorMatrix::Bt601,
        Matrix::Bt709 => VideoColorMatrix::Bt709,
        Matrix::Bt2020 => VideoColorMatrix::Bt2020,
    };
    let range = match color.range {
        Range::Limited => VideoColorRange::Range16_235,
        Range::Full => VideoColorRange::Range0_255,
    };
    VideoColorimetry::new(range, matrix, gst_video::VideoTransferFunction::Bt709, gst_video::VideoColorPrimaries::Bt709)
}

/// The form of frames that are offered to the service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) format: PixelFormat,
    pub(crate) color: Colorimetry,
    pub(crate) size: Size,
    /// In frames a second, about.
    pub(crate) frame_rate: Option<u32>,
}

impl Picture {
    /// The layout of the ring of an offer.
    ///
    /// # Errors
    /// [`ProvideError::Layout`] and [`ProvideError::TooLarge`] for frames that cannot be offered.
    pub(crate) fn layout(&self) -> Result<RingLayout, ProvideError> {
        let Self { format, color, size, .. } = *self;
        let layout = RingLayout::new(StreamKind::Source, 1, format, color, size, MIN_SLOTS)?;
        match layout.total_bytes() {
            bytes if bytes > MAX_OFFERED_BYTES => Err(ProvideError::TooLarge { size, format, bytes }),
            _ => Ok(layout),
        }
    }
}

/// The form of frames with fixed caps. `None` if the service does not know the pixel format.
pub(crate) fn picture_of(info: &VideoInfo) -> Option<Picture> {
    let format = FORMATS.iter().find(|(_, theirs)| *theirs == info.format())?.0;
    let described = info.colorimetry();
    let matrix = match described.matrix() {
        VideoColorMatrix::Bt709 => Matrix::Bt709,
        VideoColorMatrix::Bt2020 => Matrix::Bt2020,
        _ => Matrix::Bt601,
    };
    let range = match described.range() {
        VideoColorRange::Range0_255 => Range::Full,
        _ => Range::Limited,
    };
    let (size, color) = (Size::new(info.width(), info.height()), Colorimetry { matrix, range });
    Some(Picture { format, color, size, frame_rate: whole_rate(info.fps()) })
}

/// The form that frames probably have, by what the elements before a sink can deliver: where they
/// leave a choice, 1280x720 in NV12.
pub(crate) fn likely_picture(accepted: &gst::Caps) -> Picture {
    const DEFAULT_SIZE: Size = Size::new(1280, 720);
    let first = accepted.structure(0);
    let fixed = |name| first?.get::<i32>(name).ok().and_then(|pixels| u32::try_from(pixels).ok());
    let size = fixed("width").zip(fixed("height")).map_or(DEFAULT_SIZE, |(width, height)| Size::new(width, height));
    let format = first
        .and_then(|first| first.get::<String>("format").ok())
        .map_or(VideoFormat::Nv12, |name| VideoFormat::from_string(&name));
    let info = VideoInfo::builder(format, size.width, size.height).fps_if_some(rate_of(accepted)).build();
    let picture = info.ok().and_then(|info| picture_of(&info)).filter(|picture| picture.layout().is_ok());
    picture.unwrap_or(Picture {
        format: PixelFormat::Nv12,
        color: Colorimetry::default(),
        size: DEFAULT_SIZE,
        frame_rate: None,
    })
}

/// A rate as the options of the service have it: 1 to 240 frames a second.
fn whole_rate(rate: gst::Fraction) -> Option<u32> {
    let rate = u32::try_from(rate.numer().checked_add(rate.denom() - 1)? / rate.denom().max(1)).ok()?;
    (1..=240).contains(&rate).then_some(rate)
}

/// The rate of fixed caps; `None` if they leave it open.
pub(crate) fn rate_of(accepted: &gst::Caps) -> Option<gst::Fraction> {
    let rate = accepted.structure(0)?.get::<gst::Fraction>("framerate").ok()?;
    (rate.numer() > 0).then_some(rate)
}

/// The box of a person in the pixels of a picture of `size`: x, y, width, height, within the
/// picture. `None` if the picture does not show the person.
pub(crate) fn box_of(person: &Person, info: &FrameInfo, size: Size) -> Option<(u32, u32, u32, u32)> {
    let [crop_x, crop_y, crop_width, crop_height] = info.crop;
    let [x, y, width, height] = person.rectangle;
    let (left, right) = within(x - crop_x, width, crop_width, size.width)?;
    let (top, bottom) = within(y - crop_y, height, crop_height, size.height)?;
    Some((left, top, right - left, bottom - top))
}

/// The part of `start..start + length`, in units of which the picture shows `shown`, in pixels of
/// which it has `pixels`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn within(start: f32, length: f32, shown: f32, pixels: u32) -> Option<(u32, u32)> {
    let scale = pixels as f32 / shown;
    if !(scale.is_finite() && start.is_finite() && length.is_finite()) {
        return None;
    }
    // Conversions of floats saturate.
    let first = (start * scale).round().max(0.0) as u32;
    let end = (((start + length) * scale).round().max(0.0) as u32).min(pixels);
    (first < end).then_some((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> gst::Caps {
        gst::init().expect("GStreamer");
        text.parse().expect("caps")
    }

    #[test]
    fn options_follow_what_the_pipeline_accepts() {
        let of = |text: &str, stream| wishes(&accepted(text), stream, AttachOptions::default());
        let options = of("video/x-raw,format=RGB,width=640,height=360,framerate=25/1", StreamKind::View);
        assert_eq!(options.size, Some(Size::new(640, 360)));
        assert_eq!(options.format, Some(PixelFormat::Rgb24));
        assert_eq!(options.frame_rate_limit, Some(25));
        let options = of("video/x-raw,format={NV12,RGB},width=[1,640],height=360", StreamKind::View);
        assert_eq!((options.size, options.format, options.frame_rate_limit), (None, None, None));
        let options = of("video/x-raw,format={RGB,NV12},framerate=30000/1001", StreamKind::Composite);
        assert_eq!((options.format, options.frame_rate_limit), (Some(PixelFormat::Rgb24), Some(30)));
        let options = of("video/x-raw,format=NV12,width=640,height=480,framerate=0/1", StreamKind::Source);
        assert_eq!((options.size, options.format, options.frame_rate_limit), (None, None, None));
    }

    #[test]
    fn a_box_is_cut_to_the_picture_and_left_out_beside_it() {
        let of = |rectangle, crop| {
            let person = Person { id: 1, rectangle, confidence: 1.0 };
            let mut info = FrameInfo::default();
            info.crop = crop;
            box_of(&person, &info, Size::new(640, 360))
        };
        let crop = [320.0, 180.0, 640.0, 360.0];
        assert_eq!(of([420.0, 280.0, 100.0, 200.0], crop), Some((100, 100, 100, 200)));
        assert_eq!(of([300.0, 100.0, 100.0, 1000.0], crop), Some((0, 0, 80, 360)));
        assert_eq!(of([0.0, 180.0, 320.0, 100.0], crop), None);
        assert_eq!(of([960.0, 180.0, 100.0, 100.0], crop), None);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
            assert_eq!(of([420.0, 280.0, 100.0, 200.0], [0.0, 0.0, broken, 360.0]), None);
            assert_eq!(of([420.0, 280.0, broken, 200.0], crop), None);
        }
    }

    #[test]
    fn a_ring_has_the_caps_of_its_pictures() {
        gst::init().expect("GStreamer");
        let color = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
        for (format, name) in FORMATS {
            let stream = if format == PixelFormat::Grey { StreamKind::Mask } else { StreamKind::Source };
            let layout = RingLayout::new(stream, 1, format, color, Size::new(64, 48), 4).expect("a layout");
            let info = info_of(&layout, None).expect("an info");
            assert_eq!((info.format(), info.width(), info.height()), (name, 64, 48));
            assert_eq!(usize::try_from(info.n_planes()), Ok(layout.planes().len()));
            if info.is_yuv() {
                assert_eq!(info.colorimetry().matrix(), VideoColorMatrix::Bt709);
                assert_eq!(info.colorimetry().range(), VideoColorRange::Range0_255);
            }
            assert!(info.to_caps().expect("caps").can_intersect(&of_stream(stream)));
            // A sink takes what a source gives.
            let picture = picture_of(&info).expect("a picture");
            assert_eq!((picture.format, picture.size, picture.frame_rate), (format, Size::new(64, 48), None));
            if info.is_yuv() {
                assert_eq!(picture.color, color);
            }
            assert_eq!(picture.layout().expect("a layout").planes(), layout.planes());
        }
    }

    #[test]
    fn frames_of_unknown_caps_have_a_likely_form() {
        let of = |text: &str| likely_picture(&accepted(text));
        let exact = of("video/x-raw,format=YUY2,width=640,height=480,framerate=30000/1001");
        assert_eq!((exact.format, exact.size, exact.frame_rate), (PixelFormat::Yuyv, Size::new(640, 480), Some(30)));
        let open = of("video/x-raw,format={RGB,NV12},width=[1,4096],height=480,framerate=0/1");
        assert_eq!((open.format, open.size, open.frame_rate), (PixelFormat::Nv12, Size::new(1280, 720), None));
        // Another offer is needed only if the frames are of another form in the end.
        for (format, name) in FORMATS {
            let caps = accepted(&format!("video/x-raw,format={name},width=640,height=360,framerate=25/1"));
            let known = picture_of(&VideoInfo::from_caps(&caps).expect("fixed caps"));
            assert_eq!(Some(likely_picture(&caps)), known, "{format:?}");
        }
        for other in ["ANY", "EMPTY", "image/jpeg,width=640,height=480", "video/x-raw,format=NV12,width=0,height=1"] {
            of(other).layout().expect("a form that can be offered");
        }
        let huge = of("video/x-raw,format=RGBx,width=4096,height=4096");
        assert_eq!(huge.size, Size::new(1280, 720));
    }

    #[test]
    fn frames_that_are_too_large_are_refused_with_their_size() {
        let (format, size) = (PixelFormat::Rgbx32, Size::new(4096, 4096));
        let picture = Picture { format, color: Colorimetry::default(), size, frame_rate: None };
        let error = picture.layout().expect_err("more than 64 MiB").to_string();
        assert!(error.contains("4096x4096"), "{error}");
    }
}
