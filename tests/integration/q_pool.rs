//! What an attack on the pool found, by what went wrong.

use crate::harness::{Backend, GET, Proxy, eventually, ronde_only};
use std::sync::mpsc;
use std::thread;

/// No worker ever comes back here, so nobody but the prompter can end the wait.
#[test]
fn who_waited_for_a_worker_was_told_no_when_one_came_back() {
    ronde_only!();
    let hung = Backend::start(|_, _| {});
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
