//! The dependencies of the agent's binary.

use std::process::Command;

use crate::support::repository;

#[test]
fn a_van_carries_neither_simulator_nor_broker_nor_web_server() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--package",
            "waypost",
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
