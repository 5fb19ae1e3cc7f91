//! Decodes the JPEG pictures of cameras to planes: baseline, Huffman-coded, 8 bits, as in ITU-T
//! T.81.
//!
//! The result is NV12 in full-range BT.601 (JFIF). Luma has every sample of the picture. Chroma has
//! the samples of a picture in 4:2:0; of one in 4:2:2, 4:4:0 or 4:4:4, each sample is the mean of
//! the two or four that it replaces. Nothing is converted to R'G'B'.
//!
//! The bytes may be hostile. The decoder reads no byte outside of them, writes only the given
//! picture, and allocates nothing but one copy of the entropy-coded data, which it keeps for the
//! next picture.
//!
//! | module | purpose |
//! |---|---|
//! | `headers` | the segments before the entropy-coded data |
//! | `huffman` | tables that give a code's coefficient in one look-up |
//! | `bits` | the entropy-coded data as a stream of bits, and the coefficients of a block |
//! | `scan` | the order of the blocks, and where their samples go |
//! | `idct` | the inverse transform, for each instruction set |
//!
//! Progressive, arithmetic-coded and 12-bit pictures, and those of several scans or of other
//! samplings, are [`JpegError::Unsupported`].

mod bits;
mod headers;
mod huffman;
mod idct;
mod scan;
#[cfg(test)]
mod tests;

use crate::picture::{PictureMut, PixelFormat, Size};
use crate::simd::versions::Usable;
use headers::Headers;
use scan::Segments;

/// Why a picture was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// The picture may be valid, but this decoder does not decode its kind.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// The bytes are not a whole, valid picture.
    #[error("{0}")]
    Invalid(&'static str),
    /// The picture does not have the size of the output.
    #[error("a picture of {found} instead of {expected}")]
    Size {
        /// The size of the picture.
        found: Size,
        /// The size of the output.
        expected: Size,
    },
    /// The output is not NV12.
    #[error("an output of format {0} instead of NV12")]
    Format(PixelFormat),
}

/// Decodes pictures. It keeps its tables and its memory from one picture to the next.
#[derive(Debug, Default)]
pub struct JpegDecoder {
    headers: Headers,
    /// The entropy-coded data up to the next marker, without stuffed bytes.
    segment: Vec<u8>,
    isa: Usable,
}

impl JpegDecoder {
    /// A decoder for the fastest instruction set of this CPU, or the one that `PORTRAITD_ISA`
    /// names.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder that uses the instruction set `isa`.
    pub fn on(isa: Usable) -> Self {
        Self { isa, ..Self::default() }
    }

    /// Decodes the picture in `bytes` to `output`, which is NV12. Bytes after the picture are
    /// ignored.
    ///
    /// A picture whose entropy-coded data ends within the last row of blocks is decoded as if zeros
    /// followed: some cameras cut off the last bits.
    ///
    /// # Errors
    /// [`JpegError`]. The contents of the output are then undefined.
    pub fn decode(&mut self, bytes: &[u8], output: &mut PictureMut<'_>) -> Result<(), JpegError> {
        if output.format() != PixelFormat::Nv12 {
            return Err(JpegError::Format(output.format()));
        }
        let entropy_coded = self.headers.read(bytes)?;
        let found = self.headers.size();
        if found != output.size() {
            return Err(JpegError::Size { found, expected: output.size() });
        }
        let segments = Segments::new(entropy_coded, &mut self.segment);
        scan::decode(self.isa, &self.headers, segments, output)
    }
}
