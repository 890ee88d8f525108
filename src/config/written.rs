//! The tables of keys → the shipped file and its reference.

use std::fmt::Write as _;

use super::keys::{KEYS, Key, LISTS};

/// `config/waypost.toml`: every key with its default.
pub(super) fn default_file() -> String {
    let mut file = String::from(
        "# waypost: configuration of the van's agent. Every key stands here with its default.\n\
         # Only van.id and mqtt.broker must be filled in. `waypost check` names everything that is wrong.\n",
    );
    let mut section = "";
    for key in KEYS {
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
    for list in LISTS {
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

/// What a key of a list means.
fn required(key: &Key) -> String {
    let end = if key.default.is_empty() { " (required)" } else { "" };
    format!("{}{end}", key.help)
}

/// `docs/configuration.md`: every key with what it may be.
pub(super) fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Every key of `waypost.toml`, written from the table that the agent checks a file against\n\
         (`src/config/keys.rs`). A key that is left out has its default; one that is unknown, of the wrong kind or out\n\
         of range is reported by `waypost check`, all of them at once.\n\n\
         | key | value | default | meaning |\n|---|---|---|---|\n",
    );
    for key in KEYS {
        row(&mut page, key.name, key);
    }
    for list in LISTS {
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
