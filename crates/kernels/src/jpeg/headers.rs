//! The segments before the entropy-coded data (T.81, annex B).

use super::JpegError;
use super::huffman::{Class, HuffmanTable};
use crate::picture::Size;

/// The order in which the coefficients of a block are coded: the place in the block, by rows (T.81,
/// figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// The steps of a quantization table, in coding order.
pub(super) type Steps = [u16; 64];

/// How the components of a picture in colour are sampled. Each field is 1 or 2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampling {
    /// The samples of luma for each sample of chroma, along.
    pub(super) across: usize,
    /// The same, down.
    pub(super) down: usize,
    /// The blocks of Cb, and of Cr, in an MCU: along and down.
    pub(super) blocks: [usize; 2],
}

/// A component of the frame, and its tables.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Component {
    id: u8,
    horizontal: u8,
    vertical: u8,
    /// The index of the quantization table.
    pub(super) steps: usize,
    /// The index of the Huffman table of the DC coefficients.
    pub(super) dc: usize,
    /// The index of the Huffman table of the other coefficients.
    pub(super) ac: usize,
}

/// What the segments of a picture say, and the tables of all pictures so far.
#[derive(Debug, Default)]
pub(super) struct Headers {
    size: Size,
    components: [Component; 3],
    sampling: Option<Sampling>,
    restart_interval: usize,
    steps: [Option<Steps>; 4],
    dc: [HuffmanTable; 4],
    ac: [HuffmanTable; 4],
}

impl Headers {
    /// The size of the picture in pixels.
    pub(super) const fn size(&self) -> Size {
        self.size
    }

    /// Luma, Cb and Cr; luma alone if the picture is grey.
    pub(super) fn components(&self) -> &[Component] {
        &self.components[..if self.sampling.is_some() { 3 } else { 1 }]
    }

    /// How the components are sampled; `None` if the picture is grey.
    pub(super) const fn sampling(&self) -> Option<Sampling> {
        self.sampling
    }

    /// The number of MCUs (groups of blocks that are coded together) between restart markers; 0 if
    /// there are none.
    pub(super) const fn restart_interval(&self) -> usize {
        self.restart_interval
    }

    /// The quantization table of a component.
    pub(super) fn steps(&self, component: &Component) -> &Steps {
        self.steps[component.steps].as_ref().expect("checked when the scan's header was read")
    }

    /// The Huffman table of a component's DC coefficients.
    pub(super) fn dc(&self, component: &Component) -> &HuffmanTable {
        &self.dc[component.dc]
    }

    /// The Huffman table of a component's other coefficients.
    pub(super) fn ac(&self, component: &Component) -> &HuffmanTable {
        &self.ac[component.ac]
    }

    /// Reads the segments up to the first scan. Returns what follows its header: the entropy-coded
    /// data.
    ///
    /// Bytes between the segments are ignored, because some cameras write them.
    pub(super) fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], JpegError> {
        let mut rest = bytes.strip_prefix(&[0xff, 0xd8]).ok_or(JpegError::Invalid("no start marker"))?;
        self.steps = [None; 4];
        self.restart_interval = 0;
        let (mut has_frame, mut huffman_tables) = (false, [[false; 4]; 2]);
        loop {
            let marker = next_marker(&mut rest).ok_or(JpegError::Invalid("cut off before the picture's data"))?;
            // Markers without a segment: TEM, restart markers, a second start.
            if matches!(marker, 0x01 | 0xd0..=0xd8) {
                continue;
            }
            if marker == 0xd9 {
                return Err(JpegError::Invalid("an end marker before the picture's data"));
            }
            let cut_off = JpegError::Invalid("a header is cut off");
            let (length, after) = rest.split_first_chunk::<2>().ok_or(cut_off)?;
            let length = usize::from(u16::from_be_bytes(*length)).checked_sub(2).ok_or(cut_off)?;
            let (payload, after) = after.split_at_checked(length).ok_or(cut_off)?;
            rest = after;
            match marker {
                0xc0 | 0xc1 if has_frame => return Err(JpegError::Invalid("two frame headers")),
                0xc0 | 0xc1 => {
                    self.read_frame(payload)?;
                    has_frame = true;
                }
                0xc4 => self.read_huffman_tables(payload, &mut huffman_tables)?,
                0xc2 | 0xc3 | 0xc5..=0xcf => {
                    return Err(JpegError::Unsupported("neither sequential nor Huffman-coded"));
                }
                0xdb => self.read_quantization_tables(payload)?,
                0xdd => {
                    let interval = payload.first_chunk().ok_or(JpegError::Invalid("a short restart interval"))?;
                    self.restart_interval = usize::from(u16::from_be_bytes(*interval));
                }
                0xda if has_frame => {
                    self.read_scan(payload, huffman_tables)?;
                    return Ok(rest);
                }
                0xda => return Err(JpegError::Invalid("no frame header before the picture's data")),
                // Adobe's marker with transform 0: the components are not Y'CbCr.
                0xee if payload.starts_with(b"Adobe") && payload.get(11) == Some(&0) => {
                    return Err(JpegError::Unsupported("components that are not Y'CbCr"));
                }
                _ => {}
            }
        }
    }

    fn read_frame(&mut self, payload: &[u8]) -> Result<(), JpegError> {
        let invalid = JpegError::Invalid("a frame header of wrong length");
        let ([precision, height_high, height_low, width_high, width_low, count], components) =
            payload.split_first_chunk::<6>().ok_or(invalid)?;
        if *precision != 8 {
            return Err(JpegError::Unsupported("not 8 bits"));
        }
        let side = |high, low| u32::from(u16::from_be_bytes([high, low]));
        self.size = Size::new(side(*width_high, *width_low), side(*height_high, *height_low));
        if components.len() != usize::from(*count) * 3 {
            return Err(invalid);
        }
        if !matches!(count, 1 | 3) {
            return Err(JpegError::Unsupported("neither one component nor three"));
        }
        self.components = [Component::default(); 3];
        for (component, bytes) in self.components.iter_mut().zip(components.as_chunks::<3>().0) {
            let [id, sampling, steps] = *bytes;
            if steps > 3 {
                return Err(JpegError::Invalid("a quantization table that does not exist"));
            }
            *component = Component {
                id,
                horizontal: sampling >> 4,
                vertical: sampling & 15,
                steps: usize::from(steps),
                ..Component::default()
            };
        }
        let [luma, cb, cr] = &self.components;
        self.sampling = if *count == 1 {
            // A single component is not interleaved, whatever its sampling factors (T.81, A.2.2).
            None
        } else if [luma.id, cb.id, cr.id] == *b"RGB" {
            return Err(JpegError::Unsupported("components that are not Y'CbCr"));
        } else {
            let sampling = sampling_of([luma, cb, cr]);
            Some(sampling.ok_or(JpegError::Unsupported("not 4:2:0, 4:2:2, 4:4:0 or 4:4:4"))?)
        };
        Ok(())
    }

    fn read_quantization_tables(&mut self, mut payload: &[u8]) -> Result<(), JpegError> {
        let invalid = JpegError::Invalid("a quantization table of wrong length");
        while let Some((&head, after)) = payload.split_first() {
            let index = usize::from(head & 15);
            let slot = self.steps.get_mut(index).ok_or(invalid)?;
            if head >> 4 == 0 {
                let (steps, after) = after.split_first_chunk::<64>().ok_or(invalid)?;
                (*slot, payload) = (Some(steps.map(u16::from)), after);
            } else {
                let (steps, after) = after.split_first_chunk::<128>().ok_or(invalid)?;
                let pairs = steps.as_chunks::<2>().0;
                *slot = Some(std::array::from_fn(|index| u16::from_be_bytes(pairs[index])));
                payload = after;
            }
        }
        Ok(())
    }

    fn read_huffman_tables(&mut self, mut payload: &[u8], seen: &mut [[bool; 4]; 2]) -> Result<(), JpegError> {
        let invalid = JpegError::Invalid("an invalid Huffman table");
        while let Some((&head, after)) = payload.split_first() {
            let (class, index) = match head >> 4 {
                0 => (Class::Dc, usize::from(head & 15)),
                1 => (Class::Ac, usize::from(head & 15)),
                _ => return Err(invalid),
            };
            let (counts, after) = after.split_first_chunk::<16>().ok_or(invalid)?;
            let total = counts.iter().copied().map(usize::from).sum();
            let (symbols, after) = after.split_at_checked(total).ok_or(invalid)?;
            let tables = if class == Class::Dc { &mut self.dc } else { &mut self.ac };
            tables.get_mut(index).ok_or(invalid)?.set(class, counts, symbols).ok_or(invalid)?;
            seen[usize::from(class == Class::Ac)][index] = true;
            payload = after;
        }
        Ok(())
    }

    fn read_scan(&mut self, payload: &[u8], seen: [[bool; 4]; 2]) -> Result<(), JpegError> {
        let invalid = JpegError::Invalid("an invalid scan header");
        let count = self.components().len();
        let (&found, selectors) = payload.split_first().ok_or(invalid)?;
        if usize::from(found) != count {
            return Err(JpegError::Unsupported("several scans"));
        }
        let (selectors, spectrum) = selectors.split_at_checked(count * 2).ok_or(invalid)?;
        if spectrum.len() != 3 {
            return Err(invalid);
        }
        // Cameras that send the frames of Motion JPEG omit the tables, which are then the ones that
        // T.81 prints in K.3.3.
        let standard = seen == [[false; 4]; 2];
        if standard {
            for index in 0..2 {
                self.dc[index].set_standard(Class::Dc, index);
                self.ac[index].set_standard(Class::Ac, index);
            }
        }
        for (component, selector) in self.components[..count].iter_mut().zip(selectors.as_chunks::<2>().0) {
            let [id, tables] = *selector;
            if id != component.id {
                return Err(JpegError::Unsupported("components in another order"));
            }
            (component.dc, component.ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            let exists =
                |class: usize, index: usize| if standard { index < 2 } else { index < 4 && seen[class][index] };
            if !exists(0, component.dc) || !exists(1, component.ac) {
                return Err(JpegError::Invalid("a Huffman table is missing"));
            }
            if self.steps[component.steps].is_none() {
                return Err(JpegError::Invalid("a quantization table is missing"));
            }
        }
        Ok(())
    }
}

/// How luma, Cb and Cr are sampled; `None` if this is none of the samplings of cameras.
fn sampling_of([luma, cb, cr]: [&Component; 3]) -> Option<Sampling> {
    if [cb.horizontal, cb.vertical] != [cr.horizontal, cr.vertical] {
        return None;
    }
    let ratio = |luma: u8, chroma: u8| match (luma, chroma) {
        (1, 1) => Some((1, 1)),
        (2, 1) => Some((2, 1)),
        // 4:2:2 may be coded as 2x2 blocks of luma and 1x2 of chroma.
        (2, 2) => Some((1, 2)),
        _ => None,
    };
    let (across, along) = ratio(luma.horizontal, cb.horizontal)?;
    let (down, below) = ratio(luma.vertical, cb.vertical)?;
    Some(Sampling { across, down, blocks: [along, below] })
}

/// The code of the next marker. Leaves what follows it in `rest`.
fn next_marker(rest: &mut &[u8]) -> Option<u8> {
    loop {
        let start = rest.iter().position(|&byte| byte == 0xff)?;
        let fill = rest[start..].iter().position(|&byte| byte != 0xff)?;
        let marker = rest[start + fill];
        *rest = &rest[start + fill + 1..];
        if marker != 0 {
            return Some(marker);
        }
    }
}
