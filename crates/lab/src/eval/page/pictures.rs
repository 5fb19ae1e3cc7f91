//! The page of a set of pictures: figures, histograms, the IoU of all pictures in order, and the
//! worst pictures with their errors.

use std::fmt::Write;

use super::html::{escaped, figures, page};
use super::{chart, thumbnail};
use crate::eval::breakdown::SizeRow;
use crate::eval::score::{BOUNDARY_TOLERANCE_PX, PictureSummary, Score};
use portraitd_media::OwnedPicture;

/// The number of worst pictures on a page.
pub const WORST: usize = 20;

/// One of the worst pictures, with its thumbnails.
#[derive(Clone, Debug)]
pub struct PictureRow {
    name: String,
    score: Score,
    /// This and the following are thumbnails, as `data:` addresses.
    picture: String,
    truth: String,
    mask: String,
    difference: String,
}

/// The [`WORST`] pictures with the lowest IoU so far.
#[derive(Clone, Debug, Default)]
pub struct WorstPictures {
    /// In ascending order of IoU.
    rows: Vec<PictureRow>,
}

impl WorstPictures {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a picture with its mask and truth if it is among the worst. `mask` and `truth` are
    /// `Grey` and have the size of the picture.
    pub fn add(&mut self, name: &str, score: Score, picture: &OwnedPicture, mask: &OwnedPicture, truth: &OwnedPicture) {
        let place = self.rows.partition_point(|row| row.score.iou <= score.iou);
        if place >= WORST {
            return;
        }
        let size = picture.size();
        let (mask, truth) = (mask.bytes(), truth.bytes());
        let row = PictureRow {
            name: name.to_owned(),
            score,
            picture: thumbnail::picture(&picture.as_picture()).unwrap_or_default(),
            truth: thumbnail::mask(truth, size).unwrap_or_default(),
            mask: thumbnail::mask(mask, size).unwrap_or_default(),
            difference: thumbnail::difference(mask, truth, size).unwrap_or_default(),
        };
        self.rows.insert(place, row);
        self.rows.truncate(WORST);
    }
}

/// The whole page. `about` names the model, the directory and the options.
pub fn pictures_page(
    about: &str,
    summary: &PictureSummary,
    by_size: &[SizeRow],
    scores: &[Score],
    worst: &WorstPictures,
) -> String {
    let mut body = String::from("<h1>Masks against the truth</h1>\n");
    let _ = writeln!(body, "<p>{}</p>", escaped(about));
    body += &figures(&[
        (summary.pictures.to_string(), "pictures"),
        (format!("{:.4}", summary.iou_mean), "mean IoU"),
        (format!("{:.4}", summary.iou_median), "median IoU"),
        (format!("{:.4}", summary.boundary_f), "mean boundary F"),
        (format!("{:.4}", summary.mad), "mean absolute difference"),
        (format!("{:.1} %", summary.below_0_8 * 100.0), "with an IoU below 0.8"),
    ]);
    let by_size = by_size.iter().map(|row| (format!("{:.4}", row.iou), format!("IoU, {}", row.label())));
    body += &figures(&by_size.collect::<Vec<_>>());
    let of = |value: fn(&Score) -> f64| scores.iter().map(value).collect::<Vec<_>>();
    let ious = of(|score| score.iou);
    body += "<div class=\"charts\">\n";
    body += &chart::histogram("Pictures by IoU", &ious, 0.8, (summary.iou_mean, "mean"));
    let boundary_f = format!("Pictures by boundary F ({BOUNDARY_TOLERANCE_PX} px)");
    body += &chart::histogram(&boundary_f, &of(|score| score.boundary_f), 0.0, (summary.boundary_f, "mean"));
    body += &chart::sorted("IoU of all pictures in ascending order, over % of the pictures", &ious, (0.8, "below 0.8"));
    let _ = write!(
        body,
        "</div>\n<h2>The {} worst pictures</h2>\n<p class=\"key\">Difference:<i style=\"background:var(--good)\"></i>person, found\
         <i style=\"background:var(--missed)\"></i>person, missed<i style=\"background:var(--false)\"></i>background, taken \
         for a person</p>\n<table>\n<tr><th></th><th>picture</th><th>truth</th><th>mask</th><th>difference</th></tr>\n",
        worst.rows.len()
    );
    for row in &worst.rows {
        let PictureRow { name, score, picture, truth, mask, difference } = row;
        let name = escaped(name);
        let _ = writeln!(
            body,
            "<tr><td class=\"facts\"><b>{:.3}</b><span>IoU</span><span>boundary F {:.3}</span><span>MAD {:.3}</span>\
             <code>{name}</code></td><td><img src=\"{picture}\" alt=\"{name}\"></td><td><img src=\"{truth}\" alt=\"\"></td>\
             <td><img src=\"{mask}\" alt=\"\"></td><td><div class=\"stack\"><img class=\"pale\" src=\"{picture}\" alt=\"\">\
             <img src=\"{difference}\" alt=\"\"></div></td></tr>",
            score.iou, score.boundary_f, score.mad
        );
    }
    body += "</table>\n";
    page("portraitd-lab eval: pictures", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::score::score;
    use portraitd_media::{Colorimetry, PixelFormat, Size};

    #[test]
    fn the_worst_pictures_are_kept_in_order() {
        let size = Size::new(8, 8);
        let grey =
            |bytes: Vec<u8>| OwnedPicture::new(PixelFormat::Grey, size, Colorimetry::default(), bytes).expect("pixels");
        let picture = OwnedPicture::zeroed(PixelFormat::Rgb24, size, Colorimetry::default()).expect("pixels");
        let truth = grey(vec![255; 64]);
        let (mut worst, mut scores) = (WorstPictures::new(), Vec::new());
        for index in 0..64_usize {
            let right = index * 37 % 64;
            let mask = grey((0..64).map(|at| if at < right { 255 } else { 0 }).collect());
            let score = score(mask.bytes(), truth.bytes(), size);
            scores.push(score);
            worst.add(&format!("<{right}>.png"), score, &picture, &mask, &truth);
        }
        let names: Vec<_> = worst.rows.iter().map(|row| row.name.clone()).collect();
        assert_eq!(names, (0..WORST).map(|right| format!("<{right}>.png")).collect::<Vec<_>>());
        let summary = PictureSummary::of(&scores).expect("scores");
        let page = pictures_page("about", &summary, &[], &scores, &worst);
        assert_eq!(page.matches("<tr>").count(), WORST + 1);
        assert_eq!(page.matches("data:image/png;base64,").count(), WORST * 5);
        assert!(page.contains("&lt;19&gt;.png") && !page.contains("<19>"));
    }
}
