//! `portraitd-lab eval` for pictures: `DIR/images/NAME.{jpg,png}` with the truth in
//! `DIR/masks/NAME.png`.

use std::path::Path;

use anyhow::{Context, bail};
use portraitd_kernels::blend::{MaskValues, MaskView, Matte};
use portraitd_lab::eval::breakdown::{BySize, height_of};
use portraitd_lab::eval::page::{WorstPictures, pictures_page};
use portraitd_lab::eval::{PictureSummary, Score, score};
use portraitd_media::file::batch::pictures_in;
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect, Size, image};
use portraitd_render::{EdgeRenderer, ViewRenderer, draw_mask};
use portraitd_vision::net::EngineOptions;
use portraitd_vision::{Observation, Observer};
use serde_json::json;

use super::super::{print_line, progress};
use super::arguments::{Arguments, EdgeMethod, write_page};

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.seconds.is_some() {
        bail!("--seconds is for videos and scenes, but {} contains pictures", arguments.directory.display());
    }
    let model = arguments.model.library()?.load(&arguments.model.model, EngineOptions::default())?;
    let name = model.manifest().name.clone();
    let mut observer = Observer::new(model)?;
    let images = arguments.directory.join("images");
    let mut pictures = pictures_in(&images).with_context(|| images.display().to_string())?;
    pictures.truncate(arguments.count.unwrap_or(usize::MAX));
    if pictures.is_empty() {
        bail!("{}: contains no pictures (PNG or JPEG)", images.display());
    }
    let bar = progress::bar("eval", Some(pictures.len() as u64));
    let mut matte = Matte::new();
    let mut scores = Vec::with_capacity(pictures.len());
    let mut worst = WorstPictures::new();
    let mut by_size = BySize::default();
    for path in &pictures {
        let (score, [picture, mask, truth]) = score_one(&mut observer, &mut matte, arguments, path)?;
        scores.push(score);
        if let Some(height) = height_of(truth.bytes(), truth.size()) {
            by_size.add(height, score.iou);
        }
        if arguments.html.is_some() {
            worst.add(&path.file_name().unwrap_or_default().to_string_lossy(), score, &picture, &mask, &truth);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Some(summary) = PictureSummary::of(&scores) else {
        bail!("{}: contains no pictures (PNG or JPEG)", images.display())
    };
    let document = json!({
        "model": name, "wide": arguments.wide, "closer": arguments.closer, "pictures": summary.pictures,
        "iou_mean": summary.iou_mean, "iou_median": summary.iou_median,
        "boundary_f": summary.boundary_f, "mad": summary.mad, "below_0_8": summary.below_0_8,
        "iou_by_size": by_size.rows(),
    });
    if let Some(page) = &arguments.html {
        let wide = if arguments.wide { ", each on a 16:9 canvas" } else { "" };
        let closer = arguments.closer.map_or_else(|| "as many".into(), |passes| passes.to_string());
        let about = format!("{name}, pictures of {}{wide}, {closer} window passes", arguments.directory.display());
        write_page(page, &pictures_page(&about, &summary, &by_size.rows(), &scores, &worst))?;
    }
    if arguments.json {
        return print_line(document);
    }
    let by_size: String =
        by_size.rows().iter().map(|row| format!("\n  IoU          {:.4}, {}", row.iou, row.label())).collect();
    print_line(format_args!(
        "{name}: {} pictures\n  IoU          mean {:.4}, median {:.4}\n  boundary F   {:.4} (2 px)\n  MAD          {:.4}\n  \
         IoU < 0.8    {:.1} %{by_size}",
        summary.pictures,
        summary.iou_mean,
        summary.iou_median,
        summary.boundary_f,
        summary.mad,
        summary.below_0_8 * 100.0
    ))
}

/// Scores one picture. Returns the score, and the picture, its mask and its truth at the size of
/// the score.
fn score_one(
    observer: &mut Observer,
    matte: &mut Matte,
    arguments: &Arguments,
    path: &Path,
) -> anyhow::Result<(Score, [OwnedPicture; 3])> {
    let stem = path.file_stem().unwrap_or_default();
    let mask_path = arguments.directory.join("masks").join(stem).with_extension("png");
    let mut picture = image::read(path)?;
    let mut truth = image::read_grey(&mask_path)?;
    if picture.size() != truth.size() {
        bail!("{}: the truth is {}, but its picture is {}", mask_path.display(), truth.size(), picture.size());
    }
    if arguments.wide {
        picture = on_wide_canvas(&picture, true)?;
        truth = on_wide_canvas(&truth, false)?;
    }
    if let Some(size) = arguments.size {
        picture = fitted(&picture, size)?;
        truth = fitted(&truth, size)?;
    }
    let size = picture.size();
    let mut observation = Observation::default();
    let mask = if let Some(passes) = arguments.closer {
        let covers = observer.segment_picture(&picture.as_picture(), passes)?;
        MaskView::new(MaskValues::Float(observer.probabilities()), observer.model().output_size(), covers)?
    } else {
        observer.observe_closely(&picture.as_picture(), &mut observation)?;
        MaskView::new(MaskValues::Float(&observation.mask), observation.size, observation.covers)?
    };
    let by_default = if arguments.closer.is_some() { EdgeMethod::Bilinear } else { EdgeMethod::Guided };
    let mut out = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default())?;
    let whole = PixelRect::of_size(size);
    match arguments.edges.unwrap_or(by_default) {
        EdgeMethod::Bilinear => draw_mask(matte, &mask, whole, &mut out.as_picture_mut())?,
        EdgeMethod::Guided => {
            EdgeRenderer::new().render(&picture.as_picture(), whole, &mask, &mut out.as_picture_mut())?;
        }
    }
    Ok((score(out.bytes(), truth.bytes(), size), [picture, out, truth]))
}

/// Places the picture in the middle of a 16:9 canvas, which it fills in height or in width. The
/// rest of the canvas repeats the border of the picture if `replicate` is set, and is 0 otherwise.
fn on_wide_canvas(picture: &OwnedPicture, replicate: bool) -> anyhow::Result<OwnedPicture> {
    let size = picture.size();
    let canvas = if size.width * 9 <= size.height * 16 {
        Size::new((size.height * 16).div_ceil(9), size.height)
    } else {
        Size::new(size.width, (size.width * 9).div_ceil(16))
    };
    let bytes = picture.format().plane_extent(0, Size::new(1, 1)).0;
    let (left, top) = ((canvas.width - size.width) / 2, (canvas.height - size.height) / 2);
    let mut out = OwnedPicture::zeroed(picture.format(), canvas, picture.color())?;
    let (columns, stride) = (size.width as usize, canvas.width as usize * bytes);
    for (y, row) in out.bytes_mut().chunks_exact_mut(stride).enumerate() {
        let inside = y.checked_sub(top as usize).filter(|y| *y < size.height as usize);
        if inside.is_none() && !replicate {
            continue;
        }
        let nearest = y.saturating_sub(top as usize).min(size.height as usize - 1);
        let from = &picture.bytes()[nearest * columns * bytes..(nearest + 1) * columns * bytes];
        for (x, pixel) in row.chunks_exact_mut(bytes).enumerate() {
            let inside = x.checked_sub(left as usize).filter(|x| *x < columns);
            if inside.is_some() || replicate {
                let x = x.saturating_sub(left as usize).min(columns - 1);
                pixel.copy_from_slice(&from[x * bytes..(x + 1) * bytes]);
            }
        }
    }
    Ok(out)
}

/// Scales `picture` to the largest size that fits `within`. The aspect is kept, rounded to whole
/// pixels.
fn fitted(picture: &OwnedPicture, within: Size) -> anyhow::Result<OwnedPicture> {
    let Size { width, height } = picture.size();
    let (wide, high) = (u64::from(within.width) * u64::from(height), u64::from(within.height) * u64::from(width));
    let scaled = |side: u32, to: u32, of: u32| {
        u32::try_from((u64::from(side) * u64::from(to) + u64::from(of / 2)) / u64::from(of))
    };
    let size = if wide < high {
        Size::new(within.width, scaled(height, within.width, width)?.max(1))
    } else {
        Size::new(scaled(width, within.height, height)?.max(1), within.height)
    };
    let mut out = OwnedPicture::zeroed(picture.format(), size, picture.color())?;
    ViewRenderer::new().render(&picture.as_picture(), PixelRect::of_size(picture.size()), &mut out.as_picture_mut())?;
    Ok(out)
}
