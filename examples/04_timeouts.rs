//! Step 4: no call waits for ever.
//!
//! Each wait gets a limit: for the next bytes of a request, for the backend, for a client that does not read. A silent
//! client costs a worker one second now, and not its life. The limits differ because the waits differ: a client that has
//! connected has its request ready, and a backend may have to think.
//!
//! Falls to `drip`: clients that send a byte now and then. Each read is in time, and the head never ends (slowloris).

use crossbeam_channel::bounded;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Threads that serve clients.
const WORKERS: usize = 4;

/// Clients that may wait for a worker.
const QUEUE: usize = 256;

/// The longest wait for the next bytes of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest wait for a backend: to connect, and for the next bytes of its answer.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest wait for a client that does not read.
const STALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Between an `accept` that has failed and the next one.
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let addresses = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<Vec<_>, _>>()?;
    let [listen, backend, ..] = addresses[..] else { return Err("usage: LISTEN BACKEND".into()) };
    let listener = TcpListener::bind(listen)?;
    eprintln!("listening on {}", listener.local_addr()?);
    let (queue, clients) = bounded(QUEUE);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                for client in &clients {
                    // A failure ends this conversation, and no other.
                    let _ = serve(client, backend);
                }
            });
        }
        for client in listener.incoming().filter_map(accepted) {
            queue.send(client)?;
        }
        Ok(())
    })
}

/// A client, if `accept` returned one. If not, no descriptor may be left (EMFILE), and a next call would fail at once.
fn accepted(client: io::Result<TcpStream>) -> Option<TcpStream> {
    client.inspect_err(|_| thread::sleep(PAUSE)).ok()
}

/// One request, and its answer up to the end of the backend's connection.
fn serve(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    client.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    client.set_write_timeout(Some(STALL_TIMEOUT))?;
    let request = read_request(&mut client)?;
    let mut backend = TcpStream::connect_timeout(&backend, BACKEND_TIMEOUT)?;
    backend.set_read_timeout(Some(BACKEND_TIMEOUT))?;
    backend.set_write_timeout(Some(BACKEND_TIMEOUT))?;
    // One more field asks the backend to close: the end of its connection is then the end of the answer.
    backend.write_all(&[&request[..request.len() - 2], b"Connection: close\r\n\r\n"].concat())?;
    io::copy(&mut backend, &mut client)?;
    Ok(())
}

/// Reads up to the empty line that ends a head (RFC 9112 §2.1). A request with a body is for a later step.
fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 4096];
        match client.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&piece[..count]),
        }
        if received.len() > MAX_HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    Ok(received)
}
