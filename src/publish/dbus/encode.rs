//! Types of the service as the dictionaries (`a{sv}`) that D-Bus carries.

use std::collections::{BTreeMap, HashMap};

use portraitd_media::{Control, ControlValue, FrameFormat};
use portraitd_protocol::RingLayout;
use zbus::{OwnedVariant, Variant};

use super::service::{Dictionary, DictionaryValue};

/// `a{sv}` as zbus encodes it.
pub(super) type VariantMap = HashMap<String, Variant<'static>>;

/// Named values as `a{sv}`.
pub(super) fn variants(values: &Dictionary) -> VariantMap {
    values.iter().map(|(name, value)| (name.clone(), variant(value))).collect()
}

/// A format as `a{sv}`. Without a format the dictionary is empty.
pub(super) fn format_values(format: Option<&FrameFormat>) -> VariantMap {
    let Some(format) = format else { return VariantMap::new() };
    let mut dict = VariantMap::from([
        ("format".to_owned(), format.pixel_format.to_string().into()),
        ("width".to_owned(), format.size.width.into()),
        ("height".to_owned(), format.size.height.into()),
        ("frame_rate".to_owned(), f64::from(format.frame_rate).into()),
    ]);
    if !format.pixel_format.is_rgb() {
        let (matrix, range) = (format.color.matrix.name(), format.color.range.name());
        dict.extend([("matrix".to_owned(), matrix.into()), ("range".to_owned(), range.into())]);
    }
    dict
}

/// The layout that `Attach` returns: the fields of the ring's header, and the name of the camera.
pub(super) fn layout_values(camera: &str, layout: &RingLayout) -> BTreeMap<&'static str, Variant<'static>> {
    use portraitd_protocol::layout::{HEADER_BYTES, VERSION};
    let narrow = |value: usize| u32::try_from(value).expect("the header has a u32 for it too");
    let planes: Vec<(u32, u32, u32)> =
        layout.planes().iter().map(|plane| (narrow(plane.offset), narrow(plane.stride), narrow(plane.rows))).collect();
    BTreeMap::from([
        ("camera", Variant::from(camera.to_owned())),
        ("stream", Variant::from(layout.stream.as_str())),
        ("generation", Variant::from(layout.generation)),
        ("version", Variant::from(VERSION)),
        ("header_bytes", Variant::from(narrow(HEADER_BYTES))),
        ("slot_count", Variant::from(layout.slot_count)),
        ("slot_bytes", Variant::from(narrow(layout.slot_bytes))),
        ("format", Variant::from(layout.format.to_string())),
        ("width", Variant::from(layout.size.width)),
        ("height", Variant::from(layout.size.height)),
        ("planes", Variant::from(planes)),
        ("matrix", Variant::from(layout.matrix_name())),
        ("range", Variant::from(layout.range_name())),
    ])
}

/// A control as a dictionary.
pub(super) fn control_values(control: &Control) -> VariantMap {
    let mut values = VariantMap::from([
        ("key".to_owned(), control.key().into()),
        ("name".to_owned(), control.name.clone().into()),
        ("kind".to_owned(), control.kind.into()),
        ("minimum".to_owned(), control.minimum.into()),
        ("maximum".to_owned(), control.maximum.into()),
        ("step".to_owned(), control.step.into()),
        ("default".to_owned(), control.default.into()),
        ("read_only".to_owned(), control.read_only.into()),
        ("inactive".to_owned(), control.inactive.into()),
    ]);
    values.extend(control.value.map(|value| ("value".to_owned(), value.into())));
    if !control.menu.is_empty() {
        values.insert("menu".to_owned(), control.menu.clone().into());
    }
    values
}

/// The value for a control that a client has sent; `None` if it is of another type.
pub(super) fn control_value(value: &OwnedVariant) -> Option<ControlValue> {
    let number = || {
        let wide = i64::try_from(value).ok().or_else(|| i32::try_from(value).ok().map(Into::into));
        wide.or_else(|| u32::try_from(value).ok().map(Into::into))
    };
    if let Ok(switch) = bool::try_from(value) {
        return Some(ControlValue::Switch(switch));
    }
    number()
        .map(ControlValue::Number)
        .or_else(|| <&str>::try_from(value).ok().map(|text| ControlValue::Text(text.into())))
}

/// A value as a variant of its D-Bus type.
fn variant(value: &DictionaryValue) -> Variant<'static> {
    match value {
        DictionaryValue::U64(value) => Variant::from(*value),
        DictionaryValue::F64(value) => Variant::from(*value),
    }
}
