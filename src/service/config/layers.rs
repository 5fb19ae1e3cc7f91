//! Layers: reads each layer together with the places of its keys, and merges the layers.
//!
//! The `toml` crate parses a layer into a tree with spans, which gives the places of keys. The tree
//! is then deserialised as [`Config`], which checks every key and value. After that, the list
//! `[[camera]]` becomes a table with the names of the cameras as keys. The `config` crate merges
//! tables and replaces lists, so it merges cameras by name.

use super::error::{ConfigError, Conflict, Place, Warning};
use super::model::{Config, MAX_CAMERAS};
use super::renamed::{OldName, RENAMED_KEYS, RenamedKey, known_keys, replace_old_names, replace_spellings};
use portraitd_media::bounded::read_regular;
use portraitd_media::text::line_and_column;
use portraitd_protocol::settings::{CAMERA_NAME, excerpt};
use portraitd_protocol::spelling::nearest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer};

/// The largest file that is read, in bytes. The example with every key has less than 8 KiB.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 10;
/// The most keys of one layer, the items of lists included.
const MAX_KEYS: usize = 4096;
/// The most mistakes of one layer that are looked for.
const MAX_MISTAKES: usize = 50;

/// The origin of a layer.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// A file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, with its dashes.
    Flag(&'static str),
}

impl Origin {
    fn place(&self, text: &str, offset: usize) -> Place {
        match self {
            Self::File(path) => {
                let (line, column) = line_and_column(text, offset);
                Place::File { path: path.clone(), line, column }
            }
            Self::Environment(variable) => Place::Environment { variable: variable.clone() },
            Self::Flag(flag) => Place::Flag { flag },
        }
    }
}

/// A layer whose keys and values are checked.
#[derive(Debug)]
pub(super) struct Layer {
    /// Its settings, with `camera` as a table by name.
    pub table: toml::Table,
    /// The names of its cameras, in its order.
    pub cameras: Vec<String>,
    /// The place of each key, by its path with dots: `camera.main.framing.max_zoom`.
    pub places: BTreeMap<String, Place>,
    /// What was accepted although it should be changed.
    pub warnings: Vec<Warning>,
}

impl Layer {
    /// Reads a file. The result is `Ok(None)` if it does not exist.
    ///
    /// # Errors
    /// All mistakes of the file, in its order.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Vec<ConfigError>> {
        let bytes = match read_regular(path, MAX_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(vec![ConfigError::Read { path: path.to_owned(), error }]),
        };
        let origin = Origin::File(path.to_owned());
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, &origin).map(Some),
            Err(error) => {
                let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                Err(vec![ConfigError::NotText { place: origin.place(&good, good.len()) }])
            }
        }
    }

    /// Parses and checks a text.
    pub(super) fn parse(text: &str, origin: &Origin) -> Result<Self, Vec<ConfigError>> {
        Self::parse_with(text, origin, RENAMED_KEYS)
    }

    /// As [`Layer::parse`], with a given list of renamed keys.
    pub(super) fn parse_with(text: &str, origin: &Origin, renamed: &[RenamedKey]) -> Result<Self, Vec<ConfigError>> {
        let mut tree = DeTable::parse(text).map_err(|error| {
            let place = origin.place(text, error.span().map_or(0, |span| span.start));
            vec![ConfigError::Syntax { place, message: one_line(error.message()) }]
        })?;
        let (mut warnings, mut mistakes) = (Vec::new(), Vec::new());
        let mut old_names = replace_old_names(tree.get_mut(), renamed);
        old_names.extend(replace_spellings(tree.get_mut()));
        for OldName { old, new, span, both } in old_names {
            let place = origin.place(text, span.start);
            if both {
                let conflict = Conflict::OldAndNewName { new };
                mistakes.push((span.start, ConfigError::Conflict { place, key: excerpt(&old), conflict }));
                continue;
            }
            let message = format!("`{}` is another name of `{new}`, which still works; write `{new}`", excerpt(&old));
            warnings.push(Warning { place, message });
        }
        let mut keys = Keys { text, origin, found: Vec::new(), cameras: Vec::new() };
        keys.root(tree.get_ref()).map_err(|error| vec![error])?;
        // The parser stops at its first mistake, in the order of the keys' names. Each one is taken
        // out, so that the next is found.
        let mut rest = tree.clone();
        let mut removed: Vec<&str> = Vec::new();
        while let Err(error) = Config::deserialize(Deserializer::from(rest.clone())) {
            let at = error.span().map_or(0, |span| span.start);
            let entry = keys.key_at(at);
            // What is missing may have been taken out, or have the wrong name.
            let is_told = error.message().starts_with("missing field")
                && entry.is_some_and(|entry| removed.iter().any(|parent| parent.starts_with(&entry.path)));
            if !is_told {
                mistakes.push((at, keys.explain(&error)));
            }
            removed.extend(entry.map(|entry| entry.parent.as_str()));
            let found = entry.is_some_and(|entry| remove_entry(rest.get_mut(), &entry.span));
            if !found || mistakes.len() >= MAX_MISTAKES {
                break;
            }
        }
        if !mistakes.is_empty() {
            mistakes.sort_by_key(|(at, _)| *at);
            return Err(mistakes.into_iter().map(|(_, mistake)| mistake).collect());
        }
        let Keys { found, cameras, .. } = keys;
        let mut table = toml::Table::deserialize(Deserializer::from(tree))
            .map_err(|error| vec![ConfigError::Merge { message: one_line(error.message()) }])?;
        if let Some(toml::Value::Array(list)) = table.remove("camera") {
            let by_name = list.into_iter().zip(&cameras).map(|(camera, name)| (name.clone(), camera)).collect();
            table.insert("camera".to_owned(), toml::Value::Table(by_name));
        }
        let places = found.into_iter().map(|key| (key.path, origin.place(text, key.shown_at))).collect();
        Ok(Self { table, cameras, places, warnings })
    }

    /// The layer of one setting from outside a file. `path` is the path of its key: `threads`, or
    /// `camera`, NAME, ..., key. `value` is TOML; if it is no TOML, or is refused, it is read as a
    /// plain string.
    pub(super) fn setting(path: &[&str], value: &str, origin: &Origin) -> Result<Self, Vec<ConfigError>> {
        let is_toml = DeValue::parse(value).is_ok() && !value.contains(['\n', '\r']);
        let quoted = toml::Value::String(value.to_owned()).to_string();
        if is_toml {
            let refused = match Self::parse(&document(path, value), origin) {
                Ok(layer) => return Ok(layer),
                Err(error) => error,
            };
            return Self::parse(&document(path, &quoted), origin).map_err(|_| refused);
        }
        Self::parse(&document(path, &quoted), origin)
    }
}

/// Removes the entry that spans these bytes from its table.
fn remove_entry(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let is_it = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        (whole_span(key.span(), value.span()) == *span).then(|| key.get_ref().to_string())
    };
    if let Some(name) = table.iter().find_map(is_it) {
        return table.remove(name.as_str()).is_some();
    }
    table.iter_mut().any(|(_, value)| match value.get_mut() {
        DeValue::Table(inner) => remove_entry(inner, span),
        DeValue::Array(list) => list.iter_mut().any(|item| match item.get_mut() {
            DeValue::Table(inner) => remove_entry(inner, span),
            _ => false,
        }),
        _ => false,
    })
}

/// From a key to the end of its value. The header of a table is both.
fn whole_span(key: Range<usize>, value: Range<usize>) -> Range<usize> {
    key.start.min(value.start)..key.end.max(value.end)
}

/// A TOML document with one setting. Keys are quoted, so that any text is at most an unknown key,
/// not a syntax error.
fn document(path: &[&str], value: &str) -> String {
    let quote = |key: &str| toml::Value::String(key.to_owned()).to_string();
    match path {
        ["camera", name, rest @ ..] if !rest.is_empty() => {
            let key: Vec<String> = rest.iter().map(|key| quote(key)).collect();
            format!("[[camera]]\nname = {}\n{} = {value}\n", quote(name), key.join("."))
        }
        _ => {
            let key: Vec<String> = path.iter().map(|key| quote(key)).collect();
            format!("{} = {value}\n", key.join("."))
        }
    }
}

/// A key of a layer.
struct Key {
    path: String,
    /// From the key to the end of its value, in bytes of the text.
    span: Range<usize>,
    /// The byte that errors refer to: the first of its value, or of the header of a table.
    shown_at: usize,
    /// The path without its last part.
    parent: String,
    /// Whether it is an item of a list and not an entry of a table.
    item: bool,
}

/// Walks the tree and records the place of each key.
struct Keys<'a> {
    text: &'a str,
    origin: &'a Origin,
    found: Vec<Key>,
    cameras: Vec<String>,
}

impl Keys<'_> {
    fn root(&mut self, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (key, value) in table {
            if key.get_ref() == "camera" {
                self.all_cameras(key, value)?;
            } else {
                self.add("", key.get_ref(), key.span(), value)?;
            }
        }
        Ok(())
    }

    fn all_cameras(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Result<(), ConfigError> {
        self.list_of_tables("camera", key.span().start, value.get_ref())?;
        if let Some(surplus) = value.get_ref().as_array().and_then(|list| list.get(MAX_CAMERAS)) {
            let at = self.origin.place(self.text, surplus.span().start);
            return Err(ConfigError::TooMany { place: at, what: "cameras", limit: MAX_CAMERAS });
        }
        for camera in value.get_ref().as_array().into_iter().flat_map(|list| list.iter()) {
            let Some(table) = camera.get_ref().as_table() else { continue };
            let given = table.get("name");
            let name = given.and_then(|name| name.get_ref().as_str()).unwrap_or(CAMERA_NAME).to_owned();
            let at = given.map_or(camera.span().start, |name| name.span().start);
            let path = format!("camera.{name}");
            if let Some(first) = self.found.iter().find(|key| key.path == path) {
                let (line, _) = line_and_column(self.text, first.shown_at);
                return Err(ConfigError::Conflict {
                    place: self.origin.place(self.text, at),
                    key: "name".to_owned(),
                    conflict: Conflict::SameName { name: excerpt(&name), line },
                });
            }
            self.found.push(Key {
                path: path.clone(),
                span: camera.span(),
                shown_at: at,
                parent: "camera".to_owned(),
                item: true,
            });
            self.cameras.push(name);
            for (key, value) in table {
                self.add(&path, key.get_ref(), key.span(), value)?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        parent: &str,
        key: &str,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        self.count(at.start)?;
        let path = if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
        let whole = whole_span(at.clone(), value.span());
        let is_table = value.get_ref().is_table();
        let shown_at = if is_table { at.start } else { value.span().start };
        self.found.push(Key { path: path.clone(), span: whole, shown_at, parent: parent.to_owned(), item: false });
        if key == "output" && parent.starts_with("camera.") {
            self.list_of_tables(&path, at.start, value.get_ref())?;
        }
        self.inside(&path, value.get_ref())
    }

    /// Refuses a layer with more than [`MAX_KEYS`] keys. What follows looks at every key, and at the
    /// text before it.
    fn count(&self, at: usize) -> Result<(), ConfigError> {
        if self.found.len() < MAX_KEYS {
            return Ok(());
        }
        Err(ConfigError::TooMany { place: self.origin.place(self.text, at), what: "keys", limit: MAX_KEYS })
    }

    /// Records the keys inside a value.
    fn inside(&mut self, path: &str, value: &DeValue<'_>) -> Result<(), ConfigError> {
        match value {
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.add(path, key.get_ref(), key.span(), value)?;
                }
            }
            DeValue::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    self.count(value.span().start)?;
                    let item = format!("{path}[{index}]");
                    self.found.push(Key {
                        path: item.clone(),
                        span: value.span(),
                        shown_at: value.span().start,
                        parent: path.to_owned(),
                        item: true,
                    });
                    self.inside(&item, value.get_ref())?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Refuses `[camera]` instead of `[[camera]]`, which the message of the parser would not
    /// explain.
    fn list_of_tables(&self, path: &str, at: usize, value: &DeValue<'_>) -> Result<(), ConfigError> {
        if value.is_array() {
            return Ok(());
        }
        let header = if path == "camera" { "[[camera]]" } else { "[[camera.output]]" };
        Err(ConfigError::Value {
            place: self.origin.place(self.text, at),
            key: path.to_owned(),
            message: format!("there can be several: write {header}, with two brackets"),
        })
    }

    /// The innermost entry of a table at a byte of the text.
    fn key_at(&self, at: usize) -> Option<&Key> {
        let keys = self.found.iter().filter(|key| !key.item && key.span.contains(&at));
        keys.min_by_key(|key| key.span.len())
    }

    /// Turns an error of the parser into ours: the parser knows the byte, and we know the key at
    /// that byte.
    fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        let place = self.origin.place(self.text, at);
        let key = self.found.iter().filter(|key| key.span.contains(&at)).min_by_key(|key| key.span.len());
        let path = key.map_or_else(String::new, |key| key.path.clone());
        let message = one_line(error.message());
        if let Some(rest) = message.strip_prefix("unknown field `") {
            let (name, known) = rest.split_once("`, expected ").unwrap_or((rest, ""));
            let known = known.strip_prefix("one of ").unwrap_or(known).replace('`', "").replace(" or ", ", ");
            let parent = key.map_or("", |key| key.parent.as_str());
            let dotted = if parent.is_empty() { excerpt(name) } else { format!("{parent}.{}", excerpt(name)) };
            return ConfigError::UnknownKey { place, key: dotted, hint: hint(name, &known), known };
        }
        if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            return ConfigError::Value { place, key: path, message: format!("the key `{name}` is needed here") };
        }
        let message = match message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected ")) {
            Some((got, wanted)) => format!("{got} is not {wanted}"),
            None => message,
        };
        ConfigError::Value { place, key: path, message }
    }
}

/// What the user of an unknown key probably meant, as the end of a sentence; or nothing.
fn hint(name: &str, known: &str) -> String {
    // A good key in the wrong table.
    let elsewhere = known_keys().into_iter().find(|key| key.rsplit_once('.').is_some_and(|(_, last)| last == name));
    if let Some((table, key)) = elsewhere.as_deref().and_then(|key| key.rsplit_once('.')) {
        let header =
            if matches!(table, "camera" | "camera.output") { format!("[[{table}]]") } else { format!("[{table}]") };
        return format!(" (`{key}` belongs in {header})");
    }
    nearest(name, known.split(", ")).map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

/// The message of a parser on one line.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Merges the layers, lowest first. The cameras are in the order in which the layers first name
/// them.
pub(super) fn merge(layers: &[Layer]) -> Result<Config, ConfigError> {
    let mut builder = config::Config::builder();
    for layer in layers {
        // The layer passes as text, because this is how the `config` crate reads its sources.
        let text = toml::to_string(&layer.table).map_err(|error| ConfigError::Merge { message: error.to_string() })?;
        builder = builder.add_source(config::File::from_str(&text, config::FileFormat::Toml));
    }
    let mut table: toml::Table = builder
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| ConfigError::Merge { message: one_line(&error.to_string()) })?;
    let mut names: Vec<&String> = Vec::new();
    for name in layers.iter().flat_map(|layer| &layer.cameras) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if let Some(toml::Value::Table(mut by_name)) = table.remove("camera") {
        let list: Vec<toml::Value> = names.into_iter().filter_map(|name| by_name.remove(name)).collect();
        if !list.is_empty() {
            table.insert("camera".to_owned(), toml::Value::Array(list));
        }
    }
    table.try_into().map_err(|error: toml::de::Error| ConfigError::Merge { message: one_line(error.message()) })
}
