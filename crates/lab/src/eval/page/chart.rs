//! Charts as inline SVG. Their colours come from the page's style, so that charts follow its light
//! and dark mode.

use std::fmt::Write;

use super::html::escaped;

/// The width of a chart, in units of its `viewBox`, as all lengths here.
const WIDTH: f64 = 560.0;
/// The width of a chart that spans the page. Its text is as large as that of the other charts.
const WIDE: f64 = 1132.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// A long line is divided into this many parts, of which each keeps its lowest and its highest
/// point. That is more than a chart has pixels.
const MOST_BUCKETS: usize = 700;

/// A line of a chart. It has a gap where a value is `None`.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// The name in the legend; empty for none.
    pub name: &'a str,
    /// A colour of `style.css`: `a`, `b`, `good` or `false`.
    pub color: &'a str,
    /// (x, y), in ascending order of x.
    pub points: Vec<(f64, Option<f64>)>,
}

/// A filled area of a chart.
#[derive(Clone, Debug)]
pub struct Band<'a> {
    /// The name in the legend.
    pub name: &'a str,
    /// (x, lower y, upper y), in ascending order of x.
    pub points: Vec<(f64, f64, f64)>,
}

/// The scale of an axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// An axis of about `count` round steps that contains `from` to `to`.
    fn round(from: f64, to: f64, count: f64) -> Self {
        let span = if to - from > 0.0 { to - from } else { 1.0 };
        let rough = span / count;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        Self { from: (from / step + 1e-3).floor() * step, to: (to / step - 1e-3).ceil().max(1.0) * step, step }
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        (0..100)
            .map(move |index| self.from + f64::from(index) * self.step)
            .take_while(move |at| *at <= self.to + self.step * 1e-6)
    }

    fn label(self, value: f64) -> String {
        let decimals = if self.step >= 1.0 { 0.0 } else { (-self.step.log10()).ceil().clamp(0.0, 6.0) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=6")]
        let text = format!("{value:.*}", decimals as usize);
        if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".into() } else { text }
    }
}

/// A chart under construction: grid, labels, and the conversion from values to coordinates.
struct Plot {
    width: f64,
    x: Axis,
    y: Axis,
    out: String,
}

impl Plot {
    fn new(width: f64, x: Axis, y: Axis) -> Self {
        let mut plot = Self { width, x, y, out: String::new() };
        let _ = writeln!(plot.out, "<svg viewBox=\"0 0 {width} {HEIGHT}\" role=\"img\">");
        for tick in y.ticks() {
            let at = plot.down(tick);
            let _ = writeln!(
                plot.out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                width - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                y.label(tick)
            );
        }
        for tick in x.ticks() {
            let at = plot.across(tick);
            let _ = writeln!(
                plot.out,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - 8.0,
                x.label(tick)
            );
        }
        plot
    }

    fn across(&self, x: f64) -> f64 {
        LEFT + (self.width - LEFT - RIGHT) * ((x - self.x.from) / (self.x.to - self.x.from)).clamp(0.0, 1.0)
    }

    fn down(&self, y: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - ((y - self.y.from) / (self.y.to - self.y.from)).clamp(0.0, 1.0))
    }

    fn line(&mut self, line: &Line<'_>) {
        let mut path = String::new();
        let mut pen_up = true;
        for (x, y) in thinned(&line.points) {
            let Some(y) = y else {
                pen_up = true;
                continue;
            };
            let _ = write!(path, "{}{:.1} {:.1}", if pen_up { 'M' } else { 'L' }, self.across(x), self.down(y));
            pen_up = false;
        }
        if !path.is_empty() {
            let _ = writeln!(self.out, "<path class=\"line\" style=\"stroke:var(--{})\" d=\"{path}\"/>", line.color);
        }
    }

    fn band(&mut self, band: &Band<'_>) {
        let step = band.points.len().div_ceil(2 * MOST_BUCKETS).max(1);
        let points: Vec<_> = band.points.iter().step_by(step).collect();
        if points.is_empty() {
            return;
        }
        let mut path = String::new();
        for (x, _, upper) in &points {
            let _ = write!(
                path,
                "{}{:.1} {:.1}",
                if path.is_empty() { 'M' } else { 'L' },
                self.across(*x),
                self.down(*upper)
            );
        }
        for (x, lower, _) in points.iter().rev() {
            let _ = write!(path, "L{:.1} {:.1}", self.across(*x), self.down(*lower));
        }
        let _ = writeln!(self.out, "<path class=\"band\" style=\"fill:var(--band)\" d=\"{path}Z\"/>");
    }

    /// Draws a dashed vertical line at `x`, with a label.
    fn mark(&mut self, x: f64, label: &str) {
        let at = self.across(x);
        let (anchor, beside) = if at > self.width * 0.6 { ("end", at - 5.0) } else { ("start", at + 5.0) };
        let _ = writeln!(
            self.out,
            "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text x=\"{beside:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - BOTTOM,
            TOP + 11.0,
            escaped(label)
        );
    }
}

/// Reduces a long line to the lowest and the highest point of each part, so that outliers remain
/// visible.
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    if points.len() <= 2 * MOST_BUCKETS {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(2 * MOST_BUCKETS);
    for bucket in points.chunks(points.len().div_ceil(MOST_BUCKETS)) {
        let known = || bucket.iter().filter_map(|(x, y)| Some((*x, (*y)?)));
        let low = known().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = known().max_by(|a, b| a.1.total_cmp(&b.1));
        match (low, high) {
            (Some(low), Some(high)) => {
                let (first, second) = if low.0 <= high.0 { (low, high) } else { (high, low) };
                kept.extend([(first.0, Some(first.1)), (second.0, Some(second.1))]);
            }
            _ => kept.push((bucket[0].0, None)),
        }
    }
    kept
}

fn framed(title: &str, legend: &[(&str, &str)], wide: bool, svg: &str) -> String {
    let mut caption = escaped(title);
    for (name, color) in legend.iter().filter(|(name, _)| !name.is_empty()) {
        let _ = write!(caption, "<span><i style=\"background:var(--{color})\"></i>{}</span>", escaped(name));
    }
    let class = if wide { "chart wide" } else { "chart" };
    format!("<figure class=\"{class}\"><figcaption>{caption}</figcaption>\n{svg}</svg></figure>\n")
}

/// A chart of lines, with bands behind them. The y axis contains at least the range `y`.
pub fn lines(title: &str, y: (f64, f64), lines: &[Line<'_>], bands: &[Band<'_>]) -> String {
    let xs = || lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
    let ys = || {
        let edges = bands.iter().flat_map(|band| band.points.iter().flat_map(|(_, lower, upper)| [*lower, *upper]));
        lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y)).chain(edges)
    };
    let (low, high) = (ys().fold(y.0, f64::min), ys().fold(y.1, f64::max));
    let mut x = Axis::round(xs().fold(f64::INFINITY, f64::min).min(1e12), xs().fold(0.0, f64::max), 8.0);
    // The axis ends at the last point, and not at the next round number.
    x.to = xs().fold(x.from + x.step * 1e-3, f64::max);
    let mut plot = Plot::new(WIDTH, x, Axis::round(low, high, 5.0));
    bands.iter().for_each(|band| plot.band(band));
    lines.iter().for_each(|line| plot.line(line));
    let legend: Vec<_> =
        bands.iter().map(|band| (band.name, "band")).chain(lines.iter().map(|line| (line.name, line.color))).collect();
    framed(title, &legend, false, &plot.out)
}

/// A histogram of `values` (0..=1) in twenty bins. Bins below `low` have another colour. `mark` is
/// a value to mark, with its label.
pub fn histogram(title: &str, values: &[f64], low: f64, mark: (f64, &str)) -> String {
    const BINS: usize = 20;
    let mut counts = [0_u32; BINS];
    for value in values {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..BINS by the clamp")]
        let bin = (value * BINS as f64).floor().clamp(0.0, BINS as f64 - 1.0) as usize;
        counts[bin] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut plot = Plot::new(WIDTH, Axis { from: 0.0, to: 1.0, step: 0.1 }, Axis::round(0.0, most.into(), 4.0));
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (from, to) = (bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64);
        let (left, right) = (plot.across(from) + 1.0, plot.across(to) - 1.0);
        // A bar of a single picture remains visible.
        let top = plot.down((*count).into()).min(HEIGHT - BOTTOM - 1.5);
        let class = if to <= low + 1e-9 { "bar low" } else { "bar" };
        let _ = writeln!(
            plot.out,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\">\
             <title>{count} from {from:.2} to {to:.2}</title></rect>",
            right - left,
            HEIGHT - BOTTOM - top
        );
    }
    plot.mark(mark.0, mark.1);
    framed(title, &[], false, &plot.out)
}

/// A chart of `values` (0..=1) in ascending order, over their share in percent. `mark` is a value,
/// with a label: the chart marks the share of values below it.
pub fn sorted(title: &str, values: &[f64], mark: (f64, &str)) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1).max(1) as f64;
    let points = values.iter().enumerate().map(|(index, value)| (index as f64 / last * 100.0, Some(*value))).collect();
    let mut plot = Plot::new(WIDE, Axis { from: 0.0, to: 100.0, step: 10.0 }, Axis { from: 0.0, to: 1.0, step: 0.2 });
    let share = values.partition_point(|value| *value < mark.0) as f64 / values.len().max(1) as f64 * 100.0;
    plot.mark(share, &format!("{share:.1} % {}", mark.1));
    plot.line(&Line { name: "", color: "a", points });
    framed(title, &[], true, &plot.out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round() {
        let ticks =
            |from, to| Axis::round(from, to, 5.0).ticks().map(|tick| (tick * 1e6).round() / 1e6).collect::<Vec<_>>();
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(ticks(0.0, 0.0031), [0.0, 0.001, 0.002, 0.003, 0.004]);
        assert_eq!(ticks(0.0, 35.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        let axis = Axis::round(0.0, 0.003, 5.0);
        assert_eq!((axis.label(0.0), axis.label(0.002)), ("0".into(), "0.002".into()));
    }

    #[test]
    fn thinning_keeps_what_stands_out() {
        let mut points: Vec<_> = (0..10_000_u32).map(|x| (f64::from(x), Some(0.5))).collect();
        points[1234].1 = Some(0.0);
        points[7777].1 = Some(1.0);
        let kept = thinned(&points);
        assert!(kept.len() <= 2 * MOST_BUCKETS + 2, "{}", kept.len());
        assert!(kept.contains(&(1234.0, Some(0.0))) && kept.contains(&(7777.0, Some(1.0))));
        assert!(kept.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        points.iter_mut().take(5000).for_each(|point| point.1 = None);
        assert!(thinned(&points).iter().filter(|point| point.1.is_none()).count() > 100, "a gap stays");
    }

    #[test]
    fn every_value_is_in_one_bar() {
        let values = [0.0, 0.049, 0.05, 0.79, 0.8, 1.0, 1.0];
        let chart = histogram("IoU", &values, 0.8, (0.5, "mean"));
        let count = |text: &str| chart.matches(text).count();
        assert_eq!((count("<rect"), count("bar low")), (5, 3));
        assert!(
            chart.contains("<title>2 from 0.95 to 1.00</title>")
                && chart.contains("<title>2 from 0.00 to 0.05</title>")
        );
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let points = vec![(0.0, Some(0.1)), (1.0, Some(0.2)), (2.0, None), (3.0, Some(0.3)), (4.0, Some(0.3))];
        let chart = lines("x", (0.0, 1.0), &[Line { name: "n", color: "a", points }], &[]);
        let path = chart.split(" d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a path");
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 2));
        assert!(!lines("empty", (0.0, 1.0), &[], &[]).contains("NaN"));
    }
}
