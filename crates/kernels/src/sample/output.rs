//! The last step of the sampler: sums of components become the values of the tensor, and luma.

#[cfg(target_arch = "arm")]
use super::armv7;
#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(target_arch = "riscv64")]
use super::rvv;
use crate::cast;
#[cfg(any(target_arch = "aarch64", target_arch = "arm", target_arch = "riscv64"))]
use crate::simd::Usable;

/// The map from the sums of three components to one channel of the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conversion {
    pub weights: [f32; 3],
    pub offset: f32,
    pub gain: f32,
    pub shift: f32,
}

impl Conversion {
    /// The numbers in the order in which the vector loops take them.
    #[cfg(any(target_arch = "riscv64", target_arch = "arm"))]
    pub(super) const fn numbers(&self) -> [f32; 6] {
        let [a, b, c] = self.weights;
        [a, b, c, self.offset, self.gain, self.shift]
    }

    #[inline]
    #[allow(clippy::manual_clamp, reason = "`clamp` is two branches where these are two instructions")]
    pub(super) fn value(&self, [a, b, c]: [f32; 3]) -> f32 {
        let value = self.weights[0] * a + self.weights[1] * b + self.weights[2] * c + self.offset;
        let value = if cfg!(target_arch = "riscv64") { value.max(0.0).min(255.0) } else { value.clamp(0.0, 255.0) };
        value * self.gain + self.shift
    }

    fn apply(&self, [a, b, c]: [&[f32]; 3], out: &mut [f32]) {
        #[cfg(target_arch = "riscv64")]
        if rvv::available(Usable::chosen()) {
            return rvv::convert(Usable::chosen(), [a, b, c], &self.numbers(), out, 1);
        }
        #[cfg(target_arch = "arm")]
        let ([a, b, c], out) = if armv7::available(Usable::chosen()) {
            let done = armv7::convert_one(Usable::chosen(), [a, b, c], &self.numbers(), out);
            ([a, b, c].map(|row| &row[done..]), &mut out[done..])
        } else {
            ([a, b, c], out)
        };
        let done = if cfg!(target_arch = "riscv64") { self.apply_fours([a, b, c], out) } else { 0 };
        let ([a, b, c], out) = ([a, b, c].map(|row| &row[done..]), &mut out[done..]);
        for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
            *out = self.value([a, b, c]);
        }
    }

    /// Four values at a time, for CPUs without vectors. Returns the number of values.
    fn apply_fours(&self, components: [&[f32]; 3], out: &mut [f32]) -> usize {
        let [a, b, c] = components.map(|row| row.as_chunks::<4>().0);
        let groups = out.as_chunks_mut::<4>().0;
        let done = 4 * groups.len();
        for (((out, a), b), c) in groups.iter_mut().zip(a).zip(b).zip(c) {
            *out = std::array::from_fn(|i| self.value([a[i], b[i], c[i]]));
        }
        done
    }
}

/// The three channels of a row, each in a row of its own.
pub(super) fn apply_planar(conversion: &[Conversion; 3], components: [&[f32]; 3], out: [&mut [f32]; 3]) {
    #[cfg(target_arch = "aarch64")]
    if neon::available(Usable::chosen()) {
        return neon::convert(conversion, components, out);
    }
    for (conversion, out) in conversion.iter().zip(out) {
        conversion.apply(components, out);
    }
}

/// The three channels of a row, one pixel after the other.
pub(super) fn apply_interleaved(conversion: &[Conversion; 3], components: [&[f32]; 3], out: &mut [f32]) {
    #[cfg(target_arch = "aarch64")]
    if neon::available(Usable::chosen()) {
        return neon::convert(conversion, components, [out]);
    }
    #[cfg(target_arch = "riscv64")]
    if rvv::available(Usable::chosen()) {
        for (channel, conversion) in conversion.iter().enumerate() {
            rvv::convert(Usable::chosen(), components, &conversion.numbers(), &mut out[channel..], 3);
        }
        return;
    }
    let pixels = out.as_chunks_mut::<3>().0;
    #[cfg(target_arch = "arm")]
    let (components, pixels) = if armv7::available(Usable::chosen()) {
        let numbers = conversion.each_ref().map(Conversion::numbers);
        let done = armv7::convert(Usable::chosen(), components, &numbers, pixels);
        (components.map(|row| &row[done..]), &mut pixels[done..])
    } else {
        (components, pixels)
    };
    for (x, pixel) in pixels.iter_mut().enumerate() {
        *pixel = std::array::from_fn(|channel| conversion[channel].value(components.map(|component| component[x])));
    }
}

/// The weighted sums of three components as bytes.
pub(super) fn weigh([a, b, c]: [&[f32]; 3], weights: [f32; 3], out: &mut [u8]) {
    #[cfg(target_arch = "riscv64")]
    if rvv::available(Usable::chosen()) {
        let count = if weights[1] == 0.0 { 1 } else { 3 };
        let [first, second, third] = weights;
        return rvv::weigh(Usable::chosen(), &[a, b, c][..count], &[first, second, third, 0.0], out);
    }
    if weights[1] == 0.0 {
        #[cfg(target_arch = "arm")]
        let (a, out) = if armv7::available(Usable::chosen()) {
            let done = armv7::scale(Usable::chosen(), a, weights[0], out);
            (&a[done..], &mut out[done..])
        } else {
            (a, out)
        };
        for (out, &a) in out.iter_mut().zip(a) {
            *out = cast::byte(weights[0] * a);
        }
        return;
    }
    for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
        *out = cast::byte(weights[0] * a + weights[1] * b + weights[2] * c);
    }
}
