//! Scaling with a Catmull-Rom kernel, which is widened for downscaling. Used for the pictures of a
//! scene when it is created.

/// A picture of `height` packed rows with `channels` interleaved components.
#[derive(Clone, Debug)]
pub(super) struct Raster {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
    pub(super) values: Vec<f32>,
}

/// The Catmull-Rom kernel: cubic convolution with a = -0.5.
fn kernel(x: f32) -> f32 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// For each of `to` output samples: the index of the first input sample, and the weights of the
/// samples from there on. `offset` and `extent` select the part of the `from` input samples that is
/// scaled. Indices outside the input stand for the sample at the border.
fn weights(from: usize, to: usize, offset: f32, extent: f32) -> Vec<(isize, Vec<f32>)> {
    let scale = extent / to as f32;
    let reach = scale.max(1.0);
    (0..to)
        .map(|index| {
            let center = offset + (index as f32 + 0.5) * scale - 0.5;
            #[expect(clippy::cast_possible_truncation, reason = "an index in a picture, at most a few thousand")]
            let (first, last) = ((center - 2.0 * reach).ceil() as isize, (center + 2.0 * reach).floor() as isize);
            let raw: Vec<f32> = (first..=last).map(|tap| kernel((tap as f32 - center) / reach)).collect();
            let sum: f32 = raw.iter().sum();
            debug_assert!(from > 0 && sum > 0.0);
            (first, raw.into_iter().map(|weight| weight / sum).collect())
        })
        .collect()
}

/// The index, limited to `0..end`.
fn clamped(index: isize, end: usize) -> usize {
    usize::try_from(index).unwrap_or(0).min(end - 1)
}

impl Raster {
    /// Scales the part `[x, y, width, height]` (in pixels of this raster) to `to_width` by
    /// `to_height` pixels.
    pub(super) fn resample(&self, part: [f32; 4], to_width: usize, to_height: usize) -> Self {
        let [x, y, width, height] = part;
        let channels = self.channels;
        let mut wide: Vec<f32> = Vec::with_capacity(to_width * self.height * channels);
        let across = weights(self.width, to_width, x, width);
        for row in self.values.chunks_exact(self.width * channels) {
            for (first, taps) in &across {
                for channel in 0..channels {
                    let sum = taps
                        .iter()
                        .zip(*first..)
                        .map(|(weight, place)| weight * row[clamped(place, self.width) * channels + channel]);
                    wide.push(sum.sum());
                }
            }
        }
        let row_values = to_width * channels;
        let mut values = vec![0.0; row_values * to_height];
        for ((first, taps), out) in
            weights(self.height, to_height, y, height).iter().zip(values.chunks_exact_mut(row_values))
        {
            for (weight, place) in taps.iter().zip(*first..) {
                let row = &wide[clamped(place, self.height) * row_values..][..row_values];
                out.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        Self { width: to_width, height: to_height, channels, values }
    }

    /// Halves the width and height (rounded up). Each pixel is the mean of four.
    pub(super) fn halved(&self) -> Self {
        let (width, height, channels) = (self.width.div_ceil(2), self.height.div_ceil(2), self.channels);
        let mut values = Vec::with_capacity(width * height * channels);
        for y in 0..height {
            let rows = [2 * y, (2 * y + 1).min(self.height - 1)];
            for x in 0..width {
                let columns = [2 * x, (2 * x + 1).min(self.width - 1)];
                for channel in 0..channels {
                    let four = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
                    let sum: f32 =
                        four.map(|(row, column)| self.values[(row * self.width + column) * channels + channel]).sum();
                    values.push(sum / 4.0);
                }
            }
        }
        Self { width, height, channels, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Raster {
        let values = (0..width * height).map(|i| (i % width) as f32 * 2.0 + (i / width) as f32 * 3.0).collect();
        Raster { width, height, channels: 1, values }
    }

    #[test]
    fn a_linear_ramp_stays_linear_away_from_the_border() {
        for (width, height) in [(40, 30), (13, 9), (20, 15)] {
            let out = ramp(20, 15).resample([0.0, 0.0, 20.0, 15.0], width, height);
            for y in height / 3..height * 2 / 3 {
                for x in width / 3..width * 2 / 3 {
                    let at = |place: usize, of: usize, from: f32| (place as f32 + 0.5) * from / of as f32 - 0.5;
                    let expected = at(x, width, 20.0) * 2.0 + at(y, height, 15.0) * 3.0;
                    let got = out.values[y * width + x];
                    assert!((got - expected).abs() < 0.2, "{width}x{height} at {x},{y}: {got} for {expected}");
                }
            }
        }
    }

    #[test]
    fn a_part_is_cropped_and_halving_takes_means() {
        let same = ramp(6, 4).resample([2.0, 1.0, 3.0, 2.0], 3, 2);
        assert_eq!(same.values, [7.0, 9.0, 11.0, 10.0, 12.0, 14.0]);
        let half = Raster { width: 3, height: 1, channels: 1, values: vec![1.0, 3.0, 9.0] }.halved();
        assert_eq!((half.width, half.height, half.values), (2, 1, vec![2.0, 9.0]));
    }
}
