//! The tables of keys → the shipped file and its reference; the values of a configuration → a file that says the same.

use std::fmt::Write as _;

use toml::Value;

use super::{Book, Key, Origins, Values};

/// The shipped file: every key with its default.
pub(super) fn default_file(book: &Book) -> String {
    let mut file = book.head.to_owned();
    let mut section = "";
    for key in book.keys {
        let (in_section, name) = key.name.rsplit_once('.').expect("every name has a section");
        if in_section != section {
            section = in_section;
            write!(file, "\n[{section}]\n").expect("a string takes everything");
        }
        for line in wrapped(key.help, 110) {
            writeln!(file, "# {line}").expect("a string takes everything");
        }
        writeln!(file, "{name} = {}", key.default).expect("a string takes everything");
    }
    for list in book.lists {
        file.push('\n');
        for line in wrapped(list.help, 110) {
            writeln!(file, "# {line}").expect("a string takes everything");
        }
        writeln!(file, "#[[{}]]", list.name).expect("a string takes everything");
        for key in list.keys {
            for line in wrapped(&required(key), 110) {
                writeln!(file, "# {line}").expect("a string takes everything");
            }
            let default = if key.default.is_empty() { "..." } else { key.default };
            writeln!(file, "#{} = {default}", key.last()).expect("a string takes everything");
        }
    }
    file
}

/// Every key with the value that it has.
pub(super) fn effective(values: &Values, origins: Origins) -> String {
    let mut file = String::new();
    let line = |name: &str, key: &str| {
        let Some(value) = values.value(key) else { return String::new() };
        let origin = match origins {
            Origins::Shown => format!("  # {}", values.origin(key)),
            Origins::Hidden => String::new(),
        };
        format!("{name} = {}{origin}\n", toml(value))
    };
    let mut section = "";
    for key in values.book().keys {
        let (in_section, name) = key.name.rsplit_once('.').expect("every name has a section");
        if in_section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = in_section;
            writeln!(file, "{gap}[{section}]").expect("a string takes everything");
        }
        file.push_str(&line(name, key.name));
    }
    for list in values.book().lists {
        for table in values.tables(list.name) {
            write!(file, "\n[[{}]]\n", list.name).expect("a string takes everything");
            for key in list.keys {
                file.push_str(&line(key.last(), &format!("{table}.{}", key.last())));
            }
        }
    }
    file
}

/// A value of one of the four kinds, as TOML 1.0 has it.
fn toml(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let mut quoted = String::from('"');
            for letter in text.chars() {
                match letter {
                    '"' | '\\' => quoted.extend(['\\', letter]),
                    control if control.is_control() => {
                        write!(quoted, "\\u{:04X}", u32::from(control))
                            .expect("a string takes everything");
                    }
                    plain => quoted.push(plain),
                }
            }
            quoted.push('"');
            quoted
        }
        // With its point, so that it stays one.
        Value::Float(number) => format!("{number:?}"),
        other => super::values::shown(other),
    }
}

/// What a key of a list means.
fn required(key: &Key) -> String {
    let end = if key.default.is_empty() { " (required)" } else { "" };
    format!("{}{end}", key.help)
}

/// The reference: every key with what it may be.
pub(super) fn reference(book: &Book) -> String {
    let mut page = format!("{}| key | value | default | meaning |\n|---|---|---|---|\n", book.page);
    for key in book.keys {
        row(&mut page, key.name, key);
    }
    for list in book.lists {
        write!(
            page,
            "\n## `[[{}]]`\n\n{}.\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            list.name, list.help
        )
        .expect("a string takes everything");
        for key in list.keys {
            row(&mut page, key.last(), key);
        }
    }
    page
}

fn row(page: &mut String, name: &str, key: &Key) {
    let (value, help) = (key.kind, key.help.replace('|', "\\|"));
    let default = match key.default {
        "" => "required".to_owned(),
        default => format!("`{default}`"),
    };
    writeln!(page, "| `{name}` | {value} | {default} | {help} |")
        .expect("a string takes everything");
}

/// The help as a sentence, in lines of at most `width` characters.
fn wrapped(help: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let end = if help.ends_with([':', '.']) { "" } else { "." };
    for word in format!("{help}{end}").split(' ') {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
