//! The built agent on a simulated receiver, with its own files and socket, and a real broker.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Process, installed, repository};

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a receiver on a pty, with additional options.
pub(crate) fn simulated(folder: &Path, options: &[&str]) -> (String, Process) {
    let pty = folder.join("gnss");
    let mut command = super::simulator();
    command.arg(repository("tests/fixtures/routes/errand.toml"));
    command.arg(format!("--pty={}", pty.display())).args(["--cold-start", "0"]).args(options);
    let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    while !pty.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    (format!("serial:{}", pty.display()), process)
}

/// A van with its receiver and its broker.
pub(crate) struct Van {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) parts: Vec<Process>,
}

impl Van {
    /// Creates a van with a working receiver.
    pub(crate) fn new() -> (Self, String) {
        let folder = tempfile::tempdir().unwrap();
        let (source, receiver) = simulated(folder.path(), &[]);
        (Self { folder, parts: vec![receiver] }, source)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn configure(&self, source: &str, broker: &str, more: &str) {
        let config = format!(
            "van.id = \"VAN-042\"\nmqtt.broker = \"{broker}\"\ngnss.source = \"{source}\"\n\
             gnss.silent_s = 1.0\noutbox.path = \"{}\"\noutbox.tail_path = \"\"\n\
             control.path = \"{}\"\n{more}",
            self.path("outbox.db").display(),
            self.path("control").display(),
        );
        fs::write(self.path("waypost.toml"), config).unwrap();
    }

    pub(crate) fn run(&mut self, source: &str, broker: &str, more: &str) {
        self.configure(source, broker, more);
        let mut run = super::agent();
        run.args(["run", "--config"]).arg(self.path("waypost.toml"));
        run.stderr(fs::File::create(self.path("log")).unwrap());
        self.parts.push(Process::start(&mut run));
    }

    /// Starts mosquitto with additional configuration.
    pub(crate) fn mosquitto(&mut self, conf: &str) -> Option<u16> {
        let program = installed("mosquitto")?;
        let port = free_port();
        let conf = format!("user root\nlistener {port} 127.0.0.1\n{conf}\n");
        fs::write(self.path("mosquitto.conf"), conf).unwrap();
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.path("mosquitto.conf"))
            .stderr(fs::File::create(self.path("mosquitto.log")).unwrap());
        self.parts.push(Process::start(&mut command));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(port)
    }
}
