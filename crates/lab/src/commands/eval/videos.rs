//! `portraitd-lab eval` for videos: `DIR/images/NAME.y4m`, with the truth in `DIR/masks/NAME.y4m`
//! if there is one, or a synthetic scene, whose truth is known. Each frame passes through the whole
//! chain: net, smoothing, people, director.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use portraitd::source::SourceSpec;
use portraitd_lab::eval::page::{VideoPart, videos_page};
use portraitd_lab::eval::video::VideoMeter;
use portraitd_lab::eval::{EvalChain, PeopleMeter, PeopleSummary, VideoSummary};
use portraitd_media::file::open_video;
use portraitd_media::playback::FrameRate;
use portraitd_media::{PixelFormat, Size};
use portraitd_scene::{Scene, SceneOptions, ScenePerson, Scratch};
use portraitd_vision::net::Library;
use serde_json::{Value, json};

use super::super::{print_line, progress};
use super::arguments::{Arguments, write_page};

/// The options of a scene. `None` if `input` is not a scene.
fn scene(input: &Path) -> anyhow::Result<Option<SceneOptions>> {
    let Some(text) = input.to_str().filter(|text| text.starts_with("scene:") && !input.exists()) else {
        return Ok(None);
    };
    match text.parse()? {
        SourceSpec::Scene(options) => Ok(Some(options)),
        _ => Ok(None),
    }
}

/// The y4m files of a directory, in the byte order of their names.
fn videos_of(images: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut videos = Vec::new();
    for entry in std::fs::read_dir(images)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("y4m")) && path.is_file() {
            videos.push(path);
        }
    }
    videos.sort();
    Ok(videos)
}

/// Whether `input` is a scene or a directory of videos, as opposed to a directory of pictures.
pub(super) fn are_in(input: &Path) -> anyhow::Result<bool> {
    // If the directory cannot be read, the search for pictures reports the error.
    Ok(scene(input)?.is_some() || videos_of(&input.join("images")).is_ok_and(|videos| !videos.is_empty()))
}

/// The result for one video.
struct VideoResult {
    name: String,
    size: Size,
    frame_rate: f32,
    truth: bool,
    summary: VideoSummary,
    /// `None` without a true list of people.
    people: Option<PeopleSummary>,
    /// `None` for a video.
    conditions: Option<Value>,
    part: VideoPart,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.wide {
        bail!("--wide is for pictures, but {} contains videos", arguments.directory.display());
    }
    if arguments.seconds.is_some_and(|seconds| !(seconds.is_finite() && seconds > 0.0)) {
        bail!("--seconds: must be more than 0");
    }
    let library = arguments.model.library()?;
    let mut all = Vec::new();
    if let Some(options) = scene(&arguments.directory)? {
        all.push(measure_scene(arguments, &library, &options)?);
    } else {
        let mut videos = videos_of(&arguments.directory.join("images"))?;
        videos.truncate(arguments.count.unwrap_or(usize::MAX));
        for video in &videos {
            all.push(measure_video(arguments, &library, video)?);
        }
    }
    let model = &arguments.model.model;
    if let Some(page) = &arguments.html {
        let about = format!("{model}, {}", arguments.directory.display());
        let parts: Vec<_> = all.iter().map(|result| result.part.clone()).collect();
        write_page(page, &videos_page(&about, &parts))?;
    }
    if arguments.json {
        let videos: Vec<Value> = all.iter().map(VideoResult::document).collect::<anyhow::Result<_>>()?;
        return print_line(json!({ "model": model, "videos": videos }));
    }
    for result in &all {
        print_line(result.table(model))?;
    }
    Ok(())
}

/// The measurement of one video in progress.
struct Measurement {
    meter: VideoMeter,
    people: PeopleMeter,
    part: VideoPart,
    size: Size,
    frame_rate: FrameRate,
    limit: Option<f64>,
    html: bool,
}

impl Measurement {
    fn new(
        arguments: &Arguments,
        library: &Library,
        name: &str,
        size: Size,
        frame_rate: FrameRate,
    ) -> anyhow::Result<Self> {
        let chain = EvalChain::new(library, &arguments.model.model, size).with_context(|| name.to_owned())?;
        Ok(Self {
            meter: VideoMeter::new(chain, size),
            people: PeopleMeter::new(),
            part: VideoPart::new(name),
            size,
            frame_rate,
            limit: arguments.seconds,
            html: arguments.html.is_some(),
        })
    }

    /// Whether frame `sequence` is beyond the limit of `--seconds`.
    fn is_done(&self, sequence: u64) -> bool {
        self.limit.is_some_and(|limit| self.frame_rate.nanoseconds(sequence) as f64 * 1e-9 >= limit)
    }

    fn add(
        &mut self,
        picture: &portraitd_media::Picture<'_>,
        truth: Option<&[u8]>,
        people: Option<&[ScenePerson]>,
        sequence: u64,
    ) -> anyhow::Result<()> {
        self.meter.add(picture, truth, self.frame_rate.nanoseconds(sequence))?;
        let Some(frame) = self.meter.frames().last() else { return Ok(()) };
        if let Some(people) = people {
            self.people.add(self.size, people, &frame.people, frame.crop);
            if let Some(truth) = truth {
                self.people.add_mask(self.size, people, self.meter.newest_mask(), truth);
            }
        }
        if self.html {
            self.part.add(picture, frame);
        }
        Ok(())
    }

    fn finish(mut self, name: &str, truth: bool) -> VideoResult {
        let summary = VideoSummary::of(self.meter.frames());
        let people = self.people.summary();
        if self.html {
            self.part.finish(self.meter.frames(), &summary, people.as_ref());
        }
        let (size, frame_rate) = (self.size, self.frame_rate.per_second());
        VideoResult {
            name: name.to_owned(),
            size,
            frame_rate,
            truth,
            summary,
            people,
            conditions: None,
            part: self.part,
        }
    }
}

fn measure_scene(arguments: &Arguments, library: &Library, options: &SceneOptions) -> anyhow::Result<VideoResult> {
    let scene = Scene::new(options)?;
    let (name, size) = (options.to_string(), scene.format().size);
    let mut measurement = Measurement::new(arguments, library, &name, size, scene.frame_rate())?;
    measurement.limit = Some(arguments.seconds.unwrap_or(scene.period_seconds()));
    let bar = progress::bar(&name, None);
    let (mut picture, mut scratch) = (scene.picture(0), Scratch::default());
    for sequence in (0..).take_while(|sequence| !measurement.is_done(*sequence)).collect::<Vec<_>>() {
        scene.render(sequence, &mut scratch, picture.bytes_mut());
        let truth = scene.truth(sequence);
        measurement.add(&picture.as_picture(), Some(truth.alpha.bytes()), Some(&truth.people), sequence)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(VideoResult { conditions: Some(conditions(options)), ..measurement.finish(&name, true) })
}

/// The conditions of a scene.
fn conditions(options: &SceneOptions) -> Value {
    let SceneOptions { noise, dark, blur, grey, jpeg, .. } = options;
    json!({ "noise": noise, "dark": dark, "blur": blur, "grey": grey, "jpeg": jpeg })
}

fn measure_video(arguments: &Arguments, library: &Library, path: &Path) -> anyhow::Result<VideoResult> {
    let mut video = open_video(path)?;
    let header = *video.header();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let truth_path = arguments.directory.join("masks").join(&name);
    let mut truth = if truth_path.exists() { Some(open_video(&truth_path)?) } else { None };
    if let Some(truth) = &truth {
        let known = truth.header();
        if known.pixel_format != PixelFormat::Grey || known.size != header.size {
            bail!(
                "{}: has pixel format {} and size {}, but mono of {} is needed",
                truth_path.display(),
                known.pixel_format,
                known.size,
                header.size
            );
        }
    }
    let frame_rate = header.frame_rate.unwrap_or(FrameRate::DEFAULT);
    let mut measurement = Measurement::new(arguments, library, &name, header.size, frame_rate)?;
    let bar = progress::bar(&name, None);
    while !measurement.is_done(video.frames())
        && let Some(picture) = video.read_picture().with_context(|| path.display().to_string())?
    {
        let sequence = video.frames() - 1;
        let mut known = None;
        if let Some(truth) = &mut truth {
            let Some(mask) = truth.read_picture().with_context(|| truth_path.display().to_string())? else {
                bail!("{}: ends after {sequence} frames, but {} has more", truth_path.display(), path.display());
            };
            known = Some(mask);
        }
        measurement.add(&picture.as_picture(), known.as_ref().map(|mask| mask.bytes()), None, sequence)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if measurement.limit.is_none()
        && let Some(truth) = &mut truth
        && truth.read_picture().with_context(|| truth_path.display().to_string())?.is_some()
    {
        bail!("{}: goes on after {} frames, at the end of {}", truth_path.display(), video.frames(), path.display());
    }
    if video.frames() == 0 {
        bail!("{}: contains no frames", path.display());
    }
    Ok(measurement.finish(&name, truth.is_some()))
}

impl VideoResult {
    fn document(&self) -> anyhow::Result<Value> {
        let mut document = json!({
            "name": self.name, "width": self.size.width, "height": self.size.height, "fps": self.frame_rate,
            "truth": self.truth, "people": self.people, "conditions": self.conditions,
        });
        if let (Some(document), Value::Object(figures)) =
            (document.as_object_mut(), serde_json::to_value(&self.summary)?)
        {
            document.extend(figures);
        }
        Ok(document)
    }

    fn table(&self, model: &str) -> String {
        let VideoSummary { frames, seconds, .. } = self.summary;
        let mut lines = vec![format!("{model}: {}, {frames} frames of {}, {seconds:.1} s", self.name, self.size)];
        let summary = &self.summary;
        let mut pair = |what: &str, value: Option<f64>, net: Option<f64>, decimals: usize, unit: &str| {
            if let (Some(value), Some(net)) = (value, net) {
                lines.push(format!("  {what:<16} {value:.decimals$}{unit} (the net alone {net:.decimals$}{unit})"));
            }
        };
        let percent = |value: Option<f64>| value.map(|value| value * 100.0);
        pair("IoU", summary.iou_mean, summary.iou_mean_net, 4, "");
        pair("dtSSD", summary.dtssd, summary.dtssd_net, 3, "");
        let flips = if self.truth { "flips beyond truth" } else { "flips" };
        pair(flips, percent(summary.flips), percent(summary.flips_net), 4, " % a frame");
        if let Some(jitter) = summary.box_jitter {
            lines.push(format!("  {:<16} {jitter:.5} of the frame", "box jitter"));
        }
        if let (Some(p95), Some(max), Some(still), Some(turns)) =
            (summary.crop_speed_p95, summary.crop_speed_max, summary.crop_still, summary.direction_changes)
        {
            lines.push(format!("  {:<16} {p95:.3} crops per second (95th percentile), at most {max:.3}", "crop speed"));
            lines.push(format!("  {:<16} {:.1} % of the frames", "crop at rest", still * 100.0));
            lines.push(format!(
                "  {:<16} at most pan {}, tilt {}, zoom {} within 2 s",
                "turns", turns.pan, turns.tilt, turns.zoom
            ));
        }
        if let Some(people) = &self.people {
            lines.push(format!("  {:<16} in {:.1} % of the frames", "counted right", people.counted * 100.0));
            lines.push(format!("  {:<16} {:.1} %, {} ids in all", "ids kept", people.ids_kept * 100.0, people.ids));
            let inside = people.heads_inside * 100.0;
            lines.push(format!("  {:<16} in {inside:.1} % of the frames", "heads inside"));
            let sizes = people.iou_by_size.iter().map(|row| (row.label(), row.iou));
            let numbers = people.iou_by_people.iter().map(|row| (row.label(), row.iou));
            lines.extend(sizes.chain(numbers).map(|(label, iou)| format!("  {:<16} {iou:.4}, {label}", "IoU")));
        }
        lines.join("\n")
    }
}
