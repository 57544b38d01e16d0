//! A backend in a process of its own, so that it can be killed.
//!
//! It appends the id of each POST to a file before it responds, and counts its requests. On SIGTERM it shuts down
//! gracefully, as good servers do: it accepts no more connections, closes idle ones, and finishes the requests in
//! flight.

use crate::{client, scratch};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The backend process, seen from the bench.
pub struct Backend {
    pub address: SocketAddr,
    pub ids: PathBuf,
    child: Option<Child>,
}

impl Backend {
    pub fn three() -> [Backend; 3] {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        [(); 3].map(|()| {
            // Free now, and ours from the first start on, also between restarts: once connections have used a port,
            // only a listener can take it.
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = free.local_addr().expect("its number");
            drop(free);
            let ids = scratch(&format!("ids-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
            File::create(&ids).expect("a file for the ids");
            let mut backend = Backend { address, ids, child: None };
            backend.start();
            backend
        })
    }

    fn start(&mut self) {
        let itself = std::env::current_exe().expect("this program");
        let mut command = Command::new(itself);
        command.args(["backend", &self.address.to_string()]).arg(&self.ids);
        self.child = Some(command.spawn().expect("a backend"));
        while self.served().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the process again. Returns the time until it served its first request, or 20 s.
    pub fn start_and_await_traffic(&mut self) -> Duration {
        let begun = Instant::now();
        self.start();
        while self.served() == Some(0) && begun.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }

    pub fn stop(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), signal).expect("a signal sent");
            child.wait().expect("its end");
        }
    }

    /// The number of requests it has served since its start; `None` if it cannot be reached.
    pub fn served(&self) -> Option<usize> {
        let mut conn = client::Conn::to(self.address)?;
        conn.ask(b"GET /served HTTP/1.1\r\nHost: a\r\n\r\n").and_then(|(_, body)| body.parse().ok())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop(Signal::KILL);
    }
}

/// The state of the backend process.
struct Serving {
    served: AtomicUsize,
    ids: File,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_stopping: bool,
    /// Every connection, and whether a request is in flight on it.
    connections: HashMap<usize, (TcpStream, bool)>,
}

pub fn run(address: &str, ids: &Path) {
    let listener = TcpListener::bind(address).expect("the port");
    let ids = OpenOptions::new().append(true).open(ids).expect("the file");
    let serving = Arc::new(Serving { served: AtomicUsize::new(0), ids, state: Mutex::default() });
    let stopping = Arc::clone(&serving);
    ctrlc::set_handler(move || stopping.stop()).expect("a handler");
    for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
        let serving = Arc::clone(&serving);
        thread::spawn(move || {
            serving.converse(number, stream);
            serving.state.lock().unwrap().connections.remove(&number);
        });
    }
}

impl Serving {
    fn stop(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_stopping = true;
        for (stream, _) in state.connections.values().filter(|(_, is_busy)| !is_busy) {
            let _already_gone = stream.shutdown(Shutdown::Both);
        }
        while state.connections.values().any(|(_, is_busy)| *is_busy) {
            drop(state);
            thread::sleep(Duration::from_millis(1));
            state = self.state.lock().unwrap();
        }
        std::process::exit(0);
    }

    fn converse(&self, number: usize, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        {
            let mut state = self.state.lock().unwrap();
            if state.is_stopping {
                return None;
            }
            state.connections.insert(number, (stream.try_clone().ok()?, false));
        }
        let mut reader = BufReader::new(stream);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let begin = head.len();
                if reader.read_line(&mut head).ok()? == 0 {
                    return None;
                }
                let (name, value) = head[begin..].split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().ok()?;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            {
                let mut state = self.state.lock().unwrap();
                if state.is_stopping {
                    return None;
                }
                state.connections.get_mut(&number)?.1 = true;
            }
            let answer = self.answer(&head, body)?;
            reader.get_mut().write_all(answer.as_bytes()).ok()?;
            let mut state = self.state.lock().unwrap();
            state.connections.get_mut(&number)?.1 = false;
            if state.is_stopping {
                return None;
            }
        }
    }

    fn answer(&self, head: &str, mut body: Vec<u8>) -> Option<String> {
        let text = if head.starts_with("GET /served ") {
            self.served.load(Ordering::Relaxed).to_string()
        } else {
            if head.starts_with("POST ") {
                // One appending write before the response: an id in the file means that the POST was executed.
                body.push(b'\n');
                (&self.ids).write_all(&body).ok()?;
            }
            self.served.fetch_add(1, Ordering::Relaxed);
            "well".to_owned()
        };
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
    }
}
