//! Step 1: a reverse proxy in forty lines, which serves one client at a time.
//!
//! Each call blocks: it returns when its work is done. So the program reads like the list of its steps, and there is
//! nothing else to understand. A client that connects while another one is served waits in the backlog of the kernel.
//!
//! Falls to `silent`: one client that connects and says nothing. The proxy waits for its first byte, and everybody waits
//! for the proxy.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// The longest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Between an `accept` that has failed and the next one.
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let addresses = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<Vec<_>, _>>()?;
    let [listen, backend, ..] = addresses[..] else { return Err("usage: LISTEN BACKEND".into()) };
    let listener = TcpListener::bind(listen)?;
    eprintln!("listening on {}", listener.local_addr()?);
    for client in listener.incoming().filter_map(accepted) {
        // A failure ends this conversation, and no other.
        let _ = serve(client, backend);
    }
    Ok(())
}

/// A client, if `accept` returned one. If not, no descriptor may be left (EMFILE), and a next call would fail at once.
fn accepted(client: io::Result<TcpStream>) -> Option<TcpStream> {
    client.inspect_err(|_| thread::sleep(PAUSE)).ok()
}

/// One request, and its answer up to the end of the backend's connection.
fn serve(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    let request = read_request(&mut client)?;
    let mut backend = TcpStream::connect(backend)?;
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
