//! `ronde check`: tries everything that can be tried without serving, once.
//!
//! The problem: a mistyped name or a closed port only shows up as a 502 on the first request of the night. This command
//! shows it while the configuration is being written.
//!
//! Not here: checks while ronde serves (`backend::checks`).

use crate::backend::resolve;
use crate::config::{Backend, Config};
use crate::net::conn::Conn;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every backend name resolves, and every address accepts connections.
    Sound,
    /// A name does not resolve, or an address does not accept connections.
    Faulty,
}

/// Resolves every backend once, connects to each of its addresses within `--connect-timeout`, and prints the results.
///
/// # Errors
/// Writing to `out` failed.
pub fn run(config: &Config, out: &mut impl Write) -> io::Result<Verdict> {
    writeln!(out, "the configuration is valid")?;
    for listen in &config.listen {
        writeln!(out, "listen   {listen}")?;
    }
    let mut verdict = Verdict::Sound;
    for backend in &config.backend {
        if check_backend(backend, config, out)? == Verdict::Faulty {
            verdict = Verdict::Faulty;
        }
    }
    Ok(verdict)
}

fn check_backend(backend: &Backend, config: &Config, out: &mut impl Write) -> io::Result<Verdict> {
    let addresses = match resolve::look_up(&backend.host, backend.port) {
        Ok(addresses) => addresses,
        Err(error) => {
            writeln!(out, "backend  {}  does not resolve: {error}", backend.with_options())?;
            return Ok(Verdict::Faulty);
        }
    };
    let mut verdict = Verdict::Sound;
    let backend = backend.with_options();
    for address in addresses {
        match connect(address, config) {
            Ok(milliseconds) => {
                writeln!(out, "backend  {backend}  {address}  connected in {milliseconds:.1} ms")?
            }
            Err(error) => {
                writeln!(out, "backend  {backend}  {address}  cannot connect: {error}")?;
                verdict = Verdict::Faulty;
            }
        }
    }
    Ok(verdict)
}

fn connect(address: SocketAddr, config: &Config) -> io::Result<f64> {
    let begun = Instant::now();
    Conn::connect_by(address, begun + config.connect_timeout)?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
