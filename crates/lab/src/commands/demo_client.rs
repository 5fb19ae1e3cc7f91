//! The client process of the demo: attaches to four streams as any client would, compares masks with the scene's truth,
//! and lays out the contact sheet. Prints one JSON document.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use portraitd_client::feed::{AttachOptions, FeedCounters, find_camera};
use portraitd_client::picture::to_packed;
use portraitd_client::{Feed, FrameCopy, connect};
use portraitd_lab::eval::score;
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect, Size};
use portraitd_protocol::StreamKind;
use portraitd_render::ViewRenderer;
use portraitd_scene::Scene;
use serde_json::json;

use super::demo::scene_options;
use super::{print_line, sheet};

/// Moments on the contact sheet.
const MOMENTS: usize = 8;
/// One mask in so many is compared with the truth: painting the truth costs more than making the mask.
const COMPARED: u64 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The descriptor of the connection
    #[arg(long)]
    fd: u16,
    #[arg(long)]
    scene: String,
    #[arg(long)]
    seconds: u32,
    #[arg(long)]
    sheet: PathBuf,
}

/// What the four readers share; all of them run on one thread.
struct Gathered {
    started: Instant,
    length: Duration,
    /// Moments, by the frame's number: a picture a stream.
    moments: BTreeMap<u64, Moment>,
    /// The frame that the present moment waits for.
    target: Option<u64>,
    next_moment: usize,
    ious: Vec<f64>,
}

#[derive(Default)]
struct Moment {
    pictures: [Option<OwnedPicture>; 4],
    crop: PixelRect,
    people: Vec<PixelRect>,
}

const STREAMS: [StreamKind; 4] = [StreamKind::Source, StreamKind::Mask, StreamKind::View, StreamKind::Composite];

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio")?;
    let scene = Scene::new(&scene_options(&arguments.scene)?)?;
    let length = Duration::from_secs(arguments.seconds.into());
    let gathered = RefCell::new(Gathered {
        started: Instant::now(),
        length,
        moments: BTreeMap::new(),
        target: None,
        next_moment: 0,
        ious: Vec::new(),
    });
    let counters = runtime.block_on(async {
        let socket = connect::inherited_fd(arguments.fd).context("the inherited descriptor")?;
        let connection = connect::connect_fd(socket).await.context("the connection to the service")?;
        let reader = |index: usize| read(&connection, index, &gathered, &scene);
        let (a, b, c, d) = tokio::try_join!(reader(0), reader(1), reader(2), reader(3))?;
        anyhow::Ok([a, b, c, d])
    })?;
    let gathered = gathered.into_inner();
    let complete: Vec<(u64, Moment)> =
        gathered.moments.into_iter().filter(|(_, moment)| moment.pictures.iter().all(Option::is_some)).collect();
    if complete.len() < MOMENTS {
        bail!(
            "only {} of {MOMENTS} moments were complete: this machine is too slow, or the time too short",
            complete.len()
        );
    }
    let rows: Vec<sheet::Row> = complete
        .into_iter()
        .map(|(sequence, moment)| sheet::Row {
            seconds: scene.seconds(sequence),
            pictures: moment.pictures.into_iter().flatten().collect(),
            crop: moment.crop,
            people: moment.people,
        })
        .collect();
    sheet::write(&arguments.sheet, &rows)?;
    let iou_mean = gathered.ious.iter().sum::<f64>() / gathered.ious.len().max(1) as f64;
    let total = |part: fn(&FeedCounters) -> u64| counters.iter().map(part).sum::<u64>();
    print_line(json!({
        "iou_mean": iou_mean,
        "masks_compared": gathered.ious.len(),
        "client": {
            "frames": total(|counters| counters.frames),
            "torn": total(|counters| counters.torn),
            "skipped": total(|counters| counters.skipped),
        },
    }))
}

/// Reads one stream until the time is up.
async fn read(
    connection: &zbus::Connection,
    index: usize,
    gathered: &RefCell<Gathered>,
    scene: &Scene,
) -> anyhow::Result<FeedCounters> {
    let stream = STREAMS[index];
    let camera = find_camera(connection, None).await?;
    let format = if stream == StreamKind::Mask { PixelFormat::Grey } else { PixelFormat::Nv12 };
    let options = AttachOptions { format: Some(format), ..AttachOptions::default() };
    let mut feed = Feed::attach(camera, stream, options).await.with_context(|| format!("attach {stream}"))?;
    let mut frame = FrameCopy::default();
    let end = { gathered.borrow().started + gathered.borrow().length };
    while Instant::now() < end {
        let wait = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(wait, feed.next(&mut frame)).await {
            Ok(read) => read.with_context(|| format!("stream {stream}"))?,
            Err(_) => break,
        }
        let sequence = frame.info().sequence;
        if stream == StreamKind::Mask && sequence.is_multiple_of(COMPARED) {
            gathered.borrow_mut().ious.push(iou(&frame, scene, sequence)?);
        }
        keep(&mut gathered.borrow_mut(), index, &frame)?;
    }
    Ok(feed.counters())
}

/// Whether the frame belongs to a moment of the sheet; if so, a copy of it does.
fn keep(gathered: &mut Gathered, index: usize, frame: &FrameCopy) -> anyhow::Result<()> {
    let sequence = frame.info().sequence;
    let passed = gathered.started.elapsed().as_secs_f64() / gathered.length.as_secs_f64();
    if gathered.target.is_none() && index == 0 && gathered.next_moment < MOMENTS {
        // Moments lie in the middle of equal parts of the time.
        if passed >= (gathered.next_moment as f64 + 0.5) / MOMENTS as f64 {
            // A few frames ahead, so that no reader has passed it.
            gathered.target = Some(sequence + 3);
        }
    }
    let Some(target) = gathered.target else { return Ok(()) };
    if sequence < target {
        return Ok(());
    }
    let moment = gathered.moments.entry(target).or_default();
    if moment.pictures[index].is_none() {
        let packed = to_packed(frame).context("a frame that is no picture")?;
        let format = if packed.channels == 1 { PixelFormat::Grey } else { PixelFormat::Rgb24 };
        let size = Size::new(packed.width, packed.height);
        moment.pictures[index] = Some(OwnedPicture::new(format, size, Colorimetry::default(), packed.data)?);
        if STREAMS[index] == StreamKind::View {
            let [x, y, width, height] = frame.info().crop;
            moment.crop = PixelRect::new(x, y, width, height);
        }
        if STREAMS[index] == StreamKind::Mask {
            let boxed = |[x, y, width, height]: [f32; 4]| PixelRect::new(x, y, width, height);
            moment.people = frame.info().people().iter().map(|person| boxed(person.rectangle)).collect();
        }
    }
    if moment.pictures.iter().all(Option::is_some) {
        gathered.target = None;
        gathered.next_moment += 1;
    }
    Ok(())
}

/// The mask, brought to the scene's size, against the scene's alpha.
fn iou(frame: &FrameCopy, scene: &Scene, sequence: u64) -> anyhow::Result<f64> {
    let packed = to_packed(frame).context("a frame that is no picture")?;
    let grid = Size::new(packed.width, packed.height);
    let mask = OwnedPicture::new(PixelFormat::Grey, grid, Colorimetry::default(), packed.data)?;
    let truth = scene.truth(sequence).alpha;
    let size = truth.size();
    let mut full = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default())?;
    ViewRenderer::new().render(&mask.as_picture(), PixelRect::of_size(grid), &mut full.as_picture_mut())?;
    Ok(score(full.bytes(), truth.bytes(), size).iou)
}
