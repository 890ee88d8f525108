//! Module dependencies, the restrictions of the core, and the dependencies of the van's binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{repository, rust_files};

/// Modules of this crate that each module may use besides itself, `units` and `core`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("clock", &[]),
    ("backoff", &[]),
    ("logging", &[]),
    ("tasks", &[]),
    ("rollcall", &[]),
    ("notify", &[]),
    ("pem", &[]),
    ("settings", &[]),
    ("openmetrics", &[]),
    ("exit", &["settings"]),
    ("core", &[]),
    ("wire", &[]),
    ("port", &["backoff"]),
    ("scanner", &["clock", "port"]),
    ("source", &["clock", "port"]),
    ("outbox", &["tasks", "wire"]),
    ("relay", &["backoff", "clock", "pem", "tasks", "rollcall", "wire", "outbox"]),
    ("control", &["wire", "logging"]),
    (
        "engine",
        &[
            "backoff", "clock", "tasks", "rollcall", "wire", "scanner", "source", "outbox",
            "relay", "control",
        ],
    ),
    ("config", &["clock", "settings", "wire", "scanner", "source", "outbox", "relay"]),
    (
        "daemon",
        &[
            "clock", "tasks", "rollcall", "wire", "scanner", "source", "outbox", "relay",
            "control", "engine", "config",
        ],
    ),
    ("systemd", &["clock", "notify", "daemon", "relay"]),
    ("metrics", &["clock", "daemon", "openmetrics", "relay"]),
    ("replay", &["clock", "wire", "source", "outbox", "relay", "config", "daemon"]),
    ("decode", &["wire"]),
    ("why", &["port", "source", "relay", "control", "config"]),
    ("code", &[]),
    ("simulate", &["clock"]),
    (
        "backend",
        &[
            "backoff",
            "clock",
            "exit",
            "notify",
            "openmetrics",
            "pem",
            "tasks",
            "settings",
            "wire",
            "logging",
        ],
    ),
    ("bin", &["backend"]),
    (
        "demo",
        &[
            "backend", "clock", "notify", "wire", "source", "outbox", "relay", "config", "daemon",
            "simulate", "logging",
        ],
    ),
    (
        "cli",
        &[
            "clock", "code", "control", "tasks", "wire", "config", "daemon", "decode", "demo",
            "exit", "logging", "metrics", "notify", "relay", "replay", "simulate", "source",
            "systemd", "why",
        ],
    ),
];

/// Returns (module, file, text without tests) of all of `src` except its roots.
fn sources() -> Vec<(String, PathBuf, String)> {
    let src = repository("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files.retain(|file| !["lib.rs", "main.rs"].iter().any(|root| *file == src.join(root)));
    let module = |file: &Path| {
        let first = file.strip_prefix(&src).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let tests = |file: &Path| file.file_name().is_some_and(|name| name == "tests.rs");
    files
        .into_iter()
        .filter(|file| !tests(file))
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
            (module(&file), file, text)
        })
        .collect()
}

#[test]
fn dependencies_point_in_the_direction_of_the_data_flow() {
    for (module, file, text) in sources() {
        let (_, may) = MAY_USE
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} has no row"));
        for used in text.split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let in_order = used == module
                || used == "units"
                || used == "core" && module != "units"
                || may.contains(&used.as_str());
            assert!(in_order, "{} uses {used}", file.display());
        }
    }
}

#[test]
fn the_core_knows_no_clock_no_runtime_no_randomness_and_no_files() {
    let banned = [
        "tokio",
        "Instant",
        "SystemTime",
        "fastrand",
        "std::io",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "tracing",
        "println!",
        "async ",
    ];
    for (module, file, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code.filter(|_| module == "core" || module == "units") {
            for word in banned {
                assert!(!line.contains(word), "{} contains {word}: {line}", file.display());
            }
        }
    }
}

#[test]
fn a_van_carries_neither_simulator_nor_broker_nor_web_server() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--no-default-features",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(repository(""))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains(&"rumqttc") && crates.contains(&"rusqlite"), "{tree}");
    for unwanted in [
        "mqtt5",
        "rumqttd",
        "axum",
        "hyper",
        "tokio-postgres",
        "lettre",
        "ureq",
        "openssl-sys",
        "proptest",
    ] {
        assert!(!crates.contains(&unwanted), "the van depends on {unwanted}");
    }
}
