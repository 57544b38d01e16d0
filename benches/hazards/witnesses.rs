//! Clients beside the prober that would notice if a crowd took something from them: downloads that were paused before it
//! came, and new WebSockets while it is there.

use crate::kinds::UPGRADE;
use crate::pattern;
use crate::sockets;
use anyhow::{Result, ensure};
use rustix::net::{SocketFlags, connect};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const DOWNLOAD: usize = 4 << 20;
pub const DOWNLOADS: usize = 10;
/// In one read or write.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two WebSockets.
const BETWEEN: Duration = Duration::from_millis(200);

/// A download of which half was taken.
pub struct Paused {
    stream: TcpStream,
    taken: usize,
}

impl Paused {
    /// # Errors
    /// The first half does not come.
    pub fn begin(proxy: SocketAddr) -> Result<Self> {
        let socket = sockets::socket(0, SocketFlags::empty())?;
        // Else the kernel would take the second half while the client pauses.
        sockets::narrow(&socket)?;
        connect(&socket, &proxy)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET /bytes/{DOWNLOAD} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        ensure!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        let mut paused = Self { stream, taken: 0 };
        paused.take(DOWNLOAD / 2)?;
        Ok(paused)
    }

    /// # Errors
    /// The second half does not come, or is not as it should be.
    pub fn finish(mut self) -> Result<()> {
        sockets::widen(&self.stream)?;
        self.take(DOWNLOAD)
    }

    fn take(&mut self, end: usize) -> Result<()> {
        let mut room = vec![0; pattern::PIECE];
        while self.taken < end {
            let most = room.len().min(end - self.taken);
            let count = self.stream.read(&mut room[..most])?;
            ensure!(count > 0, "ends after {} bytes", self.taken);
            ensure!(pattern::is_right(self.taken, &room[..count]), "wrong bytes after {}", self.taken);
            self.taken += count;
        }
        Ok(())
    }
}

/// What became of new WebSockets.
#[derive(Debug, Default)]
pub struct WebSockets {
    pub opened: usize,
    pub failed: usize,
    pub slowest: Duration,
}

/// One new WebSocket after the other, each with one echo.
pub fn open_websockets(proxy: SocketAddr, duration: Duration) -> WebSockets {
    let begun = Instant::now();
    let mut seen = WebSockets::default();
    while begun.elapsed() < duration {
        let asked = Instant::now();
        match echo(proxy) {
            Ok(()) => seen.opened += 1,
            Err(_) => seen.failed += 1,
        }
        seen.slowest = seen.slowest.max(asked.elapsed());
        thread::sleep(BETWEEN);
    }
    seen
}

fn echo(proxy: SocketAddr) -> Result<()> {
    const WORD: &[u8] = b"a word";
    let mut stream = TcpStream::connect_timeout(&proxy, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(UPGRADE.as_bytes())?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut room = [0; 4096];
        let count = stream.read(&mut room)?;
        seen.extend_from_slice(&room[..count]);
        ensure!(count > 0 && seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
    }
    stream.write_all(WORD)?;
    let mut word = [0; WORD.len()];
    stream.read_exact(&mut word)?;
    ensure!(word == WORD, "another word");
    Ok(())
}
