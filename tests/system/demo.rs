//! The built binary: `cargo demo` from its start to its exit code.

use crate::support::program;

/// Runs in real time; this is the one test of all parts together, broker and signals included.
#[test]
fn a_dead_zone_costs_nothing_and_the_demo_ends_in_order() {
    let temporary = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(program("waypost-demo"))
        .args([
            "--seconds",
            "30",
            "--speed",
            "20",
            "--cut-network",
            "8",
            "--vans",
            "2",
            "--port",
            "0",
        ])
        .env("TMPDIR", temporary.path())
        .current_dir(temporary.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}{complaint}");
    assert_eq!(complaint, "");
    let fact = |label: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label}: {said}")).trim().to_owned()
    };
    assert!(said.contains("/desk") && !said.contains("127.0.0.1:0/"), "links have a port: {said}");
    assert_eq!(fact("missing"), "none", "{said}");
    assert_eq!(fact("waiting"), "0 in the outbox", "{said}");
    assert!(fact("wire").contains("1 reconnect"), "the network was cut: {said}");
    assert!(!fact("received").contains("; 0 of"), "a backlog was received: {said}");
    assert!(fact("events").ends_with("0 duplicate ids; each stage once"), "{said}");
    let parcels = fact("parcels");
    assert!(parcels.contains(" out") && parcels.contains(" delivered"), "{said}");
    assert!(!said.contains('\x1b'), "no terminal, no colours: {said}");
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
