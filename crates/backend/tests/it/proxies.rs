//! The built backend behind a real haproxy, each in a network namespace of its own, over IPv4 and
//! IPv6: limits hold for the client, not for the proxy.

#![expect(clippy::disallowed_methods, reason = "the test waits in real time")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Process, installed};

const BACKEND: &str = env!("CARGO_BIN_EXE_waypost-backend");

/// Three namespaces in a row: client, proxy, backend. They are removed on drop.
struct Networks {
    names: [String; 3],
}

impl Networks {
    /// Returns `None` and reports a skip without the right to create namespaces.
    fn create() -> Option<Self> {
        let id = std::process::id();
        let this = Self { names: ["client", "proxy", "backend"].map(|it| format!("wp{id}-{it}")) };
        for name in &this.names {
            if !ip(&["netns", "add", name]) {
                eprintln!("skipped: network namespaces need root");
                return None;
            }
            assert!(ip(&["-n", name, "link", "set", "lo", "up"]));
        }
        let [client, proxy, backend] = &this.names;
        this.link(client, proxy, "front", 1, 2);
        this.link(proxy, backend, "back", 2, 2);
        // A second client, in another network of 64 bits.
        this.address(client, "front0", &["10.214.1.3/24"]);
        this.address(client, "front0", &["fd00:214:11::1/64", "nodad"]);
        assert!(ip(&["-n", proxy, "-6", "route", "add", "fd00:214:11::/64", "dev", "front1"]));
        Some(this)
    }

    /// Links two namespaces: `10.214.N.2` and `fd00:214:N::2` are in the first, `…1` in the second.
    fn link(&self, from: &str, to: &str, link: &str, net: u8, host: u8) {
        let (first, second) = (format!("{link}0"), format!("{link}1"));
        let pair = ["link", "add", &first, "type", "veth", "peer", "name", &second, "netns", to];
        assert!(ip(&[&["-n", from], &pair[..]].concat()));
        for (name, device, host) in [(from, &first, host), (to, &second, 1)] {
            self.address(name, device, &[&format!("10.214.{net}.{host}/24")]);
            self.address(name, device, &[&format!("fd00:214:{net}::{host}/64"), "nodad"]);
            assert!(ip(&["-n", name, "link", "set", device, "up"]));
        }
    }

    #[expect(clippy::unused_self, reason = "needs the namespaces")]
    fn address(&self, name: &str, device: &str, address: &[&str]) {
        assert!(ip(&[&["-n", name, "address", "add"], address, &["dev", device]].concat()));
    }

    fn start(&self, name: usize, program: &Path, arguments: &[&str]) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[name]]).arg(program).args(arguments);
        Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Looks a parcel up from an address of the client. Returns the status.
    fn look_up(&self, from: &str, to: &str) -> String {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.names[0], "curl", "-s", "-o", "/dev/null", "-m", "10"])
            .args([
                "-w",
                "%{http_code}",
                "--interface",
                from,
                "-H",
                "Content-Type: application/json",
            ])
            // A client may forge the header, but not the entry of the proxy.
            .args([
                "-H",
                "X-Forwarded-For: 192.0.2.99",
                "-d",
                r#"{"number":"JJD1","postcode":"1"}"#,
            ])
            .arg(format!("http://{to}/api/v1/track"));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}

fn configure(folder: &Path, name: &str, more: &str) -> String {
    let path = folder.join(name);
    let text = format!(
        "store.path = {:?}\nmqtt.broker = \"mqtt://127.0.0.1:1\"\nparcels.domain = \"id.example.com\"\n\
         http.listen = \"[::]:8080\"\n{more}\n",
        folder.join(format!("{name}.db"))
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn limits_hold_for_the_client_behind_a_real_proxy() {
    let (Some(haproxy), Some(_), Some(_)) =
        (installed("haproxy"), installed("ip"), installed("curl"))
    else {
        return;
    };
    let Some(networks) = Networks::create() else { return };
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("haproxy.cfg");
    let text = "defaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n option forwardfor\n\
                frontend four\n bind 10.214.1.1:80\n default_backend four\n\
                frontend six\n bind fd00:214:1::1:80\n default_backend six\n\
                backend four\n server one 10.214.2.1:8080\n\
                backend six\n server one fd00:214:2::1:8080\n";
    fs::write(&conf, text).unwrap();
    let _proxy = networks.start(1, &haproxy, &["-db", "-f", conf.to_str().unwrap()]);
    let paths = [
        ("10.214.1.1", "10.214.1.2", "10.214.1.3", "10.214.2.0/24"),
        ("[fd00:214:1::1]", "fd00:214:1::2", "fd00:214:11::1", "fd00:214:2::/64"),
    ];
    for (trusted, second_client) in [(true, "404"), (false, "429")] {
        let proxies: Vec<&str> =
            paths.iter().filter(|_| trusted).map(|(.., network)| *network).collect();
        let name = format!("trusted-{trusted}");
        let more = format!("http.trusted_proxies = {proxies:?}");
        let config = configure(folder.path(), &name, &more);
        let _backend = networks.start(2, Path::new(BACKEND), &["run", "--config", &config]);
        for (to, first, second, _) in paths {
            let started = Instant::now();
            // haproxy answers 503 until the backend listens.
            while networks.look_up(first, to) != "404" {
                assert!(started.elapsed() < Duration::from_secs(60), "no answer over {to}");
                std::thread::sleep(Duration::from_millis(100));
            }
            let limited = (0..40).any(|_| networks.look_up(first, to) == "429");
            assert!(limited, "the first client has a limit over {to}");
            assert_eq!(networks.look_up(second, to), second_client, "trusted: {trusted}, {second}");
        }
    }
}
