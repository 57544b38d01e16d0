//! Tests the round under load: `cargo bench --bench round`. It takes a few minutes and needs wrk.
//!
//! Three backends, each a process of its own (this program again), run behind a ronde. First, a backend is killed and
//! restarted while 32 clients send requests. Then a table shows how many requests each backend got with none, one and
//! two of them down. The bench fails if ronde breaks a promise:
//!
//! - GET: no client sees an error, whether a backend is killed (SIGKILL) or stopped (SIGTERM).
//! - A backend takes traffic again within two seconds of its start.
//! - POST: no request is executed twice, and each that was answered with 200 was executed once.

mod backend;
mod client;

use backend::Backend;
use client::Posts;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 32;
const RESTARTS: usize = 5;
const REQUESTS: usize = 30_000;

/// The most time from the start of a backend to the first request that it serves.
const BACK_WITHIN: Duration = Duration::from_secs(2);

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("backend") => backend::run(&words[2], Path::new(&words[3])),
        _ if words.iter().any(|word| word == "--bench") => run(),
        // `cargo test --all-targets` starts this program, too, and should not take minutes.
        _ => println!("run it with: cargo bench --bench round"),
    }
}

fn run() {
    let mut broken = Vec::new();
    for (signal, name) in [(Signal::KILL, "kill -9"), (Signal::TERM, "SIGTERM")] {
        gets_survive(signal, name, &mut broken);
        posts_are_executed_once(signal, name, &mut broken);
    }
    table(&mut broken);
    assert!(broken.is_empty(), "broken promises:\n{}", broken.join("\n"));
    println!("every promise is kept");
}

/// A ronde in front of the backends, and the lines of its log.
struct Ronde {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Ronde {
    fn start(backends: &[SocketAddr]) -> Ronde {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ronde"))
            .args(["--listen", "127.0.0.1:0", "--access-log", "off"])
            .args(backends.iter().map(SocketAddr::to_string))
            .stderr(Stdio::piped())
            .spawn()
            .expect("ronde starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("listening on ")).expect("the line that it listens");
        let (_, listed) = line.split_once("listening on ").expect("its address");
        let address = listed.split([';', ',']).next().and_then(|word| word.parse().ok()).expect("an address");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let appended = Arc::clone(&log);
        thread::spawn(move || lines.for_each(|line| appended.lock().unwrap().push(line)));
        Ronde { child, address, log }
    }

    /// The number of log lines that contain `part`.
    fn logged(&self, part: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }
}

impl Drop for Ronde {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

/// Restarts a backend [`RESTARTS`] times. Returns the times from start to first request.
fn restart_repeatedly(backend: &mut Backend, signal: Signal) -> Vec<Duration> {
    let mut returns = Vec::new();
    for _ in 0..RESTARTS {
        thread::sleep(Duration::from_millis(1500));
        backend.stop(signal);
        thread::sleep(Duration::from_millis(2500));
        returns.push(backend.start_and_await_traffic());
    }
    thread::sleep(Duration::from_millis(500));
    returns
}

fn gets_survive(signal: Signal, name: &str, broken: &mut Vec<String>) {
    let mut backends = Backend::three();
    let ronde = Ronde::start(&backends.each_ref().map(|backend| backend.address));
    let url = format!("http://{}/", ronde.address);
    let wrk = Command::new("wrk")
        .args(["-t1", &format!("-c{CLIENTS}"), "-d10m", "--timeout", "10s", &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("wrk, from the package of that name");
    let returns = restart_repeatedly(&mut backends[0], signal);
    // On SIGINT wrk ends and prints its report.
    kill_process(Pid::from_child(&wrk), Signal::INT).expect("a signal sent");
    let report = String::from_utf8(wrk.wait_with_output().expect("its report").stdout).expect("text");
    let total = report.lines().find(|line| line.contains("requests in")).unwrap_or("nothing").trim();
    let errors: Vec<_> =
        report.lines().filter(|line| line.contains("Socket errors") || line.contains("Non-2xx")).collect();
    println!(
        "GET, {RESTARTS} x {name}: {total}; errors: {errors:?}; takes traffic again after {returns:.2?}; \
         the log: out {}, in {}",
        ronde.logged("is out of the round"),
        ronde.logged("is in the round"),
    );
    if !errors.is_empty() || total == "nothing" {
        broken.push(format!("GET, {name}: {errors:?} {total}"));
    }
    if returns.iter().any(|time| *time > BACK_WITHIN) {
        broken.push(format!("GET, {name}: back after {returns:.2?}"));
    }
}

fn posts_are_executed_once(signal: Signal, name: &str, broken: &mut Vec<String>) {
    let mut backends = Backend::three();
    let ronde = Ronde::start(&backends.each_ref().map(|backend| backend.address));
    let posts = Posts::start(ronde.address, CLIENTS);
    let returns = restart_repeatedly(&mut backends[0], signal);
    let outcomes = posts.finish();
    let mut executed: HashMap<String, usize> = HashMap::new();
    for backend in &backends {
        for id in std::fs::read_to_string(&backend.ids).expect("the ids").lines() {
            *executed.entry(id.to_owned()).or_default() += 1;
        }
    }
    let twice = executed.values().filter(|count| **count > 1).count();
    let mut statuses: HashMap<u16, usize> = HashMap::new();
    let mut lost = 0;
    for (id, status) in &outcomes {
        *statuses.entry(*status).or_default() += 1;
        lost += usize::from(*status == 200 && !executed.contains_key(id));
    }
    let mut statuses: Vec<_> = statuses.into_iter().collect();
    statuses.sort_unstable();
    let unsure = outcomes.iter().filter(|(id, status)| *status != 200 && executed.contains_key(id)).count();
    println!(
        "POST, {RESTARTS} x {name}: {} sent; statuses {statuses:?} (0: no answer); executed {}, twice {twice}; \
         answered 200 and not executed {lost}; executed though answered otherwise {unsure}; \
         takes traffic again after {returns:.2?}",
        outcomes.len(),
        executed.len(),
    );
    if twice + lost > 0 || outcomes.is_empty() {
        broken.push(format!("POST, {name}: {twice} executed twice, {lost} lost of {}", outcomes.len()));
    }
    if returns.iter().any(|time| *time > BACK_WITHIN) {
        broken.push(format!("POST, {name}: back after {returns:.2?}"));
    }
}

fn table(broken: &mut Vec<String>) {
    println!("| down | clients | first | second | third | errors |\n|---|---|---|---|---|---|");
    for clients in [1, CLIENTS] {
        for down in 0..3 {
            let mut backends = Backend::three();
            let ronde = Ronde::start(&backends.each_ref().map(|backend| backend.address));
            backends[..down].iter_mut().for_each(|backend| backend.stop(Signal::KILL));
            let errors = client::get(ronde.address, clients, REQUESTS);
            let counts: Vec<_> = backends.iter().map(|backend| backend.served().unwrap_or(0)).collect();
            println!("| {down} | {clients} | {} | {} | {} | {errors} |", counts[0], counts[1], counts[2]);
            let up = &counts[down..];
            let (least, most) = (up.iter().min().unwrap_or(&0), up.iter().max().unwrap_or(&0));
            // The counts may differ by the requests in flight at the end, and by those that found out which backend is
            // down.
            if errors > 0 || most - least > clients + 3 * down || up.iter().sum::<usize>() != REQUESTS {
                broken
                    .push(format!("the table, {down} down, {clients} clients: {counts:?}, {errors} errors"));
            }
        }
    }
}

/// A file in cargo's directory for temporary files.
fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("round-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    directory.join(name)
}
