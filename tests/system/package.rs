//! Files of the package are in step with the binary: manuals, completions and the systemd unit.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use clap_complete::Shell;
use waypost::config::Config;

use crate::support::{installed, repository};

/// Returns the arguments of the van's binary.
fn command() -> clap::Command {
    let mut van = waypost::cli::command();
    van.build();
    van
}

/// Escapes a line of text for roff. A typed hyphen is a minus sign (`man-pages(7)`).
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.lines().map(|line| match line.as_bytes().first() {
        Some(b'.' | b'\'') => format!("\\&{line}"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn title(name: &str, section: u8, line: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let quiet =
        ".\\\" UPDATE=1 cargo test -p waypost-system-tests package: written from the program.\n";
    format!(
        "{quiet}.TH {upper} {section} \"\" \"waypost {version}\" \"waypost\"\n.SH NAME\n{name} \\- {}\n",
        roff(line),
        upper = name.to_uppercase(),
    )
}

fn options(page: &mut String, command: &clap::Command) {
    for argument in command.get_arguments().filter(|one| !one.is_hide_set()) {
        let name = match (argument.get_long(), argument.get_value_names()) {
            (Some("help"), _) => continue,
            (Some(long), Some(value)) if argument.get_action().takes_values() => {
                format!("\\fB{}\\fR \\fI{}\\fR", roff(&format!("--{long}")), roff(&value[0]))
            }
            (Some(long), _) => format!("\\fB{}\\fR", roff(&format!("--{long}"))),
            (None, Some(value)) => format!("\\fI{}\\fR", roff(&value[0])),
            (None, None) => format!("\\fI{}\\fR", argument.get_id().as_str().to_uppercase()),
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        write!(page, ".TP\n{name}\n{}.", roff(&help)).unwrap();
        let possible: Vec<String> =
            argument.get_possible_values().iter().map(|one| one.get_name().to_owned()).collect();
        if !possible.is_empty() && argument.get_action().takes_values() {
            write!(page, "\nOne of {}.", roff(&possible.join(", "))).unwrap();
        }
        if let [default] = argument.get_default_values()
            && argument.get_action().takes_values()
        {
            write!(page, "\nDefault: {}.", roff(&default.to_string_lossy())).unwrap();
        }
        page.push('\n');
    }
}

/// Returns the commands without subcommands.
fn leaves(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().filter(|one| one.get_name() != "help");
    below.flat_map(|one| if one.has_subcommands() { leaves(one) } else { vec![one] }).collect()
}

/// Renders waypost(1).
fn manual() -> String {
    let mut page = title("waypost", 1, "tracking agent for delivery vans");
    page.push_str(&commands("waypost", &command()));
    page + &fs::read_to_string(repository("packaging/man/waypost.1.in")).unwrap()
}

/// Renders synopsis, description and every command.
fn commands(name: &str, command: &clap::Command) -> String {
    let mut page = String::new();
    let about = command.get_about().unwrap().to_string();
    write!(
        page,
        ".SH SYNOPSIS\n.B {name}\n.I COMMAND\n.RI [ OPTIONS ]\n.SH DESCRIPTION\n{}\n.SH COMMANDS\n",
        roff(&about)
    )
    .unwrap();
    for one in leaves(command) {
        let usage = one.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        let about = one.get_about().map(ToString::to_string).unwrap_or_default();
        write!(page, ".SS {}\n{}.\n", roff(usage), roff(&about)).unwrap();
        options(&mut page, one);
        if let Some(after) = one.get_after_help() {
            write!(page, ".PP\n.nf\n{}\n.fi\n", roff(&after.to_string())).unwrap();
        }
    }
    page
}

/// Renders waypost-backend(1).
fn manual_of_the_backend() -> String {
    let mut command = waypost_backend::cli::command();
    command.build();
    let mut page = title("waypost-backend", 1, "tracking backend for delivery vans");
    page.push_str(&commands("waypost-backend", &command));
    page + &fs::read_to_string(repository("packaging/man/waypost-backend.1.in")).unwrap()
}

/// Renders waypost-backend.toml(5).
fn manual_of_the_backends_configuration() -> String {
    let mut page = title("waypost-backend.toml", 5, "configuration of waypost-backend");
    page.push_str(
        ".SH DESCRIPTION\nTOML, in\n.IR /etc/waypost\\-backend/waypost\\-backend.toml .\n\
         A key that is left out has its default; one that is unknown, of the wrong kind or out of range is\n\
         reported by\n.BR \"waypost\\-backend check\" ,\nall of them at once.\nOnly\n.B mqtt.broker\nand\n.B parcels.domain\n\
         must be filled in.\n.PP\nDrop\\-ins, in\n.IR /etc/waypost\\-backend/conf.d/*.toml ,\n\
         are read after the file in the order of their names, and go before it key by key.\n.PP\nThe table\n.B [[token]]\n\
         may be there several times, or not at all; below its keys are\n.B token.name\nand so on.\n.SH KEYS\n",
    );
    page.push_str(&keys(waypost_backend::Config::entries()));
    page + ".SH SEE ALSO\n.BR waypost\\-backend (1)\n"
}

/// Renders waypost.toml(5).
fn manual_of_the_configuration() -> String {
    let mut page = title("waypost.toml", 5, "configuration of waypost");
    page.push_str(
        ".SH DESCRIPTION\nTOML, in\n.IR /etc/waypost/waypost.toml .\n\
         A key that is left out has its default; one that is unknown, of the wrong kind or out of range is\n\
         reported by\n.BR \"waypost check\" ,\nall of them at once.\nOnly\n.B van.id\nand\n.B mqtt.broker\n\
         must be filled in.\n.PP\nDrop\\-ins, in\n.IR /etc/waypost/conf.d/*.toml ,\n\
         are read after the file in the order of their names, and go before it key by key; a list of tables in one\n\
         replaces the whole list. Hidden files are not read.\n.B waypost config show \\-\\-origin\n\
         writes what they come to.\n.PP\nTables\n.B [[scanner]]\nand\n.B [[privacy_zone]]\n\
         may be there several times, or not at all; below their keys are\n.B scanner.name\nand so on.\n.SH KEYS\n",
    );
    page.push_str(&keys(Config::entries()));
    page + ".SH SEE ALSO\n.BR waypost (1)\n"
}

fn keys(
    documented: impl Iterator<Item = (&'static str, String, &'static str, &'static str)>,
) -> String {
    let mut page = String::new();
    for (name, value, default, help) in documented {
        let end = if help.ends_with([':', '.']) { "" } else { "." };
        writeln!(
            page,
            ".TP\n\\fB{name}\\fR ({}, default {})\n{}{end}",
            roff(&value),
            roff(if default.is_empty() { "none: required" } else { default }),
            roff(help)
        )
        .unwrap();
    }
    page
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "waypost", &mut script);
    String::from_utf8(script).unwrap()
}

#[test]
fn manual_and_completions_are_those_of_the_vans_binary() {
    for (name, text) in [
        ("packaging/man/waypost.1", manual()),
        ("packaging/man/waypost.toml.5", manual_of_the_configuration()),
        ("packaging/completions/waypost.bash", completions(Shell::Bash)),
        ("packaging/completions/_waypost", completions(Shell::Zsh)),
        ("packaging/completions/waypost.fish", completions(Shell::Fish)),
    ] {
        let path = repository(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let shipped = fs::read_to_string(&path).unwrap_or_default();
        assert!(shipped == text, "UPDATE=1 rewrites {name}");
    }
}

#[test]
fn the_backends_manual_is_that_of_its_binary() {
    for (name, text) in [
        ("packaging/man/waypost-backend.1", manual_of_the_backend()),
        ("packaging/man/waypost-backend.toml.5", manual_of_the_backends_configuration()),
    ] {
        let path = repository(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let shipped = fs::read_to_string(&path).unwrap_or_default();
        assert!(shipped == text, "UPDATE=1 rewrites {name}");
    }
}

#[test]
fn the_bill_of_materials_names_what_cargo_compiles_into_the_van() {
    let Some(python) = installed("python3") else { return };
    let bill = Command::new(python).arg(repository("packaging/sbom")).output().unwrap();
    assert!(bill.status.success(), "{}", String::from_utf8_lossy(&bill.stderr));
    let bill: serde_json::Value = serde_json::from_slice(&bill.stdout).unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut named: BTreeSet<(String, String)> = BTreeSet::new();
    for one in bill["components"].as_array().unwrap() {
        assert!(named.insert((word(&one["name"]), word(&one["version"]))), "twice: {one}");
    }
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package=waypost"])
        .args(["--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"])
        .current_dir(repository(""))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    // `name v1.2.3`, followed by `(*)` or a path.
    let compiled: BTreeSet<(String, String)> = String::from_utf8(tree.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().to_owned()))
        .filter(|(name, _)| name != "waypost")
        .collect();
    assert!(compiled.len() > 50, "{compiled:?}");
    // SQLite is a C library bundled in a crate.
    let sqlite = named.iter().find(|(name, _)| name == "sqlite").cloned().expect("it is bundled");
    named.remove(&sqlite);
    assert_eq!(named, compiled);
}

#[test]
fn the_unit_keeps_to_the_codes_and_times_of_the_agent() {
    let unit = fs::read_to_string(repository("systemd/waypost.service")).unwrap();
    for line in [
        "Type=notify",
        "WatchdogSec=30",
        "TimeoutStopSec=10",
        "RestartPreventExitStatus=78 64",
        "StateDirectory=waypost",
        "RuntimeDirectory=waypost",
        "RuntimeDirectoryPreserve=yes",
        "ExecStart=/usr/bin/waypost run",
        r#"ExecReload=+/bin/sh -c "kill -HUP $MAINPID""#,
    ] {
        assert!(unit.lines().any(|said| said == line), "{line}");
    }
    for banned in ["network-online.target", "BindsTo="] {
        assert!(!unit.contains(banned), "{banned}");
    }
}

#[test]
fn systemd_finds_the_unit_in_order_and_hardly_exposed() {
    let Some(analyze) = installed("systemd-analyze") else { return };
    // Maximum score, in tenths.
    let threshold = "--threshold=13";
    let output = Command::new(analyze)
        .args(["security", "--offline=true", "--no-pager", threshold])
        .arg(repository("systemd/waypost.service"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let score = said.lines().last().unwrap_or_default();
    assert!(output.status.success(), "{score} {}", String::from_utf8_lossy(&output.stderr));
}
