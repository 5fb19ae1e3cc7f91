//! The hot loops of [portraitd](https://github.com/portraitd/portraitd): sampling, scaling and
//! blending of pictures, and the layers of a segmentation network.
//!
//! The functions work on borrowed memory. They do no I/O and start no threads (except for the
//! second thread that a [`nn::Machine`] may be given). They allocate only when they meet larger
//! inputs than before, so a loop over frames of one size allocates nothing.
//!
//! # Modules
//!
//! | module | purpose |
//! |---|---|
//! | [`picture`] | pixel formats, and borrowed pictures that are checked once |
//! | [`convert`] | colour conversion between Y'CbCr and R'G'B' |
//! | [`scale`] | scales a crop of a picture at sub-pixel precision |
//! | [`sample`] | turns a region of a picture into the input tensor of a network |
//! | [`upright`] | rotates pictures by right angles, and mirrors them |
//! | [`blend`] | mattes, composites and blurred backgrounds |
//! | [`jpeg`] | decodes the JPEG pictures of cameras to planes |
//! | [`nn`] | the layers of a network and the program that runs them |
//! | [`simd`] | instruction sets and vectors |
//!
//! # Instruction sets
//!
//! The kernels run on x86-64 (AVX2, AVX-512), AArch64 and 32-bit Arm (NEON), RISC-V (vectors 1.0)
//! and, without vectors, on any other CPU. The fastest instruction set of the CPU is chosen at run
//! time; the environment variable `PORTRAITD_ISA` forces another one, for tests.
//!
//! Every fast kernel has an *oracle*: a slow version that is obviously right. The tests compare
//! each kernel with its oracle on every instruction set that the CPU has.
//!
//! # Example
//!
//! A picture of 64x48 pixels is sampled to the tensor of a network with an input of 16x16, and its
//! left half is scaled to twice the size.
//!
//! ```
//! use portraitd_kernels::sample::{SampleSpec, Sampler};
//! use portraitd_kernels::scale::{Filter, Scaler};
//! use portraitd_kernels::{Colorimetry, Picture, PictureMut, PixelFormat, PixelRect, Size};
//!
//! // A grey picture in NV12: the luma plane, then chroma at half the resolution.
//! let size = Size::new(64, 48);
//! let pixels = vec![128; 64 * 48 * 3 / 2];
//! let picture = Picture::packed(PixelFormat::Nv12, size, Colorimetry::default(), &pixels)?;
//!
//! // The tensor is [3, 16, 16]: R'G'B' planes in 0..=1.
//! let mut sampler = Sampler::new(SampleSpec::new(Size::new(16, 16)))?;
//! let mut tensor = vec![0.0; 3 * 16 * 16];
//! let sampled = sampler.sample(&picture, PixelRect::of_size(size), &mut tensor)?;
//! assert_eq!(sampled.covers, PixelRect::of_size(size));
//! // Luma of limited range: 16 is black, 235 is white.
//! let expected = (128.0 - 16.0) / 219.0;
//! assert!(tensor.iter().all(|value| (value - expected).abs() < 0.01));
//!
//! // The output has the colorimetry of the source.
//! let mut scaled = vec![0; 64 * 96 * 3 / 2];
//! let mut output = PictureMut::packed(PixelFormat::Nv12, Size::new(64, 96), &mut scaled)?;
//! let left_half = PixelRect::new(0.0, 0.0, 32.0, 48.0);
//! let color = Scaler::new(Filter::Cubic).scale(&picture, left_half, &mut output)?;
//! assert_eq!(color, picture.color());
//! assert!(scaled.iter().all(|&value| value == 128));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(any(target_arch = "arm", target_arch = "riscv64"))]
mod assembly;
pub mod blend;
mod cast;
mod component;
pub mod convert;
pub mod jpeg;
pub mod nn;
pub mod picture;
pub mod sample;
pub mod scale;
pub mod simd;
#[cfg(test)]
mod testing;
pub mod upright;

pub use picture::{
    Colorimetry, Matrix, Picture, PictureError, PictureMut, PixelFormat, PixelRect, Plane, PlaneMut, Range, Size,
};
