//! The page of videos. Each video has its figures, a strip of frames with people and crop, and
//! charts over time.

use std::fmt::Write;

use super::chart::{Band, Line, lines};
use super::html::{escaped, figures, page};
use super::thumbnail;
use crate::eval::people::PeopleSummary;
use crate::eval::video::{FrameMetrics, VideoSummary};
use portraitd_media::{Picture, UnitRect};

/// The largest number of frames in a strip. A strip of a long video has at least half as many.
const STRIP_LENGTH: usize = 16;

/// One video's part of a page. It takes every frame and keeps thumbnails of a few.
#[derive(Clone, Debug)]
pub struct VideoPart {
    name: String,
    frames: Vec<FrameMetrics>,
    strip: Vec<StripFrame>,
    /// The distance of two frames in the strip, in frames.
    every: usize,
    frame_count: usize,
    summary: VideoSummary,
    people: Option<PeopleSummary>,
}

/// One frame of the strip.
#[derive(Clone, Debug)]
struct StripFrame {
    /// The thumbnail, as a `data:` address.
    picture: String,
    frame: FrameMetrics,
    height_ratio: f64,
}

impl VideoPart {
    /// Starts the part of the video `name`.
    pub fn new(name: &str) -> Self {
        let summary = VideoSummary::of(&[]);
        let (name, frames, strip) = (name.to_owned(), Vec::new(), Vec::new());
        Self { name, frames, strip, every: 1, frame_count: 0, summary, people: None }
    }

    /// Takes the next frame of the video. Its picture is kept if the strip needs it.
    pub fn add(&mut self, picture: &Picture<'_>, frame: &FrameMetrics) {
        if self.frame_count.is_multiple_of(self.every) {
            if self.strip.len() == STRIP_LENGTH {
                // The length of the video is unknown. If the strip is full, every other frame is
                // removed, and from then on half as many are added.
                let mut keep = false;
                self.strip.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.every *= 2;
            }
            let size = picture.size();
            self.strip.push(StripFrame {
                picture: thumbnail::picture(picture).unwrap_or_default(),
                frame: frame.clone(),
                height_ratio: f64::from(size.height) / f64::from(size.width),
            });
        }
        self.frame_count += 1;
    }

    /// Sets the figures, after the last frame. `people` are those of people, if their truth is known.
    pub fn finish(&mut self, frames: &[FrameMetrics], summary: &VideoSummary, people: Option<&PeopleSummary>) {
        self.frames = frames.to_vec();
        self.summary = summary.clone();
        self.people = people.cloned();
    }

    fn curve<'a>(&self, name: &'a str, color: &'a str, value: impl Fn(&FrameMetrics) -> Option<f64>) -> Line<'a> {
        let points = self.frames.iter().map(|frame| (frame.seconds, value(frame))).collect();
        Line { name, color, points }
    }

    fn html(&self) -> String {
        let mut out = format!("<h2>{}</h2>\n", escaped(&self.name));
        out += &figures(&self.figures());
        out += &figures(&self.figures_of_people());
        out += "<div class=\"strip\">\n";
        for shown in &self.strip {
            out += &shown.html();
        }
        out += "</div>\n<div class=\"charts\">\n";
        let percent = |value: Option<f64>| value.map(|value| value * 100.0);
        if self.summary.iou_mean.is_some() {
            let curves = [
                self.curve("the net alone", "b", |frame| frame.net.iou),
                self.curve("portraitd", "a", |frame| frame.mask.iou),
            ];
            out += &lines("IoU", (0.8, 1.0), &curves, &[]);
        }
        let curves = [
            self.curve("the net alone", "b", |frame| percent(frame.net.flips)),
            self.curve("portraitd", "a", |frame| percent(frame.mask.flips)),
            self.curve("truth", "good", |frame| percent(frame.mask.truth_flips)),
        ];
        let known = if self.summary.dtssd.is_some() { 3 } else { 2 };
        out += &lines("Pixels that flip, % of the frame", (0.0, 0.1), &curves[..known], &[]);
        if self.summary.dtssd.is_some() {
            let curves = [
                self.curve("the net alone", "b", |frame| frame.net.dtssd),
                self.curve("portraitd", "a", |frame| frame.mask.dtssd),
            ];
            out += &lines("dtSSD", (0.0, 1.0), &curves, &[]);
        }
        let edges = |frame: &FrameMetrics| {
            let all = frame.people.iter().map(|(_, bounds)| *bounds);
            all.reduce(|union, bounds| union.union(&bounds))
        };
        for (title, from, to) in [
            ("Horizontal position: people within the crop", side(|r| r.x), side(|r| r.right())),
            ("Vertical position: people within the crop", side(|r| 1.0 - r.bottom()), side(|r| 1.0 - r.y)),
        ] {
            let curves = [
                self.curve("people", "good", |frame| edges(frame).as_ref().map(&from)),
                self.curve("", "good", |frame| edges(frame).as_ref().map(&to)),
            ];
            let points = self.frames.iter().map(|frame| (frame.seconds, from(&frame.crop), to(&frame.crop))).collect();
            out += &lines(title, (0.0, 1.0), &curves, &[Band { name: "crop", points }]);
        }
        let zoom = [self.curve("", "a", |frame| Some(1.0 / f64::from(frame.crop.width.max(frame.crop.height))))];
        out += &lines("Zoom", (1.0, 1.5), &zoom, &[]);
        out + "</div>\n"
    }

    fn figures(&self) -> Vec<(String, &'static str)> {
        let summary = &self.summary;
        let mut all = vec![(format!("{:.1} s", summary.seconds), "length")];
        let mut add = |value: Option<f64>, decimals: usize, factor: f64, unit: &str, what| {
            if let Some(value) = value {
                all.push((format!("{:.decimals$}{unit}", value * factor), what));
            }
        };
        add(summary.iou_mean, 4, 1.0, "", "mean IoU");
        add(summary.iou_mean_net, 4, 1.0, "", "mean IoU of the net alone");
        add(summary.dtssd, 3, 1.0, "", "dtSSD");
        let flips = if summary.dtssd.is_some() { "flips a frame, less those of the truth" } else { "flips a frame" };
        add(summary.flips, 3, 100.0, " %", flips);
        add(summary.flips_net, 3, 100.0, " %", "flips a frame, the net alone");
        add(summary.box_jitter, 5, 1.0, "", "box jitter");
        add(summary.crop_speed_p95, 3, 1.0, "", "crops a second, 95th percentile");
        add(summary.crop_still, 1, 100.0, " %", "frames with an unchanged crop");
        if let Some(turns) = summary.direction_changes {
            let (pan, tilt, zoom) = (turns.pan, turns.tilt, turns.zoom);
            all.push((format!("{pan} / {tilt} / {zoom}"), "direction changes in 2 s: pan, tilt, zoom"));
        }
        all
    }

    fn figures_of_people(&self) -> Vec<(String, String)> {
        let Some(people) = &self.people else { return Vec::new() };
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let mut all = vec![
            (percent(people.counted), "frames with the right number of people".to_owned()),
            (percent(people.ids_kept), format!("ids kept, {} in all", people.ids)),
            (percent(people.heads_inside), "frames with the tops of all heads in the crop".to_owned()),
        ];
        let sizes = people.iou_by_size.iter().map(|row| (row.iou, row.label()));
        let numbers = people.iou_by_people.iter().map(|row| (row.iou, row.label()));
        all.extend(sizes.chain(numbers).map(|(iou, label)| (format!("{iou:.4}"), format!("IoU, {label}"))));
        all
    }
}

/// A function that returns one edge of a rectangle as `f64`.
fn side(of: fn(&UnitRect) -> f32) -> impl Fn(&UnitRect) -> f64 {
    move |bounds| of(bounds).into()
}

impl StripFrame {
    fn html(&self) -> String {
        let height = self.height_ratio * 100.0;
        let drawn = |class: &str, bounds: &UnitRect| {
            let UnitRect { x, y, width, height: tall } = *bounds;
            format!(
                "<rect class=\"{class}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\"/>",
                f64::from(x) * 100.0,
                f64::from(y) * height,
                f64::from(width) * 100.0,
                f64::from(tall) * height
            )
        };
        let people: String = self.frame.people.iter().map(|(_, bounds)| drawn("person", bounds)).collect();
        let iou = self.frame.mask.iou.map(|iou| format!(", IoU {iou:.3}")).unwrap_or_default();
        format!(
            "<figure><svg viewBox=\"0 0 100 {height:.2}\"><image href=\"{}\" width=\"100\" height=\"{height:.2}\" \
             preserveAspectRatio=\"none\"/>{people}{}</svg>{:.1} s{iou}</figure>\n",
            self.picture,
            drawn("crop", &self.frame.crop),
            self.frame.seconds
        )
    }
}

/// The whole page. `about` names the model and the input.
pub fn videos_page(about: &str, parts: &[VideoPart]) -> String {
    let mut body = String::from("<h1>Masks, people and crop over time</h1>\n");
    let _ = writeln!(body, "<p>{}</p>", escaped(about));
    body += "<p class=\"key\">In the frames:<i style=\"background:#00dc78\"></i>people<i style=\"background:#ffc400\"></i>crop</p>\n";
    for part in parts {
        body += &part.html();
    }
    page("portraitd-lab eval: videos", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::masks::MaskMetrics;
    use crate::eval::people::PeopleMeter;
    use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, Size};

    #[test]
    fn a_long_video_leaves_a_short_strip_from_beginning_to_end() {
        let picture =
            OwnedPicture::zeroed(PixelFormat::Nv12, Size::new(16, 8), Colorimetry::default()).expect("pixels");
        let mut part = VideoPart::new("<name>");
        let frames: Vec<_> = (0..1000_u32)
            .map(|index| FrameMetrics {
                seconds: f64::from(index) / 30.0,
                mask: MaskMetrics { iou: Some(0.9), ..MaskMetrics::default() },
                unsmoothed_iou: None,
                net: MaskMetrics::default(),
                people: vec![(1, UnitRect::new(0.25, 0.5, 0.5, 0.5))],
                crop: UnitRect::new(0.0, 0.0, 0.75, 0.75),
            })
            .collect();
        frames.iter().for_each(|frame| part.add(&picture.as_picture(), frame));
        let mut people = PeopleMeter::new();
        people.add(Size::new(16, 8), &[], &[], UnitRect::WHOLE);
        people.add_mask(Size::new(16, 8), &[], &[0; 128], &[0; 128]);
        part.finish(&frames, &VideoSummary::of(&frames), people.summary().as_ref());
        let times: Vec<_> = part.strip.iter().map(|shown| shown.frame.seconds).collect();
        assert!((STRIP_LENGTH / 2..=STRIP_LENGTH).contains(&times.len()), "{times:?}");
        assert!(times[0] == 0.0 && times[times.len() - 1] > 26.0, "{times:?}");
        let page = videos_page("about", &[part]);
        assert!(page.contains("<h2>&lt;name&gt;</h2>") && page.contains("IoU 0.900"));
        assert!(page.contains("<rect class=\"person\" x=\"25.00\" y=\"25.00\" width=\"50.00\" height=\"25.00\"/>"));
        assert!(page.contains("frames with the right number of people") && page.contains("IoU, nobody"));
        assert!(!page.contains("NaN"));
    }
}
