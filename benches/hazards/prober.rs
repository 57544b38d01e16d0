//! A new client again and again, as a visitor would come while all this goes on.

use crate::tally::Times;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const BETWEEN: Duration = Duration::from_millis(10);
/// In one read or write.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Seen {
    pub times: Times,
    pub asked: usize,
    pub failed: usize,
    /// The first failure.
    pub why: Option<String>,
}

/// Small GETs, each on a connection of its own, one after the other.
pub fn probe(address: SocketAddr, duration: Duration) -> Seen {
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut whys = Vec::new();
    while begun.elapsed() < duration {
        let asked = Instant::now();
        if let Err(why) = ask(address) {
            whys.push(why.to_string());
        }
        // A failure is a wait, too.
        times.push(asked.elapsed());
        thread::sleep(BETWEEN);
    }
    let (asked, failed) = (times.len(), whys.len());
    Seen { times: Times::of(&times), asked, failed, why: whys.into_iter().next() }
}

fn ask(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /100 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    stream.take(4096).read_to_end(&mut response)?;
    if response.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&response).lines().next().unwrap_or("nothing").to_owned();
    Err(io::Error::other(line))
}
