//! Identity and credentials of the van: an id from another source, secrets with restricted access,
//! and signed commands.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rcgen::{CertificateParams, DnType, KeyPair};
use waypost::config::Config;
use waypost_wire::command;

use crate::support::{WAYPOST, installed, repository};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Creates a certificate for `name`, and its key.
    fn certify(&self, name: Option<&str>) -> (String, String) {
        let mut params = CertificateParams::new(vec!["van".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        (self.write("van.pem", &cert, 0o644), self.write("van.key", &key.serialize_pem(), 0o600))
    }
}

/// Returns the van's id, or the report without its heading.
fn van(text: &str) -> Result<String, String> {
    match Config::parse(&format!("mqtt.broker = \"mqtts://b\"\n{text}"), "x", &[]) {
        Ok(config) => Ok(config.van.to_string()),
        Err(error) => Err(error.to_string().replace("x: invalid configuration\n  ", "")),
    }
}

#[test]
fn a_vans_id_is_from_where_it_is_said_to_be_unless_it_is_written() {
    let folder = Folder::new();
    let file = folder.write("id", "VAN-7\n", 0o644);
    assert_eq!(van(&format!("van.id_from = \"file:{file}\"")), Ok("VAN-7".to_owned()));
    assert_eq!(van(&format!("van.id_from = \"file:{file}\"\nvan.id = \"A\"")), Ok("A".to_owned()));
    let (cert, key) = folder.certify(Some("VAN-8"));
    let text = format!(
        "van.id_from = \"certificate\"\nmqtt.cert_file = \"{cert}\"\nmqtt.key_file = \"{key}\""
    );
    assert_eq!(van(&text), Ok("VAN-8".to_owned()));
}

#[test]
fn an_id_that_cannot_be_had_is_a_problem_with_its_place_and_remedy() {
    let folder = Folder::new();
    let file = folder.write("id", "VAN 7\n", 0o644);
    let (cert, key) = folder.certify(None);
    let keyed = format!("mqtt.key_file = \"{key}\"\nvan.id_from = \"certificate\"\nmqtt.cert_file");
    for (text, expected) in [
        (
            "van.id_from = \"dmi\"".to_owned(),
            "van.id_from: \"dmi\" is not one of file:PATH, hostname, machine-id, certificate; leave it empty to use van.id"
                .to_owned(),
        ),
        (
            "van.id_from = \"file:/nowhere/id\"".to_owned(),
            "van.id_from: /nowhere/id: cannot be read: No such file or directory (os error 2)".to_owned(),
        ),
        (
            format!("van.id_from = \"file:{file}\""),
            format!("van.id_from: {file}: \"VAN 7\" is not a van id: 1 to 64 of A-Z a-z 0-9 _ . : -"),
        ),
        (
            "van.id_from = \"certificate\"".to_owned(),
            "van.id_from: is certificate, but mqtt.cert_file is empty".to_owned(),
        ),
        (
            format!("{keyed} = \"{cert}\""),
            format!("van.id_from: {cert}: has no common name in its subject"),
        ),
        (
            format!("{keyed} = \"{key}\""),
            format!("van.id_from: {key}: has no certificate (PEM)"),
        ),
        (
            "van.id = \"A\"\nvan.id_from = \"elsewhere\"".to_owned(),
            "van.id_from: \"elsewhere\" is not one of file:PATH, hostname, machine-id, certificate; leave it empty to use van.id"
                .to_owned(),
        ),
    ] {
        assert_eq!(van(&text), Err(expected), "{text}");
    }
}

#[test]
fn a_secret_that_everybody_may_read_is_refused_with_the_remedy() {
    let folder = Folder::new();
    let (cert, key) = folder.certify(Some("V"));
    let password = folder.write("password", "s3cret\n", 0o640);
    let text = format!(
        "van.id = \"V\"\n[mqtt]\nbroker = \"mqtts://b\"\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n\
         ca_file = \"{cert}\"\nusername = \"u\"\npassword_file = \"{password}\"\n"
    );
    let file = folder.write("waypost.toml", &text, 0o644);
    let run = |command: &str| {
        let output = Command::new(WAYPOST).args([command, "--config", &file]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let chmod = |path: &str, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(
        run("check"),
        (Some(0), String::new()),
        "the group may read, and the file itself is no secret"
    );
    for (secret, name) in [(&password, "mqtt.password_file"), (&key, "mqtt.key_file")] {
        chmod(secret, 0o644);
        let problem =
            format!("  {name}: {secret}: readable by all users (mode 0644): chmod o-r {secret}\n");
        for command in ["check", "run"] {
            let (code, said) = run(command);
            assert!(code == Some(78) && said.contains(&problem), "{command}: {said}");
            assert!(!said.contains("s3cret"));
        }
        chmod(secret, 0o600);
    }
}

/// Returns the blocks of `docs/mqtt-contract.md` between these marks.
fn recipe(mark: &str) -> String {
    let contract = fs::read_to_string(repository("docs/mqtt-contract.md")).unwrap();
    let (_, after) = contract.split_once(&format!("```sh {mark}\n")).expect(mark);
    after.split_once("```").unwrap().0.to_owned()
}

fn shell(script: &str, folder: &Folder) -> Vec<u8> {
    let mut shell = Command::new("sh")
        .arg("-eu")
        .current_dir(folder.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn the_recipe_of_the_contract_signs_what_the_van_takes() {
    let Some(_openssl) = installed("openssl") else { return };
    let folder = Folder::new();
    shell(&recipe("keys"), &folder);
    let payload = shell(&recipe("sign"), &folder);
    let private: PathBuf = folder.0.path().join("dispatch.key");
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o077, 0);
    let key = folder.0.path().join("dispatch.pub");
    let of = |van: &str, key: &str| {
        let text = format!(
            "van.id = \"{van}\"\nmqtt.broker = \"mqtts://b\"\nmqtt.command_key = \"{key}\""
        );
        Config::parse(&text, "x", &[]).map(|config| config.command_keys.unwrap())
    };
    let opened = of("VAN-042", key.to_str().unwrap()).unwrap().open(&payload).unwrap();
    command::parse(&opened).unwrap();
    assert!(of("VAN-043", key.to_str().unwrap()).unwrap().open(&payload).is_err());
    let report = of("VAN-042", private.to_str().unwrap()).unwrap_err().to_string();
    assert!(report.contains("mqtt.command_key: "), "{report}");
    let report = of("VAN-042", "/nowhere.pub").unwrap_err().to_string();
    assert!(report.contains("mqtt.command_key: /nowhere.pub: "), "{report}");
}
