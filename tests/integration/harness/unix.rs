//! A backend on a Unix socket that runs by itself.

use super::wire::Wire;
use super::{Message, scratch_directory};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

/// A path for a socket, in a directory of its own.
pub fn socket_path(name: &str) -> PathBuf {
    scratch_directory().join(name)
}

/// Responds with `handler` to every request on this path, each connection in its own thread, until the test ends.
pub fn serve_unix(path: &Path, handler: impl Fn(&mut Wire, &Message) + Clone + Send + 'static) {
    let listener = UnixListener::bind(path).expect("a Unix socket");
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let handler = handler.clone();
            thread::spawn(move || converse(stream, handler));
        }
    });
}

fn converse(stream: UnixStream, handler: impl Fn(&mut Wire, &Message)) {
    let mut wire = Wire::over_unix(stream);
    while let Ok(request) = wire.try_request() {
        handler(&mut wire, &request);
    }
}
