//! A real PostgreSQL for the tests of this process: one server, and a fresh database for each test.
//!
//! A shell owns the server and waits for the end of its standard input. The input ends with this
//! process, whether it returned, panicked or was killed. The shell then stops the server and
//! removes its folder.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use waypost_backend::store::StoreConfig;

/// Folders of the programs on Debian and other systems, newest first.
const PROGRAMS: &[&str] = &[
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/14/bin",
    "/usr/local/bin",
    "/usr/bin",
];

/// Arguments: programs, folder, lines of the configuration.
const SERVER_SCRIPT: &str = r#"
trap '' INT TERM HUP
cd "$2" || exit 1
"$1/initdb" -D data -U waypost -A trust -E UTF8 --locale=C --no-sync > log 2>&1 || { cat log; exit 1; }
printf '%s\n' "unix_socket_directories = '$2'" "listen_addresses = ''" 'fsync = off' 'max_connections = 200' "$3" \
    >> data/postgresql.conf
"$1/pg_ctl" -D "$2/data" -l "$2/log" -w start < /dev/null > ctl 2>&1 || { cat ctl log; exit 1; }
echo ready
read -r _
"$1/pg_ctl" -D data -m immediate stop > ctl 2>&1
cd / && rm -rf "$2"
"#;

/// A server on a socket in its own folder.
#[derive(Debug)]
pub(crate) struct Cluster {
    programs: &'static Path,
    folder: PathBuf,
    port: u16,
    owner: Option<(u32, u32)>,
    keeper: Child,
    databases: AtomicUsize,
}

impl Cluster {
    /// Starts a separate server, which the test may stop and start. Returns `None` and reports a
    /// skip if there is no PostgreSQL; with `CI` set, that is a failure.
    pub(crate) fn start(settings: &str) -> Option<Self> {
        Self::start_on(5432, settings)
    }

    /// Starts the server with a port, which is a part of the socket's name.
    pub(crate) fn start_on(port: u16, settings: &str) -> Option<Self> {
        let settings = format!("port = {port}\n{settings}");
        let Some(programs) =
            PROGRAMS.iter().map(Path::new).find(|folder| folder.join("initdb").is_file())
        else {
            assert!(std::env::var_os("CI").is_none(), "CI must install postgresql");
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("waypost-pg-").tempdir_in("/tmp").unwrap();
        let folder = folder.keep();
        let owner = unprivileged(&folder);
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", SERVER_SCRIPT, "sh"]).arg(programs).arg(&folder).arg(&settings);
        let mut keeper = as_owner(&mut keeper, owner)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(keeper.stdout.take().unwrap());
        while !said.ends_with("ready\n") {
            let read = lines.read_line(&mut said).unwrap();
            assert!(read > 0, "PostgreSQL does not start: {said}");
        }
        Some(Self { programs, folder, port, owner, keeper, databases: AtomicUsize::new(0) })
    }

    /// Creates an empty database.
    pub(crate) fn database(&self) -> Database<'_> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let socket = self.folder.to_str().unwrap().replace('/', "%2F");
        self.run("createdb", &[&name]);
        Database { cluster: self, url: format!("postgresql://waypost@{socket}/{name}"), name }
    }

    /// Runs `pg_ctl` with these arguments: `["-m", "fast", "restart"]`.
    pub(crate) fn control(&self, arguments: &[&str]) {
        let mut control = Command::new(self.programs.join("pg_ctl"));
        control
            .args(["-w", "-D"])
            .arg(self.folder.join("data"))
            .arg("-l")
            .arg(self.folder.join("log"));
        // Output goes to a file: the server inherits it, so a pipe would never end.
        let said = tempfile::NamedTempFile::new().unwrap();
        control.args(arguments).stdin(Stdio::null());
        control.stdout(said.reopen().unwrap()).stderr(said.reopen().unwrap());
        let is_done = as_owner(&mut control, self.owner).status().unwrap().success();
        assert!(is_done, "{arguments:?}: {}", std::fs::read_to_string(said.path()).unwrap());
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", "waypost"]);
        command.args(arguments);
        let output = command.current_dir("/").output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}

/// A database of one test, removed at its end.
#[derive(Debug)]
pub(crate) struct Database<'a> {
    cluster: &'a Cluster,
    pub(crate) name: String,
    /// Connection URL.
    pub(crate) url: String,
}

impl Database<'_> {
    /// Returns the configuration for [`waypost_backend::store::Store::open`].
    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig::Postgres(self.url.clone())
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.cluster.run("dropdb", &["--force", &self.name]);
        }
    }
}

/// Returns a fresh database on the server shared by all tests of this process.
pub(crate) fn database() -> Option<Database<'static>> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start("")).as_ref().map(Cluster::database)
}

/// PostgreSQL refuses to run as root; in that case it runs as `postgres` or `nobody`.
pub(crate) fn unprivileged(folder: &Path) -> Option<(u32, u32)> {
    if folder.metadata().unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
        Some((fields.next()?, fields.next()?))
    };
    Some(of("postgres").or_else(|| of("nobody")).expect("an unprivileged user"))
}

fn as_owner(command: &mut Command, owner: Option<(u32, u32)>) -> &mut Command {
    command.current_dir("/");
    match owner {
        Some((user, group)) => command.uid(user).gid(group),
        None => command,
    }
}
