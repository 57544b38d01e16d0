//! What an attack on the pool found, by what went wrong.

use crate::harness::{Backend, GET, Proxy, Ronde, eventually, ronde_only};
use rustix::process::Signal;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// No worker ever comes back here, so nobody but the prompter can end the wait.
#[test]
fn who_waited_for_a_worker_was_told_no_when_one_came_back() {
    ronde_only!();
    let hung = silent();
    let proxy = Proxy::with("--workers 4 --response-timeout 1h --queue-timeout 300ms", &[hung.address]);
    let (told, tell) = mpsc::channel();
    for _ in 0..20 {
        let (mut client, told) = (proxy.connect(), told.clone());
        client.send(GET);
        thread::spawn(move || {
            if let Ok(response) = client.try_response() {
                let _nobody_asks_any_more = told.send(response.status());
            }
        });
    }
    drop(told);
    let statuses: Vec<_> = tell.iter().take(16).collect();
    assert_eq!(statuses, [503; 16]);
    eventually("the others are with the backend", || hung.count() == 4);
}

fn silent() -> Backend {
    Backend::start(|_, _| {})
}

#[test]
fn backends_that_say_nothing_delayed_the_start_one_after_the_other() {
    ronde_only!();
    let silent: [_; 8] = std::array::from_fn(|_| silent());
    let start = Instant::now();
    let flags = "--health-path /up --health-interval 1s";
    let _proxy = Proxy::with(flags, &silent.each_ref().map(|backend| backend.address));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn a_signal_during_the_start_killed_it() {
    ronde_only!();
    let silent = silent();
    let flags = format!("--listen 127.0.0.1:0 --health-path /up --health-interval 2s {}", silent.address);
    let mut process = Ronde::with(&flags).spawn();
    eventually("it is being checked", || silent.count() == 1);
    process.signal(Signal::TERM);
    assert_eq!(process.exit().code(), Some(0));
}
