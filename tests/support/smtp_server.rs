//! An SMTP server that stores the received emails.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use waypost_backend::config::SmtpConfig;

/// The received emails, in order.
pub(crate) type ReceivedMessages = Arc<Mutex<Vec<String>>>;

/// Starts the server; accepts emails as specified in RFC 5321.
pub(crate) fn start_smtp_server() -> (SocketAddr, ReceivedMessages) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), ReceivedMessages::default());
    let emails = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let emails = Arc::clone(&emails);
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                stream.write_all(b"220 sink\r\n").unwrap();
                while let Some(Ok(line)) = lines.next() {
                    if line.eq_ignore_ascii_case("DATA") {
                        stream.write_all(b"354 go on\r\n").unwrap();
                        let rest = lines.by_ref().map_while(Result::ok);
                        let letter = rest.take_while(|line| line != ".");
                        // RFC 5321 §4.5.2: a leading period is doubled.
                        let plain = |line: String| {
                            line.strip_prefix('.').map_or(line.clone(), str::to_owned)
                        };
                        let letter: Vec<String> = letter.map(plain).collect();
                        emails.lock().unwrap().push(letter.join("\n"));
                    }
                    stream.write_all(b"250 fine\r\n").unwrap();
                }
            });
        }
    });
    (address, heard)
}

/// Returns the configuration for sending to the server.
pub(crate) fn smtp_config(address: SocketAddr) -> SmtpConfig {
    SmtpConfig {
        url: format!("smtp://{address}"),
        username: None,
        password: None,
        from: "Parcels <parcels@example.com>".to_owned(),
    }
}
