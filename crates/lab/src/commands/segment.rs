//! `portraitd-lab segment`: writes masks of pictures and videos, and views and composites on
//! request. It uses no camera and no threads.
//!
//! Still pictures are independent of each other. Several inference passes run on windows around the
//! people in them, and the edges of their mask follow those of the picture. With `--plain` the mask
//! is the output of one pass, scaled to the size of the picture. Frames of a video, and pictures
//! with `--video`, pass through the whole chain of live frames: smoothing, regions, tracks,
//! director.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use portraitd_media::file::{Input, Y4mHeader, Y4mReader, Y4mWriter, expand_inputs, left_out_of, open_video};
use portraitd_media::{Colorimetry, OwnedPicture, Picture, PixelFormat, PixelRect, Size, UnitRect, even_size, image};
use portraitd_protocol::BackgroundMode;
use portraitd_protocol::settings::{Color, excerpt};
use portraitd_render::{Chain, PreparedBackground};
use portraitd_vision::Observer;
use portraitd_vision::net::EngineOptions;
use serde_json::json;

use super::{ModelArguments, one_line, print_line, progress, results_directory};

/// The frame rate of pictures with `--video`, and of videos that do not state one.
const FRAME_RATE: f64 = 30.0;

const EXAMPLES: &str = "\
Examples:
  portraitd-lab segment photos/ --out masks
  portraitd-lab segment photo.jpg --out results --composite navy
  portraitd-lab segment call.y4m --out results --view --composite '#203040' --json
  ffmpeg -i call.mp4 -pix_fmt yuv420p -f yuv4mpegpipe - | portraitd-lab segment - --out results";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Pictures (PNG or JPEG), directories of pictures, y4m videos, or `-` for y4m on standard
    /// input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The directory for the results; created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    model: ModelArguments,
    /// One inference pass for each picture, and its output as it is: no closer passes on people who
    /// are small or many, and no edges that follow the picture
    #[arg(long, conflicts_with = "video")]
    plain: bool,
    /// Treat the pictures as consecutive frames of one video
    #[arg(long)]
    video: bool,
    /// Also write the person-centred view
    #[arg(long)]
    view: bool,
    /// Also write the people in front of another background: `#rrggbb`, a basic colour name of CSS
    /// such as `navy`, or a picture
    #[arg(long, value_name = "COLOR|IMAGE")]
    composite: Option<String>,
    /// Print one JSON document per picture or frame
    #[arg(long)]
    json: bool,
    /// Do not say what was written and what was left out
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    results_directory(&arguments.out)?;
    let model = arguments.model.library()?.load(&arguments.model.model, EngineOptions::default())?;
    let (mut inputs, mut failed) = (Vec::new(), 0);
    for path in &arguments.inputs {
        match expand_inputs(std::slice::from_ref(path)) {
            Ok(found) => {
                inputs.extend(found);
                if !arguments.quiet {
                    tell_left_out(path);
                }
            }
            Err(error) if arguments.inputs.len() == 1 => return Err(error.into()),
            Err(error) => {
                failed += 1;
                eprintln!("portraitd-lab: {}", one_line(&error.into()));
            }
        }
    }
    let count = inputs.len() + failed;
    let mut names = HashSet::new();
    for input in &inputs {
        let name = name_of(input);
        if !names.insert(name.clone()) {
            bail!("two inputs are named {name}: their results would overwrite each other");
        }
    }
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let backdrop = arguments.composite.as_deref().map(Backdrop::parse).transpose()?;
    let mut chain = Chain::new(model)?;
    if !arguments.plain {
        chain.observer_mut().set_heads(Some(portraitd_lab::head_detector()?));
    }
    if backdrop.is_none() {
        // In a composite, people who move must come from one frame.
        chain.observer_mut().set_most_windows(Observer::MAX_WINDOWS);
    }
    let mut worker = Worker { chain, backdrop, arguments };
    let bar = progress::bar("segment", (inputs.len() > 1).then_some(inputs.len() as u64));
    for (frame, input) in (0..).zip(&inputs) {
        let done = match input {
            Input::Picture(path) => worker.picture(path, frame),
            Input::Video(path) => worker.video(open_video(path)?, &path.display().to_string(), &name_of(input)),
            Input::Stdin => {
                let reader = Y4mReader::new(BufReader::new(std::io::stdin())).context("standard input")?;
                worker.video(reader, "standard input", "stdin")
            }
        };
        // A bad input is reported, and the others are processed. The exit code is then 1.
        if let Err(error) = done {
            failed += 1;
            if count == 1 || portraitd::command_line::is_broken_pipe(&error) {
                return Err(error);
            }
            eprintln!("portraitd-lab: {}", one_line(&error));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failed > 0 {
        bail!("{failed} of {count} inputs failed");
    }
    if !arguments.quiet && !arguments.json {
        let with_view = if arguments.view { ", a view" } else { "" };
        let with_composite = if worker.backdrop.is_some() { ", a composite" } else { "" };
        let inputs = if count == 1 { "the input".to_owned() } else { format!("each of {count} inputs") };
        eprintln!("{}: a mask{with_view}{with_composite} of {inputs}", arguments.out.display());
    }
    Ok(())
}

/// Says which files of a directory are not read.
fn tell_left_out(path: &Path) {
    const NAMED: usize = 5;
    if !path.is_dir() {
        return;
    }
    let left_out = left_out_of(path).unwrap_or_default();
    if left_out.is_empty() {
        return;
    }
    let mut names: Vec<_> = left_out.iter().take(NAMED).map(|path| file_name(path)).collect();
    if left_out.len() > NAMED {
        names.push("...".to_owned());
    }
    eprintln!(
        "portraitd-lab: {}: {} left out, only .png, .jpg and .jpeg files are read: {}",
        path.display(),
        left_out.len(),
        names.join(", ")
    );
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| excerpt(&name.to_string_lossy()))
}

fn name_of(input: &Input) -> String {
    match input {
        Input::Picture(path) | Input::Video(path) => {
            path.file_stem().map_or_else(|| "input".into(), |stem| stem.to_string_lossy().into_owned())
        }
        Input::Stdin => "stdin".into(),
    }
}

/// The background of composites.
struct Backdrop {
    color: [u8; 3],
    image: Option<OwnedPicture>,
}

impl Backdrop {
    fn parse(text: &str) -> anyhow::Result<Self> {
        match text.parse::<Color>() {
            Ok(color) => return Ok(Self { color: color.into(), image: None }),
            Err(error) if text.starts_with('#') || !Path::new(text).exists() => {
                return Err(anyhow::Error::from(error).context("--composite: neither a picture nor a colour"));
            }
            Err(_) => {}
        }
        Ok(Self { color: [0; 3], image: Some(image::read(Path::new(text))?) })
    }

    fn background(&self) -> PreparedBackground<'_> {
        let mode = if self.image.is_some() { BackgroundMode::Image } else { BackgroundMode::Color };
        PreparedBackground { version: 0, mode, color: self.color, blur: 0.0, image: self.image.as_ref() }
    }
}

struct Worker<'a> {
    chain: Chain,
    backdrop: Option<Backdrop>,
    arguments: &'a Arguments,
}

/// The results for one picture or frame. Results that were not requested are `None`.
struct Drawn {
    mask: OwnedPicture,
    view: Option<OwnedPicture>,
    composite: Option<OwnedPicture>,
}

impl Worker<'_> {
    fn path(&self, name: &str, kind: &str, extension: &str) -> PathBuf {
        self.arguments.out.join(format!("{name}.{kind}.{extension}"))
    }

    fn picture(&mut self, path: &Path, frame: u64) -> anyhow::Result<()> {
        let picture = image::read(path)?;
        let started = Instant::now();
        let drawn = if self.arguments.video {
            self.frame(&picture.as_picture(), frame, FRAME_RATE, PixelFormat::Rgb24)?
        } else {
            self.still(&picture.as_picture())?
        };
        let ms = started.elapsed().as_secs_f64() * 1e3;
        let name = name_of(&Input::Picture(path.to_owned()));
        let mask_path = self.path(&name, "mask", "png");
        image::write_png(&mask_path, &drawn.mask.as_picture())?;
        for (kind, picture) in [("view", &drawn.view), ("composite", &drawn.composite)] {
            if let Some(picture) = picture {
                image::write_png(&self.path(&name, kind, "png"), &picture.as_picture())?;
            }
        }
        self.report(&path.display().to_string(), None, &mask_path, ms)
    }

    fn report(&self, input: &str, frame: Option<u64>, mask: &Path, ms: f64) -> anyhow::Result<()> {
        if !self.arguments.json {
            return Ok(());
        }
        let boxed = |bounds: UnitRect| [bounds.x, bounds.y, bounds.width, bounds.height];
        let people = self.chain.observation().people.iter();
        let people: Vec<_> = people.map(|person| json!({ "id": person.id, "box": boxed(person.bounds) })).collect();
        let mut line = json!({ "input": input, "mask": mask.display().to_string(), "people": people, "ms": ms });
        if let (Some(frame), Some(map)) = (frame, line.as_object_mut()) {
            map.insert("frame".into(), frame.into());
        }
        print_line(line)
    }

    /// Processes a picture independently of others.
    fn still(&mut self, picture: &Picture<'_>) -> anyhow::Result<Drawn> {
        if self.arguments.plain {
            self.chain.observe_still(picture)?;
        } else {
            self.chain.observe_closely(picture)?;
        }
        let crop = if self.arguments.view { Some(self.chain.settled_shot()?.crop) } else { None };
        let mut drawn = self.draw(picture, crop, PixelFormat::Rgb24)?;
        if !self.arguments.plain {
            self.chain.draw_edges(picture, &mut drawn.mask.as_picture_mut())?;
        }
        Ok(drawn)
    }

    /// Processes a frame of a video.
    fn frame(
        &mut self,
        picture: &Picture<'_>,
        number: u64,
        frame_rate: f64,
        format: PixelFormat,
    ) -> anyhow::Result<Drawn> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time, positive, of some hours")]
        let at_ns = (number as f64 / frame_rate * 1e9) as u64;
        let shot = self.chain.step(picture, number, at_ns)?;
        let crop = self.arguments.view.then_some(shot.crop);
        self.draw(picture, crop, format)
    }

    /// Draws the mask, the view of `crop` (pixels) if there is one, and the composite if it was
    /// asked for.
    fn draw(&mut self, picture: &Picture<'_>, crop: Option<PixelRect>, format: PixelFormat) -> anyhow::Result<Drawn> {
        let size = picture.size();
        let mut mask = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default())?;
        self.chain.draw_mask(&mut mask.as_picture_mut())?;
        let mut view = None;
        if let Some(crop) = crop {
            let mut drawn = OwnedPicture::zeroed(format, even_size(size), picture.color())?;
            self.chain.draw_view(picture, crop, &mut drawn.as_picture_mut())?;
            view = Some(drawn);
        }
        let mut composite = None;
        if let Some(backdrop) = &self.backdrop {
            let (whole, background) = (PixelRect::of_size(size), backdrop.background());
            let mut drawn = OwnedPicture::zeroed(format, size, picture.color())?;
            self.chain.draw_composite(picture, whole, &background, &mut drawn.as_picture_mut())?;
            composite = Some(drawn);
        }
        Ok(Drawn { mask, view, composite })
    }

    fn video(&mut self, mut reader: Y4mReader<impl Read>, input: &str, name: &str) -> anyhow::Result<()> {
        self.chain.reset();
        let header = *reader.header();
        let frame_rate = header.frame_rate.map_or(FRAME_RATE, |rate| f64::from(rate.per_second()));
        let writer =
            |path: &Path, pixel_format: PixelFormat, size: Size| -> anyhow::Result<Y4mWriter<BufWriter<File>>> {
                let file = File::create(path).with_context(|| path.display().to_string())?;
                Ok(Y4mWriter::new(BufWriter::new(file), Y4mHeader { pixel_format, size, ..header })?)
            };
        let mask_path = self.path(name, "mask", "y4m");
        let mut masks = writer(&mask_path, PixelFormat::Grey, header.size)?;
        let mut views = None;
        if self.arguments.view {
            views = Some(writer(&self.path(name, "view", "y4m"), PixelFormat::Nv12, even_size(header.size))?);
        }
        let mut composites = None;
        if self.backdrop.is_some() {
            composites = Some(writer(&self.path(name, "composite", "y4m"), PixelFormat::Nv12, header.size)?);
        }
        let bar = progress::bar(name, None);
        while let Some(picture) = reader.read_picture().with_context(|| input.to_owned())? {
            let number = reader.frames() - 1;
            let started = Instant::now();
            let drawn = self.frame(&picture.as_picture(), number, frame_rate, PixelFormat::Nv12)?;
            let ms = started.elapsed().as_secs_f64() * 1e3;
            masks.write(&drawn.mask.as_picture())?;
            for (out, picture) in [(&mut views, drawn.view), (&mut composites, drawn.composite)] {
                if let (Some(out), Some(picture)) = (out, picture) {
                    out.write(&picture.as_picture())?;
                }
            }
            self.report(input, Some(number), &mask_path, ms)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        masks.finish()?;
        for writer in [views, composites].into_iter().flatten() {
            writer.finish()?;
        }
        Ok(())
    }
}
