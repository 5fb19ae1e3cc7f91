//! The controls of an open node.

use super::device::Device;
use super::sys;
use portraitd_media::Control;
use portraitd_media::controls::Controls;

/// The longest lists that are read, because a faulty driver may enumerate without end.
const MAX_CONTROLS: usize = 512;
const MAX_CONTROL_ITEMS: u32 = 256;

impl Controls for Device {
    /// The controls that are not disabled; those of the extended kinds without their values.
    fn list(&self) -> Vec<Control> {
        let mut controls = Vec::new();
        let mut last = 0;
        while controls.len() < MAX_CONTROLS {
            let Ok(found) = sys::query_control(self, last | sys::CONTROL_FLAG_NEXT) else { break };
            if found.id <= last {
                break;
            }
            last = found.id;
            let kind = match found.kind {
                1 => "integer",
                2 => "boolean",
                3 => "menu",
                4 => "button",
                5 => "integer64",
                6 => continue,
                7 => "string",
                8 => "bitmask",
                9 => "integer-menu",
                _ => "other",
            };
            if found.flags & sys::CONTROL_FLAG_DISABLED != 0 {
                continue;
            }
            let readable =
                found.flags & sys::CONTROL_FLAG_WRITE_ONLY == 0 && !matches!(kind, "integer64" | "string" | "other");
            controls.push(Control {
                id: found.id,
                name: field_text(&found.name),
                kind,
                minimum: found.minimum,
                maximum: found.maximum,
                step: found.step,
                default: found.default_value,
                value: readable.then(|| sys::get_control(self, found.id).ok()).flatten(),
                read_only: found.flags & sys::CONTROL_FLAG_READ_ONLY != 0,
                inactive: found.flags & sys::CONTROL_FLAG_INACTIVE != 0,
                menu: menu(self, &found, kind),
            });
        }
        controls
    }

    fn set(&self, control: &Control, value: i32) -> std::io::Result<()> {
        Ok(sys::set_control(self, control.id, value)?)
    }
}

fn menu(device: &Device, control: &sys::QueryControl, kind: &str) -> Vec<(u32, String)> {
    let (Ok(first), Ok(last)) = (u32::try_from(control.minimum), u32::try_from(control.maximum)) else {
        return Vec::new();
    };
    if !matches!(kind, "menu" | "integer-menu") {
        return Vec::new();
    }
    (first..=last.min(first.saturating_add(MAX_CONTROL_ITEMS)))
        .filter_map(|index| {
            // The driver returns an error for numbers without an item.
            let name = sys::query_menu(device, control.id, index).ok()?;
            let text = if kind == "menu" {
                field_text(&name)
            } else {
                let [a, b, c, d, e, f, g, h, ..] = name;
                i64::from_ne_bytes([a, b, c, d, e, f, g, h]).to_string()
            };
            Some((index, text))
        })
        .collect()
}

/// The text in a field of a kernel struct: up to the first zero byte. Invalid UTF-8 and control
/// characters are replaced by U+FFFD.
pub(super) fn field_text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_of_a_field_become_text() {
        assert_eq!(field_text(b"vivid\0\0rest"), "vivid");
        assert_eq!(field_text(b"full"), "full");
        assert_eq!(field_text(b"\xff\x1b[31m\0"), "\u{fffd}\u{fffd}[31m");
        assert_eq!(field_text(b""), "");
    }
}
