//! Renders the default file, the reference and the effective configuration from a schema.

use std::fmt::Write as _;

use toml::Value;

use super::{ConfigSchema, KeySpec, ShowOrigins, Values};

/// Renders the shipped file: every key with its default.
pub(super) fn default_file(schema: &ConfigSchema) -> String {
    let mut file = schema.file_header.to_owned();
    let mut section = "";
    for key in schema.keys {
        let (in_section, name) = key.name.rsplit_once('.').expect("every key name contains a dot");
        if in_section != section {
            section = in_section;
            write!(file, "\n[{section}]\n").expect("writing to a String cannot fail");
        }
        for line in wrap_comment(key.help, 110) {
            writeln!(file, "# {line}").expect("writing to a String cannot fail");
        }
        writeln!(file, "{name} = {}", key.default).expect("writing to a String cannot fail");
    }
    for list in schema.lists {
        file.push('\n');
        for line in wrap_comment(list.help, 110) {
            writeln!(file, "# {line}").expect("writing to a String cannot fail");
        }
        writeln!(file, "#[[{}]]", list.name).expect("writing to a String cannot fail");
        for key in list.keys {
            for line in wrap_comment(&list_key_help(key), 110) {
                writeln!(file, "# {line}").expect("writing to a String cannot fail");
            }
            let default = if key.default.is_empty() { "..." } else { key.default };
            writeln!(file, "#{} = {default}", key.short_name())
                .expect("writing to a String cannot fail");
        }
    }
    file
}

/// Renders every key with its value.
pub(super) fn effective(values: &Values, origins: ShowOrigins) -> String {
    let mut file = String::new();
    let line = |name: &str, key: &str| {
        let Some(value) = values.value(key) else { return String::new() };
        let origin = match origins {
            ShowOrigins::Shown => format!("  # {}", values.origin(key)),
            ShowOrigins::Hidden => String::new(),
        };
        format!("{name} = {}{origin}\n", toml(value))
    };
    let mut section = "";
    for key in values.schema().keys {
        let (in_section, name) = key.name.rsplit_once('.').expect("every key name contains a dot");
        if in_section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = in_section;
            writeln!(file, "{gap}[{section}]").expect("writing to a String cannot fail");
        }
        file.push_str(&line(name, key.name));
    }
    for list in values.schema().lists {
        for table in values.tables(list.name) {
            write!(file, "\n[[{}]]\n", list.name).expect("writing to a String cannot fail");
            for key in list.keys {
                file.push_str(&line(key.short_name(), &format!("{table}.{}", key.short_name())));
            }
        }
    }
    file
}

/// Formats a value as TOML 1.0.
fn toml(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let mut quoted = String::from('"');
            for letter in text.chars() {
                match letter {
                    '"' | '\\' => quoted.extend(['\\', letter]),
                    control if control.is_control() => {
                        write!(quoted, "\\u{:04X}", u32::from(control))
                            .expect("writing to a String cannot fail");
                    }
                    plain => quoted.push(plain),
                }
            }
            quoted.push('"');
            quoted
        }
        // Keeps the decimal point, so that the value stays a float.
        Value::Float(number) => format!("{number:?}"),
        Value::Array(list) => {
            let elements: Vec<String> = list.iter().map(toml).collect();
            format!("[{}]", elements.join(", "))
        }
        other => super::values::display(other),
    }
}

/// Description of a key in an array of tables.
fn list_key_help(key: &KeySpec) -> String {
    let end = if key.default.is_empty() { " (required)" } else { "" };
    format!("{}{end}", key.help)
}

/// Renders the reference: every key with its type.
pub(super) fn reference(schema: &ConfigSchema) -> String {
    let mut page = format!(
        "{}| key | value | default | meaning |\n|---|---|---|---|\n",
        schema.reference_intro
    );
    for key in schema.keys {
        row(&mut page, key.name, key);
    }
    for list in schema.lists {
        write!(
            page,
            "\n## `[[{}]]`\n\n{}.\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            list.name, list.help
        )
        .expect("writing to a String cannot fail");
        for key in list.keys {
            row(&mut page, key.short_name(), key);
        }
    }
    page
}

fn row(page: &mut String, name: &str, key: &KeySpec) {
    let (value, help) = (key.kind, key.help.replace('|', "\\|"));
    let default = match key.default {
        "" => "required".to_owned(),
        default => format!("`{default}`"),
    };
    writeln!(page, "| `{name}` | {value} | {default} | {help} |")
        .expect("writing to a String cannot fail");
}

/// Wraps the description into lines of at most `width` characters and ends it with a full stop.
fn wrap_comment(help: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let end = if help.ends_with([':', '.']) { "" } else { "." };
    for word in format!("{help}{end}").split(' ') {
        let line = lines.last_mut().expect("there is at least one line");
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
