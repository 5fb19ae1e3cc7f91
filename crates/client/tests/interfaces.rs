//! The D-Bus interfaces only grow: every member that was released is still there, with its types.
//!
//! `fixtures/interfaces.txt` lists the released members. A line of it must never be changed or
//! removed. A member that is new in `interfaces/*.xml` must be added to the list;
//! `PORTRAITD_BLESS=1` appends it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The value of an attribute of a line of XML. The files have one element per line.
fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    Some(rest.split_once('"')?.0)
}

/// The members of an interface document, one line each: `org.portraitd.Camera1 method
/// Snapshot(stream s) -> (png h)` or `org.portraitd.Camera1 property Name s read const`.
fn members(xml: &str) -> BTreeSet<String> {
    let mut members = BTreeSet::new();
    let mut interface = "";
    let mut method: Option<(&str, Vec<String>, Vec<String>)> = None;
    let mut property: Option<(String, &str)> = None;
    for line in xml.lines().map(str::trim) {
        if line.starts_with("<interface ") {
            interface = attribute(line, "name").expect("a name");
        } else if line.starts_with("<method ") {
            method = Some((attribute(line, "name").expect("a name"), Vec::new(), Vec::new()));
        } else if line.starts_with("<arg ") {
            let (_, input, output) = method.as_mut().expect("an argument of a method");
            let argument =
                [attribute(line, "name").expect("a name"), attribute(line, "type").expect("a type")].join(" ");
            if attribute(line, "direction") == Some("out") { output.push(argument) } else { input.push(argument) }
        } else if line == "</method>" {
            let (name, input, output) = method.take().expect("a method");
            members.insert(format!("{interface} method {name}({}) -> ({})", input.join(", "), output.join(", ")));
        } else if line.starts_with("<property ") {
            let [name, kind, access] = ["name", "type", "access"].map(|key| attribute(line, key).expect(key));
            let text = format!("{interface} property {name} {kind} {access}");
            if line.ends_with("/>") {
                members.insert(format!("{text} announced"));
            } else {
                property = Some((text, "announced"));
            }
        } else if line.starts_with("<annotation ") {
            let (_, announced) = property.as_mut().expect("an annotation of a property");
            *announced = match attribute(line, "value") {
                Some("const") => "const",
                Some("false") => "silent",
                other => panic!("{line}: {other:?} is not known to this test"),
            };
        } else if line == "</property>" {
            let (text, announced) = property.take().expect("a property");
            members.insert(format!("{text} {announced}"));
        } else if line.starts_with("<signal ") {
            panic!("{line}: signals are not known to this test");
        }
    }
    members
}

#[test]
fn released_members_stay() {
    let mut present = BTreeSet::new();
    for entry in std::fs::read_dir(folder().join("interfaces")).expect("interfaces") {
        let path = entry.expect("entry").path();
        present.extend(members(&std::fs::read_to_string(&path).expect("a document")));
    }
    let fixture = folder().join("tests/fixtures/interfaces.txt");
    let text = std::fs::read_to_string(&fixture).expect("the list");
    let released: BTreeSet<String> =
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect();

    for line in &released {
        // A property that clients could only read may become one that they can write.
        let writable = line.replace(" read ", " readwrite ");
        assert!(
            present.contains(line) || present.contains(&writable),
            "released, and now changed or missing: {line}\nsee docs/design/compatibility.md"
        );
    }
    let new: Vec<&String> = present.difference(&released).collect();
    if std::env::var_os("PORTRAITD_BLESS").is_some() {
        let lines: String = new.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&fixture, text + &lines).expect("write");
        return;
    }
    assert!(new.is_empty(), "not yet in {}; PORTRAITD_BLESS=1 appends: {new:#?}", fixture.display());
}

#[test]
fn a_change_of_a_type_is_seen() {
    let xml = "<interface name=\"a.B1\">\n<method name=\"Go\">\n<arg name=\"n\" type=\"u\" direction=\"in\"/>\n</method>\n\
               <property name=\"P\" type=\"s\" access=\"read\"/>\n</interface>";
    let expected = ["a.B1 method Go(n u) -> ()", "a.B1 property P s read announced"];
    assert_eq!(members(xml).into_iter().collect::<Vec<_>>(), expected);
}
