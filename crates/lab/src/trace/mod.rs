//! The engine of `portraitd-lab direct`: it reads a trace of people's boxes and writes the crops
//! that the daemon would show. It needs no camera, and computes a hundred minutes in a second.
//!
//! Input and output have one JSON object per line. Empty lines are skipped.
//!
//! - Input, a frame: `{"t": s, "people": [[x, y, w, h], ...] | null}`. Boxes are in fractions of
//!   the frame. `null` means that this frame has no new mask; `[]` means that nobody is present. A
//!   frame that is not newer than the one before changes nothing.
//! - Input, settings: an object with some of the keys below. It is usually the first line, and may
//!   appear anywhere.
//! - Output, one line per frame: `{"t": s, "crop": [x, y, w, h], "state": s}`. The crop is in
//!   fractions of the frame, with all digits, so that equal lines mean equal crops.
//!
//! | key | value | default |
//! |---|---|---|
//! | `frame` | `[w, h]` | 1920x1080 |
//! | `output` | `[w, h]` | the smallest of the frame's aspect: only `max_zoom` limits the zoom |
//! | `max_zoom` | number | 2 |
//! | `speed` | `calm`, `normal`, `quick` | `normal` |
//! | `mode` | `off`, `once`, `follow`, `manual` | `follow` |
//! | `manual_crop` | `[x, y, w, h]` in fractions of the frame | that of [`Settings`] |
//! | `lead_room` | number | that of [`Settings`] |

mod associate;
#[cfg(test)]
mod tests;

use std::io::{BufRead, Write};
use std::time::Duration;

use portraitd_protocol::{FramingMode, FramingSpeed, UnknownWord};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use associate::Association;
use portraitd_framing::{Director, Settings, SettingsError, Shot};
use portraitd_media::{Size, UnitRect};

/// A trace cannot be processed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A line cannot be read, or is not UTF-8.
    #[error("line {line}: cannot be read: {error}")]
    Read {
        /// The number of the line, from 1.
        line: u64,
        /// The reason.
        error: std::io::Error,
    },
    /// A line is not a JSON object with known keys.
    #[error("line {line}: {error}")]
    Json {
        /// The number of the line, from 1.
        line: u64,
        /// The reason and the column.
        error: serde_json::Error,
    },
    /// A value is invalid.
    #[error("line {line}: {reason}")]
    Value {
        /// The number of the line, from 1.
        line: u64,
        /// The key, and what is wrong with its value.
        reason: String,
    },
    /// The director refuses the settings.
    #[error("line {line}: {error}")]
    Settings {
        /// The number of the line, from 1.
        line: u64,
        /// The reason.
        error: SettingsError,
    },
    /// The output cannot be written.
    #[error("cannot write the crops: {0}")]
    Write(#[source] std::io::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsLine {
    frame: Option<[u32; 2]>,
    output: Option<[u32; 2]>,
    max_zoom: Option<f32>,
    lead_room: Option<f32>,
    speed: Option<String>,
    mode: Option<String>,
    manual_crop: Option<[f32; 4]>,
}

const FRAME: Size = Size::new(1920, 1080);

/// The smallest size of the same aspect whose sides are at least 2.
fn reduced(size: Size) -> Size {
    let (mut a, mut b) = (size.width, size.height);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = a.max(1);
    let smallest = Size::new(size.width / divisor, size.height / divisor);
    if smallest.width < 2 || smallest.height < 2 {
        Size::new(smallest.width * 2, smallest.height * 2)
    } else {
        smallest
    }
}

fn size(sides: [u32; 2]) -> Size {
    Size::new(sides[0], sides[1])
}

fn rectangle(numbers: [f32; 4]) -> UnitRect {
    UnitRect::new(numbers[0], numbers[1], numbers[2], numbers[3])
}

impl SettingsLine {
    fn apply_to(self, old: Settings, line: u64) -> Result<Settings, TraceError> {
        let word = |error: UnknownWord| TraceError::Value { line, reason: error.to_string() };
        let mut new = old;
        if let Some(frame) = self.frame {
            new.frame = size(frame);
            if !new.frame.is_empty() {
                new.output = reduced(new.frame);
            }
        }
        new.output = self.output.map_or(new.output, size);
        new.max_zoom = self.max_zoom.unwrap_or(old.max_zoom);
        new.lead_room = self.lead_room.unwrap_or(old.lead_room);
        if let Some(speed) = self.speed {
            new.speed = speed.parse::<FramingSpeed>().map_err(word)?;
        }
        if let Some(mode) = self.mode {
            new.mode = mode.parse::<FramingMode>().map_err(word)?;
        }
        new.manual_crop = self.manual_crop.map_or(old.manual_crop, rectangle);
        Ok(new)
    }
}

/// The state while a trace is processed.
struct Replay {
    director: Director,
    association: Association,
    boxes: Vec<UnitRect>,
}

impl Replay {
    fn frame(&mut self, fields: &Map<String, Value>, line: u64) -> Result<(Number, Shot), TraceError> {
        let wrong = |reason: String| TraceError::Value { line, reason };
        let time = match fields.get("t") {
            Some(Value::Number(time)) => time.clone(),
            _ => return Err(wrong("t: must be a number, seconds".to_owned())),
        };
        let time_s = time.as_f64().unwrap_or(f64::NAN);
        let since_start = Duration::try_from_secs_f64(time_s).map_err(|error| wrong(format!("t: {time}: {error}")))?;
        let capture_ns = u64::try_from(since_start.as_nanos()).map_err(|error| wrong(format!("t: {time}: {error}")))?;
        let people = match fields.get("people") {
            Some(Value::Null) => None,
            Some(Value::Array(people)) => Some(people),
            Some(_) => return Err(wrong("people: must be a list of boxes, or null".to_owned())),
            None => return Err(wrong("people: missing (null means no new mask)".to_owned())),
        };
        if let Some(people) = people {
            self.boxes.clear();
            for (index, person) in people.iter().enumerate() {
                let numbers = <[f32; 4]>::deserialize(person)
                    .map_err(|error| wrong(format!("people[{index}]: {error}: must be [x, y, width, height]")))?;
                if !numbers.iter().all(|number| number.is_finite()) || numbers[2] < 0.0 || numbers[3] < 0.0 {
                    return Err(wrong(format!("people[{index}]: {person}: width and height must not be negative")));
                }
                self.boxes.push(rectangle(numbers));
            }
            if self.director.is_newest(capture_ns) {
                self.director.observe(capture_ns, self.association.name(time_s, &self.boxes));
            }
        }
        Ok((time, self.director.step(capture_ns)))
    }
}

/// Processes a trace. The module describes the format of `input` and `output`.
///
/// # Errors
/// [`TraceError`] at the first invalid line, or if reading or writing fails. The crops of the lines
/// before are written.
pub fn run(input: impl BufRead, mut output: impl Write) -> Result<(), TraceError> {
    let mut settings = Settings::new(FRAME, reduced(FRAME));
    let mut replay: Option<Replay> = None;
    for (line, text) in (1u64..).zip(input.lines()) {
        let text = text.map_err(|error| TraceError::Read { line, error })?;
        // Some editors write a byte order mark at the start of a file.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let json = |error| TraceError::Json { line, error };
        let fields: Map<String, Value> = serde_json::from_str(text).map_err(json)?;
        let is_frame = fields.contains_key("t") || fields.contains_key("people");
        if !is_frame {
            let changes: SettingsLine = serde_json::from_value(Value::Object(fields)).map_err(json)?;
            settings = changes.apply_to(settings, line)?;
            let set = match &mut replay {
                Some(replay) => replay.director.set(settings),
                None => Director::new(settings).map(drop),
            };
            set.map_err(|error| TraceError::Settings { line, error })?;
            continue;
        }
        if replay.is_none() {
            let director = Director::new(settings).map_err(|error| TraceError::Settings { line, error })?;
            replay = Some(Replay { director, association: Association::default(), boxes: Vec::new() });
        }
        let Some(replay) = &mut replay else { continue };
        let (time, shot) = replay.frame(&fields, line)?;
        let frame = settings.frame;
        let [x, y, width, height] = [shot.crop.x, shot.crop.y, shot.crop.width, shot.crop.height].map(f64::from);
        let (across, down) = (f64::from(frame.width), f64::from(frame.height));
        let crop = serde_json::json!([x / across, y / down, width / across, height / down]);
        writeln!(output, r#"{{"t": {time}, "crop": {crop}, "state": "{}"}}"#, shot.state).map_err(TraceError::Write)?;
    }
    output.flush().map_err(TraceError::Write)
}
