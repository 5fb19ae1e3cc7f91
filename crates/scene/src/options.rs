//! The options of a scene: `scene[:NAME][?OPTIONS]`.

use std::fmt;

use portraitd_media::options::{OptionList, SpecError};
use portraitd_media::playback::{FrameRate, Playback};
use portraitd_media::{PixelFormat, Size};

/// The name of a scene: who is in it, and how they move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SceneName {
    /// One person stands still, left of the centre. Only the noise changes.
    Still,
    /// One person walks to the right and back.
    #[default]
    Walk,
    /// Two people stand beside each other and sway slightly.
    Two,
    /// One person leaves the picture and returns.
    Leave,
    /// A small person, visible from head to foot, walks through a large room.
    Wide,
    /// A room without people.
    Empty,
    /// One person changes the position three times, each time from one frame to the next.
    Step,
    /// One person walks at a constant speed and stops abruptly.
    Stop,
    /// One person stands still for 10 s, then nods once a second.
    Nod,
    /// One person disappears from one frame to the next, and reappears after 7 s.
    Vanish,
    /// Two people, each of whom disappears once for 1.5 s.
    Blink,
    /// Two people; a third person runs past behind them, and later in front of them.
    Cross,
    /// Four people at a table, two of whom touch.
    Group,
    /// Two small people at the two ends of a large room.
    Ends,
    /// Two people walk past each other in a large room, and back.
    Pass,
}

impl SceneName {
    /// Every scene, in the order in which they are listed to users.
    pub const ALL: [Self; 15] = [
        Self::Still,
        Self::Walk,
        Self::Two,
        Self::Leave,
        Self::Wide,
        Self::Empty,
        Self::Step,
        Self::Stop,
        Self::Nod,
        Self::Vanish,
        Self::Blink,
        Self::Cross,
        Self::Group,
        Self::Ends,
        Self::Pass,
    ];

    /// The lower-case word that stands for it in `scene:NAME`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Still => "still",
            Self::Walk => "walk",
            Self::Two => "two",
            Self::Leave => "leave",
            Self::Wide => "wide",
            Self::Empty => "empty",
            Self::Step => "step",
            Self::Stop => "stop",
            Self::Nod => "nod",
            Self::Vanish => "vanish",
            Self::Blink => "blink",
            Self::Cross => "cross",
            Self::Group => "group",
            Self::Ends => "ends",
            Self::Pass => "pass",
        }
    }
}

impl fmt::Display for SceneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A scene as a source:
/// `scene[:NAME][?fps=30&size=1280x720&noise=2&seed=1&loop=no&format=YUYV&pace=fast]`, and the conditions
/// `dark=0.3&blur=4&grey&jpeg=10`.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneOptions {
    /// Who is in the scene, and how they move.
    pub name: SceneName,
    /// The frame rate; `None` takes the requested one, or 30 frames a second.
    pub frame_rate: Option<FrameRate>,
    /// The picture size, even, within [`SceneOptions::SIZES`]; `None` takes the nearest to the
    /// requested one, or 1280x720.
    pub size: Option<Size>,
    /// The standard deviation of the noise at middle grey, in 8-bit steps, 0..=20. A webcam indoors
    /// by day has about 2.
    pub noise: f32,
    /// The seed of the noise. The same seed gives the same frames.
    pub seed: u64,
    /// Whether the scene repeats after its period (the default) or ends.
    pub repeat: bool,
    /// The pixel format of the frames, `Nv12` or `Yuyv`.
    pub pixel_format: PixelFormat,
    /// Whether frames are delivered in real time or as fast as they are read.
    pub playback: Playback,
    /// The share of the light that is left, 0.01..=1: every level is multiplied by it before the
    /// noise is added.
    pub dark: f32,
    /// The radius of the lens's blur, in pixels, 0..=32: twice the mean of a box that reaches so far to
    /// each side.
    pub blur: u8,
    /// Whether the camera has no colour.
    pub grey: bool,
    /// The quality of JPEG, 1..=100, whose loss the frames have; `None` for no loss.
    pub jpeg: Option<u8>,
}

impl Default for SceneOptions {
    fn default() -> Self {
        Self {
            name: SceneName::default(),
            frame_rate: None,
            size: None,
            noise: Self::DEFAULT_NOISE,
            seed: 1,
            repeat: true,
            pixel_format: PixelFormat::Nv12,
            playback: Playback::RealTime,
            dark: 1.0,
            blur: 0,
            grey: false,
            jpeg: None,
        }
    }
}

impl SceneOptions {
    /// The options that [`SceneOptions::parse`] accepts, for error messages.
    pub const OPTIONS: &'static str = "fps, size, noise, seed, loop, format, pace, dark, blur, grey, jpeg";

    /// The smallest and the largest picture, in pixels.
    pub const SIZES: (Size, Size) = (Size::new(64, 64), Size::new(3840, 2160));

    const DEFAULT_NOISE: f32 = 2.0;
    const MAX_NOISE: f32 = 20.0;
    const MIN_LIGHT: f32 = 0.01;
    const MAX_BLUR: u8 = 32;

    /// The scene `name` with the default of every option.
    pub fn new(name: SceneName) -> Self {
        Self { name, ..Self::default() }
    }

    /// Parses the text after `scene`: nothing, `:NAME`, `?OPTIONS` or both.
    ///
    /// # Errors
    /// [`SpecError`] for an unknown scene, an unknown option or a bad value.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let (name, options) = text.split_once('?').unwrap_or((text, ""));
        let mut parsed = Self::default();
        if let Some(name) = name.strip_prefix(':').or(if name.is_empty() { None } else { Some(name) }) {
            parsed.name = SceneName::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
                SpecError::UnknownScene { name: name.to_owned(), known: SceneName::ALL.map(SceneName::name).join(", ") }
            })?;
        }
        let list = OptionList::new("scene", options, Self::OPTIONS);
        for option in list.iter() {
            match option.key {
                "fps" => parsed.frame_rate = Some(option.frame_rate()?),
                "size" => {
                    let size = option.size().filter(|size| Self::allows(*size));
                    let expected = "an even width and height from 64x64 to 3840x2160";
                    parsed.size = Some(size.ok_or_else(|| option.bad(expected))?);
                }
                "noise" => {
                    let expected = "a number from 0 to 20";
                    parsed.noise = option.parse(expected)?;
                    if !(0.0..=Self::MAX_NOISE).contains(&parsed.noise) {
                        return Err(option.bad(expected));
                    }
                }
                "seed" => parsed.seed = option.parse("a whole number")?,
                "loop" => parsed.repeat = option.switch()?,
                "format" => {
                    parsed.pixel_format = match option.value {
                        Some("NV12") => PixelFormat::Nv12,
                        Some("YUYV") => PixelFormat::Yuyv,
                        _ => return Err(option.bad("NV12 or YUYV")),
                    }
                }
                "pace" => parsed.playback = option.playback()?,
                "dark" => {
                    let expected = "a number from 0.01 to 1";
                    parsed.dark = option.parse(expected)?;
                    if !(Self::MIN_LIGHT..=1.0).contains(&parsed.dark) {
                        return Err(option.bad(expected));
                    }
                }
                "blur" => {
                    let expected = "a whole number from 0 to 32";
                    parsed.blur = option.parse(expected)?;
                    if parsed.blur > Self::MAX_BLUR {
                        return Err(option.bad(expected));
                    }
                }
                "grey" => parsed.grey = option.switch()?,
                "jpeg" => {
                    let expected = "a whole number from 1 to 100";
                    let quality = option.parse(expected)?;
                    if !(1..=100).contains(&quality) {
                        return Err(option.bad(expected));
                    }
                    parsed.jpeg = Some(quality);
                }
                _ => return Err(list.unknown(option.key)),
            }
        }
        Ok(parsed)
    }

    /// Whether a scene can have this size: even, and within [`SceneOptions::SIZES`].
    pub fn allows(size: Size) -> bool {
        let (least, most) = Self::SIZES;
        let within =
            (least.width..=most.width).contains(&size.width) && (least.height..=most.height).contains(&size.height);
        within && size.width.is_multiple_of(2) && size.height.is_multiple_of(2)
    }
}

impl fmt::Display for SceneOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scene:{}", self.name)?;
        let mut separator = '?';
        let mut option = |text: fmt::Arguments<'_>| {
            write!(f, "{separator}{text}")?;
            separator = '&';
            Ok(())
        };
        if let Some(rate) = self.frame_rate {
            option(format_args!("fps={rate}"))?;
        }
        if let Some(size) = self.size {
            option(format_args!("size={size}"))?;
        }
        if self.noise.to_bits() != Self::DEFAULT_NOISE.to_bits() {
            option(format_args!("noise={}", self.noise))?;
        }
        if self.seed != 1 {
            option(format_args!("seed={}", self.seed))?;
        }
        if !self.repeat {
            option(format_args!("loop=no"))?;
        }
        if self.pixel_format != PixelFormat::Nv12 {
            option(format_args!("format={}", self.pixel_format))?;
        }
        if self.playback == Playback::Fast {
            option(format_args!("pace=fast"))?;
        }
        if self.dark < 1.0 {
            option(format_args!("dark={}", self.dark))?;
        }
        if self.blur > 0 {
            option(format_args!("blur={}", self.blur))?;
        }
        if self.grey {
            option(format_args!("grey"))?;
        }
        if let Some(quality) = self.jpeg {
            option(format_args!("jpeg={quality}"))?;
        }
        Ok(())
    }
}
