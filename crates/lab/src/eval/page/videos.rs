//! The page of videos: for each the figures, a strip of frames with people and crop, and curves over time.

use std::fmt::Write;

use super::chart::{Band, Line, lines};
use super::{escaped, figures, page, thumbnail};
use crate::eval::video::{Moment, VideoSummary};
use portraitd_media::{Picture, UnitRect};

/// A strip has at least half as many frames, and never more.
const MOST_STILLS: usize = 16;

/// One video's part of a page. Give it each frame; it keeps a few.
#[derive(Clone, Debug)]
pub struct VideoPart {
    name: String,
    moments: Vec<Moment>,
    stills: Vec<Still>,
    /// Every so many frames one is kept.
    every: usize,
    frames: usize,
    summary: VideoSummary,
}

/// One frame of the strip.
#[derive(Clone, Debug)]
struct Still {
    /// `data:` address.
    picture: String,
    moment: Moment,
    aspect: f64,
}

impl VideoPart {
    /// A video that is called `name`.
    pub fn new(name: &str) -> Self {
        let summary = VideoSummary::of(&[]);
        Self { name: name.to_owned(), moments: Vec::new(), stills: Vec::new(), every: 1, frames: 0, summary }
    }

    /// Takes the next frame's picture, if it is one of those that are kept.
    pub fn add(&mut self, picture: &Picture<'_>, moment: &Moment) {
        if self.frames.is_multiple_of(self.every) {
            if self.stills.len() == MOST_STILLS {
                // Nobody knows how long a video will be: every other one goes, and fewer come.
                let mut keep = false;
                self.stills.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.every *= 2;
            }
            let size = picture.size();
            self.stills.push(Still {
                picture: thumbnail::picture(picture).unwrap_or_default(),
                moment: moment.clone(),
                aspect: f64::from(size.height) / f64::from(size.width),
            });
        }
        self.frames += 1;
    }

    /// All frames are there.
    pub fn finish(&mut self, moments: &[Moment], summary: &VideoSummary) {
        self.moments = moments.to_vec();
        self.summary = summary.clone();
    }

    fn curve<'a>(&self, name: &'a str, color: &'a str, value: impl Fn(&Moment) -> Option<f64>) -> Line<'a> {
        let points = self.moments.iter().map(|moment| (moment.seconds, value(moment))).collect();
        Line { name, color, points }
    }

    fn html(&self) -> String {
        let mut out = format!("<h2>{}</h2>\n", escaped(&self.name));
        out += &figures(&self.figures());
        out += "<div class=\"strip\">\n";
        for still in &self.stills {
            out += &still.html();
        }
        out += "</div>\n<div class=\"charts\">\n";
        let percent = |value: Option<f64>| value.map(|value| value * 100.0);
        if self.summary.iou_mean.is_some() {
            let curves = [
                self.curve("the net alone", "b", |moment| moment.net.iou),
                self.curve("portraitd", "a", |moment| moment.mask.iou),
            ];
            out += &lines("IoU", (0.8, 1.0), &curves, &[]);
        }
        let curves = [
            self.curve("the net alone", "b", |moment| percent(moment.net.flips)),
            self.curve("portraitd", "a", |moment| percent(moment.mask.flips)),
            self.curve("truth", "good", |moment| percent(moment.mask.truth_flips)),
        ];
        let known = if self.summary.dtssd.is_some() { 3 } else { 2 };
        out += &lines("Pixels that flip, % of the frame", (0.0, 0.1), &curves[..known], &[]);
        if self.summary.dtssd.is_some() {
            let curves = [
                self.curve("the net alone", "b", |moment| moment.net.dtssd),
                self.curve("portraitd", "a", |moment| moment.mask.dtssd),
            ];
            out += &lines("dtSSD", (0.0, 1.0), &curves, &[]);
        }
        let edges = |moment: &Moment| {
            let all = moment.people.iter().map(|(_, bounds)| *bounds);
            all.reduce(|union, bounds| union.union(&bounds))
        };
        for (title, from, to) in [
            ("From left to right: people within the crop", side(|r| r.x), side(|r| r.right())),
            ("From top to bottom: people within the crop", side(|r| 1.0 - r.bottom()), side(|r| 1.0 - r.y)),
        ] {
            let curves = [
                self.curve("people", "good", |moment| edges(moment).as_ref().map(&from)),
                self.curve("", "good", |moment| edges(moment).as_ref().map(&to)),
            ];
            let points =
                self.moments.iter().map(|moment| (moment.seconds, from(&moment.crop), to(&moment.crop))).collect();
            out += &lines(title, (0.0, 1.0), &curves, &[Band { name: "crop", points }]);
        }
        let zoom = [self.curve("", "a", |moment| Some(1.0 / f64::from(moment.crop.width.max(moment.crop.height))))];
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
        let flips = if summary.dtssd.is_some() { "flips a frame beyond the truth's" } else { "flips a frame" };
        add(summary.flips, 3, 100.0, " %", flips);
        add(summary.flips_net, 3, 100.0, " %", "the same of the net alone");
        add(summary.box_jitter, 5, 1.0, "", "box jitter");
        add(summary.crop_speed_p95, 3, 1.0, "", "crops a second, 95th percentile");
        add(summary.crop_still, 1, 100.0, " %", "frames with the crop of the one before");
        if let Some(turns) = summary.direction_changes {
            let (pan, tilt, zoom) = (turns.pan, turns.tilt, turns.zoom);
            all.push((format!("{pan} / {tilt} / {zoom}"), "direction changes in 2 s: pan, tilt, zoom"));
        }
        all
    }
}

/// One edge of a rectangle.
fn side(of: fn(&UnitRect) -> f32) -> impl Fn(&UnitRect) -> f64 {
    move |bounds| of(bounds).into()
}

impl Still {
    fn html(&self) -> String {
        let height = self.aspect * 100.0;
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
        let people: String = self.moment.people.iter().map(|(_, bounds)| drawn("person", bounds)).collect();
        let iou = self.moment.mask.iou.map(|iou| format!(", IoU {iou:.3}")).unwrap_or_default();
        format!(
            "<figure><svg viewBox=\"0 0 100 {height:.2}\"><image href=\"{}\" width=\"100\" height=\"{height:.2}\" \
             preserveAspectRatio=\"none\"/>{people}{}</svg>{:.1} s{iou}</figure>\n",
            self.picture,
            drawn("crop", &self.moment.crop),
            self.moment.seconds
        )
    }
}

/// The page. `about` says what was measured: model and input.
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
    use crate::eval::MaskFrame;
    use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, Size};
    use portraitd_protocol::FramingState;

    #[test]
    fn a_long_video_leaves_a_short_strip_from_beginning_to_end() {
        let picture =
            OwnedPicture::zeroed(PixelFormat::Nv12, Size::new(16, 8), Colorimetry::default()).expect("pixels");
        let mut part = VideoPart::new("<name>");
        let moments: Vec<_> = (0..1000_u32)
            .map(|index| Moment {
                seconds: f64::from(index) / 30.0,
                mask: MaskFrame { iou: Some(0.9), ..MaskFrame::default() },
                unsmoothed_iou: None,
                net: MaskFrame::default(),
                people: vec![(1, UnitRect::new(0.25, 0.5, 0.5, 0.5))],
                crop: UnitRect::new(0.0, 0.0, 0.75, 0.75),
                state: FramingState::Converged,
            })
            .collect();
        moments.iter().for_each(|moment| part.add(&picture.as_picture(), moment));
        part.finish(&moments, &VideoSummary::of(&moments));
        let times: Vec<_> = part.stills.iter().map(|still| still.moment.seconds).collect();
        assert!((MOST_STILLS / 2..=MOST_STILLS).contains(&times.len()), "{times:?}");
        assert!(times[0] == 0.0 && times[times.len() - 1] > 26.0, "{times:?}");
        let page = videos_page("about", &[part]);
        assert!(page.contains("<h2>&lt;name&gt;</h2>") && page.contains("IoU 0.900"));
        assert!(page.contains("<rect class=\"person\" x=\"25.00\" y=\"25.00\" width=\"50.00\" height=\"25.00\"/>"));
        assert!(!page.contains("NaN"));
    }
}
