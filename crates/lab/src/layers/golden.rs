//! Golden files: NumPy `.npz` archives with one array per tensor, which `models/golden.py` writes
//! from another framework.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The largest number of elements of an array. No net for a board has a larger tensor.
const MAX_NUMBERS: usize = 64 << 20;
/// The largest length of a header in bytes. A header is one line of text.
const MAX_HEADER: usize = 64 << 10;

/// An array of a golden file.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenTensor {
    /// The lengths of the axes, slowest first.
    pub shape: Vec<usize>,
    /// The elements, last axis fastest.
    pub values: Vec<f32>,
}

/// The tensors of a golden file, by name.
#[derive(Clone, Debug, Default)]
pub struct Golden(pub HashMap<String, GoldenTensor>);

/// A golden file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The file or a member of the archive cannot be read.
    #[error("{path}: {error}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// The error of the archive reader.
        error: zip::result::ZipError,
    },
    /// A member is not a valid array.
    #[error("{path}, array `{array}`: {reason}")]
    Array {
        /// The file.
        path: PathBuf,
        /// The name of the array.
        array: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Golden {
    /// Reads every array of little-endian `f32`. Arrays of other types are ignored.
    ///
    /// # Errors
    /// [`GoldenError`], which names the file and the array.
    pub fn read(path: &Path) -> Result<Self, GoldenError> {
        let archive_error = |error| GoldenError::Archive { path: path.to_owned(), error };
        let file = File::open(path).map_err(|error| archive_error(error.into()))?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(archive_error)?;
        let mut tensors = HashMap::new();
        for index in 0..archive.len() {
            let member = archive.by_index(index).map_err(archive_error)?;
            let Some(name) = member.name().map_err(archive_error)?.strip_suffix(".npy").map(str::to_owned) else {
                continue;
            };
            let read = read_array(member);
            let read = read.map_err(|reason| GoldenError::Array { path: path.to_owned(), array: name.clone(), reason });
            if let Some(tensor) = read? {
                tensors.insert(name, tensor);
            }
        }
        Ok(Self(tensors))
    }
}

/// Reads an array in NumPy's format, versions 1 to 3: magic number, version, length of the header,
/// header (a Python dictionary), elements. Returns `None` if the elements are not little-endian
/// `f32`.
fn read_array(mut from: impl Read) -> Result<Option<GoldenTensor>, String> {
    let io = |error: std::io::Error| error.to_string();
    let mut start = [0; 8];
    from.read_exact(&mut start).map_err(io)?;
    if start[..6] != *b"\x93NUMPY" {
        return Err("not in NumPy's format".into());
    }
    let header_length = if start[6] == 1 {
        let mut length = [0; 2];
        from.read_exact(&mut length).map_err(io)?;
        usize::from(u16::from_le_bytes(length))
    } else {
        let mut length = [0; 4];
        from.read_exact(&mut length).map_err(io)?;
        usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX)
    };
    if header_length > MAX_HEADER {
        return Err(format!("a header of {header_length} bytes is too long"));
    }
    let mut header = vec![0; header_length];
    from.read_exact(&mut header).map_err(io)?;
    let header = String::from_utf8_lossy(&header);
    let kind = entry(&header, "descr").ok_or("its header has no `descr`")?;
    if !matches!(kind, "'<f4'" | "\"<f4\"") {
        return Ok(None);
    }
    if entry(&header, "fortran_order").is_none_or(|order| order != "False") {
        return Err("it is in Fortran order; save it with np.ascontiguousarray".into());
    }
    let shape = entry(&header, "shape").ok_or("its header has no `shape`")?;
    let axes = shape.trim_start_matches('(').trim_end_matches(')').split(',').map(str::trim);
    let shape: Vec<usize> = axes
        .filter(|axis| !axis.is_empty())
        .map(|axis| axis.parse().map_err(|_| format!("the shape {shape} is not a tuple of lengths")))
        .collect::<Result<_, _>>()?;
    let length = shape.iter().try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    let length = length.filter(|length| *length <= MAX_NUMBERS).ok_or(format!("the shape {shape:?} is too large"))?;
    let mut bytes = Vec::new();
    // The buffer grows with the bytes that are read, so a false length in the header allocates
    // nothing.
    from.take(u64::try_from(4 * length).unwrap_or(u64::MAX)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() != 4 * length {
        return Err(format!("ends after {} of {} bytes", bytes.len(), 4 * length));
    }
    let values = bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
    Ok(Some(GoldenTensor { shape, values }))
}

/// The text of the value of `key` in the header. It ends at the next comma, or at the closing
/// parenthesis of a tuple.
fn entry<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let after = header.split_once(&format!("'{key}'"))?.1.trim_start().strip_prefix(':')?.trim_start();
    let end = if after.starts_with('(') { after.find(')')? + 1 } else { after.find([',', '}'])? };
    Some(after[..end].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(header: &str, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend(u16::try_from(header.len()).expect("short").to_le_bytes());
        bytes.extend(header.as_bytes());
        numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes
    }

    #[test]
    fn arrays_are_read_as_numpy_writes_them() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }   \n";
        let tensor = read_array(&array(header, &[1.0, -2.0, 0.5])[..]).expect("reads").expect("f32");
        assert_eq!(tensor, GoldenTensor { shape: vec![1, 3], values: vec![1.0, -2.0, 0.5] });
        let scalar = "{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n";
        assert_eq!(read_array(&array(scalar, &[7.0])[..]).expect("reads").expect("f32").values, [7.0]);
        let vector = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
        assert_eq!(read_array(&array(vector, &[7.0, 8.0])[..]).expect("reads").expect("f32").shape, [2]);
        let integers = "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }\n";
        assert_eq!(read_array(&array(integers, &[0.0, 0.0])[..]), Ok(None));
    }

    #[test]
    fn invalid_arrays_are_refused_with_a_reason() {
        let cases = [
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "np.ascontiguousarray"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }", "ends after 4 of 36 bytes"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 99999999), }", "too large"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "the shape"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "the shape"),
            ("{'descr': '<f4', 'fortran_order': False}", "no `shape`"),
            ("", "no `descr`"),
        ];
        for (header, expected) in cases {
            let error = read_array(&array(header, &[1.0])[..]).expect_err(header);
            assert!(error.contains(expected), "{header}: {error}");
        }
        assert!(read_array(&b"PK\x03\x04....."[..]).expect_err("a zip").contains("not in NumPy's format"));
        assert!(read_array(&b"\x93NUMPY\x02\0\xff\xff\xff\xff"[..]).expect_err("long").contains("a header of"));
    }
}
