//! A child process whose output is read line by line as it comes. It never outlives its test.

use super::TIMEOUT;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};
use std::ffi::c_int;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Tests that run under `nohup` or in the background of a script have these signals ignored, and ronde would inherit
/// that. What a process catches is at its default in its children.
static DEFAULT_SIGNALS: LazyLock<()> = LazyLock::new(|| {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("the ignored signals");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
    let is_ignored = |signal: &c_int| mask >> (signal - 1) & 1 == 1;
    for signal in [SIGHUP, SIGINT, SIGQUIT].into_iter().filter(is_ignored) {
        signal_hook::flag::register(signal, Arc::default()).expect("a handler");
    }
});

pub struct Process {
    child: Child,
    pub stdout: Lines,
    pub stderr: Lines,
}

/// A thread of a process.
pub struct Thread {
    pub name: String,
    directory: PathBuf,
}

impl Thread {
    /// What /proc says of it; nothing once it has ended.
    pub fn proc_file(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.directory.join(name)).ok()
    }
}

impl Process {
    pub fn spawn(command: &mut Command) -> Process {
        Process::spawn_onto(Stdio::piped(), command)
    }

    /// With a standard output chosen by the test, such as an unread pipe.
    pub fn spawn_onto(stdout: Stdio, command: &mut Command) -> Process {
        Process::spawn_between(Stdio::null(), stdout, command)
    }

    /// With a standard input chosen by the test as well.
    pub fn spawn_between(stdin: Stdio, stdout: Stdio, command: &mut Command) -> Process {
        LazyLock::force(&DEFAULT_SIGNALS);
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().map_or_else(|| Lines::of(std::io::empty()), Lines::of);
        let stderr = Lines::of(child.stderr.take().expect("stderr"));
        Process { child, stdout, stderr }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Those that it has just now. A thread names itself when it first runs.
    pub fn threads(&self) -> Vec<Thread> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("its threads");
        let named = |directory: PathBuf| {
            let name = std::fs::read_to_string(directory.join("comm")).ok()?;
            Some(Thread { name: name.trim_end().to_owned(), directory })
        };
        tasks.filter_map(|task| named(task.ok()?.path())).collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal sent");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Waits for the process to exit, which closes both pipes.
    pub fn exit(&mut self) -> ExitStatus {
        self.exit_within(TIMEOUT)
    }

    pub fn exit_within(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        for lines in [&self.stdout, &self.stderr] {
            assert!(
                lines.end_by(deadline),
                "the process still runs after {timeout:?}; stderr:\n{}",
                self.stderr.text()
            );
        }
        self.child.wait().expect("its exit status")
    }

    /// Waits for the process to exit successfully, and returns its standard output.
    pub fn success(mut self) -> String {
        let status = self.exit_within(3 * TIMEOUT);
        assert!(status.success(), "{status}");
        self.stdout.text()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
        if thread::panicking() {
            eprintln!("--- stderr of {}:\n{}", self.child.id(), self.stderr.text());
            eprintln!("--- stdout of {}:\n{}", self.child.id(), self.stdout.text());
        }
    }
}

/// The lines of one output so far, and a way to wait for the next one.
#[derive(Clone)]
pub struct Lines(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    pub fn of(output: impl Read + Send + 'static) -> Lines {
        let lines = Lines(Arc::default());
        let writer = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                writer.change(|state| state.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            writer.change(|state| state.ended = true);
        });
        lines
    }

    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().lines.join("\n")
    }

    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// Waits for the first line that contains `part`. Panics when the output ends without it.
    pub fn line_with(&self, part: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        let found = self.wait(deadline, |state| {
            let found = state.lines.iter().find(|line| line.contains(part)).cloned();
            if found.is_none() && state.ended { Some(None) } else { found.map(Some) }
        });
        found.flatten().unwrap_or_else(|| panic!("no line with {part:?} in:\n{}", self.text()))
    }

    fn end_by(&self, deadline: Instant) -> bool {
        self.wait(deadline, |state| state.ended.then_some(())).is_some()
    }

    fn wait<T>(&self, deadline: Instant, mut look: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }
}
