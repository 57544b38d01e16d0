//! As much of an HTTP client as it takes to see that somebody answers.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Asks once and returns the connection, on which more could be asked. The response must be a 200 that comes in one
/// piece.
///
/// # Errors
/// No connection, no answer, another answer.
pub fn ask(address: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
    let mut response = [0; 4096];
    let count = stream.read(&mut response)?;
    let line = String::from_utf8_lossy(&response[..count]).lines().next().unwrap_or_default().to_owned();
    ensure!(line.starts_with("HTTP/1.1 200"), "{address} answered {line:?}");
    Ok(stream)
}

/// Waits until somebody at this address answers.
///
/// # Errors
/// Nobody did in time.
pub fn await_answer(address: SocketAddr, path: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask(address, path) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("nobody answers at {address}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
