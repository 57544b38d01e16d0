//! The minimum of an HTTP client that can tell whether a server answers.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends a GET and returns the connection, which can be used again. The response must be a 200 that arrives in one
/// read.
///
/// # Errors
/// The connect fails, no response arrives within 10 s, or its status is not 200.
pub fn ask(address: SocketAddr, host: &str, path: &str) -> Result<TcpStream> {
    let mut stream = connect(address)?;
    ask_on(&mut stream, host, path).with_context(|| address.to_string())?;
    Ok(stream)
}

/// The same on a connection that there is.
///
/// # Errors
/// No response arrives within 10 s, or its status is not 200.
pub fn ask_on(stream: &mut (impl Read + Write), host: &str, path: &str) -> Result<()> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let mut response = [0; 4096];
    let count = stream.read(&mut response)?;
    let line = String::from_utf8_lossy(&response[..count]).lines().next().unwrap_or_default().to_owned();
    ensure!(line.starts_with("HTTP/1.1 200"), "answered {line:?} for {host}");
    Ok(())
}

/// # Errors
/// The connect fails.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits until a server answers at this address.
///
/// # Errors
/// No server answered within 10 s.
pub fn await_answer(address: SocketAddr, host: &str, path: &str) -> Result<()> {
    await_success(|| ask(address, host, path)).with_context(|| format!("no server answers at {address}"))
}

/// Asks again and again.
///
/// # Errors
/// The last one, after 10 s.
pub fn await_success<T>(ask: impl Fn() -> Result<T>) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match ask() {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
